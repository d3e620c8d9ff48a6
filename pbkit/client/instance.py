"""
Which running program a client is, as it tells servers: so that it is not locked out by its own ghost.

When a connection breaks, the client often knows long before the server does. It connects again, and finds its place
taken: by itself, on the old connection. So each program makes up a text at its start, and says it before each login. A
server of pbkit's that finds no room then ends the session of the same user and the same text; see "Reclaim" at
`pbkit.sessions.login.arbitration.Arbitration`.

That must never be a session that lives. A program may be logged in twice on purpose, and were both told apart by
nothing, each of two that come back whenever they are thrown out would throw out the other, for ever. The server cannot
know which connections live; this end does. So the text names a *seat* in the program, of which each live connection
has its own: ``5b0e….0``, ``5b0e….1``. One that is made when another is lost gets its seat. Most programs have one
connection for each user, and never leave seat 0.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import Any

#: For how many user names without a live connection it is remembered which server had which seat.
REMEMBERED = 1000


class Seats:
    """
    The seats of one program.

    User names are apart: what a server compares is of one user anyway. Of the seats that are free a server's own last
    one comes first, so that two servers whose connections broke at once each find their own ghost again.
    """

    def __init__(self) -> None:
        self._program = secrets.token_hex(16)
        self._names: dict[bytes, _Name] = {}

    def __len__(self) -> int:
        return len(self._names)

    def take(self, name: bytes, server: str) -> tuple[str, Callable[[], None]]:
        """
        A seat for a connection.

        :param name: the user's.
        :param server: what tells servers apart, such as the address; may be "".
        :return: the text to say, and what is to be called when the connection is lost.
        """
        seats = self._names.pop(name, None) or _Name()
        # The last in the table is whoever was here last.
        self._names[name] = seats
        number = seats.take(server)
        while len(self._names) > REMEMBERED:
            oldest = next((one for one, its in self._names.items() if not its.taken), None)
            if oldest is None:
                break
            del self._names[oldest]
        return f"{self._program}.{number}", lambda: seats.give(number)


class _Name:
    """The seats of one user name: for each that was ever taken, the server that had it last."""

    def __init__(self) -> None:
        self.taken: set[int] = set()
        self._free: dict[int, str] = {}
        self._servers: dict[int, str] = {}

    def take(self, server: str) -> int:
        # The one that was lost last: those from long ago have no ghost any more.
        number = next((number for number, last in reversed(self._free.items()) if last == server), None)
        if number is None:
            # All numbers below are taken or free, so the next one is how many there are.
            number = min(self._free, default=len(self._servers))
        self._free.pop(number, None)
        self.taken.add(number)
        self._servers[number] = server
        return number

    def give(self, number: int) -> None:
        if number in self.taken:
            self.taken.remove(number)
            self._free[number] = self._servers[number]


_seats = Seats()


def _renew() -> None:
    global _seats
    _seats = Seats()


if hasattr(os, "register_at_fork"):
    # A child that was forked is another program, and its parent goes on.
    os.register_at_fork(after_in_child=_renew)


def seat(broker: Any, name: bytes) -> str:
    """
    The text that a connection says: a seat of its own, until it is lost.

    :param broker: a broker of pbkit's, connected.
    :param name: of the user who logs in first.
    """
    text, give = _seats.take(name, _serverOf(broker.transport))
    broker.notifyOnDisconnect(give)
    return text


def _serverOf(transport: Any) -> str:
    address = transport.getPeer() if hasattr(transport, "getPeer") else None
    return f"{getattr(address, 'host', '')} {getattr(address, 'port', '')} {getattr(address, 'name', '')}"
