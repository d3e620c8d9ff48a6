"""
Some who wait for one event.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred


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
