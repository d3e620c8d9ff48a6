"""
How much time those have that have not logged in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from pbkit.wire.prelogin.prioritymap import PriorityMap
from pbkit.wire.prelogin.seat import Seat

#: How long one that has just come makes room for nobody while it says nothing: in seconds, and in sweeps. TLS takes two
#: round trips until we hear something, a second to the other side of the earth. A reactor that is busy sweeps less
#: often, and reads everybody once in between: so nobody is taken for silent whom we had no time to hear.
SILENT, SWEEPS = 1.5, 4
#: After how many seconds one that says nothing makes room for all, and after how many one does that says something. A
#: program that opens thousands of connections, or a server that agrees on TLS with as many, takes so long.
SHY, YOUNG = 5.0, 10.0

#: For whom a connection makes room: for nobody, for those whose address would still hold less than half of what its own
#: does, for all.
NOBODY, FEW, ALL = 0, 1, 2

#: After how many seconds, for whom one that has said nothing, and for whom one that has said something.
_STAGES = ((SILENT, FEW, NOBODY), (SHY, ALL, FEW), (YOUNG, ALL, ALL))


class LoginDeadlines:
    """
    By when each is to have logged in. The time stands still while a checker of ours is at work on it.

    :param seconds: the time.
    """

    __slots__ = ("_due", "_seconds")

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._due: PriorityMap[Seat] = PriorityMap()

    def __len__(self) -> int:
        return len(self._due)

    def begin(self, place: Seat, timeout: float | None) -> None:
        """It has so long, from now on; for ever, if that is None."""
        place.due = timeout
        if not place.busy:
            self.resume(place)

    def end(self, place: Seat) -> None:
        """It has logged in, or is gone."""
        self._due.discard(place)
        place.due = None

    def pause(self, place: Seat) -> None:
        """A checker begins. `Seat.due` is what is left, until it ends."""
        if place.due is not None:
            self._due.discard(place)
            place.due -= self._seconds()

    def resume(self, place: Seat) -> None:
        """The checker has ended."""
        if place.due is not None:
            place.due += self._seconds()
            self._due.put(place, (place.due, place.number))

    def overdue(self) -> Iterator[Seat]:
        """Those whose time is up, the first first. Each is to be taken out with `end` before the next is asked for."""
        now = self._seconds()
        while (found := self._due.least()) is not None and found[0][0] <= now:
            yield found[1]


class GracePeriods:
    """
    Those that have just come, and make room for nobody yet, and then for few. What they send is looked at in sweeps.

    :param seconds: the time.
    """

    __slots__ = ("_new", "_seconds", "_stages", "_sweep")

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._sweep = 0
        # Who has come since the last sweep; and at each stage, those that came together, when, and before which sweep.
        # Who has gone in between is still among them.
        self._new: list[Seat] = []
        self._stages: list[deque[tuple[list[Seat], float, int]]] = [deque() for _ in _STAGES]

    def begin(self, place: Seat) -> None:
        """It has just come."""
        place.yields = NOBODY
        self._new.append(place)

    def ended(self) -> list[Seat]:
        """A sweep: those that make room for more than before."""
        now, grown = self._seconds(), []
        self._sweep += 1
        for stage, (seconds, silent, speaks) in enumerate(_STAGES):
            young = self._stages[stage]
            while young and young[0][1] <= now - seconds and young[0][2] <= self._sweep - SWEEPS:
                places, came, sweep = young.popleft()
                places = [place for place in places if place.waiting]
                for place in places:
                    place.yields = max(place.yields, speaks if place.sent else silent)
                grown += places
                rest = [place for place in places if place.yields != ALL]
                if rest:
                    self._stages[stage + 1].append((rest, came, sweep))
        # Who has logged in by now makes no room any more.
        new = [place for place in self._new if place.waiting]
        if new:
            self._stages[0].append((new, now, self._sweep))
        self._new.clear()
        return grown
