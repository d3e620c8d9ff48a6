"""What is done to a server before anybody has logged in."""

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

#: A string of the largest kind that stock takes.
STRING = b"\x00\x00\x28\x82" + b"x" * (640 * 1024)


class Slices(bytes):
    """Counts what is copied out of it, and out of what that is put behind."""

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
    """Strangers at two servers."""

    def setUp(self) -> None:
        """A realm."""
        self.clock = Clock()
        self.realm = CachingRealm(Recorder, clock=self.clock)

    def stranger(self, server: Any, greet: bool = True, **kw: Any) -> Attacker:
        """One that has not logged in."""
        attacker = Attacker(serve(self.realm, server), greet=greet, **kw)
        self.addCleanup(attacker.lose)
        return attacker


class MemoryTests(Case):
    """Memory and time."""

    def test_stringsWithoutEnd(self) -> None:
        """Stock: an unfinished list of 16 strings of 640 KiB is kept, 10 MB; here the first is refused."""
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
        """Stock: each byte of a list of empty lists takes 30 and more of memory; here 64 items are the bound."""
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
        """Stock: the rest is copied for each item, so that it takes time by the square of their number."""
        data = b"\x50\x0f\x80" + b"\x81" * 2000

        def copied(server: Any) -> int:
            attacker = self.stranger(server, greet=False)
            Slices.copied = 0
            try:
                attacker.server.dataReceived(Slices(data))
            except AttributeError:
                pass  # Stock's, of what is no dialect.
            return Slices.copied

        self.assertGreater(copied(STOCK), 1000 * len(data))
        self.assertLess(copied(ServerFactory), 2 * len(data))

    def test_depth(self) -> None:
        """Stock: a list in a list in a list has no end; here 8 are the bound."""

        def deep(server: Any) -> tuple[bool, int]:
            attacker = self.stranger(server)
            attacker.raw(b"\x01\x80" * 5000)
            kept = len(attacker.server.listStack) if server is STOCK else attacker.server.inbound.held
            return attacker.open, kept

        self.assertEqual(deep(STOCK), (True, 5000))
        self.assertEqual(deep(ServerFactory), (False, 0))

    def test_whatIsAnnounced(self) -> None:
        """A list, a string or a number that is going to be too large is refused when that is said."""
        for data in (b"\x7f" * 6 + b"\x80", b"\x7f" * 6 + b"\x82", b"\x01" * 66):
            attacker = self.stranger(ServerFactory)
            attacker.raw(data)
            self.assertFalse(attacker.open)
            self.assertEqual(attacker.server.inbound.held, 0)

    def test_dribbled(self) -> None:
        """A string that comes byte by byte is held once, and each byte is looked at once."""
        attacker = self.stranger(ServerFactory)
        attacker.raw(encoded(called(b"root", b"x" * 4000))[:-20], 1)
        self.assertTrue(attacker.open)
        self.assertLess(attacker.server.inbound.held, 4100)

    def test_otherProtocols(self) -> None:
        """HTTP, TLS and what is nothing at all cost a line, and nothing is held."""
        hello = bytes.fromhex("16030100c8010000c40303") + bytes(range(200))
        for data in (b"GET /" + b"a" * 100 + b" HTTP/1.1\r\n\r\n", hello, bytes(range(256)) * 4):
            attacker = self.stranger(ServerFactory, greet=False)
            with logged() as text:
                attacker.raw(data)
            self.assertEqual((attacker.open, attacker.server.inbound.held, text().count("\n")), (False, 0, 1))


class FloodTests(Case):
    """What is small, and comes often."""

    def test_callsOfNothing(self) -> None:
        """Stock: each call of what is not there is answered, for ever; here 500 messages are to bring a login."""

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
        """Stock: what nobody reads waits in memory, also for a stranger; here a login has room, and no more."""

        def unread(server: Any) -> int:
            attacker = self.stranger(server)
            attacker.send(*[called(1, b"")] * 400)
            waits = 0 if server is STOCK else attacker.server.outbound.buffered
            return waits + len(attacker.transport.value())

        gate = ServerFactory.profile.gate
        self.assertGreater(unread(STOCK), 2 * gate.memory)
        self.assertLess(unread(ServerFactory), 1.25 * gate.memory)

    def test_dialects(self) -> None:
        """Stock: each message before a dialect is agreed on is a line in the log, as long as it is itself."""

        def lines(server: Any) -> int:
            attacker = self.stranger(server, greet=False)
            with logged() as text:
                attacker.raw(b"\x81" * 1000)
            return text().count("\n")

        self.assertEqual(lines(STOCK), 1000)
        self.assertEqual(lines(ServerFactory), 1)

    def test_challenges(self) -> None:
        """Stock: challenges pile up until the table of references is full; here the oldest go first."""

        def kept(server: Any) -> int:
            attacker = self.stranger(server)
            for _ in range(400):
                attacker.call(b"root", b"login", b"x" * 200)
            return len(attacker.server.localObjects)

        self.assertEqual(kept(STOCK), 401)
        self.assertLess(kept(ServerFactory), 60)

    def test_minds(self) -> None:
        """A mind is None or an object of the client's; the server's own login object is none."""
        for mind in ([b"local", b"root"], [b"remote", [1]], [b"remote", 1.5], b"x" * 4000, 5, [b"remote"], [b"list"]):
            attacker = self.stranger(ServerFactory)
            _, _, (_, challenge, challenger) = attacker.call(b"root", b"login", b"alice")
            said = attacker.call(challenger[1], b"respond", pb.respond(challenge, b"sesame"), mind)
            self.assertEqual(said[0], b"error")
            self.assertIn(b"pbkit.errors.BadMind", encoded(said))
            self.assertEqual(len(self.realm.roster), 0)

    def test_numbersOfRequests(self) -> None:
        """The number of a request that is a list or a fraction is no login's, and closes the connection."""
        for number in ([1, [2]], 1.5, []):
            attacker = self.stranger(ServerFactory)
            attacker.call(b"root", b"login", b"alice", requestID=number)
            self.assertFalse(attacker.open)

    def test_limitsAreStocks(self) -> None:
        """What is said of stock above is said of its bounds as they are."""
        self.assertEqual(banana.SIZE_LIMIT, 640 * 1024)
