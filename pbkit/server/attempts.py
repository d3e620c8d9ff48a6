"""
The password logins of one connection, and what failed ones cost.
"""

from __future__ import annotations

import unicodedata
from collections import deque
from typing import Any

from twisted.cred.error import LoginFailed
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
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
    TooManyAttempts,
    TooManyFailures,
    TooManySessions,
)
from pbkit.interfaces import IPeer
from pbkit.server.throttle import LoginThrottle, Pair
from pbkit.wire.broker import Broker
from pbkit.wire.prelogin.seat import addressGroupOf
from pbkit.wire.profile import Door

log = Logger()

#: Refusals that say nothing about the password, although the realm was not reached. Guests have no password; a bad mind
#: or a used challenge did not reach a checker; a checker that broke down or took too long has not found the password
#: wrong, nor has a server that is full, is stopping or lost the connection; a name that cannot be served is no guess.
#: Any other error of a checker counts as a wrong password, errors of the user's own too, because it may mean one.
_NO_GUESS = (
    AnonymousRefused,
    BadAvatarId,
    BadMind,
    ChallengeExpired,
    LoginInterrupted,
    LoginTimedOut,
    LoginUnavailable,
    ServerStopping,
    TooManyAttempts,
    TooManyFailures,
    TooManySessions,
)


class LoginAttempt:
    """
    One answer to one challenge.

    :param attempts: those of the connection.
    :param pair: the source and the user name, for the throttle.
    :param name: the user name as the client spelled it.
    :ivar since: when its turn began.
    """

    def __init__(self, attempts: LoginAttempts, pair: Pair, name: bytes = b"") -> None:
        self._attempts = attempts
        self.pair = pair
        self.name = name
        self.since: float | None = None
        self.decided = False

    def passed(self) -> None:
        """The credentials were right, whatever the realm decides. Idempotent."""
        if not self.decided:
            self.decided = True
            self._attempts.passed(self)

    def refused(self, failure: Failure) -> Deferred[object]:
        """
        The login is refused.

        :return: a Deferred that fails with the same failure when it is time to answer. It never fires if the connection
            is lost before that.
        """
        if self.decided:
            return fail(failure)
        self.decided = True
        return self._attempts.refused(self, failure)


