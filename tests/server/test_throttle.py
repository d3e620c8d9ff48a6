"""How long a failed login waits for its answer: the pure part."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbkit.server.throttle import LoginThrottle, resetsAfter
from pbkit.wire.profile import DROPIN, STRICT, Door


class LoginThrottleTests(SynchronousTestCase):
    """Who has failed, and how often."""

    def setUp(self) -> None:
        """With the delays of a strict server."""
        self.throttle = LoginThrottle(STRICT.door)

    def test_delaysDouble(self) -> None:
        """Each failure of one address and name waits twice as long as the last, up to the longest."""
        delays = [self.throttle.failed("a", b"alice", float(now)) for now in range(7)]
        self.assertEqual(delays, [1, 2, 4, 8, 10, 10, 10])

    def test_eachPairByItself(self) -> None:
        """Another name from the same address, or the same from another, begins with the shortest."""
        for _ in range(3):
            self.throttle.failed("a", b"alice", 0)
        self.assertEqual([self.throttle.failed(*pair, 0) for pair in (("a", b"bob"), ("b", b"alice"))], [1, 1])
        self.assertEqual(self.throttle.failed("ab", b"", 0), 1)
        self.assertEqual(self.throttle.failed("a", b"b", 0), 1)

    def test_successForgets(self) -> None:
        """After a success the next failure is a first one; that of somebody else changes nothing."""
        for _ in range(3):
            self.throttle.failed("a", b"alice", 0)
        self.throttle.succeeded("a", b"bob")
        self.assertEqual(self.throttle.failed("a", b"alice", 0), 8)
        self.throttle.succeeded("a", b"alice")
        self.assertEqual((len(self.throttle), self.throttle.failed("a", b"alice", 0)), (0, 1))

    def test_theyFade(self) -> None:
        """25 s after its answer a failure is forgotten, and not a moment earlier."""
        for wait, then in ((1 + 24.9, 2), (1 + 25, 1)):
            throttle = LoginThrottle(STRICT.door)
            throttle.failed("a", b"alice", 100)
            self.assertEqual(throttle.failed("a", b"alice", 100 + wait), then)

    def test_fadedOnesTakeNoRoom(self) -> None:
        """What has faded is thrown away as others come."""
        for i in range(1000):
            self.throttle.failed("a", b"%d" % i, float(i))
        self.assertEqual(len(self.throttle), 26)

    def test_bounded(self) -> None:
        """No more than so many pairs are remembered; those that failed least recently are forgotten first."""
        throttle = LoginThrottle(STRICT.door, pairs=3)
        for name in (b"1", b"2", b"3", b"1", b"4"):
            throttle.failed("a", name, 0)
        self.assertEqual(len(throttle), 3)
        self.assertEqual([throttle.failed("a", name, 0) for name in (b"1", b"3", b"4")], [4, 2, 2])
        self.assertEqual(throttle.failed("a", b"2", 0), 1)

    def test_tenThousand(self) -> None:
        """By default there are 10,000."""
        for i in range(10_050):
            self.throttle.failed("a", b"%d" % i, 0)
        self.assertEqual(len(self.throttle), 10_000)

    def test_namesAreNotKept(self) -> None:
        """People type passwords where the name goes: nothing of it is in the table."""
        self.throttle.failed("192.0.2.1", b"hunter2", 0)
        self.assertNotIn("hunter2", repr(vars(self.throttle)))

    def test_dropIn(self) -> None:
        """Without a delay nothing is remembered."""
        throttle = LoginThrottle(DROPIN.door)
        self.assertEqual([throttle.failed("a", b"alice", 0) for _ in range(3)], [0, 0, 0])
        self.assertEqual(len(throttle), 0)

    @settings(max_examples=300, deadline=None)
    @given(
        delay=st.floats(1e-9, 100),
        longest=st.floats(1e-9, 1000),
        guesses=st.integers(1, 40),
    )
    def test_waitingForItToFadeGainsNothing(self, delay: float, longest: float, guesses: int) -> None:
        """Whoever lets his failures fade after so many guesses is no faster, in the long run, than who goes on."""
        door = Door(delay=delay, longest=longest)
        throttle = LoginThrottle(door)
        now = 0.0
        for _ in range(guesses):
            now += throttle.failed("a", b"alice", now)
        now += resetsAfter(door)
        self.assertGreaterEqual(now / guesses, longest * (1 - 1e-6))

    def test_anyBounds(self) -> None:
        """Delays so small that doubling them takes for ever, or that are longer than the longest, come to an end."""
        for door in (Door(delay=5e-324), Door(delay=20.0), Door(delay=1e308, longest=1.7e308)):
            throttle = LoginThrottle(door)
            delays = [throttle.failed("a", b"alice", 0) for _ in range(2000)]
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
        """It does what a table without bounds does that forgets nothing but what has faded."""
        throttle = LoginThrottle(STRICT.door)
        naive: dict[tuple[str, bytes], tuple[int, float]] = {}
        now = 0.0
        for what, group, name, passes in steps:
            now += passes
            if what == "succeed":
                throttle.succeeded(group, name)
                naive.pop((group, name), None)
                continue
            times, until = naive.get((group, name), (0, 0.0))
            times = 0 if until <= now else times
            expected = min(10.0, 2.0**times)
            naive[group, name] = times + 1, now + expected + 25.0
            self.assertEqual(throttle.failed(group, name, now), expected)
