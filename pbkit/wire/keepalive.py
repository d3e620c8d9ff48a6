"""
`ConnectionMonitor`: one sweep for all connections of a server, which closes those that are silent or take too long.

There is one delayed call while there are connections, and none while there are none. A connection has no timer of its
own: all that it does to be monitored is to set ``heard = True`` when bytes arrive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from pbkit.wire.peerlog import LogBudget
from pbkit.wire.prelogin.queue import PreloginQueue
from pbkit.wire.prelogin.seat import QueueActions, Seat
from pbkit.wire.profile import Profile
from pbkit.wire.totals import MemoryTotals

#: The longest time between two sweeps, and between two looks at one connection, in seconds. A limit is enforced within
#: a quarter of itself, and within these.
TICK, LOOK = 0.5, 5.0

log = Logger()


class MonitoredConnection(Protocol):
    """
    What the monitor reads from a connection, and asks of it.

    :ivar transport: the transport.
    :ivar observation: where the monitor stores what it last saw. A table of its own would take as much memory again.
    :ivar heard: set by the connection when bytes arrive, cleared by the monitor.
    :ivar buffered: how many bytes of output wait in our own buffer because the peer does not read.
    :ivar drained: how often that buffer has become empty.
    :ivar paused: True while we do not read from the peer, so that its silence means nothing.
    """

    heard: bool
    observation: Observation | None

    @property
    def transport(self) -> Any: ...

    @property
    def buffered(self) -> int: ...

    @property
    def drained(self) -> int: ...

    @property
    def paused(self) -> bool: ...

    def ask(self) -> object:
        """Send a ping, which every peer answers. Drop the answer: its arrival sets `heard`."""

    def letIn(self) -> object:
        """The connection is no longer held in line: greet it and read from it."""

    def abort(self, why: str) -> object:
        """Close the connection without waiting for the peer to read; log one line with the reason."""


class Observation:
    """
    What the monitor saw when it last looked at a connection.

    :ivar connection: the connection; None once it is lost or being closed.
    :ivar since: since when the peer has been silent.
    :ivar asked: when the peer was asked for a sign of life, or None.
    :ivar drained: `MonitoredConnection.drained`, if output was waiting; else None.
    """

    __slots__ = ("asked", "connection", "drained", "since")

    def __init__(self, connection: MonitoredConnection, now: float) -> None:
        self.connection: MonitoredConnection | None = connection
        self.since = now
        self.asked: float | None = None
        self.drained: int | None = None


class ConnectionMonitor:
    """
    Monitors the connections of one server factory.

    :param profile: the limits.
    :param clock: for the sweep.
    :param checks: each is called with a connection now and then, and returns why to close the connection, or None.
    :ivar seconds: returns the time of that clock.
    :ivar logBudget: the log lines that the connections may cause.
    :ivar totals: the memory that the connections hold together; None if there is no limit.
    :ivar queue: the unauthenticated connections. Pass what its operations return to `act`.
    """

    def __init__(
        self, profile: Profile, clock: IReactorTime, checks: Sequence[Callable[[Any], str | None]] = ()
    ) -> None:
        self._clock = clock
        self.seconds = clock.seconds
        self._idle, self._wait = profile.keepalive.idle, profile.keepalive.wait
        self._checks = tuple(checks)
        self.logBudget = LogBudget(profile.log.total, clock.seconds)
        limited = profile.limits.user is not None or profile.limits.server is not None
        self.totals = MemoryTotals(profile.limits) if limited else None
        self.queue = PreloginQueue(profile.gate, clock.seconds)
        looked = [profile.output.seconds] * bool(checks) + [self._idle, self._wait] * bool(self._idle)
        swept = [limit for limit in (profile.gate.timeout, profile.gate.again) if limit is not None]
        self._look = min([LOOK, *(limit / 4 for limit in looked)])
        self._tick = min([TICK, self._look, *(limit / 4 for limit in swept)])
        # Whether connections are looked at, and whether there is anything to sweep for.
        self._looks = bool(looked)
        self._sweeps = bool(looked or swept or profile.gate.connections is not None)
        self._count = 0
        # In the order in which connections are looked at. The entry of a lost connection is dropped when it comes up.
        self._round: deque[Observation] = deque()
        self._credit = 0.0
        self._call: IDelayedCall | None = None

    def arrived(self, connection: MonitoredConnection, address: object) -> Seat:
        """
        Monitor a new connection, on which a login must succeed.

        :param address: its `IAddress`, or None.
        :return: its seat in `queue`.
        """
        self.watch(connection)
        seat, actions = self.queue.arrived(connection, address)
        self.act(actions)
        return seat

    def watch(self, connection: MonitoredConnection) -> None:
        """Monitor a new connection."""
        if self._idle:
            setTcpKeepAlive = getattr(connection.transport, "setTcpKeepAlive", None)
            if setTcpKeepAlive is not None:
                setTcpKeepAlive(1)
        if self._sweeps:
            observation = connection.observation = Observation(connection, self._clock.seconds())
            self._count += 1
            if self._looks:
                self._round.append(observation)
            if self._call is None:
                self._call = self._clock.callLater(self._tick, self._sweep)

    def lost(self, connection: MonitoredConnection, seat: Seat | None) -> None:
        """
        Forget a lost connection.

        :param seat: its seat in `queue`, if it has one.
        """
        observation, connection.observation = connection.observation, None
        if observation is not None:
            observation.connection = None
            self._count -= 1
        if not self._count and self._call is not None:
            self._call.cancel()
            self._call = None
            self._round.clear()
            self.logBudget.report()
        if seat is not None:
            self.act(self.queue.lost(seat))

    def act(self, actions: QueueActions) -> None:
        """Carry out what the queue decided."""
        for connection, why in actions.closed:
            _guarded(connection.abort, why)
        for connection in actions.letIn:
            _guarded(connection.letIn)

    def _sweep(self) -> None:
        # Schedule the next sweep first, so that it takes place whatever happens below. The loss of the last connection
        # cancels it.
        self._call = self._clock.callLater(self._tick, self._sweep)
        self.act(self.queue.sweep())
        self.logBudget.report()
        # Look at some connections in each sweep, so that thousands are not looked at in one turn of the reactor.
        self._credit += self._count * self._tick / self._look
        now = self._clock.seconds()
        while self._credit >= 1 and self._round:
            observation = self._round.popleft()
            if observation.connection is not None:
                self._credit -= 1
                self._round.append(observation)
                _guarded(self._lookAt, observation.connection, observation, now)
        self._credit %= 1

    def _lookAt(self, connection: MonitoredConnection, observation: Observation, now: float) -> None:
        # Output that the kernel took at once proves nothing, since it takes megabytes for a peer that is gone. Output
        # that had to wait, and has left, does.
        moved = observation.drained is not None and connection.drained > observation.drained
        alive = connection.heard or connection.paused or moved
        connection.heard = False
        observation.drained = connection.drained if connection.buffered else None
        why = None
        if alive or not self._idle:
            observation.since, observation.asked = now, None
        elif observation.asked is not None:
            if now - observation.asked >= self._wait:
                why = f"keepalive: silent for {self._idle:g} s, and no answer within {self._wait:g} s"
        elif now - observation.since >= self._idle:
            observation.asked = now
            connection.ask()
        for check in self._checks:
            why = why or check(connection)
        if why is not None:
            # The connection is closed once, however long its transport takes.
            observation.connection = None
            connection.abort(why)


def _guarded(f: Callable[..., object], *args: object) -> None:
    try:
        f(*args)
    except Exception:
        log.failure("monitoring a connection failed")
