"""The hooks for one session: `attached` once, `detached` once if `attached` returned, and never otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbkit import Avatar, Session
from pbkit.errors import LoginTimedOut
from pbkit.sessions.login.hooks import Attachment
from tests.support import Stubborn, timers


def running(hook: Callable[[], Deferred[Any] | None]) -> Deferred[Any]:
    """
    Call `Attachment.attach` or `detach`.

    :return: a Deferred, which has fired if there is nothing to wait for.
    """
    return maybeDeferred(hook)


class Hooked(Avatar):
    """An avatar whose hooks do what the test chooses."""

    def __init__(self, onAttached: Callable[[], Any], onDetached: Callable[[], Any] = lambda: None) -> None:
        super().__init__("alice")
        self.events: list[str] = []
        self._onAttached = onAttached
        self._onDetached = onDetached

    def attached(self, session: Session) -> Any:
        """Record the call."""
        self.events.append("attached")
        return self._onAttached()

    def detached(self, session: Session) -> Any:
        """Record the call."""
        self.events.append("detached")
        return self._onDetached()


class OnlyDetached(Avatar):
    """An avatar with `detached` only."""

    events: list[str]

    def detached(self, session: Session) -> None:
        """Record the call."""
        self.events.append("detached")


class AttachmentTests(SynchronousTestCase):
    """`Attachment`, without a realm."""

    def setUp(self) -> None:
        """Make a clock."""
        self.clock = Clock()

    def attachment(self, avatar: Any, hooks: bool = True) -> Attachment:
        """Return the attachment of a session of an avatar."""
        return Attachment(Session("alice", avatar, None, None, self.clock, lambda _: None), hooks)

    def test_bothOnce(self) -> None:
        """Both hooks run once."""
        avatar = Hooked(lambda: None)
        attachment = self.attachment(avatar)
        self.successResultOf(running(attachment.attach))
        self.successResultOf(running(attachment.detach))
        self.assertEqual(avatar.events, ["attached", "detached"])
        self.assertEqual(timers(self.clock), [])

    def test_neverAttached(self) -> None:
        """If `attached` was not called, `detached` is not called."""
        avatar = Hooked(lambda: None)
        self.successResultOf(running(self.attachment(avatar).detach))
        self.assertEqual(avatar.events, [])

    def test_attachedRaises(self) -> None:
        """If `attached` raises, at once or later, the error is returned and `detached` never runs."""
        gate: Deferred[None] = Deferred()
        for hook in (lambda: 1 / 0, lambda: Deferred.fromCoroutine(self.fails()), lambda: gate):
            avatar = Hooked(hook)
            attachment = self.attachment(avatar)
            attaching = running(attachment.attach)
            if not attaching.called:
                gate.errback(ZeroDivisionError())
            self.failureResultOf(attaching, ZeroDivisionError)
            self.successResultOf(running(attachment.detach))
            self.assertEqual(avatar.events, ["attached"])

    def test_endsWhileAttaching(self) -> None:
        """
        If a session ends during `attached`, the login fails at once, and `detached` runs once after `attached` returns.
        """
        gate: Deferred[None] = Deferred()
        avatar = Hooked(lambda: gate)
        attachment = self.attachment(avatar)
        attaching, detaching = running(attachment.attach), running(attachment.detach)
        self.failureResultOf(attaching, CancelledError)
        self.assertNoResult(detaching)
        self.assertEqual(avatar.events, ["attached"])
        gate.callback(None)
        self.successResultOf(detaching)
        self.assertEqual(avatar.events, ["attached", "detached"])

    def test_endsWhileAttachingWhichThenRaises(self) -> None:
        """If a session ends during `attached`, which then raises, this is logged and `detached` does not run."""
        gate: Deferred[None] = Deferred()
        avatar = Hooked(lambda: gate)
        attachment = self.attachment(avatar)
        attaching, detaching = running(attachment.attach), running(attachment.detach)
        gate.errback(LookupError())
        self.failureResultOf(attaching, CancelledError)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.successResultOf(detaching)
        self.assertEqual(avatar.events, ["attached"])

    def test_waiterThatGivesUp(self) -> None:
        """If the login is cancelled during `attached`, the hook continues, and `detached` follows."""
        cancelled: list[object] = []
        gate: Deferred[None] = Deferred(cancelled.append)
        avatar = Hooked(lambda: gate)
        attachment = self.attachment(avatar)
        attaching = running(attachment.attach)
        attaching.cancel()
        self.failureResultOf(attaching, CancelledError)
        detaching = running(attachment.detach)
        self.assertEqual(cancelled, [])
        gate.callback(None)
        self.successResultOf(detaching)
        self.assertEqual(avatar.events, ["attached", "detached"])

    def test_attachedHasThirtySeconds(self) -> None:
        """An `attached` that hangs is cancelled after 30 s, and counts as not returned."""
        avatar = Hooked(Deferred)
        attachment = self.attachment(avatar)
        attaching = running(attachment.attach)
        self.clock.advance(29.9)
        self.assertNoResult(attaching)
        self.clock.advance(0.1)
        self.failureResultOf(attaching, LoginTimedOut)
        self.successResultOf(running(attachment.detach))
        self.assertEqual(avatar.events, ["attached"])

    def test_attachedThatIgnoresBeingCancelled(self) -> None:
        """If it ignores the cancellation, the login still fails after 30 s; when it returns, `detached` runs."""
        gate: Deferred[None] = Stubborn()
        avatar = Hooked(lambda: gate)
        attachment = self.attachment(avatar)
        attaching = running(attachment.attach)
        self.clock.advance(30)
        self.failureResultOf(attaching, LoginTimedOut)
        detaching = running(attachment.detach)
        self.assertNoResult(detaching)
        self.assertEqual(avatar.events, ["attached"])
        gate.callback(None)
        self.successResultOf(detaching)
        self.assertEqual(avatar.events, ["attached", "detached"])

    def test_detachedRaises(self) -> None:
        """An exception in `detached`, at once or later, is logged."""
        for hook in (lambda: 1 / 0, lambda: Deferred.fromCoroutine(self.fails())):
            avatar = Hooked(lambda: None, hook)
            attachment = self.attachment(avatar)
            self.successResultOf(running(attachment.attach))
            self.successResultOf(running(attachment.detach))
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def fails(self) -> None:
        """Raise."""
        raise ZeroDivisionError

    def test_asynchronousDetachedIsWaitedFor(self) -> None:
        """The Deferred fires when an asynchronous `detached` has finished."""
        gate: Deferred[None] = Deferred()
        attachment = self.attachment(Hooked(lambda: None, lambda: gate))
        self.successResultOf(running(attachment.attach))
        detaching = running(attachment.detach)
        self.assertNoResult(detaching)
        gate.callback(None)
        self.successResultOf(detaching)

    def test_oblivious(self) -> None:
        """An avatar without hooks, or whose realm calls none, is not called."""
        for avatar, hooks in ((Avatar("alice"), True), (Hooked(lambda: None), False)):
            attachment = self.attachment(avatar, hooks)
            self.successResultOf(running(attachment.attach))
            self.successResultOf(running(attachment.detach))
            self.assertEqual(getattr(avatar, "events", []), [])

    def test_onlyDetached(self) -> None:
        """An avatar with `detached` only is called at the end, once."""
        avatar = OnlyDetached("alice")
        avatar.events = []
        attachment = self.attachment(avatar)
        self.successResultOf(running(attachment.attach))
        self.successResultOf(running(attachment.detach))
        self.assertEqual(avatar.events, ["detached"])

    def test_onlyAttached(self) -> None:
        """An avatar with `attached` only is called at the beginning."""
        avatar = Hooked(lambda: None)
        avatar.detached = None  # type: ignore[assignment]
        attachment = self.attachment(avatar)
        self.successResultOf(running(attachment.attach))
        self.successResultOf(running(attachment.detach))
        self.assertEqual(avatar.events, ["attached"])
