"""`pbkit.serving.collection`: when the garbage collector runs."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from pbkit.serving import collection
from pbkit.serving.collection import FIRST, GROWTH, INTERVAL, NEVER, QUICK, Collection
from pbkit.tap import Options, makeService


class Collector:
    """Python's `gc`, which notes what it is asked to do."""

    def __init__(self) -> None:
        self.threshold = (700, 10, 10)
        self.count = (0, 0, 0)
        self.did: list[str] = []

    def get_threshold(self) -> tuple[int, int, int]:
        """As `gc`'s."""
        return self.threshold

    def set_threshold(self, *threshold: int) -> None:
        """As `gc`'s."""
        self.threshold = threshold  # type: ignore[assignment]

    def get_count(self) -> tuple[int, int, int]:
        """As `gc`'s."""
        return self.count

    def __getattr__(self, name: str) -> Any:
        return lambda: self.did.append(name)

    def taken(self) -> list[str]:
        """Return what it did since the last time."""
        did, self.did = self.did, []
        return did


class CollectionTests(SynchronousTestCase):
    """`Collection`, with a collector that does nothing."""

    def setUp(self) -> None:
        """Start it."""
        self.gc = Collector()
        self.blocks = 100_000
        self.patch(collection, "gc", self.gc)
        self.patch(collection, "sys", SimpleNamespace(getallocatedblocks=lambda: self.blocks))
        self.clock = Clock()
        self.collection = Collection(self.clock)
        self.collection.startService()

    def test_neverByItself(self) -> None:
        """Python does not traverse all objects by itself; new ones it collects as always."""
        self.assertEqual(self.gc.threshold, (700, 10, NEVER))

    def test_theStart(self) -> None:
        """What the start has left behind is collected, and what it has made is frozen."""
        self.clock.advance(FIRST)
        self.assertEqual(self.gc.taken(), ["unfreeze", "collect", "freeze"])

    def test_nowAndThen(self) -> None:
        """What has come since is collected and frozen; if it is much, it is only frozen, because that takes no time."""
        self.clock.advance(FIRST)
        self.gc.taken()
        for count, does in ((QUICK, ["collect", "freeze"]), (QUICK + 1, ["freeze"])):
            self.gc.count = (0, 0, count)
            self.clock.advance(INTERVAL)
            self.assertEqual(self.gc.taken(), does)

    def test_allIfTheyBecomeMany(self) -> None:
        """All objects are collected once there are twice as many, and many more; the log says how long it took."""
        self.clock.advance(FIRST)
        self.gc.taken()
        self.blocks += GROWTH
        self.clock.advance(INTERVAL)
        self.assertNotIn("unfreeze", self.gc.taken())
        self.blocks += 1
        with capturedLogs() as logs:
            self.clock.advance(INTERVAL)
        self.assertEqual(self.gc.taken()[:3], ["unfreeze", "collect", "freeze"])
        self.assertIn("had grown from 100,000 to 2,100,001", formatEvent(logs[0]))
        self.blocks *= 2
        self.clock.advance(INTERVAL)
        self.assertNotIn("unfreeze", self.gc.taken())
        self.blocks += 1
        self.clock.advance(INTERVAL)
        self.assertIn("unfreeze", self.gc.taken())

    def test_theEnd(self) -> None:
        """When the service stops, the collector is as it was, and nothing is scheduled."""
        self.clock.advance(FIRST)
        self.collection.stopService()
        self.assertEqual((self.gc.threshold, self.gc.taken()[-1]), ((700, 10, 10), "unfreeze"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stoppedWithoutAStart(self) -> None:
        """A service whose start failed changes nothing when it stops."""
        never = Collection(self.clock)
        never.stopService()
        self.assertEqual(self.gc.threshold, (700, 10, NEVER))


class RealTests(SynchronousTestCase):
    """`Collection`, with Python's own collector."""

    def test_freezes(self) -> None:
        """The objects of the process are frozen while it runs, and not after it."""
        clock, thresholds = Clock(), gc.get_threshold()
        service = Collection(clock)
        service.startService()
        self.addCleanup(service.stopService)
        clock.advance(FIRST)
        self.assertGreater(gc.get_freeze_count(), 10_000)
        clock.advance(INTERVAL)
        service.stopService()
        self.assertEqual((gc.get_threshold(), gc.get_freeze_count()), (thresholds, 0))

    def served(self, *flags: str) -> list[Collection]:
        """Return what twistd's service has to pace the collector."""
        options = Options()
        options.parseOptions(["--realm", "multi", *flags])
        service: Any = makeService(options)
        self.addCleanup(service._terminal.close)
        return [child for child in service if isinstance(child, Collection)]

    def test_theFlag(self) -> None:
        """twistd's server paces the collector, unless ``--gc python`` leaves it to Python."""
        self.assertEqual(len(self.served()), 1)
        self.assertEqual(len(self.served("--gc", "freeze")), 1)
        self.assertEqual(self.served("--gc", "python"), [])
        self.assertRaises(UsageError, self.served, "--gc", "off")
