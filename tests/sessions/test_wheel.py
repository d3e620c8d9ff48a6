"""Many things that happen again and again, on one timer."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbkit.sessions import wheel as module
from pbkit.sessions.wheel import CROWD, Wheel, wheelOf
from tests.support import timers


class Toil(Clock):
    """A clock on which work takes time."""

    def work(self, seconds: float) -> None:
        """Let time go by, with nobody being called."""
        self.rightNow += seconds


class WheelTests(SynchronousTestCase):
    """`Wheel`."""

    def setUp(self) -> None:
        """A clock and its wheel."""
        self.clock = Toil()
        self.wheel = Wheel(self.clock)
        self.ticks: list[float] = []

    def tick(self) -> None:
        """Write down when."""
        self.ticks.append(self.clock.seconds())

    def test_oncePerPeriod(self) -> None:
        """It happens once in each period, the first time after one, until it is stopped; then no timer is left."""
        ticking = self.wheel.every(2.0, self.tick)
        self.clock.pump([0.5] * 12)
        self.assertEqual(self.ticks, [2, 4, 6])
        ticking.stop()
        ticking.stop()
        self.assertFalse(ticking.running)
        self.clock.pump([0.5] * 12)
        self.assertEqual(self.ticks, [2, 4, 6])
        self.assertEqual((len(self.wheel), timers(self.clock)), (0, []))

    def test_noDrift(self) -> None:
        """After a hundred thousand periods of 0.1 s, each served a little late, it is where it should be."""
        self.wheel.every(0.1, self.tick)
        for n in range(1, 100_001):
            self.clock.advance(n * 0.1 + 0.003 - self.clock.seconds())
        self.assertEqual(len(self.ticks), 100_000)
        self.assertAlmostEqual(self.ticks[-1], 10_000.003, places=6)

    def test_missedOnesAreLeftOut(self) -> None:
        """When the reactor was held for long it happens once, and goes on as it would have: there is no burst."""
        self.wheel.every(1.0, self.tick)
        self.clock.advance(10.5)
        self.assertEqual(self.ticks, [10.5])
        self.clock.advance(0.5)
        self.assertEqual(self.ticks, [10.5, 11])

    def test_oneTimer(self) -> None:
        """Ten thousand of all periods are one delayed call."""
        tickings = [self.wheel.every(0.01 + n / 100, self.tick) for n in range(10_000)]
        self.assertEqual((len(self.wheel), len(timers(self.clock))), (10_000, 1))
        self.clock.advance(0.02)
        self.assertEqual(len(timers(self.clock)), 1)
        for ticking in tickings:
            ticking.stop()
        self.assertEqual(timers(self.clock), [])

    def test_spread(self) -> None:
        """Ten thousand of one second that begin at once are spread over it: no slot has more than twice the mean."""
        for _ in range(10_000):
            self.wheel.every(1.0, self.tick)
        self.clock.advance(0)
        slots: Counter[int] = Counter()
        for n in range(2048):
            self.clock.advance(1 / 1024)
            if n >= 1024:
                slots[n // 10] += len(self.ticks)
            self.ticks.clear()
        self.assertEqual(sum(slots.values()), 10_000)
        # What is looked at here lies across two slots.
        self.assertLessEqual(max(slots.values()), 2 * 202)
        self.assertLessEqual(max(self.wheel._rhythms[1.0].slots.values()), 202)

    def test_aFewStayTogether(self) -> None:
        """A crowd is 32: so many that begin together come together, in full periods."""
        for _ in range(CROWD):
            self.wheel.every(1.0, self.tick)
        self.clock.advance(0.99)
        self.assertEqual(self.ticks, [])
        self.clock.advance(0.01)
        self.assertEqual(self.ticks, [1.0] * CROWD)

    def test_aTurnIsShort(self) -> None:
        """What takes longer than 5 ms goes on in the next turn of the reactor, and is not forgotten."""

        def toil() -> None:
            self.tick()
            self.clock.work(0.002)

        for _ in range(10):
            self.wheel.every(1.0, toil)
        ends: list[int] = []

        def callLater(*args: Any) -> Any:
            ends.append(len(self.ticks))
            return Clock.callLater(self.clock, *args)

        self.patch(self.clock, "callLater", callLater)
        self.clock.advance(1)
        # Then nothing is due before the next second.
        self.assertEqual(ends, [3, 6, 9, 10])

    def test_oneThatRaises(self) -> None:
        """One that raises is logged, and goes on; so do the others."""

        def fail() -> None:
            self.tick()
            raise LookupError("its own affair")

        self.wheel.every(1.0, fail)
        self.wheel.every(1.0, self.tick)
        self.clock.pump([1, 1])
        self.assertEqual(self.ticks, [1, 1, 2, 2])
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 2)

    def test_stopsItselfAndOthers(self) -> None:
        """One may stop itself, or another that is due at the same time, or begin anew, as it happens."""
        tickings: list[Any] = []

        def stopAll() -> None:
            self.tick()
            for ticking in tickings:
                ticking.stop()
            tickings[:] = [self.wheel.every(0.5, self.tick)]

        tickings += [self.wheel.every(1.0, stopAll), self.wheel.every(1.0, stopAll)]
        self.clock.advance(1)
        self.assertEqual((self.ticks, len(self.wheel)), ([1], 1))
        self.clock.advance(0.5)
        self.assertEqual(self.ticks, [1, 1.5])
        tickings[0].stop()
        self.assertEqual(timers(self.clock), [])

    def test_stoppedOnesAreNotKept(self) -> None:
        """A period that is set over and over, as a client may do, leaves nothing behind; nor do a day's clocks."""
        keep = self.wheel.every(86400.0, self.tick)
        for n in range(10_000):
            self.wheel.every(86400.0 - n / 100, self.tick).stop()
        self.assertLess(len(self.wheel._heap), 40)
        self.assertEqual(len(self.wheel._rhythms), 1)
        keep.stop()
        self.assertEqual((self.wheel._heap, self.wheel._rhythms), ([], {}))

    def test_theWheelOfAClock(self) -> None:
        """All who ask for the wheel of a clock share it; it is kept no longer than something turns on it."""
        one = wheelOf(self.clock)
        ticking = one.every(1.0, self.tick)
        self.assertIs(wheelOf(self.clock), one)
        self.assertIsNot(wheelOf(Clock()), one)
        ticking.stop()
        self.assertNotIn(self.clock, module._wheels)

    @settings(deadline=None, max_examples=200)
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("every"), st.sampled_from([1 / 64, 0.25, 1.0, 1.5, 60.0])),
                st.tuples(st.just("stop"), st.integers(0, 20)),
                st.tuples(st.just("advance"), st.sampled_from([0.0, 1 / 128, 0.25, 1.0, 7.0])),
            ),
            max_size=60,
        )
    )
    def test_likeEachByItself(self, steps: list[tuple[str, Any]]) -> None:
        """Whatever comes and goes, each happens when it would by itself, on one timer as long as there is one."""
        clock = Clock()
        wheel = Wheel(clock)
        live: list[tuple[Any, float, float, list[float]]] = []
        for what, value in steps:
            if what == "every":
                ticks: list[float] = []
                note = partial(noted, clock, ticks)
                live.append((wheel.every(value, note), value, clock.seconds(), ticks))
            elif what == "stop" and live:
                live.pop(value % len(live))[0].stop()
            elif what == "advance":
                before = clock.seconds()
                clock.advance(value)
                for _, period, began, ticks in live:
                    due = int((clock.seconds() - began + 1e-6) // period) > int((before - began + 1e-6) // period)
                    self.assertEqual(ticks, [clock.seconds()] if due else [])
                    ticks.clear()
            self.assertEqual(len(wheel), len(live))
            self.assertEqual(len(timers(clock)), int(bool(live)))


def noted(clock: Clock, ticks: list[float]) -> None:
    """Write down when."""
    ticks.append(clock.seconds())
