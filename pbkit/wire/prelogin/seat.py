"""
`Seat`: one connection's entry in the pre-login queue; `AddressGroup`: the seats of one address.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from ipaddress import AddressValueError, IPv6Address
from typing import Any, cast

import attrs

from pbkit.wire.prelogin.prioritymap import PriorityMap


def addressGroupOf(address: object) -> Hashable:
    """
    Return what counts as one address.

    :param address: an `IAddress`, or None.
    :return: the host. Of an IPv6 address, only the first 64 bits, which is what a provider gives one customer
        (RFC 6177). All Unix sockets count as one address, and so do all connections whose address is unknown: if each
        were an address of its own, a program that opens hundreds of them would be the last to make room.
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
    The seats of one address.

    :ivar name: the address, as `addressGroupOf` returns it.
    :ivar count: the number of connections that are unauthenticated and not held in line.
    :ivar candidates: the seats that can make room for few newcomers, and for all, by the bytes they have sent and then
        by age. None while there is room.
    :ivar line: the seats that are held in line, oldest first.
    """

    __slots__ = ("candidates", "count", "line", "name")

    def __init__(self, name: Hashable) -> None:
        self.name = name
        self.count = 0
        self.candidates: tuple[PriorityMap[Seat], PriorityMap[Seat]] | None = None
        self.line: OrderedDict[Seat, None] = OrderedDict()

    def rank(self, seat: Seat) -> None:
        """Update `candidates` after one of the seats has changed."""
        if self.candidates is None:
            self.candidates = PriorityMap(), PriorityMap()
        for level, candidates in enumerate(self.candidates, 1):
            if seat.waiting and seat.yields >= level and not seat.busy:
                candidates.put(seat, (seat.sent, seat.number))
            else:
                candidates.discard(seat)

    def first(self, level: int) -> Seat | None:
        """
        Return the seat that is the first to make room, or None if none can.

        :param level: `FEW` or `ALL` of `pbkit.wire.prelogin.timing`.
        """
        while self.candidates is not None and (found := self.candidates[level - 1].lowest()) is not None:
            (sent, _), seat = found
            if sent == seat.sent:
                return seat
            # The connection has sent something since it was ranked. Sending only makes a seat less likely to be first,
            # so re-ranking the seats that come up is enough.
            self.rank(seat)
        return None


class Seat:
    """
    One connection's entry in the pre-login queue: until a session uses the connection, and again after the last has
    ended.

    :ivar connection: the connection, as it was passed to `PreloginQueue.arrived`; None once it is gone.
    :ivar sent: how many bytes the connection has sent since it arrived, or since its last session ended. The connection
        adds what it receives while `waiting` is True.
    :ivar held: True while the connection stands in line: do not greet it or read from it before `QueueActions.letIn`
        names it.
    :ivar waiting: True while the connection counts as unauthenticated. False in line, and after a login.
    :ivar yields: which newcomers the connection makes room for: `NOBODY`, `FEW` or `ALL` of
        `pbkit.wire.prelogin.timing`.
    :ivar busy: how many checkers and builders are at work on the connection's logins.
    :ivar due: by when a login must have succeeded; while `busy`, how many seconds are left. None: no deadline.
    :ivar cohort: the seats that arrived together with this one, while it is still being watched by `GracePeriods`.
    """

    __slots__ = ("busy", "cohort", "connection", "due", "group", "held", "number", "sent", "waiting", "yields")

    def __init__(self, connection: Any, group: AddressGroup, number: int) -> None:
        self.connection = connection
        self.group = group
        self.number = number
        self.sent = 0
        self.held = self.waiting = False
        self.yields = 0
        self.busy = 0
        self.due: float | None = None
        self.cohort: dict[Seat, None] | None = None


@attrs.define
class QueueActions:
    """
    What the caller must do after an operation of the queue.

    :ivar letIn: connections that were held in line: greet them and read from them now.
    :ivar closed: connections to close, each with the reason: a constant text, for the log. Their seats are gone.
    """

    letIn: list[Any] = attrs.field(factory=list, eq=tuple)
    closed: list[tuple[Any, str]] = attrs.field(factory=list, eq=tuple)


#: Nothing to do. This instance is shared, and nobody adds to it.
NOTHING = QueueActions(cast("list[Any]", ()), cast("list[tuple[Any, str]]", ()))
