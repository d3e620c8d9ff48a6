"""
`PreloginQueue`: the unauthenticated connections of one server.

There is room for ``gate.connections`` of them. Beyond that, one connection makes room for each newcomer: from the
address with the most connections, the connection that has sent the least data, oldest first. Silent connections
therefore keep nobody out, and an address that opens many connections harms only itself.

A new connection makes room for nobody at first, then for newcomers whose address holds far fewer connections than its
own, then for all (see `pbkit.wire.prelogin.timing`). Otherwise, when all clients reconnect after a restart, the last to
arrive would push out the first, who have not had time to send anything. A connection never makes room while a checker
of ours is working on its credentials, nor for a newcomer whose address holds more connections than its own. If no
connection can go, the newcomer is held in line: pbkit does not read from it or greet it, so it costs next to nothing.
First in line are the connections whose address holds the fewest.

Which connection would make room is tracked only from when the room is full until half of it is free again: before
that, tracking it would slow down each step of each login for nothing.

The queue acts on no connection. It returns `QueueActions`, which the caller carries out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import islice
from typing import Any

from pbkit.wire.prelogin.prioritymap import PriorityMap
from pbkit.wire.prelogin.seat import NOTHING, AddressGroup, QueueActions, Seat, addressGroupOf
from pbkit.wire.prelogin.timing import ALL, FEW, GracePeriods, LoginDeadlines
from pbkit.wire.profile import Gate

#: Why connections are closed.
NO_ROOM = "gate.line: too many connections wait in line to log in"
MADE_ROOM = "gate.connections: it made room for another connection, having sent the least"
TIMED_OUT = "gate.timeout: no login succeeded in time"

#: How many connections are let in from the line at once: greeting one takes 50 to 100 microseconds. The rest follow
#: when the next connection logs in or is lost. The same number is closed in one sweep because of the timeout, which
#: takes twice as long each; if very many are overdue, an eighth of them, so that all are closed within ten seconds or
#: so.
BATCH = 100


class PreloginQueue:
    """
    The unauthenticated connections of one server. Each operation takes O(log n), amortized.

    :param gate: the limits.
    :param seconds: returns the time, such as a clock's `seconds`.
    """

    def __init__(self, gate: Gate, seconds: Callable[[], float]) -> None:
        self._gate = gate
        self._number = 0
        self._inLine = 0
        self._seats: dict[Seat, None] = {}
        self._groups: dict[Hashable, AddressGroup] = {}
        self._deadlines = LoginDeadlines(seconds)
        self._gracePeriods = GracePeriods(seconds)
        # Whether it is being tracked who makes room.
        self._crowded = False
        # While it is: the groups with a connection that can make room for few, and for all; the groups with a line, by
        # whose turn is next, and by whose line is longest.
        self._candidates: tuple[PriorityMap[AddressGroup], PriorityMap[AddressGroup]] = (PriorityMap(), PriorityMap())
        self._next: PriorityMap[AddressGroup] = PriorityMap()
        self._longest: PriorityMap[AddressGroup] = PriorityMap()

    def __len__(self) -> int:
        """The number of unauthenticated connections, without those held in line."""
        return len(self._seats)

    @property
    def inLine(self) -> int:
        """The number of connections held in line."""
        return self._inLine

    def arrived(self, connection: Any, address: object) -> tuple[Seat, QueueActions]:
        """
        Add a new connection.

        :param connection: only handed back, in `QueueActions`.
        :param address: its `IAddress`, or None.
        :return: its seat, and what to do with other connections. If `Seat.connection` is None there is no room: close
            the new connection, with `NO_ROOM`.
        """
        name = addressGroupOf(address)
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = AddressGroup(name)
        self._number += 1
        seat = Seat(connection, group, self._number)
        self._deadlines.begin(seat, self._gate.timeout)
        if not self._inLine and self._hasRoom(1):
            self._admit(seat)
            return seat, NOTHING
        seat.held = True
        group.line[seat] = None
        self._inLine += 1
        self._rank(group)
        actions = self._serve()
        # The caller acts on the newcomer by its seat: it has not been held yet.
        actions.letIn[:] = [each for each in actions.letIn if each is not connection]
        while self._inLine > self._gate.line:
            found = self._longest.lowest()
            assert found is not None
            last = next(reversed(found[1].line))
            self._close(last, NO_ROOM, actions)
        actions.closed[:] = [each for each in actions.closed if each[0] is not connection]
        return seat, actions

    def newSeat(self, connection: Any, address: object) -> Seat:
        """
        Make a seat for a connection that lost its own by logging in, for `working` on another login or `loggedOut`.

        :param connection: the connection.
        :param address: its `IAddress`, or None.
        """
        name = addressGroupOf(address)
        self._number += 1
        return Seat(connection, self._groups.get(name) or AddressGroup(name), self._number)

    def loggedIn(self, seat: Seat) -> QueueActions:
        """A login succeeded: remove the connection."""
        self._remove(seat)
        return self._serve()

    def loggedOut(self, seat: Seat) -> QueueActions:
        """The last session ended: add the connection again. The next login must succeed within ``gate.again``."""
        if seat.connection is None or seat.waiting or seat.held:
            return NOTHING
        self._number += 1
        seat.number = self._number
        seat.sent, seat.yields = 0, ALL
        seat.group = self._groups.setdefault(seat.group.name, seat.group)
        self._deadlines.begin(seat, self._gate.again)
        self._enter(seat)
        return self._serve()

    def lost(self, seat: Seat) -> QueueActions:
        """The connection is lost: remove it."""
        self._remove(seat)
        seat.connection = None
        return self._serve()

    def working(self, seat: Seat) -> None:
        """
        A checker or a builder of ours starts to work on a login. Until `rested`, the login's deadline does not run and
        the connection makes room for nobody. Do not call this while a refusal is delayed to slow down guessing: that
        time is the client's own.
        """
        seat.busy += 1
        if seat.busy == 1:
            self._deadlines.pause(seat)
            if seat.waiting:
                self._rank(seat.group, seat)

    def rested(self, seat: Seat) -> QueueActions:
        """The checker or builder has finished or failed. Call it once for each `working`."""
        seat.busy -= 1
        if seat.busy == 0:
            self._deadlines.resume(seat)
            if seat.waiting:
                self._rank(seat.group, seat)
        return self._serve()

    def sweep(self) -> QueueActions:
        """Act on the time that has passed. Call it about twice a second while there are connections."""
        actions = QueueActions()
        for seat in islice(self._deadlines.overdue(), max(BATCH, len(self._deadlines) // 8)):
            self._close(seat, TIMED_OUT, actions)
        for seat in self._gracePeriods.sweep():
            self._rank(seat.group, seat)
        return self._serve(actions)

    def _admit(self, seat: Seat) -> None:
        """Let a new connection in."""
        if self._gate.connections is not None:
            self._gracePeriods.begin(seat)
        self._enter(seat)

    def _enter(self, seat: Seat) -> None:
        seat.waiting = True
        self._seats[seat] = None
        seat.group.count += 1
        self._rank(seat.group, seat)

    def _remove(self, seat: Seat) -> None:
        group = seat.group
        if seat.held:
            seat.held = False
            del group.line[seat]
            self._inLine -= 1
        elif seat.waiting:
            seat.waiting = False
            del self._seats[seat]
            group.count -= 1
        else:
            return
        self._deadlines.end(seat)
        self._gracePeriods.end(seat)
        self._rank(group, seat)
        if not group.count and not group.line:
            del self._groups[group.name]

    def _close(self, seat: Seat, why: str, actions: QueueActions) -> None:
        connection = seat.connection
        self._remove(seat)
        seat.connection = None
        actions.closed.append((connection, why))

    def _hasRoom(self, more: int = 0) -> bool:
        """Return True if there is room for `more` connections."""
        most = self._gate.connections
        return most is None or len(self._seats) + more <= most

    def _serve(self, actions: QueueActions | None = None) -> QueueActions:
        """Let in connections from the line, as far as there is room or another connection makes it."""
        if not self._inLine and self._hasRoom():
            if self._crowded and self._hasRoom(len(self._seats)):
                self._track(False)
            return NOTHING if actions is None else actions
        actions = QueueActions() if actions is None else actions
        if not self._crowded:
            self._track(True)
        while not self._hasRoom() and self._makeRoom(0, actions):
            pass
        for _ in range(BATCH):
            found = self._next.lowest()
            if found is None or not (self._hasRoom(1) or self._makeRoom(found[0][0], actions)):
                break
            seat = next(iter(found[1].line))
            del seat.group.line[seat]
            self._inLine -= 1
            seat.held = False
            self._admit(seat)
            actions.letIn.append(seat.connection)
        return actions

    def _track(self, crowded: bool) -> None:
        """Start to track which connection makes room, or stop."""
        self._crowded = crowded
        self._candidates, self._next, self._longest = (PriorityMap(), PriorityMap()), PriorityMap(), PriorityMap()
        for group in self._groups.values():
            group.candidates = None
        if crowded:
            for seat in self._seats:
                seat.group.rank(seat)
            for group in self._groups.values():
                self._rank(group)

    def _makeRoom(self, holds: int, actions: QueueActions) -> bool:
        """
        Close one connection, if one can go.

        :param holds: how many connections the newcomer's address has.
        :return: False if none can go.
        """
        for level, above in ((FEW, 2 * holds + 2), (ALL, holds - 1)):
            first = self._first(level)
            if first is not None and first.group.count > above:
                self._close(first, MADE_ROOM, actions)
                return True
        return False

    def _first(self, level: int) -> Seat | None:
        """Return the seat that is the first to make room, of the addresses with the most connections."""
        candidates = self._candidates[level - 1]
        while (found := candidates.lowest()) is not None:
            self._rank(found[1])
            if candidates.lowest() == found:
                return found[1].first(level)
        return None

    def _rank(self, group: AddressGroup, seat: Seat | None = None) -> None:
        """Update what is tracked, after a group or one of its seats has changed."""
        if not self._crowded:
            return
        if seat is not None:
            group.rank(seat)
        for level, candidates in enumerate(self._candidates, 1):
            first = group.first(level)
            if first is None:
                candidates.discard(group)
            else:
                candidates.put(group, (-group.count, first.sent, first.number))
        if group.line:
            oldest = next(iter(group.line)).number
            self._next.put(group, (group.count, oldest))
            self._longest.put(group, (-len(group.line), oldest))
        else:
            self._next.discard(group)
            self._longest.discard(group)
