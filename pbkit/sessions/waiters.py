"""
Some who wait for one event, and how long one who waits for several has patience.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Waiting:
    """
    Those who wait for something. They are told in the order in which they came, each in a Deferred of its own that may
    be cancelled.

    :param onEmpty: called when the last of them has given up.
    """

    __slots__ = ("_onEmpty", "_waiters")

    def __init__(self, onEmpty: Callable[[], object] | None = None) -> None:
        self._waiters: list[Deferred[None]] = []
        self._onEmpty = onEmpty

    def wait(self) -> Deferred[None]:
        """
        :return: a Deferred that fires at the next `tell`.
        """
        waiter: Deferred[None] = Deferred(self._giveUp)
        self._waiters.append(waiter)
        return waiter

    def _giveUp(self, waiter: Deferred[None]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            if not self._waiters and self._onEmpty is not None:
                self._onEmpty()

    def tell(self) -> None:
        """It has come about: tell those who wait by now."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.called:  # An earlier one's callbacks may have made it give up.
                waiter.callback(None)


class Patience:
    """
    A time for all that is waited for together, however many things these are. One timer, from when it is made.

    :param clock: None means without end.
    :param seconds: how long.
    :param onTimeout: makes the error for when it is over.
    """

    def __init__(self, clock: IReactorTime | None, seconds: float, onTimeout: Callable[[], Exception]) -> None:
        self._onTimeout = onTimeout
        self._over = False
        self._waiting: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None if clock is None else clock.callLater(seconds, self._expired)

    async def wait(self, event: Deferred[None]) -> None:
        """
        Wait for one thing.

        :raises Exception: it did not come about in time.
        """
        if self._over:
            event.cancel()
        self._waiting = event
        try:
            await event
        except CancelledError:
            if self._over:
                raise self._onTimeout() from None
            raise
        finally:
            self._waiting = None

    def stop(self) -> None:
        """Nothing is waited for any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expired(self) -> None:
        self._timer = None
        self._over = True
        if self._waiting is not None:
            self._waiting.cancel()
