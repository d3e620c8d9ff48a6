"""
`MemoryTotals`: how much memory the connections of one user, and of all users of a server, hold together.

Each connection has limits of its own, but a user may have many connections. What counts is output that the peer has not
read, messages that have not arrived completely, queued calls, and the arguments of calls in service. It is counted when
it changes; a connection that holds nothing, like most, has no entry.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from pbkit.wire.profile import Limits


class Holder(Protocol):
    """
    A connection that holds memory.

    :ivar number: higher for a younger connection.
    """

    number: int

    @property
    def held(self) -> int:
        """How many bytes the connection holds."""

    @property
    def buffered(self) -> int:
        """How many bytes of that are output that the peer has not read."""

    @property
    def user(self) -> str | None:
        """The user, or None if nobody is logged in."""

    def abort(self, why: str) -> object:
        """Close the connection."""


class MemoryTotals:
    """
    The totals of one server.

    :param limits: ``limits.user`` and ``limits.server``.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held: dict[Holder, tuple[int, str | None]] = {}
        self._users: Counter[str | None] = Counter()
        self._total = 0

    def update(self, holder: Holder) -> None:
        """Count what a connection holds now. Close connections as long as a total exceeds its limit."""
        user = holder.user
        self.remove(holder)
        self._add(holder, holder.held, user)
        most = self._limits.user
        while most is not None and user is not None and self._users[user] > most:
            self._close(user, f"limits.user: the connections of its user hold more than {most} bytes")
        most = self._limits.server
        while most is not None and self._total > most:
            self._close(None, f"limits.server: the connections of the server hold more than {most} bytes")

    def remove(self, holder: Holder) -> None:
        """Stop counting a connection."""
        held, user = self._held.pop(holder, (0, None))
        if held:
            self._total -= held
            self._users[user] -= held
            if not self._users[user]:
                del self._users[user]

    def _add(self, holder: Holder, held: int, user: str | None) -> None:
        if held:
            self._held[holder] = held, user
            self._total += held
            self._users[user] += held

    def _close(self, user: str | None, why: str) -> None:
        """Close the connection with the most unread output; if there is none, the youngest."""
        holders = (holder for holder, (_, its) in self._held.items() if user is None or its == user)
        first = max(holders, key=lambda holder: (holder.buffered, holder.number))
        self.remove(first)
        first.abort(why)
