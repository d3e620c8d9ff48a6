"""The memory that all connections of a user, and of a server, hold together."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbkit import Avatar, CachingRealm, ServerFactory, dropin
from pbkit.wire.profile import CLIENT, DROPIN, KIB, MIB, STRICT, Limits
from pbkit.wire.totals import MemoryTotals
from tests.attacks.attacker import Attacker, called, encoded, logged
from tests.support import serve


class FakeHolder:
    """A connection that holds memory."""

    def __init__(self, totals: MemoryTotals, number: int, user: str | None) -> None:
        self.totals, self.number, self.user = totals, number, user
        self.held = self.buffered = 0
        self.why: str | None = None

    def hold(self, held: int, buffered: int = 0) -> None:
        """Hold so many bytes."""
        self.held, self.buffered = held, buffered
        self.totals.update(self)

    def abort(self, why: str) -> None:
        """Be closed."""
        self.why = why


class TotalsTests(SynchronousTestCase):
    """`MemoryTotals`."""

    def setUp(self) -> None:
        """Two users with three connections each."""
        self.totals = MemoryTotals(Limits(user=100 * KIB, server=150 * KIB))
        self.holders = [FakeHolder(self.totals, n, "alice" if n < 3 else "bob") for n in range(6)]

    def closed(self) -> list[int]:
        """The numbers of the connections that were closed, each with the limit."""
        return [each.number for each in self.holders if each.why is not None]

    def test_theMostUnreadOutput(self) -> None:
        """The user's connection with the most unread output is closed."""
        a, b, c, other, *_ = self.holders
        other.hold(45 * KIB, 45 * KIB)
        a.hold(40 * KIB, 30 * KIB)
        b.hold(40 * KIB, 35 * KIB)
        self.assertEqual(self.closed(), [])
        c.hold(21 * KIB, 0)
        self.assertEqual(self.closed(), [1])
        self.assertIn("limits.user", str(b.why))

    def test_theYoungest(self) -> None:
        """Without unread output, the youngest connection is closed."""
        for each in self.holders[:3]:
            each.hold(40 * KIB)
        self.assertEqual(self.closed(), [2])

    def test_server(self) -> None:
        """The total of all users has a limit, too; unauthenticated connections count."""
        for each in (*self.holders[:2], *self.holders[3:5]):
            each.hold(32 * KIB)
        stranger = FakeHolder(self.totals, 9, None)
        stranger.hold(20 * KIB)
        self.assertEqual(self.closed(), [])
        self.holders[4].hold(40 * KIB, 1 * KIB)
        self.assertEqual(self.closed(), [4])
        self.assertEqual(
            self.holders[4].why, "limits.server: the connections of the server hold more than 153600 bytes"
        )

    def test_nothingIsKept(self) -> None:
        """A connection that holds nothing, or is lost, has no entry."""
        for each in self.holders:
            each.hold(10 * KIB)
        for each in self.holders[:3]:
            each.hold(0)
        for each in self.holders[3:]:
            self.totals.remove(each)
            self.totals.remove(each)
        self.assertEqual((self.totals._held, self.totals._users, self.totals._total), ({}, {}, 0))

    def test_defaults(self) -> None:
        """A strict server has 128 MiB and 1 GiB; drop-in servers and clients have no limits."""
        self.assertEqual((STRICT.limits.user, STRICT.limits.server), (128 * MIB, 1024 * MIB))
        for profile in (DROPIN, CLIENT):
            self.assertEqual((profile.limits.user, profile.limits.server), (None, None))


class Holding(Avatar):
    """Answers with much, and keeps calls waiting."""

    def __init__(self, avatarId: str) -> None:
        super().__init__(avatarId)
        self.waiting: list[Deferred[None]] = []

    def perspective_much(self, n: int) -> bytes:
        """An answer of so many bytes."""
        return b"x" * n

    def perspective_wait(self, *args: Any) -> Deferred[None]:
        """An answer that comes later."""
        d: Deferred[None] = Deferred()
        self.waiting.append(d)
        return d

    def perspective_ping(self) -> str:
        """An answer."""
        return "pong"


