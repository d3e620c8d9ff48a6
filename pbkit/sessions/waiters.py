"""
Several callers that wait for one event, and one time limit over several waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

T = TypeVar("T")


class Waiters(Generic[T]):
    """
    The callers that wait for one event. Each has a Deferred of its own, which it may cancel without effect on the
    others.

    :param onEmpty: called when the last caller has cancelled.
    """

    __slots__ = ("_onEmpty", "_waiting")

    def __init__(self, onEmpty: Callable[[], object] | None = None) -> None:
        self._waiting: list[Deferred[T]] = []
        self._onEmpty = onEmpty

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self) -> Deferred[T]:
        """
        Wait for the next `fire`.

        :return: a Deferred of what that is given.
        """
        waiter: Deferred[T] = Deferred(self._cancelled)
        self._waiting.append(waiter)
        return waiter

    def _cancelled(self, waiter: Deferred[T]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)
            if not self._waiting and self._onEmpty is not None:
                self._onEmpty()

    def fire(self, result: T | Failure) -> None:
        """Give the result to all callers that wait by now, in the order in which they came."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            # The callbacks of an earlier caller may have cancelled this one.
            if not waiter.called:
                waiter.callback(result)


class Timeout:
    """
    One time limit over all that is awaited with it, however many waits these are. It starts when it is made.

    :param clock: None means without a limit.
    :param seconds: the limit.
    :param onTimeout: makes the error that is raised when the time is up.
    """

    def __init__(self, clock: IReactorTime | None, seconds: float, onTimeout: Callable[[], Exception]) -> None:
        self._onTimeout = onTimeout
        self._expired = False
        self._waiting: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None if clock is None else clock.callLater(seconds, self._expire)

    async def wait(self, event: Deferred[None]) -> None:
        """
        Wait for one event.

        :raises Exception: it has not happened in time.
        """
        if self._expired:
            event.cancel()
        self._waiting = event
        try:
            await event
        except CancelledError:
            if self._expired:
                raise self._onTimeout() from None
            raise
        finally:
            self._waiting = None

    def stop(self) -> None:
        """Cancel the timer: all waits are over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        self._expired = True
        if self._waiting is not None:
            self._waiting.cancel()
