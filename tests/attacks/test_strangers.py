"""Attacks before login."""

from __future__ import annotations

import tracemalloc
from typing import Any

from twisted.internet.task import Clock
from twisted.spread import banana, pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import CachingRealm, ServerFactory
from tests.attacks.attacker import Attacker, called, encoded, logged
from tests.support import Recorder, serve

STOCK = pb.PBServerFactory

#: A string of the largest size that stock accepts.
STRING = b"\x00\x00\x28\x82" + b"x" * (640 * 1024)


class Slices(bytes):
    """Bytes that count how much is copied out of them, and out of what they are appended to."""

    copied = 0

    def __radd__(self, before: bytes) -> Slices:
        return Slices(bytes(before) + bytes(self))

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(found, bytes):
            Slices.copied += len(found)
            return Slices(found)
        return found


class Case(SynchronousTestCase):
    """Unauthenticated clients of two servers, pbkit's and stock's."""

    def setUp(self) -> None:
        """Make a realm."""
        self.clock = Clock()
        self.realm = CachingRealm(Recorder, clock=self.clock)

    def stranger(self, server: Any, greet: bool = True, **kw: Any) -> Attacker:
        """Return an unauthenticated client."""
        attacker = Attacker(serve(self.realm, server), greet=greet, **kw)
        self.addCleanup(attacker.lose)
        return attacker


class MemoryTests(Case):
    """Memory and time."""

    def test_stringsWithoutEnd(self) -> None:
        """Stock keeps an unfinished list of 16 strings of 640 KiB, 10 MB. pbkit refuses the first."""
        data = b"\x7f\x80" + STRING * 16

        def held(server: Any) -> int:
            tracemalloc.start()
            self.addCleanup(tracemalloc.stop)
            attacker = self.stranger(server)
            before = tracemalloc.get_traced_memory()[0]
            attacker.raw(data)
            grown = tracemalloc.get_traced_memory()[0] - before
            self.assertEqual(attacker.open, server is STOCK)
            return grown

        self.assertGreater(held(STOCK), 10_000_000)
        self.assertLess(held(ServerFactory), 65_536)

    def test_emptyLists(self) -> None:
        """In stock, each byte of a list of empty lists takes over 30 bytes of memory. pbkit allows 64 items."""
        data = b"\x00\x00\x06\x80" + b"\x80" * 20_000

        def held(server: Any) -> int:
            tracemalloc.start()
            self.addCleanup(tracemalloc.stop)
            attacker = self.stranger(server)
            before = tracemalloc.get_traced_memory()[0]
            attacker.raw(data, 4096)
            return tracemalloc.get_traced_memory()[0] - before

        self.assertGreater(held(STOCK), 30 * len(data))
        self.assertLess(held(ServerFactory), 65_536)

    def test_oneByteItems(self) -> None:
        """Stock copies the rest of the input for each item, which takes quadratic time."""
        data = b"\x50\x0f\x80" + b"\x81" * 2000

        def copied(server: Any) -> int:
            attacker = self.stranger(server, greet=False)
            Slices.copied = 0
            try:
                attacker.server.dataReceived(Slices(data))
            except AttributeError:
                pass  # Stock's line about an unknown dialect.
            return Slices.copied

        self.assertGreater(copied(STOCK), 1000 * len(data))
        self.assertLess(copied(ServerFactory), 2 * len(data))

    def test_depth(self) -> None:
        """Stock does not limit the nesting of lists. pbkit allows 8 levels."""

        def deep(server: Any) -> tuple[bool, int]:
            attacker = self.stranger(server)
            attacker.raw(b"\x01\x80" * 5000)
            kept = len(attacker.server.listStack) if server is STOCK else attacker.server.inbound.held
            return attacker.open, kept

        self.assertEqual(deep(STOCK), (True, 5000))
        self.assertEqual(deep(ServerFactory), (False, 0))

    def test_whatIsAnnounced(self) -> None:
        """A list, a string or a number that is too large is refused as soon as its size is announced."""
        for data in (b"\x7f" * 6 + b"\x80", b"\x7f" * 6 + b"\x82", b"\x01" * 66):
            attacker = self.stranger(ServerFactory)
            attacker.raw(data)
            self.assertFalse(attacker.open)
            self.assertEqual(attacker.server.inbound.held, 0)

    def test_dribbled(self) -> None:
        """A string that arrives byte by byte is kept once, and each byte is examined once."""
        attacker = self.stranger(ServerFactory)
        attacker.raw(encoded(called(b"root", b"x" * 4000))[:-20], 1)
        self.assertTrue(attacker.open)
        self.assertLess(attacker.server.inbound.held, 4100)

    def test_otherProtocols(self) -> None:
        """HTTP, TLS and random bytes cause one line in the log, and nothing is kept."""
        hello = bytes.fromhex("16030100c8010000c40303") + bytes(range(200))
        for data in (b"GET /" + b"a" * 100 + b" HTTP/1.1\r\n\r\n", hello, bytes(range(256)) * 4):
            attacker = self.stranger(ServerFactory, greet=False)
            with logged() as text:
                attacker.raw(data)
            self.assertEqual((attacker.open, attacker.server.inbound.held, text().count("\n")), (False, 0, 1))


