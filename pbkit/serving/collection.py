"""
When Python's cyclic garbage collector runs in a server that twistd started.

By default Python traverses all objects of the process each time their number has grown by a quarter. That stops the
server for about 12 ms for each thousand sessions, although sessions are freed by reference counting and leave nothing
to collect. `Collection` takes the objects that have survived for a while out of the collector's sight
(`gc.freeze`), and lets it look at all of them only when memory has grown so much that garbage may be the reason.

Nothing else in pbkit uses `gc`: a program that runs pbkit's factories itself decides for itself.
"""

from __future__ import annotations

import gc
import sys
import time

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: Seconds from the start to the first freeze, and from one freeze to the next.
FIRST, INTERVAL = 1.0, 10.0
#: What is not frozen is collected before the next freeze, if so few collections of the second generation have added to
#: it. Each adds at most some 8,000 objects, so this takes at most 5 ms.
QUICK = 3
#: All objects are collected when the process has twice as many blocks of memory as after the last time, and at least
#: this many more: about 150 MB, or 30,000 sessions.
GROWTH = 2_000_000
#: A third threshold that is never reached.
NEVER = 2**31 - 1

log = Logger()


class Collection(Service):
    """
    Paces the garbage collector of this process while the service runs.

    :param clock: keeps the time.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._next: IDelayedCall | None = None
        self._thresholds = gc.get_threshold()
        self._blocks = 0

    def startService(self) -> None:
        """Stop automatic collections of all objects. Those of new objects go on as usual."""
        super().startService()  # type: ignore[no-untyped-call]
        self._thresholds = gc.get_threshold()
        gc.set_threshold(*self._thresholds[:2], NEVER)
        self._next = self._clock.callLater(FIRST, self._first)

    def stopService(self) -> None:
        """Restore what was before."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._next is not None:
            self._next.cancel()
            self._next = None
            gc.unfreeze()
            gc.set_threshold(*self._thresholds)

    def _first(self) -> None:
        self._collectAll()
        self._next = self._clock.callLater(INTERVAL, self._again)

    def _again(self) -> None:
        blocks = sys.getallocatedblocks()
        if blocks > max(2 * self._blocks, self._blocks + GROWTH):
            before, start = self._blocks, time.perf_counter()
            self._collectAll()
            log.info(
                "collected garbage among all objects in {ms:.0f} ms, because their number had grown from {before:,} to "
                "{blocks:,}; {after:,} are left",
                ms=(time.perf_counter() - start) * 1e3,
                before=before,
                blocks=blocks,
                after=self._blocks,
            )
        elif gc.get_count()[2] <= QUICK:
            gc.collect()
        gc.freeze()
        self._next = self._clock.callLater(INTERVAL, self._again)

    def _collectAll(self) -> None:
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._blocks = sys.getallocatedblocks()
