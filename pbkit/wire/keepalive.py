"""
One sweep for all connections of a server: what takes too long, and who is no longer there.

There is one delayed call while there are connections, and none while there are none; a connection has no timer of its
own. What it pays for being watched is ``self.heard = True`` when bytes come in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from pbkit.wire.prelogin.queue import PreloginQueue
from pbkit.wire.prelogin.seat import QueueActions, Seat
from pbkit.wire.profile import Profile

#: Seconds between two sweeps, at most; and between two looks at one connection. A bound is held to within a quarter of
#: itself, and to within these.
TICK, LOOK = 0.5, 5.0

log = Logger()


class MonitoredConnection(Protocol):
    """
    What is read of a connection, and asked of it.

    :ivar transport: its transport.
    :ivar record: for the watch to keep its record at. A table of them would take as much again.
    :ivar heard: set by the connection when a byte comes in; taken back here.
    :ivar buffered: how many bytes of ours wait in our own buffer, because the other end does not read.
    :ivar drained: how many have left that buffer, ever.
    :ivar paused: we do not read what it sends, so that its silence says nothing.
    """

    heard: bool
    record: Any

    @property
    def transport(self) -> Any: ...

    @property
    def buffered(self) -> int: ...

    @property
    def drained(self) -> int: ...

    @property
    def paused(self) -> bool: ...

    def ask(self) -> object:
        """Send what every peer answers, and forget the answer: that it came is told by `heard`."""

    def letIn(self) -> object:
        """It stood in line, and is no longer `Seat.held`: read it again, and greet it."""

    def abort(self, why: str) -> object:
        """Close it, without waiting for what it has not read; with one line in the log that says why, and who."""


class _Observation:
    """What was seen of one connection when it was last looked at."""

    __slots__ = ("asked", "connection", "drained", "since")

    def __init__(self, connection: MonitoredConnection, now: float) -> None:
        self.connection: MonitoredConnection | None = connection
        self.since = now
        self.asked: float | None = None
        # How often what waited had left, if anything waited then.
        self.drained: int | None = None


class ConnectionMonitor:
    """
    The watch of one factory.

    :param profile: the bounds.
    :param clock: for the sweep.
    :param checks: each is called with a connection now and then, and returns why it is to be closed, or None.
    :ivar seconds: the time by that clock.
    :ivar waiting: who has not logged in. What its operations return is for `act`.
    """

    def __init__(
        self, profile: Profile, clock: IReactorTime, checks: Sequence[Callable[[Any], str | None]] = ()
    ) -> None:
        self._clock = clock
        self.seconds = clock.seconds
        self._idle, self._wait = profile.keepalive.idle, profile.keepalive.wait
        self._checks = tuple(checks)
        self.waiting = PreloginQueue(profile.gate, clock.seconds)
        looked = [profile.output.seconds] * bool(checks) + [self._idle, self._wait] * bool(self._idle)
        swept = [bound for bound in (profile.gate.timeout, profile.gate.again) if bound is not None]
        self._look = min([LOOK, *(bound / 4 for bound in looked)])
        self._tick = min([TICK, self._look, *(bound / 4 for bound in swept)])
        #: Whether each connection is looked at; whether there is anything to sweep for.
        self._looks = bool(looked)
        self._sweeps = bool(looked or swept or profile.gate.connections is not None)
        self._watched = 0
        # In the order in which they are looked at. Who has gone is dropped when it comes up.
        self._round: deque[_Observation] = deque()
        self._credit = 0.0
        self._call: IDelayedCall | None = None

    def arrived(self, connection: MonitoredConnection, address: Any) -> Seat:
        """
        A connection has been made, on which somebody is to log in.

        :param address: its `IAddress`, or None.
        :return: its place in `waiting`.
        """
        self.watch(connection)
        place, moves = self.waiting.arrived(connection, address)
        self.act(moves)
        return place

    def watch(self, connection: MonitoredConnection) -> None:
        """A connection has been made."""
        if self._idle:
            setTcpKeepAlive = getattr(connection.transport, "setTcpKeepAlive", None)
            if setTcpKeepAlive is not None:
                setTcpKeepAlive(1)
        if self._sweeps:
            record = connection.record = _Observation(connection, self._clock.seconds())
            self._watched += 1
            if self._looks:
                self._round.append(record)
            if self._call is None:
                self._call = self._clock.callLater(self._tick, self._sweep)

    def lost(self, connection: MonitoredConnection, place: Seat | None) -> None:
        """
        A connection is gone.

        :param place: the one that it has in `waiting`, if any.
        """
        record, connection.record = connection.record, None
        if record is not None:
            record.connection = None
            self._watched -= 1
        if not self._watched and self._call is not None:
            self._call.cancel()
            self._call = None
            self._round.clear()
        if place is not None:
            self.act(self.waiting.lost(place))

    def act(self, moves: QueueActions) -> None:
        """Do what is to be done."""
        for connection, why in moves.closed:
            _guarded(connection.abort, why)
        for connection in moves.letIn:
            _guarded(connection.letIn)

    def _sweep(self) -> None:
        # Whatever is done below, there is a next sweep, until the last connection takes it off.
        self._call = self._clock.callLater(self._tick, self._sweep)
        self.act(self.waiting.swept())
        # Some at a time, so that thousands are not looked at all at once.
        self._credit += self._watched * self._tick / self._look
        now = self._clock.seconds()
        while self._credit >= 1 and self._round:
            record = self._round.popleft()
            if record.connection is not None:
                self._credit -= 1
                self._round.append(record)
                _guarded(self._lookAt, record.connection, record, now)
        self._credit %= 1

    def _lookAt(self, connection: MonitoredConnection, record: _Observation, now: float) -> None:
        # What the kernel took at once shows nothing: it takes megabytes for a peer that is gone. What had to wait does.
        moved = record.drained is not None and connection.drained > record.drained
        alive = connection.heard or connection.paused or moved
        connection.heard = False
        record.drained = connection.drained if connection.buffered else None
        why = None
        if alive or not self._idle:
            record.since, record.asked = now, None
        elif record.asked is not None:
            if now - record.asked >= self._wait:
                why = f"keepalive: silent for {self._idle:g} s, and no answer within {self._wait:g} s"
        elif now - record.since >= self._idle:
            record.asked = now
            connection.ask()
        for check in self._checks:
            why = why or check(connection)
        if why is not None:
            # It is said once, however long the transport takes.
            record.connection = None
            connection.abort(why)


def _guarded(f: Callable[..., object], *args: object) -> None:
    try:
        f(*args)
    except Exception:
        log.failure("the watch over a connection failed")
