"""``handover="after"``: a takeover in which the old session ends first."""

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
        """Make the Deferred that `detached` hooks wait for."""
        super().setUp()
        self.gates: list[Deferred[Any]] = []

    def waits(self, session: Session) -> Deferred[Any]:
        """Wait, as a slow `detached`."""
        self.gates.append(Deferred())
        return self.gates[-1]

    def single(self, **kw: Any) -> SingleClientRealm:
        """Return a realm with one client at a time, ``conflict="kick"``, and a slow `detached`."""
        avatarClass = self.hooked(lambda s: None, self.waits)
        return SingleClientRealm(avatarClass, conflict="kick", handover="after", clock=self.clock, **kw)

    def test_onlyWhenTheOldOneIsOut(self) -> None:
        """The old session ends, its `detached` finishes, and only then is the new session attached."""
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
        """With an avatar per login, the new avatar is built after the old one has been released."""
        events: list[str] = []

        class Exclusive(Recorder):
            """An avatar that owns a resource until its session has ended."""

            def __init__(self, avatarId: str) -> None:
                super().__init__(avatarId)
                events.append("made")

            def detached(self, session: Session) -> None:
                """Release the resource."""
                events.append("gone")

        class Exclusives(Realm):
            """One session at a time, with an avatar per login."""

            def makePolicy(self) -> Any:
                """Limit to one session, with ``handover="after"``."""
                return perAvatar(atMost(1, "kick", "after"))

        realm = Exclusives(Exclusive, clock=self.clock)
        for _ in range(2):
            self.successResultOf(enter(realm))
        self.assertEqual(events, ["made", "gone", "made"])

    def test_waitsForALogout(self) -> None:
        """A new login waits for a session that logged out while its `detached` still runs."""
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
        """If the old session does not end in time, the login is refused, and the next one waits again: never two."""
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
        """Several ending sessions share the time."""
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

    def test_disconnectWhileWaiting(self) -> None:
        """A waiting login whose connection is lost holds no reservation, and the next login gets the place."""
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
        """A server that stops refuses waiting logins."""
        realm = self.single()
        self.successResultOf(enter(realm))
        newcomer = enter(realm)
        closed = realm.close()
        self.failureResultOf(newcomer, errors.ServerStopping)
        self.gates[0].callback(None)
        self.successResultOf(closed)
        self.assertNothingLeft(realm)

    def test_refusedEndsNobody(self) -> None:
        """Refusals that do not need the avatar happen before a session ends."""

        def noBob(view: Any, candidate: Any) -> Any:
            return Refuse(errors.LoginRefused("not now")) if candidate.hello else Admit()

        realm = self.single(admission=noBob)
        old = self.successResultOf(enter(realm))
        wire = self.wire(realm)
        wire.server.peer.hello = {"app": "x"}
        self.assertTrue(self.failureResultOf(wire.login()).check("pbkit.errors.LoginRefused"))
        self.assertTrue(self.failureResultOf(wire.login(mind=5)).check("pbkit.errors.BadMind"))
        self.assertIsNone(old.endedWith)

    def test_failedLoginLeavesNobody(self) -> None:
        """If the new login fails after the old session has ended, the place is free and nothing is left."""
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
        """A failed login whose `attached` ignores the cancellation keeps its place until `attached` returns."""
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
        """A login of the same user from within `detached` waits for that `detached`, and does not deadlock."""
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

    def test_noWaitIfThereIsRoom(self) -> None:
        """A login does not wait for live sessions if there is room."""
        realm = LimitedRealm(self.hooked(lambda s: None, self.waits), handover="after", clock=self.clock)
        for _ in range(3):
            self.successResultOf(enter(realm))

    def test_withoutAClock(self) -> None:
        """Without a clock there is no limit on the wait."""
        realm = SingleClientRealm(self.hooked(lambda s: None, self.waits), conflict="kick", handover="after")
        self.successResultOf(enter(realm))
        newcomer = enter(realm)
        self.assertNoResult(newcomer)
        self.gates[0].callback(None)
        self.successResultOf(newcomer)

    def test_beforeIsTheDefault(self) -> None:
        """By default, the new login obtains the avatar first."""
        realm = SlowSingle(conflict="kick", clock=self.clock)
        self.assertEqual((realm.handover, Admit().handover), ("before", "before"))

    def test_neither(self) -> None:
        """An invalid handover is an error, wherever it is given."""
        self.assertRaises(errors.ConfigError, atMost, 1, "kick", "later")
        self.assertRaises(errors.ConfigError, SingleClientRealm, Recorder, handover="later")
        self.assertRaises(ValueError, Admit, (), "later")
