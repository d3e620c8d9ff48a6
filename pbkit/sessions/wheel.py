"""
Many things that happen again and again, on one timer.

Ten thousand clocks of one second each as a `LoopingCall` are ten thousand timers; and where they began together, after
a restart say, they are a burst each second, too.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: How long one turn may take, in seconds; what is due then comes in the next.
SLICE = 0.005
#: What counts as together, in seconds: so much of a period is a slot.
SLOT = 0.01
#: How many may come in one slot of a period before the next ones are moved elsewhere: some 0.5 ms of notices.
CROWD = 32
#: How many slots are looked at for one with room. At twice the mean at least half of all have: 2 ** -16.
LOOKS = 16
#: The golden section. Steps of it never gather anywhere (Knuth, The Art of Computer Programming, 6.4).
GOLDEN = 0.6180339887498949
#: In seconds: what is due within it is due.
ROUNDING = 1e-6

log = Logger()


class Ticking:
    """
    Something that happens once in each period, until it is stopped.

    :ivar period: in seconds.
    """

    __slots__ = ("_count", "_f", "_origin", "_rhythm", "_slot", "_wheel", "period")

    def __init__(self, wheel: Wheel, rhythm: _Rhythm, slot: int, origin: float, f: Callable[[], object]) -> None:
        self._wheel = wheel
        self._rhythm = rhythm
        self._slot = slot
        self._origin = origin
        self._count = 0
        self._f: Callable[[], object] | None = f
        self.period = rhythm.period

    @property
    def running(self) -> bool:
        """False once it was stopped."""
        return self._f is not None

    @property
    def due(self) -> float:
        """When it comes next, in seconds of the clock. Counted from the start each time, so that nothing drifts."""
        return self._origin + self._count * self.period

    def stop(self) -> None:
        """It does not happen again. Idempotent."""
        if self._f is not None:
            self._f = None
            self._wheel._stopped(self._rhythm, self._slot)

    def _setNext(self, now: float) -> None:
        """When it comes next, leaving out what was missed."""
        self._count += 1
        if self.due <= now:
            self._count = int((now - self._origin) // self.period) + 1

    def _come(self) -> None:
        """It is due."""
        if self._f is not None:
            try:
                self._f()
            except Exception:
                log.failure("what happens each {period} s raised; it goes on", period=self.period)


class _Rhythm:
    """All that have one period, and how they lie in it."""

    __slots__ = ("period", "slots", "steps", "total")

    def __init__(self, period: float) -> None:
        self.period = period
        self.slots: dict[int, int] = {}
        self.steps = 0
        self.total = 0

    def take(self, now: float) -> tuple[float, int]:
        """
        Find room for one more.

        :return: the time from now to its first tick: a whole period, or if there is a crowd a part of it; and the slot.
        """
        number = max(1, round(self.period / SLOT))
        room = max(CROWD, 2 * (self.total // number + 1))
        phase = natural = now % self.period / self.period
        for look in range(LOOKS):
            if look:
                # Where it was left: from one place the same few steps would lead to the same few slots.
                self.steps += 1
                phase = (natural + self.steps * GOLDEN) % 1.0
            slot = min(int(phase * number), number - 1)
            if self.slots.get(slot, 0) < room:
                break
        self.slots[slot] = self.slots.get(slot, 0) + 1
        self.total += 1
        return (phase - natural) % 1.0 * self.period if look else self.period, slot

    def give(self, slot: int) -> None:
        """One less."""
        self.total -= 1
        self.slots[slot] -= 1
        if not self.slots[slot]:
            del self.slots[slot]


class Wheel:
    """
    Things that happen once in each period, all on one delayed call.

    One that falls behind, because something holds the reactor, leaves out what it has missed. Those that begin together
    come together up to 32 in 10 ms; then they are spread over the period, by a shorter first one. No turn takes
    longer than 5 ms and the last thing done in it.

    :param clock: whose seconds they are.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Ticking]] = []
        self._number = 0
        self._dead = 0
        self._rhythms: dict[float, _Rhythm] = {}
        self._timer: IDelayedCall | None = None
        self._turning = False

    def __len__(self) -> int:
        """How many there are."""
        return len(self._heap) - self._dead

    def every(self, period: float, f: Callable[[], object]) -> Ticking:
        """
        Call `f` once in each period from now on. What it raises is logged, and it goes on.

        :param period: in seconds, more than 0.
        :return: what stops it.
        """
        rhythm = self._rhythms.get(period)
        if rhythm is None:
            rhythm = self._rhythms[period] = _Rhythm(period)
        now = self._clock.seconds()
        delay, slot = rhythm.take(now)
        ticking = Ticking(self, rhythm, slot, now + delay, f)
        self._push(ticking)
        self._arm()
        return ticking

    def _push(self, ticking: Ticking) -> None:
        self._number += 1
        heappush(self._heap, (ticking.due, self._number, ticking))

    def _stopped(self, rhythm: _Rhythm, slot: int) -> None:
        rhythm.give(slot)
        if not rhythm.total:
            del self._rhythms[rhythm.period]
        self._dead += 1
        # A client that sets its period over and over would fill the heap with those that have been stopped.
        if self._dead > 16 and self._dead > len(self._heap) // 2 or self._dead == len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].running]
            heapify(self._heap)
            self._dead = 0
        self._arm()

    def _arm(self) -> None:
        """Have the timer stand at what comes first."""
        if self._turning:
            return
        if not self._heap:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if _wheels.get(self._clock) is self:
                del _wheels[self._clock]
            return
        due = self._heap[0][0]
        # A timer that comes too early finds nothing to do and is set anew: cheaper than to move it each time.
        if self._timer is None or self._timer.getTime() > due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._turn)

    def _turn(self) -> None:
        self._timer = None
        self._turning = True
        # The sum of a time and a delay is rounded, and may lie a little before what it is to be.
        now = self._clock.seconds() + ROUNDING
        until = now + SLICE
        try:
            while self._heap and self._heap[0][0] <= now:
                ticking = heappop(self._heap)[2]
                if not ticking.running:
                    self._dead -= 1
                    continue
                # Back in its place before it comes, since it may stop itself.
                ticking._setNext(now)
                self._push(ticking)
                ticking._come()
                if self._clock.seconds() >= until:
                    break
        finally:
            self._turning = False
            self._arm()


#: The wheel of each clock on which something happens. One on which nothing does any more has none.
_wheels: dict[IReactorTime, Wheel] = {}


def wheelOf(clock: IReactorTime) -> Wheel:
    """
    The one wheel of a clock, so that all who use it share its timer.

    :param clock: a reactor, or a `Clock`.
    """
    wheel = _wheels.get(clock)
    if wheel is None:
        wheel = _wheels[clock] = Wheel(clock)
    return wheel
