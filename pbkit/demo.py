"""The avatar that is served when none is configured: enough to see a login, a call and a session."""

from __future__ import annotations

from typing import Any

from pbkit.sessions.avatar import Avatar


class DemoAvatar(Avatar):
    """
    Greets its client, and counts the greetings: ``<1>hello alice``, ``<2>hello alice``.

    The count belongs to the avatar, so it shows how long an avatar lives: with `caching` it goes on from login to
    login, with `per-connection` each connection has its own.

    :param avatarId: a str.
    :param model: what all avatars of this id share, in a realm with models.
    """

    def __init__(self, avatarId: str, model: Any = None) -> None:
        super().__init__(avatarId)
        self.model = model
        self.greetings = 0

    def perspective_greet(self) -> str:
        """Return a text such as ``<1>hello alice``. The number counts the greetings of this avatar."""
        self.greetings += 1
        return f"<{self.greetings}>hello {self.avatarId}"

    def perspective_echo(self, x: Any) -> Any:
        """Return the argument."""
        return x

    def perspective_whoami(self) -> str:
        """Return the avatar id of the caller."""
        return self.avatarId

    def perspective_sessions(self) -> int:
        """Return how many live sessions this avatar has, including that of the caller."""
        return len(self.sessions)
