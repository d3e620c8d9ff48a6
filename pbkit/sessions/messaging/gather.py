"""
The answers of several clients to one question.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from pbkit.errors import CallDropped, CallTimedOut
from pbkit.sessions.messaging.delivery import Answer, Answers

if TYPE_CHECKING:
    from pbkit.sessions.messaging.recipient import Recipient


class Gathering:
    """
    Collects the answers of several clients.

    :param sessions: the sessions that are asked.
    :ivar done: a Deferred of a dict by session id. Cancel it to stop waiting for the missing answers.
    """

    def __init__(self, sessions: Collection[Recipient]) -> None:
        self.done: Deferred[Answers] = Deferred(lambda _: self.giveUp(Failure(CallTimedOut("given up"))))
        self._answers: Answers = {session.sessionId: None for session in sessions}
        self._left = {session.sessionId: session for session in sessions}
        self._calls: dict[str, Answer] = {}
        self._timer: IDelayedCall | None = None

    def within(self, seconds: float, clock: IReactorTime) -> None:
        """Give up after this many seconds."""
        self._timer = clock.callLater(
            seconds, lambda: self.giveUp(Failure(CallTimedOut(f"no answer within {seconds:g} s")))
        )

    def ask(self, session: Recipient, call: Answer) -> None:
        """Wait for the result of a call."""
        if session.sessionId in self._left:
            self._calls[session.sessionId] = call
        call.addBoth(self._answered, session.sessionId)

    def _answered(self, answer: object, sessionId: str) -> None:
        self._calls.pop(sessionId, None)
        if self._left.pop(sessionId, None) is not None:
            self._answers[sessionId] = answer
            self._finish()

    def allAsked(self, error: type[Exception] | None) -> None:
        """
        Note that no other session will be asked.

        :param error: the failure of the live sessions that were not asked, for example because the question was
            dropped. By default it says that they left the topic.
        """
        for sessionId, session in tuple(self._left.items()):
            if sessionId not in self._calls:
                if session.endedWith is not None:
                    failure = Failure(session.endedWith.again())
                elif error is not None:
                    failure = Failure(error())
                else:
                    failure = Failure(CallDropped("it left before it was its turn"))
                self._answered(failure, sessionId)
        self._finish()

    def giveUp(self, why: Failure) -> None:
        """Set the missing answers to a failure, and cancel the calls."""
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
