"""
What a connection remembers of ended sessions.
"""

from __future__ import annotations

from typing import Any

from pbkit.errors import SessionEnded

#: For how many references of ended sessions a connection remembers how they ended. The oldest are forgotten first:
#: a call on one of these is answered "Invalid Object ID", as on any other that never was. Ten sessions' worth
#: of references, by stock's bound of 1,024 each.
TOMBSTONES = 10_240


class Tombstones:
    """
    For each reference of an ended session that the client still has: what a call on it is answered, and how many it
    has. Stock drops the connection of a client that lets go of what it was never given.
    """

    __slots__ = ("_dead",)

    def __init__(self) -> None:
        self._dead: dict[int, tuple[SessionEnded, int]] = {}

    def __len__(self) -> int:
        return len(self._dead)

    def __contains__(self, luid: object) -> bool:
        return type(luid) is int and luid in self._dead

    def __iter__(self) -> Any:
        return iter(self._dead)

    def put(self, error: SessionEnded, references: Any) -> None:
        """
        :param error: how the session ended.
        :param references: its tables of what the client has, by id.
        """
        for luid, local in references:
            self._dead[luid] = (error, local.refcount)
        while len(self._dead) > TOMBSTONES:
            del self._dead[next(iter(self._dead))]

    def error(self, luid: int) -> SessionEnded:
        """What a call on this one is answered; a new one each time."""
        return self._dead[luid][0].again()

    def letGo(self, luid: int) -> bool:
        """One reference less; True if it was the last."""
        error, references = self._dead.pop(luid)
        if references > 1:
            self._dead[luid] = (error, references - 1)
        return references <= 1
