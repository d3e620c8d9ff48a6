"""
Results that may come later, and one call that several callers wait for.

User code may return a plain value, a Deferred or a coroutine. `started` makes the last two one kind, and `then` goes on
with the result: synchronously where it is a plain value, so that nothing is made that nobody waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from inspect import iscoroutine
from typing import Any, Generic, TypeAlias, TypeVar

from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbkit.sessions.waiters import Waiters

T = TypeVar("T")
U = TypeVar("U")

#: A result that is there now or comes later.
MaybeDeferred: TypeAlias = T | Deferred[T]
#: What user code may return.
Returned: TypeAlias = T | Deferred[T] | Coroutine[Deferred[Any], Any, T]

log = Logger()


def started(result: Returned[T]) -> MaybeDeferred[T]:
    """
    Start a coroutine.

    :param result: what a callable has returned.
    :return: a Deferred for a coroutine; anything else as it is.
    """
    return Deferred.fromCoroutine(result) if iscoroutine(result) else result  # type: ignore[return-value]


def then(result: MaybeDeferred[T], f: Callable[[T], MaybeDeferred[U]]) -> MaybeDeferred[U]:
    """
    Call `f` with a result: now if the result is there, else when it comes.

    :return: what `f` returns, or a Deferred of it.
    """
    return result.addCallback(f) if isinstance(result, Deferred) else f(result)


class SharedCall(Generic[T]):
    """
    One call of `f`, made at once, that any number of callers wait for.

    A caller that cancels its Deferred does not disturb the others. Each caller gets an answer in time even if `f`
    ignores its cancellation, which is why the deadline is not left to the Deferred that `f` returns.

    :param f: returns a value, a Deferred or a coroutine.
    :param clock: None means without a deadline.
    :param timeout: in seconds.
    :param onTimeout: makes the error that the callers get when the time is up.
    :param cancellable: whether `f` is cancelled too when the last caller has cancelled.
    :param onFailure: called once when there is no result: `f` failed, the time is up, or the last caller of a
        cancellable call has cancelled.
    :param onDone: called once when there is an outcome, either way.
    """

    def __init__(
        self,
        f: Callable[[], Returned[T]],
        *,
        clock: IReactorTime | None,
        timeout: float,
        onTimeout: Callable[[], Exception],
        cancellable: bool = True,
        onFailure: Callable[[], None] = lambda: None,
        onDone: Callable[[], None] = lambda: None,
    ) -> None:
        self._waiters: Waiters[T] = Waiters(self._abandon)
        self._outcome: tuple[T] | Failure | None = None
        self._onTimeout = onTimeout
        self._onFailure = onFailure
        self._onDone = onDone
        self._cancellable = cancellable
        self._timer: IDelayedCall | None = None
        self._abandoned = False
        # The overloads of maybeDeferred do not know a callable that returns one or the other.
        call: Callable[[], Any] = f
        self._running: Deferred[T] = maybeDeferred(call)
        self._running.addCallbacks(self._succeeded, self._failed)
        if self._outcome is None and clock is not None:
            self._timer = clock.callLater(timeout, self._expired)

    @property
    def done(self) -> bool:
        """True once there is an outcome."""
        return self._outcome is not None

    def wait(self) -> Deferred[T]:
        """
        Wait for the result.

        :return: a Deferred of the caller's own.
        """
        if isinstance(self._outcome, tuple):
            return succeed(self._outcome[0])
        if self._outcome is not None:
            return fail(self._outcome)
        self._abandoned = False
        return self._waiters.wait()

    def _abandon(self) -> None:
        """The last caller has cancelled."""
        self._abandoned = True
        if self._cancellable and self._outcome is None:
            self._giveUp(Failure(CancelledError()))

    def _expired(self) -> None:
        self._timer = None
        self._giveUp(Failure(self._onTimeout()))

    def _giveUp(self, why: Failure) -> None:
        self._settle(why)
        try:
            self._running.cancel()
        except Exception:
            log.failure("cancelling a call that nobody waits for raised")

    def _succeeded(self, result: T) -> None:
        if self._outcome is None:
            self._settle((result,))

    def _failed(self, failure: Failure) -> None:
        if (self._outcome is not None or self._abandoned) and not failure.check(CancelledError):
            # Log it, because no caller waits any more and the error would be lost.
            log.failure("a call that nobody waits for failed", failure)
        if self._outcome is None:
            self._settle(failure)

    def _settle(self, outcome: tuple[T] | Failure) -> None:
        self._outcome = outcome
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # The owner forgets this call before the callers get the outcome, because they may try again at once.
        if isinstance(outcome, Failure):
            self._onFailure()
        self._onDone()
        self._waiters.fire(outcome if isinstance(outcome, Failure) else outcome[0])