class ServerTests(SynchronousTestCase):
    """A server, and clients that do not read."""

    factoryClass: Any = ServerFactory

    def setUp(self) -> None:
        """A server with low limits."""
        self.clock = Clock()
        profile = attrs.evolve(STRICT, limits=attrs.evolve(STRICT.limits, user=2 * MIB, server=3 * MIB))
        self.realm = CachingRealm(Holding, clock=self.clock)
        self.server = serve(self.realm, clock=self.clock, profile=profile)

    def user(self, name: str = "alice", server: Any = None) -> Attacker:
        """Return a client that has logged in and reads nothing."""
        attacker = Attacker(self.server if server is None else server)
        self.addCleanup(attacker.lose)
        return attacker.loginAs(name)

    def totals(self) -> Any:
        """Return the totals of the server."""
        return self.server.monitorOf(self.clock).totals

    def test_unreadOutput(self) -> None:
        """Six clients of one user that do not read hold 2 MiB at most; another user is not disturbed."""
        bob = self.user("bob")
        clients = [self.user() for _ in range(6)]
        with logged() as text:
            for each in clients:
                each.send(called(each.avatar, b"much", 600_000))
                each.send(called(each.avatar, b"much", 600_000))
        still = [each.open for each in clients]
        self.assertLess(still.count(True), 6)
        self.assertIn("limits.user", text())
        self.assertLessEqual(self.totals()._users["alice"], 2 * MIB)
        self.assertEqual(bob.call(bob.avatar, b"ping")[0], b"answer")

    def test_halfMessages(self) -> None:
        """60 incomplete messages of one user hold 2 MiB at most: the youngest connections are closed."""
        clients = [self.user() for _ in range(60)]
        half = encoded(called(1, b"ping", b"x" * 100_000, b"y" * 10))[:-10]
        for each in clients:
            each.raw(half)
        still = [each.open for each in clients]
        self.assertEqual(still, sorted(still, reverse=True))
        self.assertGreater(still.count(True), 15)
        self.assertLess(still.count(True), 25)

    def test_callsInService(self) -> None:
        """Arguments of calls in service, and of queued calls, count until the calls are answered."""
        (a, b) = (self.user(), self.user())
        for each in (a, b):
            for n in range(20):
                each.send(called(each.avatar, b"wait", b"x" * 40_000, requestID=n))
        self.assertTrue(a.open and b.open)
        self.assertGreater(self.totals()._users["alice"], 1_500_000)
        (session, _) = self.realm.roster
        while session.avatar.waiting:
            session.avatar.waiting.pop().callback(None)
        self.assertEqual(self.totals()._held, {})

    def test_server(self) -> None:
        """All users together hold 3 MiB at most."""
        clients = [self.user(name) for name in ("alice", "bob", "carol") for _ in range(2)]
        for each in clients:
            each.raw(encoded(called(1, b"ping", *[b"x" * 600_000] * 2))[:-10])
        self.assertEqual([each.open for each in clients].count(True), 2)

    def test_afterTheLoss(self) -> None:
        """A lost connection does not count."""
        a = Attacker(self.server).loginAs("alice")
        a.raw(encoded(called(1, b"ping", b"x" * 100_000))[:-10])
        self.assertEqual(len(self.totals()._held), 1)
        a.lose()
        self.assertEqual(self.totals()._held, {})

    def test_dropIn(self) -> None:
        """In drop-in use nothing is limited or counted."""
        server = serve(self.realm, dropin.PBServerFactory, clock=self.clock)
        clients = [self.user(server=server) for _ in range(4)]
        for each in clients:
            each.send(called(each.avatar, b"much", 600_000))
            self.assertTrue(each.open)
        self.assertIsNone(server.monitorOf(self.clock).totals)
