"""
One run of somebody's callable, that several may wait for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import iscoroutine
from typing import Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

T = TypeVar("T")

log = Logger()


def attempt(f: Callable[[], T | Awaitable[T]]) -> Deferred[T]:
    """
    Call `f`, which may return a value, a Deferred or a coroutine.

    :return: a Deferred of what it gives or raises. Never raises itself.
    """
    try:
        result = f()
    except Exception:
        return fail(Failure())
    if iscoroutine(result):
        return Deferred.fromCoroutine(result)
    if isinstance(result, Deferred):
        return result
    return succeed(result)  # type: ignore[arg-type]


class Attempt(Generic[T]):
    """
    One run of `f`, started at once, that any number of waiters share.

    A waiter that gives up (cancels its Deferred) takes nothing from the others. Who waits is answered
    in time even if `f` ignores being cancelled, which is why the deadline is not left to `f`'s Deferred.

    :param f: returns a value, a Deferred or a coroutine.
    :param clock: None means without a deadline.
    :param timeout: in seconds.
    :param onTimeout: makes the error that the waiters get when the time is up.
    :param cancellable: whether `f` is cancelled when the last waiter has given up, too.
    :param onFailure: called once when there is no result to be had: `f` failed, the time is up, or the
        last waiter of a cancellable run is gone.
    :param onDone: called once when it is settled, either way.
    """

    def __init__(
        self,
        f: Callable[[], T | Awaitable[T]],
        *,
        clock: IReactorTime | None,
        timeout: float,
        onTimeout: Callable[[], Exception],
        cancellable: bool = True,
        onFailure: Callable[[], None] = lambda: None,
        onDone: Callable[[], None] = lambda: None,
    ) -> None:
        self._waiters: list[Deferred[T]] = []
        self._outcome: tuple[T] | Failure | None = None
        self._onTimeout = onTimeout
        self._onFailure = onFailure
        self._onDone = onDone
        self._cancellable = cancellable
        self._timer: IDelayedCall | None = None
        self._abandoned = False
        self._running = attempt(f)
        self._running.addCallbacks(self._succeeded, self._failed)
        if self._outcome is None and clock is not None:
            self._timer = clock.callLater(timeout, self._expired)

    @property
    def done(self) -> bool:
        """Whether it is settled."""
        return self._outcome is not None

    def wait(self) -> Deferred[T]:
        """
        :return: a Deferred of what `f` gives; one of its own for each call.
        """
        if isinstance(self._outcome, tuple):
            return succeed(self._outcome[0])
        if self._outcome is not None:
            return fail(self._outcome)
        waiter: Deferred[T] = Deferred(self._giveUp)
        self._waiters.append(waiter)
        self._abandoned = False
        return waiter

    def _giveUp(self, waiter: Deferred[T]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        self._abandoned = not self._waiters
        if self._abandoned and self._cancellable and self._outcome is None:
            self._abandon(Failure(CancelledError()))

    def _expired(self) -> None:
        self._timer = None
        self._abandon(Failure(self._onTimeout()))

    def _abandon(self, why: Failure) -> None:
        self._settle(why)
        try:
            self._running.cancel()
        except Exception:
            log.failure("cancelling what was given up raised")

    def _succeeded(self, result: T) -> None:
        if self._outcome is None:
            self._settle((result,))

    def _failed(self, failure: Failure) -> None:
        if (self._outcome is not None or self._abandoned) and not failure.check(CancelledError):
            # Nobody waits any more, and an error that nobody hears of is worse than a late one.
            log.failure("failed after it was given up", failure)
        if self._outcome is None:
            self._settle(failure)

    def _settle(self, outcome: tuple[T] | Failure) -> None:
        self._outcome = outcome
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # Forget it before anybody hears of it: who is told may try anew at once.
        if isinstance(outcome, Failure):
            self._onFailure()
        self._onDone()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if waiter.called:
                continue  # An earlier one's callbacks made it give up.
            if isinstance(outcome, tuple):
                waiter.callback(outcome[0])
            else:
                waiter.errback(outcome)
