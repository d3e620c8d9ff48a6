"""The throttle of logins: the failures that it remembers, and the checks that wait."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbkit.errors import TooManyAttempts
from pbkit.server.throttle import CHECK_TIMEOUT, CONCURRENT, WAITING, LoginThrottle, resetsAfter
from pbkit.wire.profile import DROPIN, STRICT, Door

ALICE = ("a", b"alice")


class Throttle(LoginThrottle):
    """A throttle with a clock that the test sets."""

    def __init__(self, door: Door = STRICT.door, pairs: int = 10_000) -> None:
        super().__init__(door, pairs)
        self.clock = Clock()

    def fail(self, source: str, name: bytes, now: float) -> float:
        """Count a failure at a time."""
        self.clock.rightNow = now
        return self.failed((source, name), self.clock)


class FailuresTests(SynchronousTestCase):
    """Which pairs have failed, and how often."""

    def setUp(self) -> None:
        """Make a throttle with the delays of a strict server."""
        self.throttle = Throttle()

    def test_delaysDouble(self) -> None:
        """Each failure of a pair is answered twice as late as the last, up to the longest delay."""
        delays = [self.throttle.fail("a", b"alice", float(now)) for now in range(7)]
        self.assertEqual(delays, [1, 2, 4, 8, 10, 10, 10])

    def test_eachPairByItself(self) -> None:
        """Another name from the same source, or the same from another, begins with the shortest delay."""
        for _ in range(3):
            self.throttle.fail("a", b"alice", 0)
        self.assertEqual([self.throttle.fail(*pair, 0) for pair in (("a", b"bob"), ("b", b"alice"))], [1, 1])
        self.assertEqual(self.throttle.fail("ab", b"", 0), 1)
        self.assertEqual(self.throttle.fail("a", b"b", 0), 1)

    def test_successForgets(self) -> None:
        """After a success, the next failure counts as the first; a success of another pair changes nothing."""
        for _ in range(3):
            self.throttle.fail("a", b"alice", 0)
        self.throttle.passed(("a", b"bob"), self.throttle.clock)
        self.assertEqual(self.throttle.fail("a", b"alice", 0), 8)
        self.throttle.passed(ALICE, self.throttle.clock)
        self.assertEqual((len(self.throttle), self.throttle.fail("a", b"alice", 0)), (0, 1))

    def test_theyAreForgotten(self) -> None:
        """A failure is forgotten 25 s after its delay, and not a moment earlier."""
        for wait, then in ((1 + 24.9, 2), (1 + 25, 1)):
            throttle = Throttle()
            throttle.fail("a", b"alice", 100)
            self.assertEqual(throttle.fail("a", b"alice", 100 + wait), then)

    def test_forgottenOnesTakeNoRoom(self) -> None:
        """Forgotten failures are dropped when others arrive."""
        for i in range(1000):
            self.throttle.fail("a", b"%d" % i, float(i))
        self.assertEqual(len(self.throttle), 26)

    def test_limited(self) -> None:
        """No more than a number of pairs is remembered; those that failed least recently are forgotten first."""
        throttle = Throttle(pairs=3)
        for name in (b"1", b"2", b"3", b"1", b"4"):
            throttle.fail("a", name, 0)
        self.assertEqual(len(throttle), 3)
        self.assertEqual([throttle.fail("a", name, 0) for name in (b"1", b"3", b"4")], [4, 2, 2])
        self.assertEqual(throttle.fail("a", b"2", 0), 1)

    def test_tenThousand(self) -> None:
        """By default the number is 10,000."""
        for i in range(10_050):
            self.throttle.fail("a", b"%d" % i, 0)
        self.assertEqual(len(self.throttle), 10_000)

    def test_namesAreNotKept(self) -> None:
        """User names are not stored, because people sometimes type their password into the name."""
        self.throttle.fail("192.0.2.1", b"hunter2", 0)
        self.assertNotIn("hunter2", repr(vars(self.throttle)))

    def test_dropIn(self) -> None:
        """Without a delay nothing is remembered, and no check waits."""
        throttle = Throttle(DROPIN.door)
        self.assertEqual([throttle.fail("a", b"alice", 0) for _ in range(3)], [0, 0, 0])
        self.assertEqual([throttle.begin(ALICE, throttle.clock) for _ in range(100)], [None] * 100)
        self.assertEqual((len(throttle), throttle.checks), (0, 0))

    @settings(max_examples=300, deadline=None)
    @given(
        delay=st.floats(1e-9, 100),
        longest=st.floats(1e-9, 1000),
        guesses=st.integers(1, 40),
        together=st.booleans(),
    )
    def test_waitingForTheResetGainsNothing(self, delay: float, longest: float, guesses: int, together: bool) -> None:
        """
        Waiting until the failures are forgotten is not faster, in the long run, than continuing to guess. Nor is having
        the first guesses checked at the same time.
        """
        door = Door(delay=delay, longest=longest)
        throttle = Throttle(door)
        now = 0.0
        for number in range(guesses):
            throttle.fail("a", b"alice", now)
            if not together or number >= CONCURRENT - 1:
                now = next(iter(throttle._failed.values())).until
        now = next(iter(throttle._failed.values())).forgottenAt
        self.assertGreaterEqual(now / guesses, longest * (1 - 1e-6))

    def test_anyLimits(self) -> None:
        """The reset time is finite for any limits, such as delays of almost 0 or above the longest."""
        for door in (Door(delay=5e-324), Door(delay=20.0), Door(delay=1e308, longest=1.7e308)):
            throttle = Throttle(door)
            delays = [throttle.fail("a", b"alice", 0) for _ in range(2000)]
            self.assertEqual(delays, sorted(delays))
            self.assertLessEqual(delays[-1], door.longest)

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["fail", "succeed"]),
                st.sampled_from(["a", "b"]),
                st.sampled_from([b"x", b"y", b"z"]),
                st.floats(0, 40),
            ),
            max_size=60,
        )
    )
    def test_likeTheNaiveOne(self, steps: list[tuple[str, str, bytes, float]]) -> None:
        """The throttle behaves like a simple table without limits."""
        throttle = Throttle()
        naive: dict[tuple[str, bytes], tuple[int, float]] = {}
        now = 0.0
        for what, source, name, passes in steps:
            now += passes
            if what == "succeed":
                throttle.clock.rightNow = now
                throttle.passed((source, name), throttle.clock)
                naive.pop((source, name), None)
                continue
            times, until = naive.get((source, name), (0, 0.0))
            times, until = (0, 0.0) if until + resetsAfter(STRICT.door) <= now else (times, until)
            expected = min(10.0, 2.0**times)
            naive[source, name] = times + 1, min(max(until, now) + expected, now + 30.0)
            self.assertEqual(throttle.fail(source, name, now), expected)


class ChecksTests(SynchronousTestCase):
    """Which checks run, wait and are refused."""

    def setUp(self) -> None:
        """With the delays of a strict server."""
        self.throttle = Throttle()
        self.clock = self.throttle.clock

    def begin(self, pair: tuple[str, bytes] = ALICE) -> Deferred[None] | None:
        """Ask for a check."""
        return self.throttle.begin(pair, self.clock)

    def waiting(self) -> Deferred[None]:
        """Ask for a check, which has to wait."""
        waiting = self.begin()
        assert waiting is not None
        self.assertNoResult(waiting)
        return waiting

    def wrong(self) -> float:
        """Fail a check."""
        return self.throttle.failed(ALICE, self.clock)

    def test_atOnce(self) -> None:
        """Without failures a check runs at once, and leaves nothing behind."""
        self.assertIsNone(self.begin())
        self.throttle.passed(ALICE, self.clock)
        self.assertIsNone(self.begin())
        self.throttle.undecided(ALICE, self.clock)
        self.assertEqual((self.throttle.checks, self.clock.getDelayedCalls()), (0, []))

    def test_waitsForTheDelay(self) -> None:
        """After a failure the next check waits until the delay is over; another pair does not."""
        self.assertIsNone(self.begin())
        self.assertEqual(self.wrong(), 1)
        next_ = self.waiting()
        self.assertIsNone(self.begin(("b", b"alice")))
        self.assertIsNone(self.begin(("a", b"bob")))
        self.clock.advance(0.9)
        self.assertNoResult(next_)
        self.clock.advance(0.1)
        self.successResultOf(next_)
        self.assertEqual(self.wrong(), 2)
        # It runs at once if the delay is over by then.
        self.clock.advance(2)
        self.assertIsNone(self.begin())

    def test_oneAtATime(self) -> None:
        """After a failure one check of the pair runs at a time; when it has passed the others may run."""
        self.begin()
        self.wrong()
        waiting = [self.waiting() for _ in range(WAITING)]
        self.clock.advance(1)
        self.assertEqual(sum(bool(each.called) for each in waiting), 1)
        self.throttle.passed(ALICE, self.clock)
        for each in waiting:
            self.successResultOf(each)
        for _ in range(2):
            self.throttle.undecided(ALICE, self.clock)
        self.assertEqual((self.throttle.checks, self.clock.getDelayedCalls()), (0, []))

    def test_fourthIsRefused(self) -> None:
        """No more than three wait; another is refused, with the time after which to try again."""
        self.begin()
        for _ in range(4):
            self.wrong()
        waiting = [self.waiting() for _ in range(WAITING)]
        self.clock.advance(0.5)
        error = self.assertRaises(TooManyAttempts, self.begin)
        self.assertEqual(error.retryAfter, 15)
        self.assertEqual(TooManyAttempts(str(error)).retryAfter, 15)
        waiting[0].cancel()
        self.failureResultOf(waiting[0], CancelledError)
        self.waiting()

    def test_randomOrder(self) -> None:
        """Waiting checks are taken in random order: each is first about equally often."""
        first = [0] * WAITING
        for _ in range(600):
            self.throttle = Throttle()
            self.clock = self.throttle.clock
            self.begin()
            self.wrong()
            waiting = [self.waiting() for _ in range(WAITING)]
            self.clock.advance(1)
            first[[bool(each.called) for each in waiting].index(True)] += 1
        self.assertGreater(min(first), 100)

    def test_sentTogether(self) -> None:
        """
        Of checks that are requested before the first is decided, three run at once, and the others wait. When one
        fails, all but three of the waiting ones are refused; from then on, one runs at a time.
        """
        running = [self.begin() for _ in range(CONCURRENT)]
        self.assertEqual(running, [None] * CONCURRENT)
        waiting = [self.waiting() for _ in range(10)]
        self.wrong()
        refused = [each for each in waiting if each.called]
        for each in refused:
            self.failureResultOf(each, TooManyAttempts)
        self.assertEqual(len(refused), 10 - WAITING)
        self.wrong()
        self.wrong()
        waiting = [each for each in waiting if each not in refused]
        # The delays of the three add up.
        self.clock.advance(6.9)
        self.assertEqual([each.called for each in waiting], [False] * WAITING)
        self.clock.advance(0.1)
        self.assertEqual(sum(bool(each.called) for each in waiting), 1)
        self.wrong()

    def test_manyCorrectLogins(self) -> None:
        """Any number of simultaneous correct logins are checked, three at a time."""
        for _ in range(CONCURRENT):
            self.assertIsNone(self.begin())
        waiting = [self.waiting() for _ in range(500)]
        for done in range(500):
            self.assertEqual(sum(bool(each.called) for each in waiting), done)
            self.throttle.passed(ALICE, self.clock)
        for each in waiting:
            self.successResultOf(each)
        for _ in range(CONCURRENT):
            self.throttle.passed(ALICE, self.clock)
        self.assertEqual((self.throttle.checks, self.clock.getDelayedCalls()), (0, []))

    def test_manyDecidedAtOnce(self) -> None:
        """Waiting checks that are decided immediately do not nest."""
        for _ in range(CONCURRENT):
            self.begin()
        inside, deepest = [0], [0]

        def decide(_: None) -> None:
            inside[0] += 1
            deepest[0] = max(deepest[0], inside[0])
            self.throttle.passed(ALICE, self.clock)
            inside[0] -= 1

        for _ in range(2000):
            self.waiting().addCallback(decide)
        self.throttle.passed(ALICE, self.clock)
        self.assertEqual(deepest, [1])

    def test_guesserThatDecidesAtOnce(self) -> None:
        """If a waiting check fails immediately, the others continue to wait."""
        self.begin()
        self.wrong()
        checked: list[float] = []

        def decide(_: None) -> None:
            checked.append(self.clock.seconds())
            self.wrong()

        for _ in range(WAITING):
            self.waiting().addCallback(decide)
        for _ in range(60):
            self.clock.advance(0.5)
        self.assertEqual(checked, [1, 3, 7])
        self.assertEqual((self.throttle.checks, self.clock.getDelayedCalls()), (0, []))

    def test_cancelled(self) -> None:
        """A cancelled check leaves nothing behind."""
        self.begin()
        self.wrong()
        waiting = self.waiting()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual((self.throttle.checks, self.clock.getDelayedCalls()), (0, []))

    def test_checkerThatHangs(self) -> None:
        """A check that is never decided keeps the others waiting for 30 s, and no longer."""
        self.begin()
        self.wrong()
        self.clock.advance(1)
        self.assertIsNone(self.begin())
        next_ = self.waiting()
        self.clock.advance(CHECK_TIMEOUT - 0.1)
        self.assertNoResult(next_)
        self.clock.advance(0.1)
        self.successResultOf(next_)
        # The first check is decided late.
        self.throttle.undecided(ALICE, self.clock)
        self.throttle.undecided(ALICE, self.clock)
        self.assertEqual((self.throttle.checks, self.clock.getDelayedCalls()), (0, []))
