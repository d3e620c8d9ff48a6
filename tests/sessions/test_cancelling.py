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
    """Waits as well."""

    def __init__(self, wait: Callable[[], Any]) -> None:
        self._wait = wait

    @cancelWithSession
    async def remote_read(self) -> Any:
        """Wait."""
        return await self._wait()


class View(pb.Viewable):
    """Waits as well, and knows for whom."""

    def __init__(self, wait: Callable[[], Any]) -> None:
        self._wait = wait

    @cancelWithSession
    async def view_read(self, perspective: Any) -> Any:
        """Wait."""
        return await self._wait()


class Reader(Recorder):
    """
    Its methods wait.

    :ivar said: what became of each.
    """

    def __init__(self, avatarId: str) -> None:
        super().__init__(avatarId)
        self.said: list[str] = []

    def detached(self, session: Any) -> None:
        """Write it down."""
        self.said.append("detached")

    def wait(self) -> Deferred[Any]:
        """One more."""
        d: Deferred[Any] = Deferred()
        self.waiting.append(d)
        return d

    @cancelWithSession
    async def perspective_read(self, kind: str = "") -> Any:
        """Wait, and clear up."""
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
        """End the session of this very call, and then wait."""
        currentSession().end(errors.Kicked)
        return await self.wait()

    @cancelWithSession
    def perspective_now(self) -> str:
        """Wait for nothing."""
        return "now"

    async def perspective_work(self) -> Any:
        """Is not to be left half done."""
        done = await self.wait()
        self.said.append("worked")
        return done

    def perspective_things(self) -> tuple[Any, Any]:
        """An object, and a view of it."""
        return Thing(self.wait), View(self.wait)


class RunningTests(SynchronousTestCase):
    """Calls that are running when their session ends."""

    def setUp(self) -> None:
        """A server and a client."""
        self.serve()

    def serve(self, factory: Any = None) -> None:
        """Serve, and log in."""
        self.clock = Clock()
        self.realm = CachingRealm(Reader, clock=self.clock)
        self.wire = Wire(serve(self.realm) if factory is None else serve(self.realm, factory))
        self.avatar = self.successResultOf(self.wire.login())
        (self.session,) = self.realm.roster

    def assertEnded(self, call: Deferred[Any]) -> None:
        """The caller was told so."""
        self.wire.flush()
        self.assertTrue(self.failureResultOf(call).check(errors.Kicked, "pbkit.errors.Kicked"))

    def test_cancelled(self) -> None:
        """A coroutine has CancelledError thrown into it, once its caller is told and before `detached`."""
        call = self.wire.call(self.avatar, "read")
        self.session.end(errors.Kicked)
        self.assertEqual(self.session.avatar.said, ["cancelled in the session of alice", "detached"])
        self.assertEnded(call)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_eachKind(self) -> None:
        """A Deferred, a method of an object, and of a view, are cancelled too."""
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
        """One whose author did not ask for it goes on to its end; nobody gets its answer."""
        call = self.wire.call(self.avatar, "work")
        self.session.end(errors.Kicked)
        self.assertEnded(call)
        self.session.avatar.waiting[0].callback("done")
        self.assertEqual(self.session.avatar.said, ["detached", "worked"])

    def test_answeredInTime(self) -> None:
        """What is answered is answered, and nothing of it is kept."""
        for method in ("read", "readLater"):
            call = self.wire.call(self.avatar, method)
            self.session.avatar.waiting.pop().callback("done")
            self.wire.flush()
            self.assertEqual(self.successResultOf(call), "done")
        self.assertEqual(self.successResultOf(self.wire.call(self.avatar, "now")), "now")
        self.assertFalse(self.session._cancelled)
        self.session.end()

    def test_connectionLost(self) -> None:
        """The loss of the connection ends the session, and so the call."""
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
        """One that goes on all the same does, and its answer is dropped."""
        call = self.wire.call(self.avatar, "read", "stubborn")
        self.session.end(errors.Kicked)
        self.assertEnded(call)
        self.session.avatar.waiting[1].callback("done")
        self.wire.flush()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_broken(self) -> None:
        """What goes wrong while it is cancelled is logged, and is in nobody's way."""
        calls = [self.wire.call(self.avatar, "read", "broken"), self.wire.call(self.avatar, "readBroken")]
        calls.append(self.wire.call(self.avatar, "read"))
        self.session.end(errors.Kicked)
        for call in calls:
            self.assertEnded(call)
        self.assertEqual(self.session.avatar.said.count("cancelled in the session of alice"), 2)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 2)

    def test_anotherSessionsCallRunsOn(self) -> None:
        """Of one avatar only the call of the session that ended is cancelled."""
        other = Wire(self.wire.server.factory)
        avatar = self.successResultOf(other.login())
        call = other.call(avatar, "read")
        self.session.end(errors.Kicked)
        self.session.avatar.waiting[0].callback("done")
        other.flush()
        self.assertEqual(self.successResultOf(call), "done")

    def test_underAStockFactory(self) -> None:
        """There too, for calls on the avatar."""
        self.serve(pb.PBServerFactory)
        call = self.wire.call(self.avatar, "read")
        self.session.end(errors.Kicked)
        self.assertEqual(self.session.avatar.said[0], "cancelled in the session of alice")
        self.assertEnded(call)
