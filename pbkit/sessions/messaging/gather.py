"""
The answers of many.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from pbkit.errors import CallDropped, CallTimedOut

if TYPE_CHECKING:
    from pbkit.sessions.session import Session


class Asking:
    """
    Gathers the answers of many.

    :param sessions: who is asked.
    :ivar done: a Deferred of a dict by session id. When it is cancelled, who has not answered has not answered.
    """

    def __init__(self, sessions: Collection[Session]) -> None:
        self.done: Deferred[dict[str, Any]] = Deferred(lambda _: self.giveUp(Failure(CallTimedOut("given up"))))
        self._answers: dict[str, Any] = {session.sessionId: None for session in sessions}
        self._left = {session.sessionId: session for session in sessions}
        self._calls: dict[str, Deferred[Any]] = {}
        self._timer: IDelayedCall | None = None

    def within(self, seconds: float, clock: IReactorTime) -> None:
        """Who has not answered by then has not answered."""
        self._timer = clock.callLater(
            seconds, lambda: self.giveUp(Failure(CallTimedOut(f"no answer within {seconds:g} s")))
        )

    def ask(self, session: Session, call: Deferred[Any]) -> None:
        """Take down what comes of a call."""
        if session.sessionId in self._left:
            self._calls[session.sessionId] = call
        call.addBoth(self._answered, session.sessionId)

    def _answered(self, answer: Any, sessionId: str) -> None:
        self._calls.pop(sessionId, None)
        if self._left.pop(sessionId, None) is not None:
            self._answers[sessionId] = answer
            self._finish()

    def allAsked(self, error: type[Exception] | None) -> None:
        """Nobody else will be asked: those who were not are gone, or were dropped."""
        for sessionId, session in tuple(self._left.items()):
            if sessionId not in self._calls:
                ended = session.endedWith
                left = CallDropped("it left before it was its turn")
                self._answered(Failure(error() if error else left if ended is None else ended.again()), sessionId)
        self._finish()

    def giveUp(self, why: Failure) -> None:
        """That is what is said of all who have not answered."""
        left, self._left = self._left, {}
        for sessionId in left:
            self._answers[sessionId] = why
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.cancel()
        self._finish()

    def _finish(self) -> None:
        if not self._left and not self.done.called:
            if self._timer is not None and self._timer.active():
                self._timer.cancel()
            self.done.callback(self._answers)
