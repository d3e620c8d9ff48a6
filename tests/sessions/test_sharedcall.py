"""One run of a callable that several callers wait for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pbkit.errors import LoginTimedOut
from pbkit.sessions.sharedcall import SharedCall, started, then
from pbkit.sessions.waiters import Waiters
from tests.support import Stubborn, collect, timers


class ThenTests(SynchronousTestCase):
    """`started` and `then`: continue with the result of a callable."""

    def plusOne(self, f: Callable[[], Any]) -> Any:
        """Add one to the result of `f`."""
        return then(started(f()), lambda number: number + 1)

    def test_value(self) -> None:
        """With a plain value it continues at once, and returns a plain value."""
        self.assertEqual(self.plusOne(lambda: 5), 6)

    def test_raises(self) -> None:
        """An immediate exception is raised immediately."""
        self.assertRaises(ZeroDivisionError, self.plusOne, lambda: 1 / 0)
        self.assertRaises(ZeroDivisionError, then, 5, lambda _: 1 / 0)

    def test_deferred(self) -> None:
        """A Deferred is waited for."""
        d: Deferred[Any] = Deferred()
        got = self.plusOne(lambda: d)
        self.assertNoResult(got)
        d.callback(6)
        self.assertEqual(self.successResultOf(got), 7)

    def test_coroutine(self) -> None:
        """A coroutine is run, and waited for."""
        d: Deferred[int] = Deferred()

        async def run() -> Any:
            return await d + 1

        got = self.plusOne(run)
        d.callback(6)
        self.assertEqual(self.successResultOf(got), 8)


class WaitersTests(SynchronousTestCase):
    """`Waiters`: several callers wait for one event."""

    def test_fire(self) -> None:
        """The current waiters get the result, in order; a later one waits for the next event."""
        waiters: Waiters[str] = Waiters()
        order: list[tuple[int, str]] = []
        for number in range(3):
            told: Callable[[str], None] = partial(lambda number, result: order.append((number, result)), number)
            waiters.wait().addCallback(told)
        waiters.fire("x")
        self.assertEqual((order, len(waiters)), ([(0, "x"), (1, "x"), (2, "x")], 0))
        later = waiters.wait()
        self.assertNoResult(later)
        waiters.fire(Failure(LookupError()))
        self.failureResultOf(later, LookupError)

    def test_cancelled(self) -> None:
        """A cancelled waiter gets nothing, even during the event; when none is left, this is reported."""
        empty: list[bool] = []
        waiters: Waiters[str] = Waiters(lambda: empty.append(True))
        first, second = waiters.wait(), waiters.wait()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(empty, [])
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertEqual(empty, [True])
        first, second = waiters.wait(), waiters.wait()
        first.addCallback(lambda _: second.cancel())
        waiters.fire("x")
        self.failureResultOf(second, CancelledError)
        self.successResultOf(first)


class SharedCallTests(SynchronousTestCase):
    """`SharedCall`: several callers wait for one run, with a deadline."""

    def setUp(self) -> None:
        """Make a clock and counters."""
        self.clock = Clock()
        self.settled: list[str] = []

    def start(self, f: Callable[[], Any], **kw: Any) -> SharedCall[Any]:
        """Start a run with a deadline of 30 s."""
        return SharedCall(
            f,
            clock=self.clock,
            timeout=30,
            onTimeout=LoginTimedOut,
            onFailure=lambda: self.settled.append("failure"),
            onDone=lambda: self.settled.append("done"),
            **kw,
        )

    def test_onceForAll(self) -> None:
        """It runs once, and each waiter gets the result, also a late one."""
        calls: list[Deferred[str]] = []

        def f() -> Deferred[str]:
            calls.append(Deferred())
            return calls[0]

        run = self.start(f)
        waiters = [run.wait() for _ in range(10)]
        calls[0].callback("x")
        self.assertEqual([self.successResultOf(each) for each in waiters], ["x"] * 10)
        self.assertEqual(self.successResultOf(run.wait()), "x")
        self.assertEqual(len(calls), 1)
        self.assertEqual(self.settled, ["done"])
        self.assertEqual(timers(self.clock), [])

    def test_waitersAreIndependent(self) -> None:
        """A callback of one waiter does not change the result of another."""
        d: Deferred[str] = Deferred()
        run = self.start(lambda: d)
        first, second = run.wait(), run.wait()
        first.addCallback(lambda _: None)
        d.callback("x")
        self.assertEqual(self.successResultOf(second), "x")

    def test_failureReachesAll(self) -> None:
        """Each waiter gets the failure, and it is reported once, before them."""
        d: Deferred[str] = Deferred()
        run = self.start(lambda: d)
        waiters = [run.wait() for _ in range(3)]
        before: list[list[str]] = []

        def told(failure: Failure) -> Failure:
            before.append(list(self.settled))
            return failure

        waiters[0].addErrback(told)
        d.errback(LookupError("no"))
        for each in waiters:
            self.failureResultOf(each, LookupError)
        self.failureResultOf(run.wait(), LookupError)
        self.assertEqual(before, [["failure", "done"]])
        self.assertEqual(self.settled, ["failure", "done"])

    def test_synchronousFailure(self) -> None:
        """If a callable raises immediately, the waiters fail, and no timer is started."""
        run = self.start(lambda: 1 / 0)
        self.assertTrue(run.done)
        self.failureResultOf(run.wait(), ZeroDivisionError)
        self.assertEqual(timers(self.clock), [])

    def test_oneGivesUp(self) -> None:
        """Cancelling one waiter does not cancel the run for the others."""
        cancelled: list[object] = []
        d: Deferred[str] = Deferred(cancelled.append)
        run = self.start(lambda: d)
        first, second = run.wait(), run.wait()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(cancelled, [])
        d.callback("x")
        self.assertEqual(self.successResultOf(second), "x")

    def test_allGiveUp(self) -> None:
        """When the last waiter is cancelled, the run is cancelled, and nothing is left."""
        cancelled: list[object] = []
        run = self.start(lambda: Deferred(cancelled.append))
        waiters = [run.wait(), run.wait()]
        for each in waiters:
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.assertEqual(len(cancelled), 1)
        self.assertTrue(run.done)
        self.assertEqual(self.settled, ["failure", "done"])
        self.assertEqual(timers(self.clock), [])

    def test_notCancellable(self) -> None:
        """A run that is not cancellable continues without waiters."""
        cancelled: list[object] = []
        d: Deferred[str] = Deferred(cancelled.append)
        run = self.start(lambda: d, cancellable=False)
        waiter = run.wait()
        waiter.cancel()
        self.failureResultOf(waiter, CancelledError)
        self.assertEqual((cancelled, run.done), ([], False))
        d.callback("x")
        self.assertTrue(run.done)

    def test_failureWithoutWaitersIsLogged(self) -> None:
        """The failure of a run without waiters is logged."""
        d: Deferred[str] = Deferred()
        run = self.start(lambda: d, cancellable=False)
        waiter = run.wait()
        waiter.cancel()
        self.failureResultOf(waiter, CancelledError)
        d.errback(LookupError("late"))
        collect()
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def test_deadline(self) -> None:
        """After 30 s, and not before, the waiters fail and the run is cancelled."""
        cancelled: list[object] = []
        run = self.start(lambda: Deferred(cancelled.append))
        waiters = [run.wait(), run.wait()]
        self.clock.advance(29.9)
        self.assertNoResult(waiters[0])
        self.clock.advance(0.2)
        for each in waiters:
            self.failureResultOf(each, LoginTimedOut)
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.settled, ["failure", "done"])

    def test_deadlineOfOneThatIgnoresBeingCancelled(self) -> None:
        """If the run ignores the cancellation, the waiters still fail after 30 s, and its late result is dropped."""
        d: Deferred[str] = Stubborn()
        run = self.start(lambda: d)
        waiter = run.wait()
        self.clock.advance(30)
        self.failureResultOf(waiter, LoginTimedOut)
        d.callback("late")
        self.failureResultOf(run.wait(), LoginTimedOut)
        self.assertEqual(self.settled, ["failure", "done"])

    def test_lateErrorIsLogged(self) -> None:
        """An exception after the deadline is logged."""
        d: Deferred[str] = Stubborn()
        run = self.start(lambda: d)
        waiter = run.wait()
        self.clock.advance(30)
        self.failureResultOf(waiter, LoginTimedOut)
        d.errback(LookupError("late"))
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def test_cancellerThatRaises(self) -> None:
        """If the run raises when it is cancelled, this is logged, and the waiter is still cancelled."""

        def canceller(d: Deferred[Any]) -> None:
            raise LookupError("while cancelling")

        run = self.start(lambda: Deferred(canceller))
        waiter = run.wait()
        waiter.cancel()
        self.failureResultOf(waiter, CancelledError)
        self.assertTrue(run.done)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def test_cancellerThatRaisesAtTheDeadline(self) -> None:
        """If the run raises when it is cancelled at the deadline, this is logged, and nothing else fails."""

        def canceller(d: Deferred[Any]) -> None:
            raise LookupError("while cancelling")

        waiter = self.start(lambda: Deferred(canceller)).wait()
        self.clock.advance(30)
        self.failureResultOf(waiter, LoginTimedOut)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def test_oneWaiterEndsAnother(self) -> None:
        """A callback of the first waiter may cancel the second; each has its own result."""
        d: Deferred[str] = Deferred()
        run = self.start(lambda: d)
        first, second, third = run.wait(), run.wait(), run.wait()

        def told(result: str) -> str:
            second.cancel()
            return result

        first.addCallback(told)
        d.callback("x")
        self.assertEqual(self.successResultOf(first), "x")
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.successResultOf(third), "x")

    def test_withoutAClock(self) -> None:
        """Without a clock there is no deadline."""
        d: Deferred[str] = Deferred()
        run: SharedCall[str] = SharedCall(lambda: d, clock=None, timeout=30, onTimeout=LoginTimedOut)
        waiter = run.wait()
        self.assertNoResult(waiter)
        d.callback("x")
        self.assertEqual(self.successResultOf(waiter), "x")
