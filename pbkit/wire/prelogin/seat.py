"""
The place of one connection among those that have not logged in, and what counts as one address.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from ipaddress import AddressValueError, IPv6Address
from typing import Any, cast

import attrs

from pbkit.wire.prelogin.prioritymap import PriorityMap


def addressGroupOf(address: Any) -> Hashable:
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
    if ":" not in host:
        return host
    try:
        six = IPv6Address(host)
    except AddressValueError:
        return host
    return int(six) >> 64 if six.ipv4_mapped is None else str(six.ipv4_mapped)


class AddressGroup:
    """
    The connections of one address.

    :ivar count: how many have a place.
    :ivar ripe: those of them that could make room for few, and for all, by what they have sent and then by age. None
        while there is room enough.
    :ivar line: those that stand in line.
    """

    __slots__ = ("count", "line", "name", "ripe")

    def __init__(self, name: Hashable) -> None:
        self.name = name
        self.count = 0
        self.ripe: tuple[PriorityMap[Seat], PriorityMap[Seat]] | None = None
        self.line: OrderedDict[Seat, None] = OrderedDict()

    def rank(self, place: Seat) -> None:
        """Something about one of its places has changed."""
        if self.ripe is None:
            self.ripe = PriorityMap(), PriorityMap()
        for level, ripe in enumerate(self.ripe, 1):
            if place.waiting and place.yields >= level and not place.busy:
                ripe.put(place, (place.sent, place.number))
            else:
                ripe.discard(place)

    def least(self, level: int) -> Seat | None:
        """
        The place that is the first to make room, or None if none can.

        :param level: for few, or for all.
        """
        while self.ripe is not None and (found := self.ripe[level - 1].least()) is not None:
            (sent, _), place = found
            if sent == place.sent:
                return place
            # It has sent something since. Nobody comes up by that, so it is enough to look at who has.
            self.rank(place)
        return None


class Seat:
    """
    One connection's, until somebody has logged in on it, and again when the last is out.

    :ivar who: the connection, as it was given to `PreloginQueue.arrived`.
    :ivar sent: how many bytes it has sent since it came, or since its last session has ended. The connection adds
        to it what it receives, while it is waiting: ``place.sent += len(data)``.
    :ivar held: it stands in line: say nothing to it and read nothing of it until `QueueActions.letIn` has it.
    :ivar waiting: it has a place among those that have not logged in.
    """

    __slots__ = ("busy", "due", "group", "held", "number", "sent", "waiting", "who", "yields")

    def __init__(self, who: Any, group: AddressGroup, number: int) -> None:
        self.who = who
        self.group = group
        self.number = number
        self.sent = 0
        self.held = self.waiting = False
        # For whom it makes room, as in `patience`.
        self.yields = 0
        # How many checkers and builders are at work on it; when it is to have logged in, or what is left until then.
        self.busy = 0
        self.due: float | None = None


@attrs.define
class QueueActions:
    """
    What is to be done to connections, outside.

    :ivar letIn: these stood in line, and are to be greeted and read now.
    :ivar closed: these are to be closed, and why: a constant text, for the log. They have no place any more.
    """

    letIn: list[Any] = attrs.field(factory=list, eq=tuple)
    closed: list[tuple[Any, str]] = attrs.field(factory=list, eq=tuple)


#: Nothing is to be done: one for all, and nobody adds to it.
NOTHING = QueueActions(cast("list[Any]", ()), cast("list[tuple[Any, str]]", ()))
