"""Callbacks for one event."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pbkit.sessions.listeners import Listeners


class ListenersTests(SynchronousTestCase):
    """`Listeners`."""

    def setUp(self) -> None:
        """Make an event without listeners."""
        self.listeners: Listeners[int] = Listeners("a test")
        self.called: list[Any] = []

    def test_order(self) -> None:
        """Callbacks are called in the order in which they were added, with what is told."""
        for name in "ab":
            self.listeners.add(lambda what, name=name: self.called.append((name, what)))  # type: ignore[misc]
        self.listeners.tell(7)
        self.assertEqual(self.called, [("a", 7), ("b", 7)])

    def test_stop(self) -> None:
        """What `add` returns removes that one callback, even if the same was added twice; again it does nothing."""
        stops = [self.listeners.add(self.called.append) for _ in range(2)]
        stops[0]()
        stops[0]()
        self.listeners.tell(1)
        self.assertEqual(self.called, [1])
        stops[1]()
        self.listeners.tell(2)
        self.assertEqual(self.called, [1])

    def test_meanwhile(self) -> None:
        """A callback may add and remove callbacks, which counts from the next event on."""

        def first(what: int) -> None:
            stop()
            self.listeners.add(self.called.append)

        stop = self.listeners.add(first)
        self.listeners.tell(1)
        self.listeners.tell(2)
        self.assertEqual(self.called, [2])

    def test_raises(self) -> None:
        """An exception is logged, and the others are called."""

        def fail(what: int) -> None:
            raise LookupError("its own mistake")

        self.listeners.add(fail)
        self.listeners.add(self.called.append)
        self.listeners.tell(1)
        self.assertEqual(self.called, [1])
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
