"""
The hooks of an avatar for one session: `attached` and `detached`.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbkit.errors import Disconnected, LoggedOut, LoginTimedOut, SessionEnded
from pbkit.interfaces import IPeer
from pbkit.sessions.login.refusals import callFitting
from pbkit.sessions.sharedcall import SharedCall, started

#: How long an `attached` hook may take, in seconds.
ATTACH_TIMEOUT = 30.0

log = Logger()


class AttachedSession(Protocol):
    """What an `Attachment` needs of a `Session`."""

    @property
    def sessionId(self) -> str:
        """The id of the session."""

    @property
    def avatarId(self) -> str:
        """The avatar id."""

    @property
    def avatar(self) -> object:
        """The avatar, which may have the hooks."""

    @property
    def peer(self) -> IPeer | None:
        """The connection, where it is known."""

    @property
    def clock(self) -> IReactorTime | None:
        """The clock for deadlines, or None."""

    @property
    def endedWith(self) -> SessionEnded | None:
        """None while the session lives, then the reason why it ended."""

    def end(self, reason: type[SessionEnded], detail: str = "") -> None:
        """End the session."""


class Attachment:
    """
    The hooks of one session: calls `attached` once, and `detached` once if `attached` has returned, and never
    otherwise.

    An avatar that lacks a hook is not told of that event.

    :param session: the session that the hooks are given.
    :param hooks: whether the realm calls hooks at all.
    """

    __slots__ = ("_attached", "_attaching", "_hooks", "_returned", "_session", "_waiting")

    def __init__(self, session: AttachedSession, hooks: bool = True) -> None:
        self._session = session
        self._hooks = hooks
        # Whether `attached` has returned; and whether it is running.
        self._attached = self._attaching = False
        # While it is running: what fires when it has returned, for `detach`; and what the login waits for.
        self._returned: Deferred[None] | None = None
        self._waiting: Deferred[None] | None = None

    def attach(self) -> Deferred[None] | None:
        """
        Call `attached`.

        :return: None if the hook has returned, or there is none. Else a Deferred that fires when it has returned, or
            fails as the hook does or with `LoginTimedOut`. Cancelling it does not cancel the hook, because half-done
            work is worse. It fails with CancelledError when the session ends.
        """
        hook = getattr(self._session.avatar, "attached", None) if self._hooks else None
        if hook is None:
            # An avatar that has only `detached` is told of the end.
            self._attached = self._hooks
            return None
        self._attaching = True
        try:
            running = started(callFitting(hook, self._session))
        except BaseException:
            self._hookReturned(False)
            raise
        if not isinstance(running, Deferred):
            self._hookReturned(True)
            return None
        return self._waitFor(running)

    def _waitFor(self, running: Deferred[Any]) -> Deferred[None] | None:
        def succeeded(result: object) -> None:
            self._hookReturned(True)

        def failed(failure: Failure) -> Failure:
            self._hookReturned(False)
            return failure

        call: SharedCall[None] = SharedCall(
            lambda: running.addCallbacks(succeeded, failed),
            clock=self._session.clock,
            timeout=ATTACH_TIMEOUT,
            onTimeout=LoginTimedOut,
            cancellable=False,
        )
        waiting = call.wait()
        if self._attaching:
            self._waiting = waiting
            if self._session.endedWith is not None:
                self._cancelWait()
        return waiting

    def _hookReturned(self, attached: bool) -> None:
        self._attached, self._attaching = attached, False
        returned, self._returned, self._waiting = self._returned, None, None
        if returned is not None:
            returned.callback(None)

    def logout(self) -> None:
        """End the session: the client has released it, or its connection is lost. Portals call this."""
        peer = self._session.peer
        lost = peer is not None and (peer.closing or not peer.alive)
        self._session.end(Disconnected if lost else LoggedOut)

    def detach(self) -> Deferred[None] | None:
        """
        Call `detached`: now, or as soon as `attached` returns. The session has ended.

        :return: None if the hook has returned, or is not to be called. Else a Deferred that fires when it has returned;
            never fails. What the hook raises is logged.
        """
        if not self._attaching:
            return self._detach()
        # The client is refused now, and not when the hook returns.
        self._cancelWait()
        self._returned = Deferred()
        return self._returned.addCallback(lambda _: self._detach())

    def _cancelWait(self) -> None:
        if self._waiting is not None and not self._waiting.called:
            self._waiting.cancel()

    def _detach(self) -> Deferred[None] | None:
        hook = getattr(self._session.avatar, "detached", None)
        if not self._attached or hook is None:
            return None
        detaching: Deferred[None] = maybeDeferred(hook, self._session).addErrback(self._detachFailed)
        return detaching

    def _detachFailed(self, failure: Failure) -> None:
        log.failure(
            "detached of {avatarId!r:.200} raised; session {sessionId} has ended all the same",
            failure,
            avatarId=self._session.avatarId,
            sessionId=self._session.sessionId,
        )
