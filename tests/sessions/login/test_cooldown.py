"""How often an avatar id may change hands."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.spread import pb

from pbkit import CachingRealm, LimitedRealm, Session, SingleClientRealm, atMost, errors, perAvatar, probe, total
from pbkit.sessions.login.arbitration import ARBITRATION_TIMEOUT
from pbkit.sessions.login.cooldown import CHANGE_INTERVAL
from tests.sessions.case import RealmTestCase, SlowSingle
from tests.support import Recorder, Wire, enter, timers


class ChangeTests(RealmTestCase):
    """An avatar id changes hands at most once in five seconds."""

    def single(self, **kw: Any) -> SingleClientRealm:
        """Return a realm with one client at a time, the latest."""
        return SingleClientRealm(self.hooked(lambda s: None), conflict="kick", clock=self.clock, **kw)

    def changes(self, realm: Any) -> Any:
        """Return the remembered changes."""
        return realm._entrance.arbitration.cooldown

    def test_theSecondChangeWaits(self) -> None:
        """The first takeover is immediate. The next one waits for five seconds, without a reservation."""
        realm = self.single()
        self.successResultOf(enter(realm))
        self.clock.advance(1)
        second = self.successResultOf(enter(realm))
        third = enter(realm)
        self.assertNoResult(third)
        self.assertEqual((list(realm.roster), realm.roster.pending), ([second], 0))
        self.clock.advance(CHANGE_INTERVAL - 0.1)
        self.assertNoResult(third)
        self.clock.advance(0.1)
        self.assertEqual(list(realm.roster), [self.successResultOf(third)])
        self.assertIsInstance(second.endedWith, errors.Replaced)

    def test_serially(self) -> None:
        """Waiting logins are admitted in order, five seconds apart, each at most 30 s after its arrival."""
        realm = self.single()
        self.successResultOf(enter(realm))
        self.successResultOf(enter(realm))
        waiting = [enter(realm) for _ in range(8)]
        came: list[tuple[int, float]] = []
        refused: list[tuple[int, float]] = []

        def decided(result: Any, number: int) -> None:
            if isinstance(result, Session):
                came.append((number, self.clock.seconds()))
            else:
                result.trap(errors.LoginTimedOut)
                refused.append((number, self.clock.seconds()))

        for number, each in enumerate(waiting):
            each.addBoth(decided, number)
        self.clock.pump([1.0] * 40)
        self.assertEqual(came, [(n, 5.0 * (n + 1)) for n in range(len(came))])
        self.assertIn(len(came), (5, 6))
        self.assertEqual(refused, [(n, ARBITRATION_TIMEOUT) for n in range(len(came), 8)])
        self.assertEqual(timers(self.clock), [])

    def test_disconnectWhileWaiting(self) -> None:
        """A waiting login whose connection is lost is removed, does not affect the logins behind it, and leaves nothing
        behind."""
        realm = self.single()
        for _ in range(2):
            self.successResultOf(enter(realm))
        wires = [self.wire(realm), self.wire(realm)]
        for wire in wires:
            wire.login().addErrback(lambda _: None)
        third = enter(realm)
        wires[0].cut()
        wires[1].lose()
        self.clock.advance(CHANGE_INTERVAL)
        self.successResultOf(third)
        wire = self.wire(realm)
        wire.login().addErrback(lambda _: None)
        self.assertEqual(len(self.changes(realm)._queues), 1)
        wire.cut()
        self.assertEqual((self.changes(realm)._queues, timers(self.clock)), ({}, []))

    def test_freePlaceIsTakenAtOnce(self) -> None:
        """If the current session ends, the first waiting login is admitted at once."""
        realm = self.single()
        self.successResultOf(enter(realm))
        second = self.successResultOf(enter(realm))
        third, fourth = enter(realm), enter(realm)
        second.end(errors.LoggedOut)
        self.successResultOf(third)
        self.assertNoResult(fourth)
        self.assertEqual([what for what, _ in self.made[0].events[-2:]], ["detached", "attached"])
        # The place was free, so the third login was no change. The last change was the first takeover.
        self.clock.advance(CHANGE_INTERVAL)
        self.successResultOf(fourth)

    def test_loginsWithoutConflictNeverWait(self) -> None:
        """Logins that find room, or are refused, do not wait."""
        realm = LimitedRealm(Recorder, max=2, conflict="kick", clock=self.clock)
        for _ in range(3):
            self.successResultOf(enter(realm))
        self.successResultOf(enter(realm, "bob"))
        for session in realm.roster.ofAvatar("alice"):
            session.end(errors.LoggedOut)
            self.successResultOf(enter(realm))
        realm.reconfigure(conflict="refuse")
        self.failureResultOf(enter(realm), errors.TooManySessions)

    def test_aTakeoverThatFailsIsNoChange(self) -> None:
        """If a takeover fails, the next login does not wait for the five seconds; while it is pending, it waits."""
        hooks: list[Any] = [lambda s: None]
        realm = SingleClientRealm(self.hooked(lambda s: hooks[0](s)), conflict="kick", clock=self.clock)
        self.successResultOf(enter(realm))
        gate: Deferred[Any] = Deferred()
        hooks[0] = lambda s: gate
        second = enter(realm)
        hooks[0] = lambda s: None
        third = enter(realm)
        self.assertNoResult(third)
        gate.errback(pb.Error("no"))
        self.failureResultOf(second)
        self.successResultOf(third)

    def test_afterCountsThoughTheNewcomerFails(self) -> None:
        """With ``handover="after"``, a failed takeover counts, because it has ended the old session."""

        def fails(session: Any) -> None:
            raise pb.Error("no")

        hooks: list[Any] = [lambda s: None]
        avatarClass = self.hooked(lambda s: hooks[0](s))
        realm = SingleClientRealm(avatarClass, conflict="kick", handover="after", clock=self.clock)
        self.successResultOf(enter(realm))
        hooks[0] = fails
        self.failureResultOf(enter(realm))
        hooks[0] = lambda s: None
        back = self.successResultOf(enter(realm))
        hooks[0] = fails
        again = enter(realm)
        self.assertIsNone(back.endedWith)
        self.clock.advance(CHANGE_INTERVAL)
        self.failureResultOf(again)
        self.assertIsInstance(back.endedWith, errors.Replaced)

    def test_limitAboveOne(self) -> None:
        """With a limit above one, two logins do not each end a session at the same time."""
        realm = LimitedRealm(Recorder, max=3, conflict="kick", clock=self.clock)
        for _ in range(3):
            self.successResultOf(enter(realm))
        self.successResultOf(enter(realm))
        waiting = enter(realm)
        self.assertNoResult(waiting)
        self.clock.advance(CHANGE_INTERVAL)
        self.successResultOf(waiting)

    def test_limitAboveOneWhileOneIsUndecided(self) -> None:
        """The second login also waits while the first is pending, although it could replace another session."""
        gate: Deferred[Any] = Deferred()
        hooks: list[Any] = [lambda s: None]
        realm = LimitedRealm(
            self.hooked(lambda s: hooks[0](s)), max=2, conflict="kick", handover="after", clock=self.clock
        )
        for _ in range(2):
            self.successResultOf(enter(realm))
        hooks[0] = lambda s: gate
        first, second = enter(realm), enter(realm)
        self.assertEqual(realm.counters.ends, {"Replaced": 1})
        gate.callback(None)
        self.successResultOf(first)
        self.assertNoResult(second)
        self.assertEqual(realm.counters.ends, {"Replaced": 1})
        self.clock.advance(CHANGE_INTERVAL)
        self.successResultOf(second)

    def test_probedAgainAfterTheWait(self) -> None:
        """A session that did not answer is probed again after the wait, and stays if it answers then."""
        rule = [atMost(1, "kick")]
        realm = CachingRealm(Recorder, clock=self.clock, admission=lambda view, c: perAvatar(rule[0])(view, c))
        self.successResultOf(enter(realm))
        holder, newcomer = self.wire(realm), self.wire(realm)
        kept = self.successResultOf(holder.login())
        rule[0] = atMost(1, probe(1.0))
        login = newcomer.login()
        self.clock.advance(1)
        self.clock.advance(CHANGE_INTERVAL - 1)
        holder.flush()
        newcomer.flush()
        self.assertTrue(self.failureResultOf(login).check("pbkit.errors.TooManySessions"))
        self.assertEqual(self.successResultOf(holder.call(kept, "whoami")), "alice")

    def test_twoUsersInOnePlace(self) -> None:
        """Two users who replace each other in the last place of a server are slowed down as well."""
        realm = LimitedRealm(Recorder, clock=self.clock, admission=total(atMost(1, "kick")))
        self.successResultOf(enter(realm, "alice"))
        self.successResultOf(enter(realm, "bob"))
        waiting = enter(realm, "alice")
        self.assertNoResult(waiting)
        self.clock.advance(CHANGE_INTERVAL)
        self.successResultOf(waiting)

    def test_forgotten(self) -> None:
        """Only the changes of the last five seconds are remembered, without timers."""
        realm = self.single()
        for batch in range(5):
            for number in range(20):
                for _ in range(2):
                    self.successResultOf(enter(realm, f"user{batch}.{number}"))
            self.assertEqual(len(self.changes(realm)._changedAt), 20)
            self.assertEqual(timers(self.clock), [])
            self.clock.advance(CHANGE_INTERVAL)
        self.assertEqual(self.changes(realm)._pending, {})

    def test_stopped(self) -> None:
        """A server that stops refuses waiting logins, and leaves no timer."""
        realm = self.single()
        for _ in range(2):
            self.successResultOf(enter(realm))
        waiting = enter(realm)
        self.successResultOf(realm.close())
        self.failureResultOf(waiting, errors.ServerStopping)
        self.assertNothingLeft(realm)
        self.assertEqual(self.changes(realm)._queues, {})

    def test_withoutAClock(self) -> None:
        """Without a clock, logins do not wait."""
        realm = SlowSingle(conflict="kick")
        logins = [enter(realm) for _ in range(3)]
        realm.builds[0].callback(Recorder("alice"))
        for each in logins:
            each.addErrback(lambda failure: failure.trap(errors.LoginInterrupted))
            self.successResultOf(each)
        self.assertEqual(len(realm.roster), 1)


class Reconnecting:
    """A stock client that reconnects at once whenever its session ends or its login fails."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.logins = 0
        self.reference: Any = None
        self.connect()

    def connect(self) -> None:
        """Connect, and log in."""
        self.wire = Wire(self.server)
        self.reference = None
        self.logins += 1
        self.waiting = True
        self.wire.login().addCallbacks(self.entered, lambda _: None).addBoth(self.answered)

    def entered(self, reference: Any) -> None:
        """Note that the client is logged in."""
        self.reference = reference

    def answered(self, _: object) -> None:
        """Note the result of the login."""
        self.waiting = False

    def step(self) -> None:
        """Call the server, and reconnect if the session has ended."""
        self.wire.flush()
        if self.waiting:
            return
        answers: list[Any] = []
        if self.reference is not None:
            self.wire.call(self.reference, "whoami").addBoth(answers.append)
        if answers != ["alice"]:
            self.wire.lose()
            self.connect()


