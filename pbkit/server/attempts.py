"""
The log-ins of one connection that a password is to prove, and what becomes of it when they fail.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.cred.error import LoginFailed
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbkit.errors import (
    AnonymousRefused,
    BadAvatarId,
    BadMind,
    ChallengeExpired,
    LoginInterrupted,
    LoginTimedOut,
    LoginUnavailable,
    ServerStopping,
    TooManyFailures,
    TooManySessions,
)
from pbkit.server.throttle import Patience
from pbkit.wire.prelogin.seat import addressGroupOf
from pbkit.wire.profile import Door

log = Logger()

#: What says nothing of the password, though no realm was reached. A guest has none, and neither he nor a bad mind nor a
#: used challenge came before a checker; a checker that broke down or took too long has not found it wrong, nor has a
#: server that is full, is stopping or lost the connection; a name that cannot be served is nobody's guess. All else
#: that a checker says counts, errors of the user's own too: it may mean a wrong password.
_NO_GUESS = (
    AnonymousRefused,
    BadAvatarId,
    BadMind,
    ChallengeExpired,
    LoginInterrupted,
    LoginTimedOut,
    LoginUnavailable,
    ServerStopping,
    TooManyFailures,
    TooManySessions,
)


class Try:
    """
    One answer to one challenge.

    :param tries: those of its connection.
    :param name: the user name, as bytes.
    """

    def __init__(self, tries: Tries, name: bytes) -> None:
        self._tries = tries
        self.name = name
        self.decided = False

    def passed(self) -> None:
        """The credentials were right, whatever the realm says next. Idempotent."""
        if not self.decided:
            self.decided = True
            self._tries.passed(self)

    def refused(self, failure: Failure) -> Deferred[Any]:
        """
        The login is refused.

        :return: a Deferred that fails the same when it is time to say so. If the connection is lost before, it never
            fires.
        """
        if self.decided:
            return fail(failure)
        self.decided = True
        return self._tries.refused(self, failure)


class Tries:
    """
    Those of one connection.

    Before so many have failed in a row, no more than what is left of these are with a checker that has not decided;
    the others wait. Or a client that does not wait for answers would have as many guesses as it likes.

    :param door: the bounds.
    :param patience: the server's.
    :param broker: the connection.
    :ivar exhausted: whether it is being closed, for as many failures in a row as there may be.
    """

    def __init__(self, door: Door, patience: Patience, broker: Any) -> None:
        self.exhausted = False
        self._door = door
        self._patience = patience
        self._broker = broker
        self._failures = 0
        self._undecided = 0
        # An empty deque takes 0.6 KB.
        self._waiting: deque[tuple[Try, Deferred[Try]]] | None = None
        self._moving = False
        # The answers that wait.
        self._late: dict[Any, None] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, and nothing has failed."""
        return not (self.exhausted or self._failures or self._undecided or self._waiting or self._late)

    def begin(self, name: bytes) -> Try | Deferred[Try]:
        """
        Have the turn of a login, or wait for it. Whoever gets it calls `Try.passed` or `Try.refused`.

        :param name: the user name.
        :return: the `Try`; or a Deferred of it, which fails with `TooManyFailures`, and never fires if the connection
            is lost.
        :raises TooManyFailures: no turn will come.
        """
        if self.exhausted:
            raise TooManyFailures()
        attempt = Try(self, name)
        if not self._waiting and self._free():
            self._undecided += 1
            return attempt
        self._listen()
        if self._waiting is None:
            self._waiting = deque()
        turn: Deferred[Try] = Deferred()
        self._waiting.append((attempt, turn))
        return turn

    def reject(self, failure: Failure) -> Deferred[Any]:
        """
        Refuse what need not be brought before a checker, as late as if it had been. It waits for no turn.

        :return: as `Try.refused`.
        """
        self._undecided += 1
        return Try(self, b"").refused(failure)

    def passed(self, attempt: Try) -> None:
        """For `Try`."""
        self._failures = 0
        if len(self._patience):
            self._patience.succeeded(self._group(), attempt.name)
        self._next()

    def refused(self, attempt: Try, failure: Failure) -> Deferred[Any]:
        """For `Try`."""
        if failure.check(LoginFailed) is None or failure.check(*_NO_GUESS) is not None:
            self._next()
            return fail(failure)
        self._failures += 1
        if self._door.failures is not None and self._failures >= self._door.failures:
            self.exhausted = True
        clock = self._broker.peer.clock
        delay = 0.0
        if clock is not None:
            # Also if the connection is lost by now: who does not wait for the answer guesses none the less.
            delay = self._patience.failed(self._group(), attempt.name, clock.seconds())
        answer = self._answer(failure, clock, delay)
        self._next()
        return answer

    def _answer(self, answer: Failure, clock: Any, delay: float) -> Deferred[Any]:
        if not self._broker.peer.alive or not (delay or self.exhausted):
            return fail(answer)
        if clock is None:
            # There is no later. TCP still sends what is written after this; the client learns of the rest by the loss.
            self._close()
            return fail(answer)
        answered: Deferred[Any] = Deferred()

        def say() -> None:
            del late[call]
            answered.errback(answer)
            # Not before each is told: a login that failed earlier may have longer to wait.
            if self.exhausted and not late:
                self._close()

        late = self._listen()
        call = clock.callLater(delay, say)
        late[call] = None
        return answered

    def _close(self) -> None:
        log.info(
            "connection closed: the last {failures} log-ins from {peer} failed",
            failures=self._failures,
            peer=str(self._broker.peer),
        )
        # In good order, or what was told last would be lost. A client that does not read it is not served either.
        self._broker.outbound.onWritable(self._broker.transport.loseConnection)

    def _free(self) -> bool:
        return self._door.failures is None or self._undecided < self._door.failures - self._failures

    def _next(self) -> None:
        self._undecided -= 1
        if self._moving:
            return  # From within the loop below, which goes on. A call of it for each that waits would be too deep.
        self._moving = True
        while self._waiting and (self.exhausted or self._free()):
            attempt, turn = self._waiting.popleft()
            if self.exhausted:
                turn.errback(TooManyFailures())
            else:
                self._undecided += 1
                turn.callback(attempt)
        self._moving = False

    def _group(self) -> str:
        return str(addressGroupOf(self._broker.peer.address))

    def _listen(self) -> dict[Any, None]:
        if self._late is None:
            self._late = {}
            self._broker.peer.onLost(self._lost)
        return self._late

    def _lost(self) -> None:
        # Nobody is there to be answered.
        self._waiting = None
        while self._late:
            self._late.popitem()[0].cancel()
