"""
How much time those have that have not logged in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from pbkit.wire.least import Least
from pbkit.wire.place import Place

#: How long one that has just come may say nothing until it makes room for others: in seconds, and in sweeps. TLS takes
#: two round trips until we hear something, a second to the other side of the earth. A reactor that is busy sweeps less
#: often, and reads everybody once in between: so nobody is taken for silent whom we had no time to hear.
SILENT, SWEEPS = 1.5, 4
#: After how many seconds it does whatever it says: a login takes three round trips.
YOUNG = 10.0


class Deadlines:
    """
    By when each is to have logged in. The time stands still while a checker of ours is at work on it.

    :param seconds: the time.
    """

    __slots__ = ("_due", "_seconds")

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._due: Least[Place] = Least()

    def __len__(self) -> int:
        return len(self._due)

    def begin(self, place: Place, timeout: float | None) -> None:
        """It has so long, from now on; for ever, if that is None."""
        place.due = timeout
        if not place.busy:
            self.resume(place)

    def end(self, place: Place) -> None:
        """It has logged in, or is gone."""
        self._due.discard(place)
        place.due = None

    def pause(self, place: Place) -> None:
        """A checker begins. `Place.due` is what is left, until it ends."""
        if place.due is not None:
            self._due.discard(place)
            place.due -= self._seconds()

    def resume(self, place: Place) -> None:
        """The checker has ended."""
        if place.due is not None:
            place.due += self._seconds()
            self._due.put(place, (place.due, place.number))

    def overdue(self) -> Iterator[Place]:
        """Those whose time is up, the first first. Each is to be taken out with `end` before the next is asked for."""
        now = self._seconds()
        while (found := self._due.least()) is not None and found[0][0] <= now:
            yield found[1]


class Youth:
    """
    Those that have just come, and make room for nobody yet: until they have been silent for `SILENT`, or are older than
    `YOUNG`. What they send is looked at in sweeps.

    :param seconds: the time.
    """

    __slots__ = ("_new", "_seconds", "_sweep", "_young")

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._sweep = 0
        # Who has come since the last sweep, and who is to be looked at again: when it came, when and in which sweep it
        # was looked at, and what it had sent then. Who has gone in between is still in it.
        self._new: list[tuple[float, Place]] = []
        self._young: deque[tuple[Place, float, float, int, int]] = deque()

    def begin(self, place: Place) -> None:
        """It has just come."""
        place.young = True
        self._new.append((self._seconds(), place))

    def ended(self) -> list[Place]:
        """A sweep: those that are so no longer."""
        now, grown = self._seconds(), []
        self._sweep += 1
        while self._young and self._young[0][2] <= now - SILENT and self._young[0][3] <= self._sweep - SWEEPS:
            place, came, _, _, sent = self._young.popleft()
            if place.young and place.waiting and place.sent != sent and now - came < YOUNG:
                self._young.append((place, came, now, self._sweep, place.sent))
            else:
                place.young = False
                grown.append(place)
        self._young.extend((place, came, now, self._sweep, place.sent) for came, place in self._new)
        self._new.clear()
        return grown
