"""
The calls of a session that are cancelled when it ends.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from pbkit.sessions.session import Session

log = Logger()


class Running:
    """
    Calls whose authors asked for that, see `pbkit.cancelWithSession`. Others run on.

    :param session: whose they are.
    """

    __slots__ = ("_calls", "_session")

    def __init__(self, session: Session) -> None:
        self._session = session
        # Most sessions never have one.
        self._calls: set[Deferred[Any]] | None = None

    def add(self, call: Deferred[Any]) -> Deferred[Any]:
        """
        Cancel a call at the end; at once if that has come.

        :return: what it gives; or, if it was cancelled, a failure with the reason of the end.
        """
        if self._calls is None:
            self._calls = set()
        self._calls.add(call)
        call.addBoth(self._done, call)
        if self._session.endedWith is not None:
            self.cancel()
        return call

    def cancel(self) -> None:
        """The session has ended, and the callers have been told."""
        while self._calls:
            call = self._calls.pop()
            try:
                call.cancel()
            except Exception:
                peer, sessionId = self._session.peer, self._session.sessionId
                write = log.failure if peer is None else partial(peer.logFailure, log)
                write("cancelling a call of session {sessionId} raised", Failure(), sessionId=sessionId)

    def _done(self, result: Any, call: Deferred[Any]) -> Any:
        if self._calls is not None:
            self._calls.discard(call)
        error = self._session.endedWith
        if error is not None and isinstance(result, Failure) and result.check(CancelledError):
            return Failure(error.again())
        return result
