"""Logins whose avatar takes its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.spread import pb

from pbkit import CachingRealm, SingleClientRealm, errors
from pbkit.interfaces import currentSession
from tests.sessions.case import RealmTestCase, Slow, SlowSingle
from tests.support import Client, Recorder, Stubborn, Wire, enter


class BuildTests(RealmTestCase):
    """Builds that take their time."""

    def test_tenAtOnce(self) -> None:
        """Ten concurrent first logins build one avatar, which is attached ten times."""
        realm = Slow(clock=self.clock)
        wire = self.wire(realm)
        logins = [wire.login("alice", Client()) for _ in range(10)]
        self.assertEqual((len(realm.builds), realm.roster.pending, len(realm.roster)), (1, 10, 0))
        avatar = Recorder("alice")
        realm.builds[0].callback(avatar)
        wire.flush()
        kept = [self.successResultOf(each) for each in logins]
        self.assertEqual({session.avatar for session in realm.roster}, {avatar})
        self.assertEqual([what for what, _ in avatar.events], ["attached"] * 10)
        del kept, logins
        wire.flush()
        self.assertEqual([what for what, _ in avatar.events], ["attached"] * 10 + ["detached"] * 10)
        self.assertNothingLeft(realm, (wire,))

    def test_failedBuild(self) -> None:
        """A failed build fails those logins, and the next builds anew."""
        realm = Slow(clock=self.clock)
        logins = [enter(realm) for _ in range(3)]
        realm.builds[0].errback(pb.Error("no such player"))
        for each in logins:
            self.assertEqual(str(self.failureResultOf(each, errors.LoginRefused).value), "no such player")
        again = enter(realm)
        realm.builds[1].callback(Recorder("alice"))
        self.successResultOf(again)
        self.assertEqual(realm.counters.refusals, {"LoginRefused": 3})

    def test_leaverCancelsNothing(self) -> None:
        """A waiter that disconnects, the first one too, cancels no build that others wait for."""
        for leaver in (0, 1):
            realm = Slow(clock=self.clock)
            wires = [self.wire(realm) for _ in range(2)]
            logins = [wire.login() for wire in wires]
            wires[leaver].cut()
            self.assertEqual(realm.roster.pending, 1)
            realm.builds[0].callback(Recorder("alice"))
            wires[1 - leaver].flush()
            self.successResultOf(logins[1 - leaver])
            self.assertEqual((len(realm.roster), len(realm.builds)), (1, 1))
            self.assertEqual(realm.counters.refusals, {"LoginInterrupted": 1})
            for wire in wires:
                wire.flush()
            self.failureResultOf(logins[leaver])

    def test_allLeave(self) -> None:
        """When all who wait are gone the build is cancelled, and nothing is left of it."""
        realm = Slow(clock=self.clock)
        wires = [self.wire(realm) for _ in range(2)]
        logins = [wire.login() for wire in wires]
        for wire in wires:
            wire.cut()
        self.assertIsInstance(realm.builds[0].result, type(None))
        self.assertTrue(realm.builds[0].called)
        self.assertEqual(len(realm.lifecycle), 0)  # type: ignore[arg-type]
        self.assertNothingLeft(realm, tuple(wires))
        for wire, login in zip(wires, logins, strict=True):
            wire.flush()
            self.failureResultOf(login)

    def test_lossThatFollowsTheBuild(self) -> None:
        """A build that pays no heed to its client's being gone leaves nothing when it is ready at last."""
        for realm in (Slow(clock=self.clock, kind=Stubborn), SlowSingle(clock=self.clock, kind=Stubborn)):
            wire = self.wire(realm)
            login = wire.login()
            wire.cut()
            self.assertNothingLeft(realm, (wire,))
            avatar = Recorder("alice")
            realm.builds[0].callback(avatar)
            self.assertEqual(avatar.events, [])
            self.assertNothingLeft(realm, (wire,))
            wire.flush()
            self.failureResultOf(login)

    def test_hungBuild(self) -> None:
        """A build has 30 s, also if it pays no heed to being cancelled; then its place is free."""
        for kind in (Deferred, Stubborn):
            realm = SlowSingle(clock=self.clock, kind=kind)
            login = enter(realm)
            self.clock.advance(29.9)
            self.assertNoResult(login)
            self.assertEqual(realm.roster.pending, 1)
            self.clock.advance(0.2)
            self.failureResultOf(login, errors.LoginTimedOut)
            self.assertNothingLeft(realm)
            again = enter(realm)
            realm.builds[1].callback(Recorder("alice"))
            self.successResultOf(again)

    def test_buildThatRaisesWhenCancelled(self) -> None:
        """A build that raises when it is cancelled holds no place of one who is gone, and is logged."""

        def canceller(d: Deferred[Any]) -> None:
            raise LookupError("while cancelling")

        class Nasty(SingleClientRealm):
            """Its builds cannot be cancelled in peace."""

            def buildAvatar(self, avatarId: str) -> Deferred[Any]:
                """Wait."""
                return Deferred(canceller)

        realm = Nasty(clock=self.clock)
        wire = self.wire(realm)
        wire.login().addErrback(lambda _: None)
        wire.cut()
        self.assertNothingLeft(realm, (wire,))
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def test_lostWithinTheBuild(self) -> None:
        """If the connection is lost, or the server stopped, while a plain build runs, no hook is called."""
        happens: list[Callable[[], object]] = []
        avatarClass = self.hooked(lambda session: None)

        class Sudden(CachingRealm):
            """Something happens while it builds."""

            def buildAvatar(self, avatarId: str) -> Any:
                """Build."""
                happens.pop()()
                return avatarClass(avatarId)

        realm = Sudden(clock=self.clock)
        wire = self.wire(realm)
        happens.append(wire.cut)
        self.failureResultOf(enter(realm, wire=wire), errors.LoginInterrupted)
        self.assertNothingLeft(realm, (wire,))
        happens.append(realm.close)
        self.failureResultOf(enter(realm, "bob"), errors.ServerStopping)
        self.assertEqual((len(self.made), self.events()), (2, []))
        self.assertNothingLeft(realm)

    def test_endsWhileTheyAreTold(self) -> None:
        """The first of those who waited for a build may take another one's connection away at that moment."""
        wires: list[Wire] = []
        avatarClass = self.hooked(lambda session: wires[1].cut())
        realm = Slow(clock=self.clock)
        wires.extend(self.wire(realm) for _ in range(3))
        logins = [wire.login() for wire in wires]
        realm.builds[0].callback(avatarClass("alice"))
        for wire in wires:
            wire.flush()
        kept = [self.successResultOf(logins[n]) for n in (0, 2)]
        self.failureResultOf(logins[1])
        self.assertEqual((len(realm.roster), self.events()), (2, ["attached"] * 2))
        del kept

    def test_currentSessionIsNone(self) -> None:
        """A build runs in nobody's name."""
        seen: list[Any] = []

        class Looking(CachingRealm):
            """Looks whose call it is."""

            def buildAvatar(self, avatarId: str) -> Recorder:
                """Look."""
                seen.append(currentSession())
                return Recorder(avatarId)

        wire = self.wire(Looking())
        self.successResultOf(wire.login())
        self.assertEqual(seen, [None])