class LoginAttempts:
    """
    The password logins of one connection.

    A login first waits for the throttle of the server. Then the number of logins that are with a checker is limited to
    the number that may still fail on this connection; others wait. Otherwise a client that does not wait for answers
    would have any number of guesses.

    :param door: the limits.
    :param throttle: that of the server.
    :param broker: the connection.
    :ivar exhausted: True if the connection is being closed, because too many logins in a row have failed.
    """

    def __init__(self, door: Door, throttle: LoginThrottle, broker: Broker) -> None:
        self.exhausted = False
        self._door = door
        self._throttle = throttle
        self._broker = broker
        self._failures = 0
        self._undecided = 0
        # Logins that wait for the throttle, and logins that wait for a turn.
        self._throttled: set[Deferred[None]] | None = None
        self._waiting: deque[tuple[LoginAttempt, Deferred[LoginAttempt]]] | None = None
        self._moving = False
        # The timers of the answers that are delayed.
        self._delayed: dict[IDelayedCall, None] | None = None

    @property
    def idle(self) -> bool:
        """True if no login is under way, and none has failed."""
        under = self._undecided or self._throttled or self._waiting or self._delayed
        return not (self.exhausted or self._failures or under)

    def begin(self, name: bytes) -> LoginAttempt | Deferred[LoginAttempt]:
        """
        Get a turn for a login, or wait for one. The caller then reports the outcome to the attempt.

        :param name: the user name.
        :return: the attempt; or a Deferred of it, which fails with `TooManyFailures` or `TooManyAttempts`, and never
            fires if the connection is lost.
        :raises TooManyFailures: the connection is being closed.
        :raises TooManyAttempts: too many logins of this user wait.
        """
        if self.exhausted:
            raise TooManyFailures()
        attempt = LoginAttempt(self, (sourceOf(self._broker.peer), folded(name)), name)
        throttled = self._throttle.begin(attempt.pair, self._clock)
        if throttled is None:
            return self._takeTurn(attempt)
        self._listen()
        waiting = self._throttled = self._throttled or set()
        waiting.add(throttled)
        turn: Deferred[LoginAttempt] = Deferred()

        def admitted(_: None) -> None:
            waiting.discard(throttled)
            try:
                taken = self._takeTurn(attempt)
            except TooManyFailures:
                turn.errback(Failure())
                return
            if isinstance(taken, Deferred):
                taken.chainDeferred(turn)
            else:
                turn.callback(taken)

        def refused(failure: Failure) -> None:
            waiting.discard(throttled)
            if not failure.check(CancelledError):
                turn.errback(failure)

        throttled.addCallbacks(admitted, refused)
        return turn

    def _takeTurn(self, attempt: LoginAttempt) -> LoginAttempt | Deferred[LoginAttempt]:
        if self.exhausted:
            self._throttle.undecided(attempt.pair, self._clock)
            raise TooManyFailures()
        if not self._waiting and self._free():
            return self._begun(attempt)
        self._listen()
        if self._waiting is None:
            self._waiting = deque()
        turn: Deferred[LoginAttempt] = Deferred()
        self._waiting.append((attempt, turn))
        return turn

    def _begun(self, attempt: LoginAttempt) -> LoginAttempt:
        self._undecided += 1
        clock = self._clock
        attempt.since = None if clock is None else clock.seconds()
        return attempt

    def reject(self, failure: Failure) -> Deferred[object]:
        """
        Refuse a login without asking a checker, with the delay of a failed login. It waits for no turn.

        :return: as `LoginAttempt.refused`.
        """
        self._undecided += 1
        return LoginAttempt(self, (f"invalid names from {sourceOf(self._broker.peer)}", b"")).refused(failure)

    def passed(self, attempt: LoginAttempt) -> None:
        """For `LoginAttempt`."""
        self._failures = 0
        self._throttle.passed(attempt.pair, self._clock, attempt.name)
        self._next()

    def refused(self, attempt: LoginAttempt, failure: Failure) -> Deferred[object]:
        """For `LoginAttempt`."""
        clock = self._clock
        if failure.check(LoginFailed) is None or failure.check(*_NO_GUESS) is not None:
            self._throttle.undecided(attempt.pair, clock)
            self._next()
            return fail(failure)
        self._failures += 1
        if self._door.failures is not None and self._failures >= self._door.failures:
            self.exhausted = True
        # Count it even if the connection is lost by now: a client that does not wait for the answer guesses too.
        delay = 0.0 if clock is None else self._throttle.failed(attempt.pair, clock, attempt.since, attempt.name)
        answer = self._answer(failure, clock, delay)
        self._next()
        return answer

    def _answer(self, answer: Failure, clock: IReactorTime | None, delay: float) -> Deferred[object]:
        if not self._broker.peer.alive or not (delay or self.exhausted):
            return fail(answer)
        if clock is None:
            # Without a clock there is no "later". TCP still sends what is written after this; the client learns of
            # other answers by the loss.
            self._close()
            return fail(answer)
        answered: Deferred[object] = Deferred()

        def say() -> None:
            del delayed[call]
            answered.errback(answer)
            # Close only when every answer is sent: a login that failed earlier may have a longer delay.
            if self.exhausted and not delayed:
                self._close()

        delayed = self._listen()
        call = clock.callLater(delay, say)
        delayed[call] = None
        return answered

    def _close(self) -> None:
        if self._broker.peerLog.admits():
            log.info(
                "connection closed: the last {failures} logins from {peer} failed",
                failures=self._failures,
                peer=str(self._broker.peer),
            )
        # Close when the answers are sent, or they would be lost.
        transport: Any = self._broker.transport
        self._broker.outbound.onWritable(transport.loseConnection)

    def _free(self) -> bool:
        return self._door.failures is None or self._undecided < self._door.failures - self._failures

    def _next(self) -> None:
        self._undecided -= 1
        if self._moving:
            return  # The loop below goes on. Calling it again for each login that waits would recurse too deep.
        self._moving = True
        while self._waiting and (self.exhausted or self._free()):
            attempt, turn = self._waiting.popleft()
            if self.exhausted:
                self._throttle.undecided(attempt.pair, self._clock)
                turn.errback(TooManyFailures())
            else:
                turn.callback(self._begun(attempt))
        self._moving = False

    @property
    def _clock(self) -> IReactorTime | None:
        return self._broker.peer.clock

    def _listen(self) -> dict[IDelayedCall, None]:
        if self._delayed is None:
            self._delayed = {}
            self._broker.peer.onLost(self._lost)
        return self._delayed

    def _lost(self) -> None:
        # There is no client to answer.
        waiting, self._waiting = self._waiting, None
        for attempt, _ in waiting or ():
            self._throttle.undecided(attempt.pair, self._clock)
        for throttled in tuple(self._throttled or ()):
            throttled.cancel()
        while self._delayed:
            self._delayed.popitem()[0].cancel()


def folded(name: bytes) -> bytes:
    """
    Return the name under which the throttle counts. Some checkers ignore case or spaces at the end, or normalize names:
    otherwise a guesser would have as many guesses as a name has spellings.
    """
    if name.isascii():
        return name.lower().strip()
    text = unicodedata.normalize("NFKC", name.decode("utf-8", "surrogateescape"))
    return text.casefold().strip().encode("utf-8", "surrogateescape")


def sourceOf(peer: IPeer) -> str:
    """
    Return what counts as one client for the throttle.

    :return: the address, or the IPv6 /64 network. A peer that has neither, such as one of a Unix socket, is told apart
        by its connection: otherwise one local program could hold up all others.
    """
    address = peer.address
    return str(addressGroupOf(address)) if isinstance(getattr(address, "host", None), str) else peer.peerId
