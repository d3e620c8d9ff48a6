"""The sweep over all connections of a server."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbkit.wire.keepalive import LOOK, ConnectionMonitor
from pbkit.wire.prelogin.seat import Seat
from pbkit.wire.prelogin.timing import SHY
from pbkit.wire.profile import DROPIN, STRICT, Gate, Keepalive

ADDRESS = IPv4Address("TCP", "10.0.0.1", 4711)


class Transport:
    """A transport with TCP keepalive."""

    kept: int | None = None

    def setTcpKeepAlive(self, on: int) -> None:
        """Record the setting."""
        self.kept = on


class Connection:
    """The part of a connection that the monitor uses."""

    heard = paused = False
    buffered = drained = 0
    observation: Any = None
    seat: Seat

    def __init__(self, monitor: ConnectionMonitor, transport: Any = None) -> None:
        self.transport = transport
        self.monitor = monitor
        self.asked = 0
        self.entered = 0
        self.why: list[str] = []
        self.answers = False

    def ask(self) -> None:
        """Receive a ping, and answer it if the test wants that."""
        self.asked += 1
        self.heard = self.answers

    def letIn(self) -> None:
        """Be admitted."""
        self.entered += 1

    def abort(self, why: str) -> None:
        """Be closed, and lost at once, as in memory."""
        self.why.append(why)
        self.monitor.lost(self, self.seat)


class MonitorCase(SynchronousTestCase):
    """A monitor of a strict server, and connections that are logged in by default."""

    profile = attrs.evolve(STRICT, gate=Gate(connections=2, line=1))
    checks: Any = ()

    def setUp(self) -> None:
        """Make the monitor."""
        self.clock = Clock()
        self.monitor = ConnectionMonitor(self.profile, self.clock, self.checks)

    def connected(self, loggedIn: bool = True, transport: Any = None) -> Connection:
        """Add a connection."""
        connection = Connection(self.monitor, transport)
        connection.seat = self.monitor.arrived(connection, ADDRESS)
        if loggedIn:
            self.monitor.act(self.monitor.queue.loggedIn(connection.seat))
        return connection

    def later(self, seconds: float) -> None:
        """Advance the time in small steps."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)


class TimerTests(MonitorCase):
    """The timer of the monitor."""

    def test_one(self) -> None:
        """There is one delayed call while there are connections, and none while there are none."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        connections = [self.connected() for _ in range(10)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.later(10)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for connection in connections:
            self.monitor.lost(connection, connection.seat)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.monitor._round), 0)
        # A second time.
        self.connected()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_dropIn(self) -> None:
        """There is no timer if nothing is limited."""
        self.monitor = ConnectionMonitor(DROPIN, self.clock)
        connection = self.connected(transport=Transport())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNone(connection.transport.kept)
        self.monitor.lost(connection, connection.seat)

    def test_lastOneIsDroppedByTheSweep(self) -> None:
        """A sweep that closes the last connection is the last sweep."""
        connection = self.connected(loggedIn=False)
        self.later(32)
        self.assertEqual(len(connection.why), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_keepsNoConnection(self) -> None:
        """Connections that come and go between two sweeps leave nothing behind."""
        self.connected()
        for _ in range(1000):
            connection = self.connected()
            self.monitor.lost(connection, connection.seat)
        self.later(3 * LOOK)
        self.assertEqual((self.monitor._count, len(self.monitor._round)), (1, 1))


class KeepaliveTests(MonitorCase):
    """Pings of silent connections."""

    def test_tcp(self) -> None:
        """TCP's own keepalive is enabled if the transport has it."""
        self.assertEqual(self.connected(transport=Transport()).transport.kept, 1)
        self.connected(transport=object())

    def test_silent(self) -> None:
        """A connection that is silent for 60 s is pinged once, and closed 20 s later."""
        connection = self.connected()
        self.later(59.9)
        self.assertEqual(connection.asked, 0)
        self.later(LOOK + 0.2)
        self.assertEqual(connection.asked, 1)
        self.later(20 - LOOK)
        self.assertEqual((connection.asked, connection.why), (1, []))
        self.later(2 * LOOK)
        self.assertEqual(connection.why, ["keepalive: silent for 60 s, and no answer within 20 s"])

    def test_answers(self) -> None:
        """A connection that answers is kept, and pinged again after another 60 s."""
        connection = self.connected()
        connection.answers = True
        self.later(600)
        self.assertEqual(connection.why, [])
        self.assertIn(connection.asked, (8, 9))

    def test_heard(self) -> None:
        """A connection that sends something from time to time is not pinged."""
        connection = self.connected()
        for _ in range(20):
            self.later(50)
            connection.heard = True
        self.assertEqual((connection.asked, connection.why), (0, []))

    def test_answersLate(self) -> None:
        """Any input before the close counts as an answer."""
        connection = self.connected()
        self.later(78)
        self.assertEqual(connection.asked, 1)
        connection.heard = True
        self.later(50)
        self.assertEqual((connection.asked, connection.why), (1, []))

    def test_reads(self) -> None:
        """A connection that sends nothing but reads its output, bit by bit, is alive."""
        connection = self.connected()
        connection.buffered = 10**6
        for _ in range(20):
            self.later(30)
            connection.drained += 1
        self.assertEqual((connection.asked, connection.why), (0, []))

    def test_whatTheKernelTook(self) -> None:
        """Output that did not have to wait proves nothing: the kernel accepts it for a dead peer."""
        connection = self.connected()
        for _ in range(50):
            self.later(2)
            connection.drained += 100
        self.assertEqual(len(connection.why), 1)

    def test_doesNotRead(self) -> None:
        """Output that waits without progress is not a sign of life."""
        connection = self.connected()
        connection.buffered = 10**6
        self.later(100)
        self.assertEqual(len(connection.why), 1)

    def test_paused(self) -> None:
        """While reading is paused, silence does not count; after that, the client has the full time."""
        connection = self.connected()
        connection.paused = True
        self.later(600)
        connection.paused = False
        self.later(59 - LOOK)
        self.assertEqual((connection.asked, connection.why), (0, []))
        self.later(1 + 2 * LOOK)
        self.assertEqual(connection.asked, 1)

    def test_many(self) -> None:
        """With any number of connections, each is examined equally often, a few at a time."""
        connections = [self.connected() for _ in range(103)]
        seen = []
        for _ in range(80):
            self.clock.advance(1)
            seen.append(sum(connection.asked for connection in connections))
        self.assertEqual(seen[-1], 103)
        self.assertLessEqual(max(after - before for before, after in zip(seen, seen[1:], strict=False)), 21)

    def test_off(self) -> None:
        """With an idle time of 0, no connection is pinged."""
        self.monitor = ConnectionMonitor(attrs.evolve(self.profile, keepalive=Keepalive(idle=0.0)), self.clock)
        connection = self.connected(transport=Transport())
        self.later(300)
        self.assertEqual((connection.asked, connection.why, connection.transport.kept), (0, [], None))

    def test_short(self) -> None:
        """Short times are kept as well, to within a quarter."""
        self.monitor = ConnectionMonitor(
            attrs.evolve(self.profile, keepalive=Keepalive(idle=0.8, wait=0.4)), self.clock
        )
        connection = self.connected()
        self.later(1.2)
        self.assertEqual((connection.asked, connection.why), (1, []))
        self.later(0.5)
        self.assertEqual(len(connection.why), 1)


