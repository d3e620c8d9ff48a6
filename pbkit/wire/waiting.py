"""
The connections of one server that have not logged in.

There is room for some. When it is taken, one makes room for the next: of the addresses that hold most, the one that has
sent least, the oldest first. So silent ones keep nobody out, and who opens many hurts only his own address.

A connection that is younger than `YOUNG`, or at whose credentials a checker of ours is at work, makes room for nobody:
of clients that all come back at once after a restart, those that came last would otherwise throw out those that came
first, who have had no time yet to say a word. Nor does one of an address that holds less than the newcomer's. If
nobody can go, the newcomer stands in line; nothing is read of it until its turn comes, so that it costs next to
nothing. First in line are those whose address holds least.

Nothing is done here to a connection: what is to be done is returned, as `Moves`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any

import attrs

from pbkit.wire.least import Least
from pbkit.wire.profile import Gate

#: For how many seconds a connection that has just come makes room for nobody. A login takes three round trips, and TLS
#: two more: a second, to the other side of the earth; the rest is for a server that has 500 of them to serve at once.
YOUNG = 5.0
#: Why a connection is closed that can be let in neither now nor later.
NO_ROOM = "gate.line: too many connections stand in line to log in"
#: How many of those in line are let in at once: each is sent a greeting, 50 to 100 microseconds. The rest at the next
#: occasion, which is the next that logs in or goes.
BATCH = 100


def groupOf(address: Any) -> Hashable:
    """
    What counts as one address.

    :param address: an `IAddress`, or None.
    :return: the host; of IPv6 the first 64 bits, which is what a provider gives one customer (RFC 6177). All that come
        through Unix sockets are one, and so are all whose address is not known: if each were one of its own, a
        program that opens hundreds of these would be the last to make room.
    """
    host = getattr(address, "host", None)
    if not isinstance(host, str):
        return type(address).__name__
    try:
        return IPv4Address(host)
    except AddressValueError:
        pass
    try:
        six = IPv6Address(host)
    except AddressValueError:
        return host
    return six.ipv4_mapped or int(six) >> 64


class _Group:
    """
    The connections of one address.

    :ivar count: how many have a place.
    :ivar ripe: those of them that could make room, by what they have sent and then by age.
    :ivar line: those that stand in line.
    """

    __slots__ = ("count", "line", "name", "ripe")

    def __init__(self, name: Hashable) -> None:
        self.name = name
        self.count = 0
        self.ripe: Least[Place] = Least()
        self.line: OrderedDict[Place, None] = OrderedDict()


class Place:
    """
    One connection's, for as long as it lives: whether somebody has logged in on it or not.

    :ivar who: the connection, as it was given to `Waiting.arrived`.
    :ivar sent: how many bytes it has sent since it came, or since its last session has ended. The connection adds
        to it what it receives, while it is waiting: ``place.sent += len(data)``.
    :ivar held: it stands in line: say nothing to it and read nothing of it until `Moves.letIn` has it.
    :ivar waiting: it has a place among those that have not logged in.
    """

    __slots__ = ("busy", "due", "group", "held", "number", "sent", "waiting", "who", "young")

    def __init__(self, who: Any, group: _Group, number: int) -> None:
        self.who = who
        self.group = group
        self.number = number
        self.sent = 0
        self.held = self.waiting = self.young = False
        # How many checkers and builders are at work on it; when it is to have logged in, or what is left until then.
        self.busy = 0
        self.due: float | None = None


@attrs.define
class Moves:
    """
    What is to be done to connections, outside.

    :ivar letIn: these stood in line, and are to be greeted and read now.
    :ivar closed: these are to be closed, and why: a constant text, for the log. They have no place any more.
    """

    letIn: list[Any] = attrs.Factory(list)
    closed: list[tuple[Any, str]] = attrs.Factory(list)


class Waiting:
    """
    Who waits. Each operation is O(log n), on the average of many.

    :param gate: the bounds.
    :param seconds: the time, such as a clock's `seconds`.
    """

    def __init__(self, gate: Gate, seconds: Callable[[], float]) -> None:
        self._gate = gate
        self._seconds = seconds
        self._number = 0
        self._count = self._inLine = 0
        self._groups: dict[Hashable, _Group] = {}
        self._due: Least[Place] = Least()
        # By when they come of age; who has gone in between is still in it.
        self._young: deque[tuple[float, Place]] = deque()
        # Groups: with somebody who could make room; with somebody in line, whose turn is next; whose line is longest.
        self._ripe: Least[_Group] = Least()
        self._next: Least[_Group] = Least()
        self._longest: Least[_Group] = Least()

    def __len__(self) -> int:
        """How many have a place; those in line are not counted."""
        return self._count

    @property
    def inLine(self) -> int:
        """How many stand in line."""
        return self._inLine

    def arrived(self, who: Any, address: Any) -> tuple[Place, Moves]:
        """
        A connection has been made.

        :param who: the connection. Only handed back, in `Moves`.
        :param address: its `IAddress`, or None.
        :return: its place, and what is to be done with others. If its `Place.who` is None, there is no room for it,
            and it is to be closed, because of `NO_ROOM`.
        """
        name = groupOf(address)
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = _Group(name)
        self._number += 1
        place = Place(who, group, self._number)
        self._expect(place, self._gate.timeout)
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

    def loggedIn(self, place: Place) -> Moves:
        """Somebody has logged in on it: it makes room."""
        self._removed(place)
        return self._served()

    def loggedOut(self, place: Place) -> Moves:
        """The last session on it has ended: it waits again, for a login that may take `profile.Gate.again` seconds."""
        if place.who is None or place.waiting or place.held:
            return Moves()
        self._number += 1
        place.number = self._number
        place.sent, place.young = 0, False
        place.group = self._groups.setdefault(place.group.name, place.group)
        self._expect(place, self._gate.again)
        self._enter(place)
        return self._served()

    def lost(self, place: Place) -> Moves:
        """The connection is gone."""
        self._removed(place)
        place.who = None
        return self._served()

    def working(self, place: Place) -> None:
        """
        A checker or a builder of ours is at work on it: until `rested`, its time stands still, and it makes room for
        nobody. Not while a refusal is held back to slow down who guesses: that is its own time.
        """
        place.busy += 1
        if place.busy == 1:
            self._due.discard(place)
            if place.due is not None:
                place.due -= self._seconds()
            if place.waiting:
                self._ranked(place.group, place)

    def rested(self, place: Place) -> Moves:
        """The checker or builder is done. Once for each `working`, also when it failed."""
        place.busy -= 1
        if place.busy == 0:
            if place.due is not None:
                place.due += self._seconds()
                if place.waiting:
                    self._due.put(place, (place.due, place.number))
            if place.waiting:
                self._ranked(place.group, place)
        return self._served()

    def swept(self) -> Moves:
        """Time has passed. To be called every second or so, while there are any."""
        now, moves = self._seconds(), Moves()
        while (found := self._due.least()) is not None and found[0][0] <= now:
            self._close(found[1], "gate.timeout: nobody has logged in on it in time", moves)
        return self._served(moves)

    # In and out.

    def _expect(self, place: Place, timeout: float | None) -> None:
        place.due = timeout
        if timeout is not None and not place.busy:
            place.due = self._seconds() + timeout
            self._due.put(place, (place.due, place.number))

    def _enter(self, place: Place) -> None:
        place.waiting = True
        self._count += 1
        place.group.count += 1
        self._ranked(place.group, place)

    def _removed(self, place: Place) -> None:
        group = place.group
        if place.held:
            place.held = False
            del group.line[place]
            self._inLine -= 1
        elif place.waiting:
            place.waiting = False
            self._count -= 1
            group.count -= 1
        else:
            return
        self._due.discard(place)
        place.due = None
        self._ranked(group, place)
        if not group.count and not group.line:
            del self._groups[group.name]

    def _close(self, place: Place, why: str, moves: Moves) -> None:
        who = place.who
        self._removed(place)
        place.who = None
        moves.closed.append((who, why))

    def _served(self, moves: Moves | None = None) -> Moves:
        """Let in who stands in line, as far as there is room or somebody makes it."""
        moves = Moves() if moves is None else moves
        most, now = self._gate.connections, self._seconds()
        while self._young and self._young[0][0] <= now:
            _, place = self._young.popleft()
            place.young = False
            if place.waiting:
                self._ranked(place.group, place)
        while most is not None and self._count > most and self._makesRoom(0, moves):
            pass
        for _ in range(BATCH):
            found = self._next.least()
            if found is None or (most is not None and self._count >= most and not self._makesRoom(found[0][0], moves)):
                break
            place = next(iter(found[1].line))
            del place.group.line[place]
            self._inLine -= 1
            place.held, place.young = False, True
            self._young.append((now + YOUNG, place))
            self._enter(place)
            moves.letIn.append(place.who)
        return moves

    def _makesRoom(self, holds: int, moves: Moves) -> bool:
        """
        Close one that can go.

        :param holds: how many places the newcomer's address has.
        :return: whether there was one.
        """
        while (found := self._ripe.least()) is not None:
            key, group = found
            self._ranked(group)
            if self._ripe.least() == (key, group):
                if group.count < holds:
                    return False
                best = group.ripe.least()
                assert best is not None
                self._close(best[1], "gate.connections: it made room for others, having sent least", moves)
                return True
        return False

    def _ranked(self, group: _Group, place: Place | None = None) -> None:
        """Something about a group has changed, or about one of its places."""
        if place is not None:
            if place.waiting and not place.young and not place.busy:
                group.ripe.put(place, (place.sent, place.number))
            else:
                group.ripe.discard(place)
        while (found := group.ripe.least()) is not None and found[0][0] != found[1].sent:
            # It has sent something since. Nobody's rank rises by that, so it is enough to look when it comes up.
            group.ripe.put(found[1], (found[1].sent, found[1].number))
        if found is None:
            self._ripe.discard(group)
        else:
            self._ripe.put(group, (-group.count, *found[0]))
        if group.line:
            first = next(iter(group.line)).number
            self._next.put(group, (group.count, first))
            self._longest.put(group, (-len(group.line), first))
        else:
            self._next.discard(group)
            self._longest.discard(group)
