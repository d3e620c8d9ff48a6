"""The remote clock."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbkit import CachingRealm, ClockRealm, errors
from pbkit.sessions import clock as module
from pbkit.sessions.clock import ClockAvatar
from tests.sessions.messaging.slowness import SlowWire
from tests.support import Client, Wire, serve, timers


class ClockTests(SynchronousTestCase):
    """`ClockRealm`, over a connection."""

    def setUp(self) -> None:
        """Serve a clock with a period of a second."""
        self.clock = Clock()
        self.realm = ClockRealm(clock=self.clock)
        self.server = serve(self.realm, clock=self.clock)

    def enter(self, client: Client | None) -> tuple[Wire, Any]:
        """Log in as alice, and return the connection and her reference."""
        wire = Wire(self.server)
        return wire, self.successResultOf(wire.login("alice", client))

    def tick(self, wire: Wire, seconds: float) -> None:
        """Let time pass in steps of 0.25 s."""
        for _ in range(int(seconds / 0.25)):
            self.clock.advance(0.25)
        wire.flush()

    def rhythms(self) -> list[float]:
        """Return the periods in which the realm's sessions are told the time."""
        return [period for telling, period in module._rhythms if telling is self.realm.hub.telling]

    def test_ticks(self) -> None:
        """The client is told the time at login and once in each period."""
        client = Client()
        wire, _ = self.enter(client)
        self.tick(wire, 3)
        self.assertEqual(client.told, [("notifyTime", float(n)) for n in range(4)])

    def test_setperiod(self) -> None:
        """A client sets its own period, and not that of others."""
        client, other = Client(), Client()
        wire, avatar = self.enter(client)
        wire2, avatar2 = self.enter(other)
        self.successResultOf(wire.call(avatar, "setperiod", 0.5))
        self.tick(wire, 2)
        wire2.flush()
        self.assertEqual([seconds for _, seconds in client.told], [0, 0.5, 1, 1.5, 2])
        self.assertEqual([seconds for _, seconds in other.told], [0, 1, 2])

    def test_badPeriods(self) -> None:
        """An invalid period is refused, and nothing changes."""
        client = Client()
        wire, avatar = self.enter(client)
        for period in (0, -1, 0.009, 86401, 1e300, float("inf"), float("nan"), "1", None, True, [1]):
            failure = self.failureResultOf(wire.call(avatar, "setperiod", period))
            self.assertIn("invalid period: expected a number of seconds from 0.01 to 86400", failure.getErrorMessage())
        self.tick(wire, 1)
        self.assertEqual([seconds for _, seconds in client.told], [0, 1])

    def test_stopsAtTheEnd(self) -> None:
        """The clock stops at logout, at a loss and at a kick, and leaves no timer."""
        for way in ("logout", "loss", "kick"):
            client = Client()
            wire, avatar = self.enter(client)
            wire.flush()
            if way == "kick":
                next(iter(self.realm.roster)).end()
            del avatar
            if way == "loss":
                wire.lose()
            wire.flush()
            self.assertEqual(len(self.realm.roster), 0)
            self.assertEqual(timers(self.clock), [])
            told = len(client.told)
            self.tick(wire, 3)
            self.assertEqual(len(client.told), told)

    def test_setperiodAfterTheEnd(self) -> None:
        """After the end of its session a client cannot start the clock again."""
        wire, avatar = self.enter(Client())
        next(iter(self.realm.roster)).end()
        self.failureResultOf(wire.call(avatar, "setperiod", 1))
        self.assertEqual(timers(self.clock), [])

    def test_withoutAMind(self) -> None:
        """A client without a mind can log in, and is told nothing."""
        wire, avatar = self.enter(None)
        self.successResultOf(wire.call(avatar, "setperiod", 2))
        self.assertEqual(timers(self.clock), [])

    def test_periodOfTheRealm(self) -> None:
        """The realm's period is the first one. An invalid period is refused when the realm is made."""
        self.realm = ClockRealm(clock=self.clock, period=2)
        self.server = serve(self.realm, clock=self.clock)
        client = Client()
        wire, _ = self.enter(client)
        self.tick(wire, 4)
        self.assertEqual([seconds for _, seconds in client.told], [0, 2, 4])
        for period in (0, 0.009, 86401.0):
            self.assertRaises(errors.ConfigError, ClockRealm, period=period)

    def test_oneTimerPerPeriod(self) -> None:
        """All clocks with one period share a timer, which the last of them stops."""
        entered = [self.enter(Client()) for _ in range(40)]
        self.assertEqual(len(timers(self.clock)), 1)
        for index, (wire, avatar) in enumerate(entered):
            self.successResultOf(wire.call(avatar, "setperiod", 0.5 + index % 4))
        self.assertEqual(len(timers(self.clock)), 4)
        for session in self.realm.roster:
            session.end()
        self.assertEqual((timers(self.clock), self.rhythms()), ([], []))

    def test_realmsAreApart(self) -> None:
        """Realms with the same period and the same reactor do not share a timer."""
        one, two = Client(), Client()
        self.enter(one)
        self.clock.advance(0.5)
        self.server = serve(ClockRealm(clock=self.clock), clock=self.clock)
        wire, _ = self.enter(two)
        self.tick(wire, 1)
        self.assertEqual([seconds for _, seconds in two.told], [0.5, 1.5])

    def test_oneTickTogether(self) -> None:
        """Sessions with one period tick together: the second tick of a later one comes within its first period."""
        one, two = Client(), Client()
        wire, _ = self.enter(one)
        self.clock.advance(0.75)
        wire2, _2 = self.enter(two)
        for _ in range(3):
            self.clock.advance(0.5)
        wire.flush()
        wire2.flush()
        self.assertEqual([seconds for _, seconds in one.told], [0, 1.25, 2.25])
        self.assertEqual([seconds for _, seconds in two.told], [0.75, 1.25, 2.25])

    def test_missedTicksAreLeftOut(self) -> None:
        """When the reactor was blocked for long, the client is told the time once; then it goes on as before."""
        client = Client()
        wire, _ = self.enter(client)
        self.clock.advance(10.5)
        self.clock.advance(0.5)
        wire.flush()
        self.assertEqual([seconds for _, seconds in client.told], [0, 10.5, 11])

    def test_periodSetOverAndOver(self) -> None:
        """Periods that a client set and gave up leave nothing behind."""
        wire, avatar = self.enter(Client())
        for n in range(1000):
            self.successResultOf(wire.call(avatar, "setperiod", 1 + n / 1000))
        self.assertEqual((len(timers(self.clock)), len(self.rhythms())), (1, 1))
        next(iter(self.realm.roster)).end()
        self.assertEqual((timers(self.clock), self.rhythms()), ([], []))

    def test_endsWithinATick(self) -> None:
        """A session that ends while a tick is being told, because of it, is told nothing more; others are."""
        clients = [Client() for _ in range(3)]
        entered = [self.enter(client) for client in clients]
        first, second, third = self.realm.roster
        put = type(first.mind).put

        def ending(mind: Any, *args: Any) -> Any:
            second.end()
            return put(mind, *args)

        wire = entered[0][0]
        wire.flush()
        # A client that is not ready is told by way of `put`.
        self.patch(type(first), "ready", property(lambda session: session is not first))
        self.patch(type(first.mind), "put", ending)
        self.clock.advance(1)
        self.assertEqual((first.endedWith, type(second.endedWith), third.endedWith), (None, errors.Kicked, None))
        self.assertEqual(len(timers(self.clock)), 1)

    def test_noDrift(self) -> None:
        """After a thousand ticks that were each a little late, the ticks are still in step."""
        client = Client()
        wire, _ = self.enter(client)
        for n in range(1, 1001):
            self.clock.advance(n + 0.004 - self.clock.seconds())
            wire.flush()
        self.assertEqual(len(client.told), 1001)
        self.assertAlmostEqual(client.told[-1][1], 1000.004)

    def test_theLatestForWhoLags(self) -> None:
        """A slow consumer has the latest tick queued, and no other."""
        client = Client()
        wire = SlowWire(self.server)
        avatar = self.successResultOf(wire.login("alice", client))
        wire.flush()
        session = next(iter(self.realm.roster))
        wire.fill(session)
        self.tick(wire, 5)
        self.assertEqual(session.backlog.messages, 1)
        wire.drain()
        self.assertEqual([seconds for what, seconds in client.told if what == "notifyTime"], [0, 5])
        del avatar

    def test_severalClientsOfOneAvatar(self) -> None:
        """
        A clock with several clients, for example in a caching realm, tells each of them, and stops for each of them
        alone.
        """
        avatar = ClockAvatar("alice", 1)
        self.server = serve(CachingRealm(lambda name: avatar, clock=self.clock), clock=self.clock)
        one, two = Client(), Client()
        wire, _ = self.enter(one)
        wire2, reference = self.enter(two)
        self.tick(wire, 1)
        del _
        wire.lose()
        self.successResultOf(wire2.call(reference, "setperiod", 2))
        self.tick(wire2, 2)
        self.assertEqual([seconds for _, seconds in one.told], [0, 1])
        self.assertEqual([seconds for _, seconds in two.told], [0, 1, 3])
