"""
What an avatar is told of one session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbkit.errors import Disconnected, LoggedOut, LoginTimedOut
from pbkit.sessions.sharedcall import Attempt, attempt

if TYPE_CHECKING:
    from pbkit.sessions.session import Session

#: How long an `attached` hook may take, in seconds.
ATTACH_TIMEOUT = 30.0

log = Logger()


class Attachment:
    """
    `attached` once; `detached` once if `attached` returned, and never otherwise.

    An avatar without these methods is told nothing.
    """

    __slots__ = ("_attached", "_hooks", "_returned", "_session", "_waiting")

    def __init__(self, session: Session, hooks: bool = True) -> None:
        self._session = session
        self._hooks = hooks
        self._attached = False
        # While the hook runs.
        self._returned: Deferred[bool] | None = None
        self._waiting: Deferred[Any] | None = None

    def attach(self) -> Deferred[Any] | None:
        """
        Run `attached`.

        :return: a Deferred that fires when it has returned, or fails as it does or with `LoginTimedOut`. A waiter
            that gives up does not cancel the hook: half-done work is worse. It does when the session ends, and fails.
            None, if there is nothing to run.
        """
        hook = getattr(self._session.avatar, "attached", None) if self._hooks else None
        if hook is None:
            # One that has only `detached` is told of that.
            self._attached = self._hooks
            return None
        self._returned = Deferred()

        def run() -> Deferred[Any]:
            running = attempt(lambda: hook(self._session))
            running.addCallbacks(self._succeeded, self._failed)
            return running

        waiting = self._waiting = Attempt(
            run,
            clock=self._session.clock,
            timeout=ATTACH_TIMEOUT,
            onTimeout=LoginTimedOut,
            cancellable=False,
        ).wait()
        if self._session.endedWith is not None:
            self._giveUp()
        elif self._returned is None:
            self._waiting = None
        return waiting

    def _succeeded(self, result: Any) -> None:
        self._attached = True
        self._return()

    def _failed(self, failure: Failure) -> Failure:
        self._return()
        return failure

    def _return(self) -> None:
        returned, self._returned, self._waiting = self._returned, None, None
        assert returned is not None
        returned.callback(self._attached)

    def __call__(self) -> None:
        """What a realm gives to be called at logout: the client has let go of it, or its connection is lost."""
        peer = self._session.peer
        lost = peer is not None and (peer.closing or not peer.alive)
        self._session.end(Disconnected if lost else LoggedOut)

    def detach(self) -> Deferred[Any] | None:
        """
        The session has ended: run `detached` now, or as soon as `attached` returns.

        :return: a Deferred that fires when that is done; never fails. What the hook raises is logged. None, if there
            is nothing to run.
        """
        self._giveUp()
        return self._detach(self._attached) if self._returned is None else self._returned.addCallback(self._detach)

    def _giveUp(self) -> None:
        """A login whose session has ended waits no more: its client is refused now, not when the hook returns."""
        if self._waiting is not None and not self._waiting.called:
            self._waiting.cancel()

    def _detach(self, attached: bool) -> Deferred[Any] | None:
        hook = getattr(self._session.avatar, "detached", None)
        if not attached or hook is None:
            return None
        return attempt(lambda: hook(self._session)).addErrback(
            lambda failure: log.failure(
                "detached of {avatarId!r:.200} raised; session {sessionId} has ended all the same",
                failure,
                avatarId=self._session.avatarId,
                sessionId=self._session.sessionId,
            )
        )
