"""
The connections of one server that have not logged in.

There is room for some. When it is taken, one makes room for the next: of the addresses that hold most, the one that has
sent least, the oldest first. So silent ones keep nobody out, and who opens many hurts only his own address.

A connection that has just come makes room for nobody, then for those whose address holds much less than its own, then
for all (see `patience`): of clients that all come back at once after a restart, those that came last would otherwise
throw out those that came first, who have had no time yet to say a word. One at whose credentials a checker of ours is
at work makes room for nobody, and one of an address that holds less than the newcomer's does not either. If nobody can
go, the newcomer stands in line; nothing is read of it until its turn comes, so that it costs next to nothing. First in
line are those whose address holds least.

Who would be the first to make room is known only from when there is no more room until half of it is free again. While
nobody has to, it would be work for nothing at each step of each login.

Nothing is done here to a connection: what is to be done is returned, as `QueueActions`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import islice
from typing import Any

from pbkit.wire.prelogin.prioritymap import PriorityMap
from pbkit.wire.prelogin.seat import NOTHING, AddressGroup, QueueActions, Seat, addressGroupOf
from pbkit.wire.prelogin.timing import ALL, FEW, GracePeriods, LoginDeadlines
from pbkit.wire.profile import Gate

#: Why a connection is closed that can be let in neither now nor later.
NO_ROOM = "gate.line: too many connections stand in line to log in"
#: How many of those in line are let in at once: each is sent a greeting, 50 to 100 microseconds. The rest at the next
#: occasion, which is the next that logs in or goes. And how many are closed in one sweep because their time is up,
#: which takes twice as long; if there are very many, an eighth of them, so that they are gone in ten seconds or so.
BATCH = 100


class PreloginQueue:
    """
    Who waits. Each operation is O(log n), on the average of many.

    :param gate: the bounds.
    :param seconds: the time, such as a clock's `seconds`.
    """

    def __init__(self, gate: Gate, seconds: Callable[[], float]) -> None:
        self._gate = gate
        self._number = 0
        self._inLine = 0
        self._places: dict[Seat, None] = {}
        self._groups: dict[Hashable, AddressGroup] = {}
        self._deadlines = LoginDeadlines(seconds)
        self._youth = GracePeriods(seconds)
        # Whether it is known who makes room.
        self._crowded = False
        # Groups: with somebody who could make room for few, and for all; with somebody in line, whose turn is next;
        # whose line is longest.
        self._ripe: tuple[PriorityMap[AddressGroup], PriorityMap[AddressGroup]] = (PriorityMap(), PriorityMap())
        self._next: PriorityMap[AddressGroup] = PriorityMap()
        self._longest: PriorityMap[AddressGroup] = PriorityMap()

    def __len__(self) -> int:
        """How many have a place; those in line are not counted."""
        return len(self._places)

    @property
    def inLine(self) -> int:
        """How many stand in line."""
        return self._inLine

    def arrived(self, who: Any, address: Any) -> tuple[Seat, QueueActions]:
        """
        A connection has been made.

        :param who: the connection. Only handed back, in `QueueActions`.
        :param address: its `IAddress`, or None.
        :return: its place, and what is to be done with others. If its `Seat.who` is None, there is no room for it,
            and it is to be closed, because of `NO_ROOM`.
        """
        name = addressGroupOf(address)
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = AddressGroup(name)
        self._number += 1
        place = Seat(who, group, self._number)
        self._deadlines.begin(place, self._gate.timeout)
        if not self._inLine and self._hasRoom(1):
            self._seat(place)
            return place, NOTHING
        place.held = True
        group.line[place] = None
        self._inLine += 1
        self._ranked(group)
        moves = self._served()
        # Itself, not being let in: nobody has read or said anything yet.
        moves.letIn[:] = [each for each in moves.letIn if each is not who]
        while self._inLine > self._gate.line:
            found = self._longest.least()
            assert found is not None
            last = next(reversed(found[1].line))
            self._close(last, NO_ROOM, moves)
        moves.closed[:] = [each for each in moves.closed if each[0] is not who]
        return place, moves

    def outside(self, who: Any, address: Any) -> Seat:
        """
        A place for one that had none, as it has logged in; for when it has to be remembered again: `working` on one
        more login of its, or `loggedOut`.

        :param who: the connection.
        :param address: its `IAddress`, or None.
        """
        name = addressGroupOf(address)
        self._number += 1
        return Seat(who, self._groups.get(name) or AddressGroup(name), self._number)

    def loggedIn(self, place: Seat) -> QueueActions:
        """Somebody has logged in on it: it makes room."""
        self._removed(place)
        return self._served()

    def loggedOut(self, place: Seat) -> QueueActions:
        """The last session on it has ended: it waits again, for a login that may take `profile.Gate.again` seconds."""
        if place.who is None or place.waiting or place.held:
            return NOTHING
        self._number += 1
        place.number = self._number
        place.sent, place.yields = 0, ALL
        place.group = self._groups.setdefault(place.group.name, place.group)
        self._deadlines.begin(place, self._gate.again)
        self._enter(place)
        return self._served()

    def lost(self, place: Seat) -> QueueActions:
        """The connection is gone."""
        self._removed(place)
        place.who = None
        return self._served()

    def working(self, place: Seat) -> None:
        """
        A checker or a builder of ours is at work on it: until `rested`, its time stands still, and it makes room for
        nobody. Not while a refusal is held back to slow down who guesses: that is its own time.
        """
        place.busy += 1
        if place.busy == 1:
            self._deadlines.pause(place)
            if place.waiting:
                self._ranked(place.group, place)

    def rested(self, place: Seat) -> QueueActions:
        """The checker or builder is done. Once for each `working`, also when it failed."""
        place.busy -= 1
        if place.busy == 0:
            self._deadlines.resume(place)
            if place.waiting:
                self._ranked(place.group, place)
        return self._served()

    def swept(self) -> QueueActions:
        """Time has passed. To be called twice a second or so, while there are any."""
        moves = QueueActions()
        for place in islice(self._deadlines.overdue(), max(BATCH, len(self._deadlines) // 8)):
            self._close(place, "gate.timeout: nobody has logged in on it in time", moves)
        for place in self._youth.ended():
            self._ranked(place.group, place)
        return self._served(moves)

    # In and out.

    def _seat(self, place: Seat) -> None:
        """One that has just come gets a place."""
        if self._gate.connections is not None:
            self._youth.begin(place)
        self._enter(place)

    def _enter(self, place: Seat) -> None:
        place.waiting = True
        self._places[place] = None
        place.group.count += 1
        self._ranked(place.group, place)

    def _removed(self, place: Seat) -> None:
        group = place.group
        if place.held:
            place.held = False
            del group.line[place]
            self._inLine -= 1
        elif place.waiting:
            place.waiting = False
            del self._places[place]
            group.count -= 1
        else:
            return
        self._deadlines.end(place)
        self._ranked(group, place)
        if not group.count and not group.line:
            del self._groups[group.name]

    def _close(self, place: Seat, why: str, moves: QueueActions) -> None:
        who = place.who
        self._removed(place)
        place.who = None
        moves.closed.append((who, why))

    def _hasRoom(self, more: int = 0) -> bool:
        """Whether there is room for so many more."""
        most = self._gate.connections
        return most is None or len(self._places) + more <= most

    def _served(self, moves: QueueActions | None = None) -> QueueActions:
        """Let in who stands in line, as far as there is room or somebody makes it."""
        if not self._inLine and self._hasRoom():
            if self._crowded and self._hasRoom(len(self._places)):
                self._crowd(False)
            return NOTHING if moves is None else moves
        moves = QueueActions() if moves is None else moves
        if not self._crowded:
            self._crowd(True)
        while not self._hasRoom() and self._makesRoom(0, moves):
            pass
        for _ in range(BATCH):
            found = self._next.least()
            if found is None or not (self._hasRoom(1) or self._makesRoom(found[0][0], moves)):
                break
            place = next(iter(found[1].line))
            del place.group.line[place]
            self._inLine -= 1
            place.held = False
            self._seat(place)
            moves.letIn.append(place.who)
        return moves

    def _crowd(self, crowded: bool) -> None:
        """From now on there is no more room, or enough."""
        self._crowded = crowded
        self._ripe, self._next, self._longest = (PriorityMap(), PriorityMap()), PriorityMap(), PriorityMap()
        for group in self._groups.values():
            group.ripe = None
        if crowded:
            for place in self._places:
                place.group.rank(place)
            for group in self._groups.values():
                self._ranked(group)

    def _makesRoom(self, holds: int, moves: QueueActions) -> bool:
        """
        Close one that can go.

        :param holds: how many places the newcomer's address has.
        :return: whether there was one.
        """
        for level, above in ((FEW, 2 * holds + 2), (ALL, holds - 1)):
            least = self._least(level)
            if least is not None and least.group.count > above:
                self._close(least, "gate.connections: it made room for others, having sent least", moves)
                return True
        return False

    def _least(self, level: int) -> Seat | None:
        """Of the addresses that hold most, the place that is the first to make room."""
        while (found := self._ripe[level - 1].least()) is not None:
            self._ranked(found[1])
            if self._ripe[level - 1].least() == found:
                return found[1].least(level)
        return None

    def _ranked(self, group: AddressGroup, place: Seat | None = None) -> None:
        """Something about a group has changed, or about one of its places."""
        if not self._crowded:
            return
        if place is not None:
            group.rank(place)
        for level, ripe in enumerate(self._ripe, 1):
            least = group.least(level)
            if least is None:
                ripe.discard(group)
            else:
                ripe.put(group, (-group.count, least.sent, least.number))
        if group.line:
            first = next(iter(group.line)).number
            self._next.put(group, (group.count, first))
            self._longest.put(group, (-len(group.line), first))
        else:
            self._next.discard(group)
            self._longest.discard(group)
