"""How long an avatar lives."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbkit import Cached, Disposable, Lingering, PerLogin
from pbkit.errors import ConfigError, LoginTimedOut
from pbkit.sessions.lifecycle import Lease
from tests.support import Stubborn, timers


class LifecycleTests(SynchronousTestCase):
    """The four lifecycles, called directly."""

    def setUp(self) -> None:
        """Make a clock, and count builds."""
        self.clock = Clock()
        self.built: list[object] = []

    def build(self, avatarId: str) -> object:
        """Build a new object."""
        self.built.append(object())
        return self.built[-1]

    def acquire(self, lifecycle: Any, build: Any = None, avatarId: str = "alice", clock: Any = None) -> Deferred[Lease]:
        """Acquire an avatar."""
        return maybeDeferred(lifecycle.acquire, avatarId, build or self.build, clock or self.clock)

    def lease(self, lifecycle: Any, build: Any = None, avatarId: str = "alice") -> Lease:
        """Acquire an avatar that is there at once."""
        return self.successResultOf(self.acquire(lifecycle, build, avatarId))

    def test_perLoginBuildsEachTime(self) -> None:
        """A new avatar for each login."""
        lifecycle = PerLogin()
        self.assertIsNot(self.lease(lifecycle).avatar, self.lease(lifecycle).avatar)

    def test_everyBuildHasThirtySeconds(self) -> None:
        """A build that hangs, and one that ignores its cancellation, fail the login after 30 s."""
        for lifecycle in (PerLogin(), Disposable(), Cached(), Lingering(5)):
            for kind in (Deferred, Stubborn):
                login = self.acquire(lifecycle, lambda _, kind=kind: kind())
                self.clock.advance(29.9)
                self.assertNoResult(login)
                self.clock.advance(0.2)
                self.failureResultOf(login, LoginTimedOut)
                self.assertEqual(timers(self.clock), [])

    def test_disposableNeverUsesANumberAgain(self) -> None:
        """Numbers rise from 1, and none is used again."""
        lifecycle = Disposable()
        self.assertEqual([lifecycle.nextId() for _ in range(3)], ["anonymous#1", "anonymous#2", "anonymous#3"])
        self.lease(lifecycle, avatarId="anonymous#3").release()
        self.assertEqual(lifecycle.nextId(), "anonymous#4")
        self.assertEqual(Disposable("guest").nextId(), "guest#1")

    def test_cachedKeeps(self) -> None:
        """An avatar id keeps its avatar as long as the server lives; another id has another avatar."""
        lifecycle = Cached()
        first = self.lease(lifecycle)
        first.release()
        self.clock.advance(10**7)
        self.assertIs(self.lease(lifecycle).avatar, first.avatar)
        self.assertIsNot(self.lease(lifecycle, avatarId="bob").avatar, first.avatar)
        self.assertEqual(len(self.built), 2)

    def test_tenAtOnceBuildOne(self) -> None:
        """Ten concurrent first logins of one id build one avatar."""
        for lifecycle in (Cached(), Lingering(5)):
            gate: Deferred[object] = Deferred()
            builds: list[str] = []

            def build(avatarId: str, gate: Deferred[object] = gate, builds: list[str] = builds) -> Deferred[object]:
                builds.append(avatarId)
                return gate

            logins = [self.acquire(lifecycle, build) for _ in range(10)]
            gate.callback("avatar")
            self.assertEqual([self.successResultOf(each).avatar for each in logins], ["avatar"] * 10)
            self.assertEqual(builds, ["alice"])

    def test_failedBuildFailsThemAllAndIsTriedAnew(self) -> None:
        """A failed build fails all logins that wait for it, and the next login builds again."""
        for lifecycle in (Cached(), Lingering(5)):
            gate: Deferred[object] = Deferred()
            logins = [self.acquire(lifecycle, lambda _, gate=gate: gate) for _ in range(3)]
            gate.errback(LookupError("no such player"))
            for each in logins:
                self.failureResultOf(each, LookupError)
            self.assertEqual(len(lifecycle), 0)
            self.assertIs(self.lease(lifecycle).avatar, self.built[-1])

    def test_synchronousFailureIsTriedAnew(self) -> None:
        """A build that raises at once fails the login, and the next login builds again."""
        lifecycle = Cached()
        self.failureResultOf(self.acquire(lifecycle, lambda _: 1 / 0), ZeroDivisionError)
        self.assertEqual(len(lifecycle), 0)
        self.lease(lifecycle)

    def test_triedAnewFromWithinTheFailure(self) -> None:
        """A login from within the failure starts a new build."""
        lifecycle = Cached()
        gate: Deferred[object] = Deferred()
        login = self.acquire(lifecycle, lambda _: gate)
        login.addErrback(lambda _: self.acquire(lifecycle))
        gate.errback(LookupError())
        self.assertIs(self.successResultOf(login).avatar, self.built[0])

    def test_hungBuildIsTriedAnew(self) -> None:
        """A build whose time was up does not delay the next one, even if it returns an avatar later."""
        lifecycle = Cached()
        late: Deferred[object] = Stubborn()
        login = self.acquire(lifecycle, lambda _: late)
        self.clock.advance(30)
        self.failureResultOf(login, LoginTimedOut)
        again = self.lease(lifecycle)
        late.callback("too late")
        self.assertIs(self.lease(lifecycle).avatar, again.avatar)

    def test_oneWhoLeavesCancelsNothing(self) -> None:
        """A login that gives up does not cancel a build that others wait for, even if it started that build."""
        lifecycle = Cached()
        cancelled: list[object] = []
        gate: Deferred[object] = Deferred(cancelled.append)
        first, second = (self.acquire(lifecycle, lambda _: gate) for _ in range(2))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        gate.callback("avatar")
        self.assertEqual((cancelled, self.successResultOf(second).avatar), ([], "avatar"))

    def test_whenAllHaveLeft(self) -> None:
        """When no login waits any more, the build is cancelled and forgotten; the next login builds again."""
        lifecycle = Cached()
        cancelled: list[object] = []
        first, second = (self.acquire(lifecycle, lambda _: Deferred(cancelled.append)) for _ in range(2))
        first.cancel()
        second.cancel()
        self.failureResultOf(first, CancelledError)
        self.failureResultOf(second, CancelledError)
        self.assertEqual((len(cancelled), len(lifecycle), timers(self.clock)), (1, 0, []))
        self.lease(lifecycle)

    def test_buildThatNeedsItself(self) -> None:
        """A build that needs the avatar that it builds is an error at once, instead of a wait for ever."""
        lifecycle = Cached()
        inner = self.acquire(lifecycle, lambda _: self.acquire(lifecycle))
        self.failureResultOf(inner, RuntimeError)
        self.assertEqual(len(lifecycle), 0)

    def test_lingersAfterTheLastOne(self) -> None:
        """An avatar is dropped after the time since its last session ended, and not before."""
        lifecycle = Lingering(5)
        first, second = self.lease(lifecycle), self.lease(lifecycle)
        first.release()
        self.clock.advance(100)
        self.assertIs(self.lease(lifecycle).avatar, second.avatar)
        self.assertEqual(timers(self.clock), [])

        lifecycle = Lingering(5)
        first, second = self.lease(lifecycle), self.lease(lifecycle)
        first.release()
        second.release()
        self.clock.advance(4.9)
        self.assertEqual(len(lifecycle), 1)
        self.clock.advance(0.2)
        self.assertEqual((len(lifecycle), timers(self.clock)), (0, []))
        self.assertIsNot(self.lease(lifecycle).avatar, first.avatar)

    def test_loginWhileItLingers(self) -> None:
        """A login in time keeps the avatar, and the time starts again after it."""
        lifecycle = Lingering(5)
        first = self.lease(lifecycle)
        for _ in range(3):
            first.release()
            self.clock.advance(4)
            again = self.lease(lifecycle)
            self.assertIs(again.avatar, first.avatar)
            first = again
        first.release()
        self.clock.advance(5)
        self.assertEqual(len(lifecycle), 0)

    def test_releaseIsIdempotent(self) -> None:
        """A lease that is released twice counts once."""
        lifecycle = Lingering(5)
        first, second = self.lease(lifecycle), self.lease(lifecycle)
        first.release()
        first.release()
        self.assertEqual(timers(self.clock), [])
        second.release()
        self.assertEqual(len(timers(self.clock)), 1)

    def test_lingersForNoTime(self) -> None:
        """With 0 seconds, an avatar is dropped at once."""
        lifecycle = Lingering(0)
        self.lease(lifecycle).release()
        self.assertEqual((len(lifecycle), timers(self.clock)), (0, []))

    def test_droppedWhileOthersAreToldOfIt(self) -> None:
        """
        Of two logins that wait for one build, the first releases its lease at once, before the second is told. There is
        still one avatar: a third login gets that of the second.
        """
        lifecycle = Lingering(0)
        gate: Deferred[object] = Deferred()
        first, second = (self.acquire(lifecycle, lambda _: gate) for _ in range(2))
        first.addCallback(Lease.release)
        gate.callback("avatar")
        self.assertEqual(self.successResultOf(second).avatar, "avatar")
        self.assertEqual(self.lease(lifecycle).avatar, "avatar")

    def test_whoGaveUpHoldsNothing(self) -> None:
        """A login that gave up during the build does not keep the avatar from being dropped."""
        lifecycle = Lingering(5)
        gate: Deferred[object] = Deferred()
        first, second = (self.acquire(lifecycle, lambda _: gate) for _ in range(2))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        gate.callback("avatar")
        self.successResultOf(second).release()
        self.clock.advance(5)
        self.assertEqual((len(lifecycle), timers(self.clock)), (0, []))

    def test_badTimes(self) -> None:
        """A negative time is a ConfigError."""
        for seconds in (-1, float("nan")):
            self.assertRaises(ConfigError, Lingering, seconds)

    def test_closeStopsTimers(self) -> None:
        """After `close` no timer is left, and none is started by leases that are released later."""
        lifecycle = Lingering(5)
        self.lease(lifecycle).release()
        held = self.lease(lifecycle, avatarId="bob")
        lifecycle.close()
        self.assertEqual((len(lifecycle), timers(self.clock)), (0, []))
        held.release()
        self.assertEqual(timers(self.clock), [])