class LogTests(Case):
    """How much an attacker can have written into the log, with as many connections as there are."""

    def test_manyConnections(self) -> None:
        """1,000 connections that each cause a line: 50 lines are logged, and one that says how many were left out."""
        factory = serve(self.realm, clock=self.clock)
        with logged() as text:
            for _ in range(1000):
                attacker = Attacker(factory)
                attacker.send([b"lcache", 1])
                self.assertFalse(attacker.open)
                attacker.lose()
            attacker = Attacker(factory)
            self.clock.advance(1.1)
            attacker.lose()
        lines = text().splitlines()
        self.assertEqual(len([line for line in lines if "closed connection from" in line]), 50)
        self.assertIn("950 more lines were not logged: they exceed log.total", lines[-1])


class FloodTests(Case):
    """Many small messages."""

    def test_callsOfNothing(self) -> None:
        """Stock answers any number of calls to objects that do not exist. pbkit expects a login within 500 messages."""

        def answers(server: Any, *call: Any) -> int:
            attacker = self.stranger(server)
            heard = 0
            for _ in range(100):
                attacker.raw(encoded(*[called(*call)] * 20))
                heard += len(attacker.heard())
                if server is not STOCK:
                    attacker.server.outbound.resumeProducing()
            self.flushLoggedErrors()
            return heard

        for call in ((1, b""), (b"root", b"nothing"), (b"root", b"login")):
            self.assertEqual(answers(STOCK, *call), 2000)
            self.assertLessEqual(answers(ServerFactory, *call), 500)

    def test_answersThatAreNotRead(self) -> None:
        """Stock buffers any amount of unread output before login. pbkit buffers as much as a login needs."""

        def unread(server: Any) -> int:
            attacker = self.stranger(server)
            attacker.send(*[called(1, b"")] * 400)
            waits = 0 if server is STOCK else attacker.server.outbound.buffered
            return waits + len(attacker.transport.value())

        gate = ServerFactory.profile.gate
        self.assertGreater(unread(STOCK), 2 * gate.memory)
        self.assertLess(unread(ServerFactory), 1.25 * gate.memory)

    def test_dialects(self) -> None:
        """Stock logs the whole of each message that arrives before the dialect is negotiated."""

        def lines(server: Any) -> int:
            attacker = self.stranger(server, greet=False)
            with logged() as text:
                attacker.raw(b"\x81" * 1000)
            return text().count("\n")

        self.assertEqual(lines(STOCK), 1000)
        self.assertEqual(lines(ServerFactory), 1)

    def test_challenges(self) -> None:
        """In stock, challenges accumulate until the table of references is full. pbkit drops the oldest."""

        def kept(server: Any) -> int:
            attacker = self.stranger(server)
            for _ in range(400):
                attacker.call(b"root", b"login", b"x" * 200)
            return len(attacker.server.localObjects)

        self.assertEqual(kept(STOCK), 401)
        self.assertLess(kept(ServerFactory), 60)

    def test_minds(self) -> None:
        """A mind is None or an object of the client, and never the server's own login object."""
        for mind in ([b"local", b"root"], [b"remote", [1]], [b"remote", 1.5], b"x" * 4000, 5, [b"remote"], [b"list"]):
            attacker = self.stranger(ServerFactory)
            _, _, (_, challenge, challenger) = attacker.call(b"root", b"login", b"alice")
            said = attacker.call(challenger[1], b"respond", pb.respond(challenge, b"sesame"), mind)
            self.assertEqual(said[0], b"error")
            self.assertIn(b"pbkit.errors.BadMind", encoded(said))
            self.assertEqual(len(self.realm.roster), 0)

    def test_numbersOfRequests(self) -> None:
        """A request id that is a list or a float closes the connection."""
        for number in ([1, [2]], 1.5, []):
            attacker = self.stranger(ServerFactory)
            attacker.call(b"root", b"login", b"alice", requestID=number)
            self.assertFalse(attacker.open)

    def test_limitsAreStocks(self) -> None:
        """Stock's limits are those that these tests assume."""
        self.assertEqual(banana.SIZE_LIMIT, 640 * 1024)
