"""A place that changes hands only when the one who had it is truly out."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.spread import pb

from pbkit import Admit, LimitedRealm, Realm, Refuse, Session, SingleClientRealm, atMost, errors, perAvatar
from pbkit.sessions.login.handover import HANDOVER_TIMEOUT
from tests.sessions.case import RealmTestCase, SlowSingle
from tests.support import Recorder, Stubborn, enter, timers


class HandoverTests(RealmTestCase):
    """``handover="after"``."""

    def setUp(self) -> None:
        """What `detached` hooks wait for."""
        super().setUp()
        self.gates: list[Deferred[Any]] = []

    def waits(self, session: Session) -> Deferred[Any]:
        """A `detached` that is made to wait."""
        self.gates.append(Deferred())
        return self.gates[-1]

    def single(self, **kw: Any) -> SingleClientRealm:
        """One client at a time, kicked, whose `detached` takes its time."""
        avatarClass = self.hooked(lambda s: None, self.waits)
        return SingleClientRealm(avatarClass, conflict="kick", handover="after", clock=self.clock, **kw)

    def test_onlyWhenTheOldOneIsOut(self) -> None:
        """The old session ends, its `detached` runs to its end, and only then is the newcomer attached."""
        realm = self.single()
        old = self.successResultOf(enter(realm))
        newcomer = enter(realm)
        self.assertIsInstance(old.endedWith, errors.Replaced)
        self.assertNoResult(newcomer)
        self.assertEqual((list(realm.roster), realm.roster.pending), ([], 1))
        self.assertEqual(self.events(), ["attached", "detached"])
        self.clock.advance(HANDOVER_TIMEOUT - 1)
        self.assertNoResult(newcomer)
        self.gates[0].callback(None)
        new = self.successResultOf(newcomer)
        self.assertEqual(self.made[0].events, [("attached", old), ("detached", old), ("attached", new)])
        self.assertEqual((list(realm.roster), realm.counters.ends), ([new], {"Replaced": 1}))

    def test_theAvatarIsBuiltAfterwards(self) -> None:
        """Where each login has an avatar of its own, the newcomer's is made after the old one's is done with."""
        events: list[str] = []

        class Exclusive(Recorder):
            """Owns something, from when it is made until its session is over."""

            def __init__(self, avatarId: str) -> None:
                super().__init__(avatarId)
                events.append("made")

            def detached(self, session: Session) -> None:
                """Let go of it."""
                events.append("gone")

        class Exclusives(Realm):
            """One at a time, each with an avatar of his own."""

            def makePolicy(self) -> Any:
                """After the other."""
                return perAvatar(atMost(1, "kick", "after"))

        realm = Exclusives(Exclusive, clock=self.clock)
        for _ in range(2):
            self.successResultOf(enter(realm))
        self.assertEqual(events, ["made", "gone", "made"])

    def test_whoLeftByHimselfIsWaitedForToo(self) -> None:
        """One that has logged out, and whose `detached` still runs, is not out: a newcomer waits for it."""
        for conflict in ("refuse", "kick", "probe"):
            realm = self.single()
            realm.reconfigure(conflict=conflict)
            old = self.successResultOf(enter(realm))
            old.end(errors.LoggedOut)
            newcomer = enter(realm)
            self.assertNoResult(newcomer)
            self.gates.pop().callback(None)
            self.successResultOf(newcomer)
            self.assertEqual(self.events(), ["attached", "detached", "attached"])

    def test_thirtySecondsAtMost(self) -> None:
        """If the old one is not out in time the newcomer is refused, and the next waits anew: never two at once."""
        realm = self.single()
        self.successResultOf(enter(realm))
        first = enter(realm)
        self.clock.advance(HANDOVER_TIMEOUT)
        self.assertIn("before this one", str(self.failureResultOf(first, errors.LoginTimedOut).value))
        self.assertEqual((len(realm.roster), realm.roster.pending), (0, 0))
        second = enter(realm)
        self.assertNoResult(second)
        self.gates[0].callback(None)
        self.successResultOf(second)

    def test_thirtySecondsForAllTogether(self) -> None:
        """Several that go have the same time, not each its own after the other."""
        realm = LimitedRealm(
            self.hooked(lambda s: None, self.waits), max=3, conflict="kick", handover="after", clock=self.clock
        )
        for _ in range(3):
            self.successResultOf(enter(realm))
        realm.reconfigure(max=1)
        newcomer = enter(realm)
        self.assertEqual(len(self.gates), 3)
        self.clock.advance(HANDOVER_TIMEOUT - 1)
        self.gates[0].callback(None)
        self.clock.advance(1)
        self.failureResultOf(newcomer, errors.LoginTimedOut)

    def test_whoLeavesMeanwhileIsGone(self) -> None:
        """A newcomer whose connection is lost while he waits holds nothing, and the next may have the place."""
        realm = self.single()
        self.successResultOf(enter(realm))
        wire = self.wire(realm)
        wire.login().addErrback(lambda _: None)
        self.assertEqual(realm.roster.pending, 1)
        wire.cut()
        self.assertEqual(realm.roster.pending, 0)
        self.assertEqual(timers(self.clock), [])
        self.gates[0].callback(None)
        self.successResultOf(enter(realm))

    def test_stoppedMeanwhile(self) -> None:
        """A server that stops refuses whoever waits."""
        realm = self.single()
        self.successResultOf(enter(realm))
        newcomer = enter(realm)
        closed = realm.close()
        self.failureResultOf(newcomer, errors.ServerStopping)
        self.gates[0].callback(None)
        self.successResultOf(closed)
        self.assertNothingLeft(realm)

    def test_refusedEndsNobody(self) -> None:
        """All that can be said without the avatar is said before anybody goes."""

        def noBob(view: Any, candidate: Any) -> Any:
            return Refuse(errors.LoginRefused("not now")) if candidate.hello else Admit()

        realm = self.single(admission=noBob)
        old = self.successResultOf(enter(realm))
        wire = self.wire(realm)
        wire.server.peer.hello = {"app": "x"}
        self.assertTrue(self.failureResultOf(wire.login()).check("pbkit.errors.LoginRefused"))
        self.assertTrue(self.failureResultOf(wire.login(mind=5)).check("pbkit.errors.BadMind"))
        self.assertIsNone(old.endedWith)

    def test_failedLeavesNobody(self) -> None:
        """A newcomer that fails after the old one has gone leaves the place free, and nothing behind."""
        hooks: list[Any] = [lambda s: None]
        avatarClass = self.hooked(lambda s: hooks[0](s))
        realm = SingleClientRealm(avatarClass, conflict="kick", handover="after", clock=self.clock)
        old = self.successResultOf(enter(realm))

        def fails(session: Session) -> None:
            raise pb.Error("no")

        hooks[0] = fails
        self.failureResultOf(enter(realm), errors.LoginRefused)
        self.assertIsInstance(old.endedWith, errors.Replaced)
        self.assertNothingLeft(realm)
        hooks[0] = lambda s: None
        self.successResultOf(enter(realm))

    def test_attachedOfAnotherThatStillRuns(self) -> None:
        """A login that failed while its `attached` pays no heed is not out until that returns."""
        running = Stubborn()
        hooks: list[Any] = [lambda s: running]
        avatarClass = self.hooked(lambda s: hooks[0](s))
        realm = SingleClientRealm(avatarClass, handover="after", clock=self.clock)
        first = enter(realm)
        self.clock.advance(30)
        self.failureResultOf(first, errors.LoginTimedOut)
        hooks[0] = lambda s: None
        second = enter(realm)
        self.assertNoResult(second)
        running.callback(None)
        self.successResultOf(second)
        self.assertEqual(self.events(), ["attached", "detached", "attached"])

    def test_detachedThatLogsInAgain(self) -> None:
        """A `detached` from within which the same user logs in is waited for by that login, not the other way round."""
        again: list[Deferred[Any]] = []
        realm = SingleClientRealm(
            self.hooked(lambda s: None, lambda s: again.append(enter(realm)) if not again else None),
            handover="after",
            clock=self.clock,
        )
        old = self.successResultOf(enter(realm))
        old.end(errors.LoggedOut)
        new = self.successResultOf(again[0])
        self.assertEqual(self.made[0].events, [("attached", old), ("detached", old), ("attached", new)])

    def test_withRoomToSpareNobodyWaits(self) -> None:
        """Live sessions are not waited for where there is room beside them."""
        realm = LimitedRealm(self.hooked(lambda s: None, self.waits), handover="after", clock=self.clock)
        for _ in range(3):
            self.successResultOf(enter(realm))

    def test_withoutAClock(self) -> None:
        """Without a clock it works, and waits as long as it takes."""
        realm = SingleClientRealm(self.hooked(lambda s: None, self.waits), conflict="kick", handover="after")
        self.successResultOf(enter(realm))
        newcomer = enter(realm)
        self.assertNoResult(newcomer)
        self.gates[0].callback(None)
        self.successResultOf(newcomer)

    def test_beforeIsTheDefault(self) -> None:
        """Unless told, a newcomer has the avatar first."""
        realm = SlowSingle(conflict="kick", clock=self.clock)
        self.assertEqual((realm.handover, Admit().handover), ("before", "before"))

    def test_neither(self) -> None:
        """A handover that is neither is an error, wherever it is said."""
        self.assertRaises(errors.ConfigError, atMost, 1, "kick", "later")
        self.assertRaises(errors.ConfigError, SingleClientRealm, Recorder, handover="later")
        self.assertRaises(ValueError, Admit, (), "later")
