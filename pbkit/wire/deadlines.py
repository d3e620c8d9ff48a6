"""
Deadlines of calls: one timer for a connection, not one for each call.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Deadlines:
    """
    When calls of ours have waited long enough.

    :param clock: tells the time, and is waited for.
    :param waiting: the ids that still wait. One that is in it no more is forgotten here by and by.
    :param expired: called with the id of each call that is still waiting at its deadline, and with its timeout.
    """

    __slots__ = ("_clock", "_expired", "_heap", "_timer", "_waiting")

    def __init__(self, clock: IReactorTime, waiting: Container[int], expired: Callable[[int, float], None]) -> None:
        self._clock = clock
        self._waiting = waiting
        self._expired = expired
        self._heap: list[tuple[float, int, float]] = []
        self._timer: IDelayedCall | None = None

    def add(self, requestID: int, timeout: float) -> None:
        """
        :param timeout: in seconds from now.
        """
        heap = self._heap
        when = self._clock.seconds() + max(0.0, timeout)
        heapq.heappush(heap, (when, requestID, timeout))
        if heap[0][1] == requestID:
            self._set()
        elif len(heap) > 64 and heap[len(heap) // 2][1] not in self._waiting:
            # Answered calls are not looked for: that would cost each call. When half may be of these, all go.
            self._sweep()

    def _sweep(self) -> None:
        live = [each for each in self._heap if each[1] in self._waiting]
        if len(live) <= len(self._heap) // 2:
            heapq.heapify(live)
            self._heap[:] = live

    def _set(self) -> None:
        when = self._heap[0][0]
        delay = max(0.0, when - self._clock.seconds())
        if self._timer is not None and self._timer.active():
            if self._timer.getTime() <= when:
                return
            self._timer.reset(delay)
        else:
            self._timer = self._clock.callLater(delay, self._ring)

    def _ring(self) -> None:
        heap, now = self._heap, self._clock.seconds()
        while heap and (heap[0][0] <= now or heap[0][1] not in self._waiting):
            _, requestID, timeout = heapq.heappop(heap)
            if requestID in self._waiting:
                self._expired(requestID, timeout)
        if heap:
            self._set()

    def stop(self) -> None:
        """Nothing waits at the moment, so there is no timer: a test's clock is to be empty then."""
        self._heap.clear()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
