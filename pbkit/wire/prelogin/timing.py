"""
How long an unauthenticated connection may take, and how long it is protected from making room for others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from pbkit.wire.prelogin.prioritymap import PriorityMap
from pbkit.wire.prelogin.seat import Seat

#: How long a new connection that has sent nothing makes room for nobody, in seconds and in sweeps. TLS takes two round
#: trips before the first byte arrives, a second for the other side of the earth. A busy reactor sweeps less often, and
#: reads every connection once between two sweeps, so no connection is taken for silent before it could be heard.
SILENT, SWEEPS = 1.5, 4
#: After how many seconds a connection that has sent nothing makes room for all, and one that has sent something does. A
#: program that opens thousands of connections, or a server that agrees on TLS with as many, takes that long.
SHY, YOUNG = 5.0, 10.0

#: Which newcomers a connection makes room for: none; those of an address that would still hold less than half of what
#: this connection's address holds; all.
NOBODY, FEW, ALL = 0, 1, 2

#: After how many seconds: what a connection yields that has sent nothing, and one that has sent something.
_STAGES = ((SILENT, FEW, NOBODY), (SHY, ALL, FEW), (YOUNG, ALL, ALL))


class LoginDeadlines:
    """
    By when each connection must have logged in. The time does not run while the server is working on a login.

    :param seconds: returns the time.
    """

    __slots__ = ("_due", "_seconds")

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._due: PriorityMap[Seat] = PriorityMap()

    def __len__(self) -> int:
        return len(self._due)

    def begin(self, seat: Seat, timeout: float | None) -> None:
        """Start a deadline, `timeout` seconds from now; None is without one."""
        seat.due = timeout
        if not seat.busy:
            self.resume(seat)

    def end(self, seat: Seat) -> None:
        """Remove the deadline: the connection has logged in, or is gone."""
        self._due.discard(seat)
        seat.due = None

    def pause(self, seat: Seat) -> None:
        """Stop the time, because a checker starts. Until `resume`, `Seat.due` is the time that is left."""
        if seat.due is not None:
            self._due.discard(seat)
            seat.due -= self._seconds()

    def resume(self, seat: Seat) -> None:
        """Let the time run again, because the checker has finished."""
        if seat.due is not None:
            seat.due += self._seconds()
            self._due.put(seat, (seat.due, seat.number))

    def overdue(self) -> Iterator[Seat]:
        """
        Yield the seats whose deadline has passed, earliest first. Remove each with `end` before asking for the next.
        """
        now = self._seconds()
        while (found := self._due.lowest()) is not None and found[0][0] <= now:
            yield found[1]


class GracePeriods:
    """
    The new connections, which make room for nobody at first, and then for few. Sweeps find out what they have sent.

    :param seconds: returns the time.
    """

    __slots__ = ("_new", "_seconds", "_stages", "_sweeps")

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._sweeps = 0
        # The seats that arrived since the last sweep; and for each stage, its cohorts: the seats that arrived between
        # two sweeps, when, and how many sweeps there had been.
        self._new: dict[Seat, None] = {}
        self._stages: list[deque[tuple[dict[Seat, None], float, int]]] = [deque() for _ in _STAGES]

    def begin(self, seat: Seat) -> None:
        """Start the grace period of a new connection."""
        seat.yields = NOBODY
        self._join(seat, self._new)

    def end(self, seat: Seat) -> None:
        """
        Forget a seat: its connection has logged in, or is gone. A sweep would find that out too, but there is none once
        the last connection of a server is lost.
        """
        if seat.cohort is not None:
            del seat.cohort[seat]
            seat.cohort = None

    def sweep(self) -> list[Seat]:
        """
        :return: the seats that make room for more newcomers than before.
        """
        now = self._seconds()
        changed: list[Seat] = []
        self._sweeps += 1
        for stage, (seconds, silent, speaks) in enumerate(_STAGES):
            cohorts = self._stages[stage]
            while cohorts and cohorts[0][1] <= now - seconds and cohorts[0][2] <= self._sweeps - SWEEPS:
                seats, arrived, sweeps = cohorts.popleft()
                changed += seats
                later: dict[Seat, None] = {}
                for seat in seats:
                    seat.yields = max(seat.yields, speaks if seat.sent else silent)
                    seat.cohort = None
                    if seat.yields != ALL:
                        self._join(seat, later)
                if later:
                    self._stages[stage + 1].append((later, arrived, sweeps))
        if self._new:
            self._stages[0].append((self._new, now, self._sweeps))
            self._new = {}
        return changed

    def _join(self, seat: Seat, cohort: dict[Seat, None]) -> None:
        cohort[seat] = None
        seat.cohort = cohort