class WaitingTests(MonitorCase):
    """Unauthenticated connections."""

    def test_deadline(self) -> None:
        """A connection that does not log in in time is closed."""
        connection = self.connected(loggedIn=False)
        self.later(29.9)
        self.assertEqual(connection.why, [])
        self.later(1.2)
        self.assertEqual(connection.why, ["gate.timeout: no login succeeded in time"])

    def test_line(self) -> None:
        """The sweep admits a queued connection when one before it has been silent for some time."""
        first, second, third = (self.connected(loggedIn=False) for _ in range(3))
        self.assertTrue(third.seat.held)
        self.later(SHY + 1)
        self.assertEqual((len(first.why), second.why, third.entered), (1, [], 1))

    def test_noRoom(self) -> None:
        """A connection without room is closed through its seat, and does not affect others."""
        connections = [self.connected(loggedIn=False) for _ in range(4)]
        self.assertEqual(
            [connection.seat.connection is None for connection in connections], [False, False, False, True]
        )
        last = connections[-1]
        self.monitor.lost(last, last.seat)
        self.assertEqual(self.monitor.queue.inLine, 1)

    def test_lostInLine(self) -> None:
        """A connection that closes makes room for the next one at once."""
        first, _, third = (self.connected(loggedIn=False) for _ in range(3))
        self.monitor.lost(first, first.seat)
        self.assertEqual(third.entered, 1)


class CheckTests(MonitorCase):
    """Additional checks in the sweep."""

    def setUp(self) -> None:
        """Make a monitor with a check, and a connection that fails it."""
        self.full: list[Connection] = []
        self.checks = (self.check,)
        super().setUp()

    def check(self, connection: Connection) -> str | None:
        """Return True if a connection is full."""
        if connection.buffered < 0:
            raise LookupError("the check's own affair")
        return "output.most: it does not read" if connection in self.full else None

    def test_closes(self) -> None:
        """A connection that fails a check is closed once, and the others are not."""
        connections = [self.connected() for _ in range(3)]
        self.full.append(connections[1])
        self.later(2 * LOOK)
        self.assertEqual([len(connection.why) for connection in connections], [0, 1, 0])

    def test_saidOnce(self) -> None:
        """A connection whose transport is slow to close is closed once."""
        connection = self.connected()
        setattr(connection, "abort", connection.why.append)  # noqa: B010
        self.full.append(connection)
        self.later(10 * LOOK)
        self.assertEqual(len(connection.why), 1)
        self.monitor.lost(connection, connection.seat)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whatRaises(self) -> None:
        """A check that raises is logged, and the monitor continues."""
        connections = [self.connected() for _ in range(3)]
        connections[0].buffered = -1
        self.full.append(connections[2])
        self.later(2 * LOOK)
        self.assertEqual(len(connections[2].why), 1)
        self.assertEqual({type(f.value) for f in self.flushLoggedErrors(LookupError)}, {LookupError})