class ReconnectLoopTests(RealmTestCase):
    """Two clients that reconnect automatically."""

    def fight(self, **kw: Any) -> tuple[Any, list[float]]:
        """Run two such clients for a minute. Return the realm, and the times of the takeovers."""
        realm = SingleClientRealm(Recorder, conflict="kick", clock=self.clock, **kw)
        ends: list[float] = []
        realm.roster.onEnd(
            lambda s: ends.append(self.clock.seconds()) if isinstance(s.endedWith, errors.Replaced) else None
        )
        server = self.wire(realm).server.factory
        fighters = [Reconnecting(server), Reconnecting(server)]
        for _ in range(600):
            for fighter in fighters:
                fighter.step()
            self.clock.advance(0.1)
            self.assertLessEqual(len(realm.roster), 1)
        for fighter in fighters:
            fighter.wire.lose()
        self.assertLess(max(fighter.logins for fighter in fighters), 15)
        return realm, ends

    def test_atMostOneChangeInFiveSeconds(self) -> None:
        """Two stock clients that reconnect at once replace each other every five seconds."""
        for handover in ("before", "after"):
            _, ends = self.fight(handover=handover)
            self.assertGreater(len(ends), 9)
            gaps = [b - a for a, b in zip(ends, ends[1:], strict=False)]
            self.assertGreaterEqual(min(gaps), CHANGE_INTERVAL - 1e-6)
