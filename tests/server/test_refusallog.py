"""The log lines about refused logins."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.address import IPv4Address, UNIXAddress

from pbkit import dropin, errors
from pbkit.interfaces import IPeer
from pbkit.server.refusallog import INTERVAL, LINES, SOURCES, RefusalLog
from pbkit.wire.profile import DROPIN, STRICT
from tests.server.case import ServerCase
from tests.server.test_attempts import DoorCase
from tests.support import serve


@attrs.define
class Peer:
    """What the log needs to know of a connection."""

    clock: Any
    address: Any = attrs.field(factory=lambda: IPv4Address("TCP", "192.0.2.1", 4711))

    def __str__(self) -> str:
        return "192.0.2.1:4711"


class RefusalLogTests(ServerCase):
    """`RefusalLog`, asked directly."""

    def setUp(self) -> None:
        """With the limits of a strict server."""
        super().setUp()
        self.refusals = RefusalLog(STRICT.log)
        self.peer: Any = Peer(self.clock)
        self.clock.advance(1000)

    def refuse(self, source: str = "192.0.2.1", error: Any = None) -> None:
        """A login is refused."""
        self.refusals.refused(self.peer, source, errors.BadCredentials() if error is None else error)

    def test_firstAtOnce(self) -> None:
        """The first refusal of a source is logged at once, whatever others there are."""
        for source in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
            self.refuse(source)
        expected = "login refused: BadCredentials from 192.0.2.1:4711: unknown user or wrong password"
        self.assertEqual(self.lines(), [expected] * 2)

    def test_thenOneLineAMinute(self) -> None:
        """Then one line a minute has the count; after a minute without refusals it starts over."""
        for _ in range(120):
            self.refuse()
            self.clock.advance(1)
        self.refuse(error=errors.TooManyAttempts())
        lines = self.lines()
        self.assertEqual(len(lines), 3)
        self.assertEqual(lines[1], "login refused: 59 more from 192.0.2.1 within 60 s: BadCredentials 59")
        self.assertEqual(lines[2], "login refused: 60 more from 192.0.2.1 within 60 s: BadCredentials 60")
        self.clock.advance(INTERVAL)
        self.refusals.report(self.clock.seconds())
        self.assertEqual(self.lines(), ["login refused: 1 more from 192.0.2.1 within 60 s: TooManyAttempts 1"])
        self.clock.advance(INTERVAL)
        self.refusals.report(self.clock.seconds())
        self.assertEqual((self.lines(), len(self.refusals)), ([], 0))
        self.refuse()
        self.assertEqual(len(self.lines()), 1)

    def test_fiftyASecond(self) -> None:
        """All sources together have 50 lines a second; then one line says how many were left out."""
        for number in range(LINES + 30):
            self.refuse(f"source {number}")
        self.assertEqual(len(self.lines()), LINES)
        self.clock.advance(1)
        self.refuse("another")
        left, line = self.lines()
        self.assertEqual(left, f"30 more lines about refused logins were left out: more than {LINES} in a second")
        self.assertIn("login refused: BadCredentials", line)
        # What was left out is in the count of its minute.
        self.clock.advance(INTERVAL)
        self.refusals.report(self.clock.seconds())
        self.assertEqual(len(self.lines()), 30)

    def test_sourcesAreLimited(self) -> None:
        """A limited number of sources is remembered."""
        for number in range(SOURCES + 100):
            self.refuse(f"source {number}")
        self.assertEqual(len(self.refusals), SOURCES)

    def test_close(self) -> None:
        """When the server stops the counts are logged."""
        self.refuse()
        self.refuse()
        self.lines()
        self.refusals.close()
        self.assertEqual(self.lines(), ["login refused: 1 more from 192.0.2.1 within 60 s: BadCredentials 1"])
        self.assertEqual(len(self.refusals), 0)

    def test_textIsEscapedAndCut(self) -> None:
        """The text of a refusal may quote the peer: it is escaped, and cut."""
        self.refuse(error=errors.LoginRefused("a\nb\x1b[2J" + "x" * 500))
        (line,) = self.lines()
        self.assertIn("a\\nb\\x1b[2J", line)
        self.assertLess(len(line), 300)

    def test_withoutAClock(self) -> None:
        """Without a clock the time is the system's."""
        self.peer.clock = None
        self.refuse()
        self.refuse()
        self.assertEqual(len(self.lines()), 1)

    def test_dropIn(self) -> None:
        """In drop-in use each refusal is logged."""
        self.refusals = RefusalLog(DROPIN.log)
        for _ in range(100):
            self.refuse()
        self.assertEqual((len(self.lines()), len(self.refusals)), (100, 0))


class ServerTests(DoorCase):
    """The same at a server."""

    def test_guesser(self) -> None:
        """Ten minutes of guesses from one address are a line a minute; another address has its own."""
        for _ in range(600):
            self.wrong(self.connect()).addErrback(lambda failure: None)
            self.advance(1)
            self.wires[:-20] = []
        lines = [line for line in self.lines() if line.startswith("login refused")]
        self.assertLessEqual(len(lines), 11)
        self.wrong(self.connect("198.51.100.7")).addErrback(lambda failure: None)
        self.assertEqual(len([line for line in self.lines() if "198.51.100.7:4711" in line]), 1)

    def test_countComesWhileThereAreConnections(self) -> None:
        """The count is logged when the minute is over, by the sweep over the connections; there is no timer for it."""
        wire, idle = self.connect(), self.connect("198.51.100.7")
        kept = self.successResultOf(idle.login("bob"))
        timers = len(self.clock.getDelayedCalls())
        for _ in range(2):
            self.failureResultOf(wire.login(None))
        self.assertEqual(len(self.clock.getDelayedCalls()), timers)
        self.assertEqual(len([line for line in self.lines() if line.startswith("login refused")]), 1)
        for _ in range(130):
            self.advance(0.5)
        counted = [line for line in self.lines() if line.startswith("login refused")]
        self.assertEqual(counted, ["login refused: 1 more from 192.0.2.1 within 60 s: AnonymousRefused 1"])
        del kept

    def test_stopFactory(self) -> None:
        """A server that stops logs the counts."""
        wire = self.connect()
        for _ in range(2):
            self.failureResultOf(wire.login(None))
        self.lines()
        self.server.doStart()
        self.server.doStop()
        counted = [line for line in self.lines() if line.startswith("login refused")]
        self.assertEqual(counted, ["login refused: 1 more from 192.0.2.1 within 60 s: AnonymousRefused 1"])

    def test_unixSockets(self) -> None:
        """Clients of a Unix socket are sources of their own."""
        for _ in range(2):
            wire = self.connect()
            wire.server.transport.getPeer = lambda: UNIXAddress(None)
            self.wrong(wire).addErrback(lambda failure: None)
        self.assertEqual(len([line for line in self.lines() if "BadCredentials" in line]), 2)

    def test_dropIn(self) -> None:
        """A drop-in server logs each refusal of a session realm, as before."""
        wire = self.connect(server=serve(self.realm, dropin.PBServerFactory, clock=self.clock))
        for _ in range(20):
            self.failureResultOf(self.wrong(wire))
        self.assertEqual(len(self.lines()), 20)

    def test_isAPeer(self) -> None:
        """What the log is given is an `IPeer`."""
        self.assertTrue(IPeer.providedBy(self.connect().server.peer))
