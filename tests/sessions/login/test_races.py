"""A thousand logins race for three places while connections drop at random."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.task import Clock, deferLater
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import LimitedRealm, Session
from tests.support import LENIENT, Recorder, Wire, serve, timers

NEWCOMERS = 1000
LIMIT = 3


class Sluggish(Recorder):
    """An avatar with slow hooks that refuses one in ten logins."""

    race: Race

    def attached(self, session: Session) -> Any:
        """Wait for some time, and perhaps refuse."""
        super().attached(session)
        return deferLater(self.race.clock, self.race.random.random() * 2, self.done, session)

    def done(self, session: Session) -> None:
        """Record that `attached` has returned."""
        if self.race.random.random() < 0.1:
            raise pb.Error("not this one")
        self.race.attached[session.sessionId] = self.race.attached.get(session.sessionId, 0) + 1

    def detached(self, session: Session) -> Any:
        """Wait for some time."""
        super().detached(session)
        return deferLater(self.race.clock, self.race.random.random() * 2, lambda: None)


class Race:
    """
    One race.

    :param random: the source of all random decisions.
    """

    def __init__(self, random: Random, **parameters: Any) -> None:
        self.random = random
        self.clock = Clock()
        #: By session id, how often `attached` has returned.
        self.attached: dict[str, int] = {}
        self.most = 0
        self.avatars: list[Sluggish] = []
        self.realm = LimitedRealm(self.make, max=LIMIT, clock=self.clock, **parameters)
        self.realm.roster.onBegin(self.begun)
        self.server = serve(self.realm, clock=self.clock, profile=LENIENT)
        self.wires: list[Wire] = []
        self.silent: set[Wire] = set()
        self.outcomes: list[str] = []
        self.references: list[Any] = []

    def make(self, avatarId: str) -> Sluggish:
        """Return a new avatar."""
        avatar = Sluggish(avatarId)
        avatar.race = self
        self.avatars.append(avatar)
        return avatar

    def begun(self, session: Session) -> None:
        """Check a session that begins."""
        self.most = max(self.most, len(self.realm.roster))

    def answered(self, result: Any) -> None:
        """Record the answer to a login."""
        if isinstance(result, pb.RemoteReference):
            self.outcomes.append("in")
            self.references.append(result)
        else:
            self.outcomes.append(result.value.__class__.__name__)

    def newcomer(self) -> None:
        """Start a login; sometimes it comes from a client whose old connection the server believes to be alive."""
        wire = Wire(self.server)
        if self.random.random() < 0.3:
            wire.server.peer.hello = {"program": f"p{self.random.randrange(5)}"}
        self.wires.append(wire)
        wire.login().addBoth(self.answered)

    def drop(self) -> None:
        """Lose a connection, or make it silent."""
        wire = self.random.choice(self.wires)
        if self.random.random() < 0.3:
            self.silent.add(wire)
        elif self.random.random() < 0.5:
            self.wires.remove(wire)
            wire.cut()
            wire.flush()
        else:
            self.wires.remove(wire)
            wire.lose()

    def run(self) -> None:
        """Run all logins, then lose all connections."""
        for _ in range(NEWCOMERS):
            self.newcomer()
            if self.random.random() < 0.4 and self.wires:
                self.drop()
            if self.random.random() < 0.2:
                self.wait(self.random.random() / 2)
        for _ in range(100):
            self.wait(1.0)
            for _ in range(min(len(self.wires), 3)):
                self.drop()

    def wait(self, seconds: float) -> None:
        """Advance the time."""
        self.clock.advance(seconds)
        for wire in self.wires:
            if wire not in self.silent:
                wire.flush()


class RaceTests(SynchronousTestCase):
    """1,000 logins of one user, with a limit of three."""

    def race(self, seed: int, **parameters: Any) -> Race:
        """Run a race, and check the result."""
        race = Race(Random(seed), **parameters)
        race.run()
        realm, roster = race.realm, race.realm.roster
        self.assertLessEqual(race.most, LIMIT)
        for wire in race.wires:
            wire.cut()
            wire.flush()
        del race.references[:]
        race.clock.advance(31)
        # Hooks may raise after their login was cancelled.
        self.flushLoggedErrors(pb.Error)
        # Every login was answered.
        self.assertEqual(len(race.outcomes), NEWCOMERS)
        # No session has leaked.
        self.assertEqual((len(roster), roster.pending, roster._byAvatar, roster._byPeer), (0, 0, {}, {}))
        entrance = realm._entrance
        self.assertEqual((entrance._logins, entrance._leaving, entrance.departures._byAvatar), (set(), set(), {}))
        cooldown = entrance.arbitration.cooldown
        self.assertEqual((entrance.arbitration._probes, cooldown._pending, cooldown._queues), ({}, {}, {}))
        self.assertEqual(timers(race.clock), [])
        # The hooks ran exactly once: `attached` for each session, `detached` for each `attached` that returned.
        events = [(what, session.sessionId) for avatar in race.avatars for what, session in avatar.events]
        self.assertEqual(len(events), len(set(events)))
        self.assertEqual(set(race.attached.values()), {1})
        self.assertEqual({one for what, one in events if what == "detached"}, set(race.attached))
        self.assertEqual(sum(realm.counters.ends.values()), realm.counters.logins)
        return race

    def test_refuse(self) -> None:
        """Logins above the limit are refused."""
        race = self.race(1, conflict="refuse")
        self.assertGreater(race.outcomes.count("in"), 10)

    def test_kick(self) -> None:
        """The oldest session ends, at most one in five seconds."""
        race = self.race(2, conflict="kick")
        self.assertGreater(race.realm.counters.ends["Replaced"], 5)

    def test_kickAndHandoverAfter(self) -> None:
        """The oldest session ends before the new one begins."""
        race = self.race(3, conflict="kick", handover="after")
        self.assertGreater(race.realm.counters.ends["Replaced"], 5)

    def test_probe(self) -> None:
        """A silent session ends."""
        race = self.race(4, conflict="probe")
        self.assertGreater(race.outcomes.count("in"), 10)
