"""Logins whose avatar is slow to build."""

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
    """Slow builds."""

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
        """A failed build fails the logins that share it, and the next login builds again."""
        realm = Slow(clock=self.clock)
        logins = [enter(realm) for _ in range(3)]
        realm.builds[0].errback(pb.Error("no such player"))
        for each in logins:
            self.assertEqual(str(self.failureResultOf(each, errors.LoginRefused).value), "no such player")
        again = enter(realm)
        realm.builds[1].callback(Recorder("alice"))
        self.successResultOf(again)
        self.assertEqual(realm.counters.refusals, {"LoginRefused": 3})

    def test_disconnectCancelsNothing(self) -> None:
        """A client that disconnects, even the first one, does not cancel a build that others wait for."""
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
        """When all waiting clients have disconnected, the build is cancelled, and nothing is left."""
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
        """A build that ignores the cancellation leaves nothing behind when it finishes."""
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
        """A build has 30 s, even if it ignores the cancellation; then its reservation is released."""
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
        """If a build raises when it is cancelled, this is logged, and the reservation is released."""

        def canceller(d: Deferred[Any]) -> None:
            raise LookupError("while cancelling")

        class Nasty(SingleClientRealm):
            """A realm whose builds raise when they are cancelled."""

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
            """A realm in which something happens during the build."""

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
        """When a build finishes, the first login may close the connection of another waiting one."""
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
        """During a build, `currentSession` is None."""
        seen: list[Any] = []

        class Looking(CachingRealm):
            """A realm that records `currentSession`."""

            def buildAvatar(self, avatarId: str) -> Recorder:
                """Record `currentSession`, and build."""
                seen.append(currentSession())
                return Recorder(avatarId)

        wire = self.wire(Looking())
        self.successResultOf(wire.login())
        self.assertEqual(seen, [None])
