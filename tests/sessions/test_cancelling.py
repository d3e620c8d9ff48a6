"""Calls that are cancelled when their session ends: `cancelWithSession`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import CachingRealm, cancelWithSession, currentSession, errors
from tests.support import Recorder, Wire, serve


class Thing(pb.Referenceable):
    """An object whose method waits."""

    def __init__(self, wait: Callable[[], Any]) -> None:
        self._wait = wait

    @cancelWithSession
    async def remote_read(self) -> Any:
        """Wait."""
        return await self._wait()


class View(pb.Viewable):
    """A view whose method waits."""

    def __init__(self, wait: Callable[[], Any]) -> None:
        self._wait = wait

    @cancelWithSession
    async def view_read(self, perspective: Any) -> Any:
        """Wait."""
        return await self._wait()


class Reader(Recorder):
    """
    An avatar whose methods wait.

    :ivar said: what became of each call.
    """

    def __init__(self, avatarId: str) -> None:
        super().__init__(avatarId)
        self.said: list[str] = []

    def detached(self, session: Any) -> None:
        """Note it."""
        self.said.append("detached")

    def wait(self) -> Deferred[Any]:
        """Return a new Deferred, and note it."""
        d: Deferred[Any] = Deferred()
        self.waiting.append(d)
        return d

    @cancelWithSession
    async def perspective_read(self, kind: str = "") -> Any:
        """Wait, and clean up."""
        try:
            return await self.wait()
        except CancelledError:
            session = currentSession()
            self.said.append(f"cancelled in the session of {session.avatarId}")
            if kind == "stubborn":
                return await self.wait()
            if kind == "broken":
                raise LookupError("while clearing up") from None
            raise

    @cancelWithSession
    def perspective_readLater(self) -> Deferred[Any]:
        """Wait, with a Deferred."""
        return self.wait()

    @cancelWithSession
    def perspective_readBroken(self) -> Deferred[Any]:
        """Wait, with a Deferred that cannot be cancelled."""

        def canceller(d: Deferred[Any]) -> None:
            raise LookupError("while cancelling")

        d: Deferred[Any] = Deferred(canceller)
        self.waiting.append(d)
        return d

    @cancelWithSession
    async def perspective_quit(self) -> Any:
        """End the session of this call, and then wait."""
        currentSession().end(errors.Kicked)
        return await self.wait()

    @cancelWithSession
    def perspective_now(self) -> str:
        """Answer at once."""
        return "now"

    async def perspective_work(self) -> Any:
        """Wait, without being cancelled."""
        done = await self.wait()
        self.said.append("worked")
        return done

    def perspective_things(self) -> tuple[Any, Any]:
        """Return an object and a view of it."""
        return Thing(self.wait), View(self.wait)


class RunningTests(SynchronousTestCase):
    """Calls that are being served when their session ends."""

    def setUp(self) -> None:
        """Make a server and a client."""
        self.serve()

    def serve(self, factory: Any = None) -> None:
        """Serve, and log in."""
        self.clock = Clock()
        self.realm = CachingRealm(Reader, clock=self.clock)
        self.wire = Wire(serve(self.realm) if factory is None else serve(self.realm, factory))
        self.avatar = self.successResultOf(self.wire.login())
        (self.session,) = self.realm.roster

    def assertEnded(self, call: Deferred[Any]) -> None:
        """Assert that the caller was answered with the reason."""
        self.wire.flush()
        self.assertTrue(self.failureResultOf(call).check(errors.Kicked, "pbkit.errors.Kicked"))

    def test_cancelled(self) -> None:
        """CancelledError is thrown into a coroutine after its caller was answered and before `detached` runs."""
        call = self.wire.call(self.avatar, "read")
        self.session.end(errors.Kicked)
        self.assertEqual(self.session.avatar.said, ["cancelled in the session of alice", "detached"])
        self.assertEnded(call)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_eachKind(self) -> None:
        """A call that returned a Deferred, a call on another object and a call on a view are cancelled too."""
        thing, view = self.successResultOf(self.wire.call(self.avatar, "things"))
        calls = [
            self.wire.call(self.avatar, "readLater"),
            self.wire.call(thing, "read"),
            self.wire.call(view, "read"),
        ]
        self.assertEqual(len(self.session.avatar.waiting), 3)
        self.session.end(errors.Kicked)
        for each in self.session.avatar.waiting:
            self.assertTrue(each.called)
        for call in calls:
            self.assertEnded(call)

    def test_othersRunOn(self) -> None:
        """A method without the decorator runs on to its end, and its result is dropped."""
        call = self.wire.call(self.avatar, "work")
        self.session.end(errors.Kicked)
        self.assertEnded(call)
        self.session.avatar.waiting[0].callback("done")
        self.assertEqual(self.session.avatar.said, ["detached", "worked"])

    def test_answeredInTime(self) -> None:
        """A call that is answered in time leaves nothing behind."""
        for method in ("read", "readLater"):
            call = self.wire.call(self.avatar, method)
            self.session.avatar.waiting.pop().callback("done")
            self.wire.flush()
            self.assertEqual(self.successResultOf(call), "done")
        self.assertEqual(self.successResultOf(self.wire.call(self.avatar, "now")), "now")
        self.assertFalse(self.session._cancelled)
        self.session.end()

    def test_connectionLost(self) -> None:
        """The loss of the connection ends the session and cancels the call."""
        call = self.wire.call(self.avatar, "read")
        self.wire.cut()
        self.wire.flush()
        self.failureResultOf(call, pb.PBConnectionLost)
        self.assertEqual(self.session.avatar.said[0], "cancelled in the session of alice")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_endsItsOwnSession(self) -> None:
        """A call that ends its own session is cancelled at its next await."""
        call = self.wire.call(self.avatar, "quit")
        self.assertEnded(call)
        self.assertTrue(self.session.avatar.waiting[0].called)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_stubborn(self) -> None:
        """A method that ignores the cancellation runs on, and its result is dropped."""
        call = self.wire.call(self.avatar, "read", "stubborn")
        self.session.end(errors.Kicked)
        self.assertEnded(call)
        self.session.avatar.waiting[1].callback("done")
        self.wire.flush()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_broken(self) -> None:
        """An exception while a call is cancelled is logged, and the other calls are cancelled all the same."""
        calls = [self.wire.call(self.avatar, "read", "broken"), self.wire.call(self.avatar, "readBroken")]
        calls.append(self.wire.call(self.avatar, "read"))
        self.session.end(errors.Kicked)
        for call in calls:
            self.assertEnded(call)
        self.assertEqual(self.session.avatar.said.count("cancelled in the session of alice"), 2)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 2)

    def test_anotherSessionsCallRunsOn(self) -> None:
        """Of several sessions of one avatar, only the calls of the one that ended are cancelled."""
        other = Wire(self.wire.server.factory)
        avatar = self.successResultOf(other.login())
        call = other.call(avatar, "read")
        self.session.end(errors.Kicked)
        self.session.avatar.waiting[0].callback("done")
        other.flush()
        self.assertEqual(self.successResultOf(call), "done")

    def test_underAStockFactory(self) -> None:
        """Under a stock factory, calls on the avatar are cancelled."""
        self.serve(pb.PBServerFactory)
        call = self.wire.call(self.avatar, "read")
        self.session.end(errors.Kicked)
        self.assertEqual(self.session.avatar.said[0], "cancelled in the session of alice")
        self.assertEnded(call)
