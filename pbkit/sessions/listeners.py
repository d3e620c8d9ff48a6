"""
Callbacks for one event, each with a callable that removes it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Generic, TypeVar

from twisted.logger import Logger

E = TypeVar("E")

log = Logger()


class Listeners(Generic[E]):
    """
    The callbacks that are registered for one event.

    :param event: what the event is called in the log.
    """

    __slots__ = ("_callbacks", "_event", "_numbers")

    def __init__(self, event: str) -> None:
        self._event = event
        self._callbacks: dict[int, Callable[[E], object]] = {}
        self._numbers = count()

    def add(self, f: Callable[[E], object]) -> Callable[[], None]:
        """
        Call `f` at each event, in the order of registration. A callback that is added twice is called twice.

        :return: a callable that removes `f`; calling it again does nothing.
        """
        number = next(self._numbers)
        self._callbacks[number] = f

        def stop() -> None:
            self._callbacks.pop(number, None)

        return stop

    def tell(self, what: E) -> None:
        """Call all callbacks. An exception in one is logged, and the next is called."""
        for f in tuple(self._callbacks.values()):
            try:
                f(what)
            except Exception:
                log.failure("a listener for {event} raised", event=self._event)
