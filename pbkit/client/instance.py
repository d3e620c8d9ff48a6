"""
The client instance id: which running program a client is, so that it can reclaim its own stale session.

When a connection breaks, the client often knows long before the server does. It reconnects, and a limit on sessions
refuses it because of its own stale session on the old connection. Therefore each program makes up a random id when it
starts, and sends it before each login. A pbkit server that has no room then ends the session with the same user and the
same id; see "Reclaim" at `pbkit.sessions.login.arbitration.Arbitration`.

That must never end a session whose connection lives. A program may be logged in twice on purpose. If both logins sent
the same id, and both reconnect whenever they are disconnected, they would disconnect each other forever. The server
cannot know which connections live, but the client can. So the id ends with a number that each live connection has for
itself: ``5b0e….0``, ``5b0e….1``. A connection that replaces a lost one gets its number. Most programs have one
connection per user, and only ever use number 0.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import Any

from pbkit.wire.peer import addressOf

#: For how many user names without a live connection it is remembered which server had which number.
REMEMBERED = 1000


class InstanceIds:
    """
    Hands out the client instance ids of one program.

    User names are kept apart, because a server compares the ids of one user only. Of the free numbers, the last one
    that the same server had comes first: if the connections to two servers break at once, each server gets its own id
    again.
    """

    def __init__(self) -> None:
        self._program = secrets.token_hex(16)
        self._users: dict[bytes, _UserNumbers] = {}

    def __len__(self) -> int:
        return len(self._users)

    def take(self, name: bytes, server: str) -> tuple[str, Callable[[], None]]:
        """
        Take an id for a connection.

        :param name: the user name.
        :param server: identifies the server, for example by its address; may be "".
        :return: the id, and a function to call when the connection is lost.
        """
        numbers = self._users.pop(name, None) or _UserNumbers()
        # The users are in the order of their last login.
        self._users[name] = numbers
        number = numbers.take(server)
        while len(self._users) > REMEMBERED:
            oldest = next((user for user, its in self._users.items() if not its.taken), None)
            if oldest is None:
                break
            del self._users[oldest]
        return f"{self._program}.{number}", lambda: numbers.free(number)


class _UserNumbers:
    """The numbers of one user name, and for each the server that had it last."""

    def __init__(self) -> None:
        self.taken: set[int] = set()
        self._free: dict[int, str] = {}
        self._servers: dict[int, str] = {}

    def take(self, server: str) -> int:
        # Prefer the number that was freed last: those from long ago have no stale session any more.
        number = next((number for number, last in reversed(self._free.items()) if last == server), None)
        if number is None:
            # All numbers below len(self._servers) are taken or free, so that one is new.
            number = min(self._free, default=len(self._servers))
        self._free.pop(number, None)
        self.taken.add(number)
        self._servers[number] = server
        return number

    def free(self, number: int) -> None:
        if number in self.taken:
            self.taken.remove(number)
            self._free[number] = self._servers[number]


_ids = InstanceIds()


def _renew() -> None:
    global _ids
    _ids = InstanceIds()


if hasattr(os, "register_at_fork"):
    # A forked child is another program, and its parent goes on.
    os.register_at_fork(after_in_child=_renew)


def instanceId(broker: Any, name: bytes) -> str:
    """
    Return the client instance id for a connection. It belongs to the connection until that is lost.

    :param broker: a connected pbkit broker.
    :param name: the name of the user who logs in first.
    """
    text, free = _ids.take(name, _serverOf(broker))
    broker.notifyOnDisconnect(free)
    return text


def _serverOf(broker: object) -> str:
    address = addressOf(broker)
    return f"{getattr(address, 'host', '')} {getattr(address, 'port', '')} {getattr(address, 'name', '')}"
