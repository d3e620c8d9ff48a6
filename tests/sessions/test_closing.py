"""The end of a realm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import ANONYMOUS
from twisted.internet.defer import Deferred

from pbkit import AnonymousRealm, CachingRealm, Session, errors
from tests.sessions.case import RealmTestCase, Slow, SlowSingle
from tests.support import Recorder, Stubborn, collect, enter, timers


class CloseTests(RealmTestCase):
    """`Realm.close`."""

    def test_endsAll(self) -> None:
        """Every session ends with `Shutdown`, its `detached` runs, and new logins are refused."""
        realm = CachingRealm(self.hooked(lambda s: None), clock=self.clock)
        sessions = [self.successResultOf(enter(realm, name)) for name in ("alice", "alice", "bob")]
        self.successResultOf(realm.close())
        self.assertEqual({type(each.endedWith) for each in sessions}, {errors.Shutdown})
        self.assertEqual(sorted(self.events()), ["attached"] * 3 + ["detached"] * 3)
        self.failureResultOf(enter(realm), errors.ServerStopping)
        self.assertEqual((realm.counters.ends, realm.counters.refusals), ({"Shutdown": 3}, {"ServerStopping": 1}))
        self.assertNothingLeft(realm)
        self.successResultOf(realm.close())

    def test_waitsForDetached(self) -> None:
        """Closing waits for asynchronous `detached` hooks."""
        gates: list[Deferred[Any]] = []

        def detached(session: Session) -> Deferred[Any]:
            gates.append(Deferred())
            return gates[-1]

        realm = CachingRealm(self.hooked(lambda s: None, detached), clock=self.clock)
        for name in ("alice", "bob"):
            self.successResultOf(enter(realm, name))
        closing = realm.close()
        gates[0].callback(None)
        self.assertNoResult(closing)
        gates[1].callback(None)
        self.successResultOf(closing)
        self.assertNothingLeft(realm)

    def test_waitsForDetachedOfSessionsThatEndedBefore(self) -> None:
        """Closing waits for the `detached` hooks of sessions that had ended before."""
        gate: Deferred[Any] = Deferred()
        realm = CachingRealm(self.hooked(lambda s: None, lambda s: gate), clock=self.clock)
        self.successResultOf(enter(realm)).end()
        closing = realm.close()
        self.assertNoResult(closing)
        gate.callback(None)
        self.successResultOf(closing)

    def test_waitsForCoroutines(self) -> None:
        """Closing waits for ``async def`` hooks."""
        gate: Deferred[Any] = Deferred()

        async def attached(session: Session) -> None:
            pass

        async def detached(session: Session) -> None:
            await gate

        realm = CachingRealm(self.hooked(attached, detached), clock=self.clock)
        self.successResultOf(enter(realm))
        closing = realm.close()
        self.assertNoResult(closing)
        gate.callback(None)
        self.successResultOf(closing)

    def test_waitsForFiveSecondsAtMost(self) -> None:
        """Closing waits for 5 s at most, or for the time that was passed, and logs nothing about it."""
        for seconds, kw in ((5.0, {}), (2.0, {"timeout": 2.0})):
            realm = CachingRealm(self.hooked(lambda s: None, lambda s: Stubborn()), clock=self.clock)
            self.successResultOf(enter(realm))
            closing = realm.close(**kw)
            self.clock.advance(seconds - 0.1)
            self.assertNoResult(closing)
            self.clock.advance(0.2)
            self.successResultOf(closing)
            del closing
            collect()
            self.assertEqual(self.flushLoggedErrors(), [])
            self.assertEqual(timers(self.clock), [])

    def test_pendingLoginsAreRefused(self) -> None:
        """A login that waits for a build, for `attached`, for a decision or for a probe is refused."""
        realm = SlowSingle(conflict="kick", clock=self.clock)
        logins = [enter(realm), enter(realm), enter(realm, "bob")]
        realm.builds[1].callback(self.hooked(lambda s: Deferred())("bob"))
        closing = realm.close()
        for each in logins:
            self.failureResultOf(each, errors.ServerStopping)
        self.assertEqual(realm.counters.refusals, {"ServerStopping": 3})
        self.clock.advance(30)
        self.successResultOf(closing)
        self.assertEqual(self.events(), ["attached"])
        self.assertNothingLeft(realm)

    def test_waitsForAttachedThatIsUnderWay(self) -> None:
        """A session whose `attached` is still running gets its `detached` within the time of closing."""
        gate: Deferred[Any] = Deferred()
        realm = CachingRealm(self.hooked(lambda s: gate), clock=self.clock)
        login = enter(realm)
        closing = realm.close()
        self.failureResultOf(login, errors.ServerStopping)
        self.assertNoResult(closing)
        gate.callback(None)
        self.successResultOf(closing)
        self.assertEqual(self.events(), ["attached", "detached"])
        self.assertIsInstance(self.made[0].events[0][1].endedWith, errors.Shutdown)

    def test_fromWithin(self) -> None:
        """A realm can be closed from any hook or listener: each session ends once, and logins are refused."""
        for where in ("attached", "detached", "begin", "end", "build"):
            realms: list[CachingRealm] = []
            closing: list[Deferred[Any]] = []

            def close(*_: Any, realms: list[CachingRealm] = realms, closing: list[Deferred[Any]] = closing) -> None:
                closing.append(realms[0].close())

            attached, detached = ((close if where == name else lambda s: None) for name in ("attached", "detached"))
            avatarClass = self.hooked(attached, detached)

            class Closing(Slow):
                """A realm that can be closed while it builds."""

                def buildAvatar(self, avatarId: str, where: str = where, close: Callable[..., None] = close) -> Any:
                    """Build."""
                    if where == "build" and self.builds:
                        close()
                    return super().buildAvatar(avatarId)

            realm = Closing(clock=self.clock)
            realms.append(realm)
            if where == "begin":
                realm.roster.onBegin(close)
            if where == "end":
                realm.roster.onEnd(close)
            logins = [enter(realm, name) for name in ("alice", "alice", "bob")]
            for name, build in zip(("alice", "bob"), realm.builds, strict=True):
                if not build.called:
                    build.callback(avatarClass(name))
            for session in tuple(realm.roster):
                session.end()
            self.assertTrue(closing, where)
            for each in closing:
                self.successResultOf(each)
            for login in logins:
                self.assertTrue(login.called, where)
                login.addErrback(lambda failure: failure.trap(errors.ServerStopping, errors.LoginInterrupted))
            for avatar in self.made:
                for _, session in avatar.events:
                    self.assertEqual((avatar.told("attached", session), avatar.told("detached", session)), (1, 1))
            self.assertNothingLeft(realm)

    def test_raisingCancellerIsInNobodysWay(self) -> None:
        """A pending build that raises when it is cancelled does not keep sessions or other logins from ending."""

        def canceller(d: Deferred[Any]) -> None:
            raise LookupError("while cancelling")

        class Mixed(CachingRealm):
            """A realm that builds alice at once."""

            def buildAvatar(self, avatarId: str) -> Any:
                """Build."""
                return Recorder(avatarId) if avatarId == "alice" else Deferred(canceller)

        realm = Mixed(clock=self.clock)
        session = self.successResultOf(enter(realm))
        pending = [enter(realm, "bob"), enter(realm, "carol")]
        self.successResultOf(realm.close())
        self.assertIsInstance(session.endedWith, errors.Shutdown)
        for each in pending:
            self.failureResultOf(each, errors.ServerStopping)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 2)
        self.assertNothingLeft(realm)

    def test_anonymousOnesToo(self) -> None:
        """The anonymous realm is closed too."""
        guests = AnonymousRealm(self.hooked(lambda s: None), clock=self.clock)
        realm = CachingRealm(Recorder, anonymous=guests, clock=self.clock)
        session = self.successResultOf(enter(realm, ANONYMOUS))
        self.successResultOf(realm.close())
        self.assertIsInstance(session.endedWith, errors.Shutdown)
        self.failureResultOf(enter(realm, ANONYMOUS), errors.ServerStopping)

    def test_leavesNoTimers(self) -> None:
        """No timer of a lingering avatar is left, even if the `detached` of a session returns later."""
        gate: Deferred[Any] = Deferred()
        realm = CachingRealm(self.hooked(lambda s: None, lambda s: gate), linger=300, clock=self.clock)
        self.successResultOf(enter(realm))
        closing = realm.close()
        gate.callback(None)
        self.successResultOf(closing)
        self.assertEqual(timers(self.clock), [])
        self.assertNothingLeft(realm)

    def test_overAWire(self) -> None:
        """A client learns of the end at its next call."""
        realm = CachingRealm(Recorder, clock=self.clock)
        wire = self.wire(realm)
        avatar = self.successResultOf(wire.login())
        self.successResultOf(realm.close())
        self.assertTrue(self.failureResultOf(wire.call(avatar, "whoami")).check("pbkit.errors.Shutdown"))
        self.assertTrue(self.failureResultOf(wire.login()).check("pbkit.errors.ServerStopping"))
