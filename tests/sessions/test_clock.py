"""The remote clock."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbkit import CachingRealm, ClockRealm, errors
from pbkit.sessions.clock import ClockAvatar
from tests.sessions.messaging.slowness import SlowWire
from tests.support import Client, Wire, serve, timers


class ClockTests(SynchronousTestCase):
    """`ClockRealm`, over a wire."""

    def setUp(self) -> None:
        """A server with a clock each second."""
        self.clock = Clock()
        self.realm = ClockRealm(clock=self.clock)
        self.server = serve(self.realm, clock=self.clock)

    def enter(self, client: Client | None) -> tuple[Wire, Any]:
        """A login of alice's: the wire and her reference."""
        wire = Wire(self.server)
        return wire, self.successResultOf(wire.login("alice", client))

    def tick(self, wire: Wire, seconds: float) -> None:
        """Time passes, in steps of 0.25 s."""
        for _ in range(int(seconds / 0.25)):
            self.clock.advance(0.25)
        wire.flush()

    def test_ticks(self) -> None:
        """The client is told the time at login and once in each period."""
        client = Client()
        wire, _ = self.enter(client)
        self.tick(wire, 3)
        self.assertEqual(client.told, [("notifyTime", float(n)) for n in range(4)])

    def test_setperiod(self) -> None:
        """The client sets how often, for itself only, from then on."""
        client, other = Client(), Client()
        wire, avatar = self.enter(client)
        wire2, avatar2 = self.enter(other)
        self.successResultOf(wire.call(avatar, "setperiod", 0.5))
        self.tick(wire, 2)
        wire2.flush()
        self.assertEqual([seconds for _, seconds in client.told], [0, 0.5, 1, 1.5, 2])
        self.assertEqual([seconds for _, seconds in other.told], [0, 1, 2])

    def test_badPeriods(self) -> None:
        """A period that no clock can have is refused, and nothing changes."""
        client = Client()
        wire, avatar = self.enter(client)
        for period in (0, -1, 0.009, 86401, 1e300, float("inf"), float("nan"), "1", None, True, [1]):
            failure = self.failureResultOf(wire.call(avatar, "setperiod", period))
            self.assertIn("a period is a number of seconds from 0.01 to 86400", failure.getErrorMessage())
        self.tick(wire, 1)
        self.assertEqual([seconds for _, seconds in client.told], [0, 1])

    def test_stopsAtTheEnd(self) -> None:
        """It stops at logout, loss and kick, and leaves no timer."""
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
        """After its end a client cannot set it going again."""
        wire, avatar = self.enter(Client())
        next(iter(self.realm.roster)).end()
        self.failureResultOf(wire.call(avatar, "setperiod", 1))
        self.assertEqual(timers(self.clock), [])

    def test_withoutAMind(self) -> None:
        """A client without a mind is let in and told nothing."""
        wire, avatar = self.enter(None)
        self.successResultOf(wire.call(avatar, "setperiod", 2))
        self.assertEqual(timers(self.clock), [])

    def test_periodOfTheRealm(self) -> None:
        """The realm's period is the first one; one that no clock can have is refused when the realm is made."""
        self.realm = ClockRealm(clock=self.clock, period=2)
        self.server = serve(self.realm, clock=self.clock)
        client = Client()
        wire, _ = self.enter(client)
        self.tick(wire, 4)
        self.assertEqual([seconds for _, seconds in client.told], [0, 2, 4])
        for period in (0, 0.009, 86401.0):
            self.assertRaises(errors.ConfigError, ClockRealm, period=period)

    def test_manyClocksOneTimer(self) -> None:
        """However many clocks tick, in whatever periods, they are one delayed call; the last one takes it away."""
        entered = [self.enter(Client()) for _ in range(40)]
        for index, (wire, avatar) in enumerate(entered):
            self.successResultOf(wire.call(avatar, "setperiod", 0.5 + index))
        self.assertEqual(len(timers(self.clock)), 1)
        for session in self.realm.roster:
            session.end()
        self.assertEqual(timers(self.clock), [])

    def test_noDrift(self) -> None:
        """After a thousand seconds that were each noticed a little late, the ticks are where they were."""
        client = Client()
        wire, _ = self.enter(client)
        for n in range(1, 1001):
            self.clock.advance(n + 0.004 - self.clock.seconds())
            wire.flush()
        self.assertEqual(len(client.told), 1001)
        self.assertAlmostEqual(client.told[-1][1], 1000.004)

    def test_theLatestForWhoLags(self) -> None:
        """A client that does not keep up has the latest tick waiting, and no other."""
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
        """A clock that several clients share, in a caching realm say, tells each of them, and stops for each alone."""
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
