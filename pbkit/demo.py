"""The avatar that is served when the operator names none: enough to see a login, a call and a session."""

from __future__ import annotations

from typing import Any

from pbkit.sessions.avatar import Avatar


class DemoAvatar(Avatar):
    """
    Greets, and counts how often: ``<1>hello alice``, ``<2>hello alice``.

    The count is the avatar's, so it shows how long an avatar lives: with `caching` it goes on from login to
    login, with `per-connection` each connection has its own.

    :param avatarId: a str.
    :param model: what all avatars of this id share, in a realm that has such a thing.
    """

    def __init__(self, avatarId: str, model: Any = None) -> None:
        super().__init__(avatarId)
        self.model = model
        self.greetings = 0

    def perspective_greet(self) -> str:
        """
        :return: such as ``<1>hello alice``; the number counts the greetings of this avatar.
        """
        self.greetings += 1
        return f"<{self.greetings}>hello {self.avatarId}"

    def perspective_echo(self, x: Any) -> Any:
        """
        :return: what came.
        """
        return x

    def perspective_whoami(self) -> str:
        """
        :return: the caller's avatar id.
        """
        return self.avatarId

    def perspective_sessions(self) -> int:
        """
        :return: how many live sessions this avatar has, the caller's included.
        """
        return len(self.sessions)
