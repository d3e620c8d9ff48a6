"""
What a connection remembers of ended sessions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pbkit.errors import SessionEnded

#: For how many references of ended sessions a connection remembers how they ended. The oldest are forgotten first:
#: a call on one of these is answered "Invalid Object ID", as on any other that never was. Ten sessions' worth
#: of references, by stock's bound of 1,024 each.
TOMBSTONES = 10_240


class Tombstones(dict[int, tuple[SessionEnded, int]]):
    """
    For each reference of an ended session that the client still has: what a call on it is answered, and how many the
    client has. Stock drops the connection of one that lets go of what it was not given.
    """

    __slots__ = ()

    def put(self, error: SessionEnded, references: Iterable[tuple[int, Any]]) -> None:
        """
        :param error: how the session ended.
        :param references: its tables of what the client has, by id.
        """
        for luid, local in references:
            self[luid] = (error, local.refcount)
        while len(self) > TOMBSTONES:
            del self[next(iter(self))]

    def error(self, luid: int) -> SessionEnded:
        """What a call on this one is answered; a new one each time."""
        return self[luid][0].again()

    def letGo(self, luid: int) -> bool:
        """One reference less; True if it was the last."""
        error, references = self.pop(luid)
        if references > 1:
            self[luid] = (error, references - 1)
        return references <= 1
