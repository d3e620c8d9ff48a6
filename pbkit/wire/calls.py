"""
What a connection and a channel need for calls: deadlines, results that several callers wait for, and errors to send.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container, Coroutine

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from twisted.python.reflect import qual
from twisted.spread import pb

from pbkit.errors import BY_NAME, NoSuchMethod, RemoteError
from pbkit.plain import TEXT, sendable


class CallDeadlines:
    """
    The deadlines of the calls that one connection has made. One timer serves all of them.

    :param clock: the clock that keeps the time.
    :param waiting: the request ids that still wait for an answer. A deadline of any other id is dropped.
    :param expired: called with the request id and the timeout of each call that reaches its deadline.
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
        Set the deadline of a call.

        :param timeout: in seconds from now.
        """
        heap = self._heap
        when = self._clock.seconds() + max(0.0, timeout)
        heapq.heappush(heap, (when, requestID, timeout))
        if heap[0][1] == requestID:
            self._set()
        elif len(heap) > 64 and heap[len(heap) // 2][1] not in self._waiting:
            # An answer does not search the heap for its deadline, because every call would pay for that. Once about
            # half of the deadlines belong to answered calls, all of these are removed at once.
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
        """Forget all deadlines and cancel the timer, so that an idle connection leaves no delayed call."""
        self._heap.clear()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


class _SharedResult:
    """The result of one Deferred, for any number of callers. The code that made the Deferred keeps its own result."""

    __slots__ = ("_done", "_outcome", "_source", "_waiting")

    def __init__(self, source: Deferred[object]) -> None:
        self._done = False
        self._outcome: object = None
        self._source = source
        self._waiting: list[Deferred[object]] = []
        source.addBoth(self._fire)

    def wait(self) -> Deferred[object]:
        waiting: Deferred[object] = Deferred(lambda _: self._source.cancel())
        if self._done:
            _deliver(waiting, self._outcome)
        else:
            self._waiting.append(waiting)
        return waiting

    def _fire(self, outcome: object) -> object:
        self._done, self._outcome = True, outcome
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            _deliver(each, outcome)
        # The callers have been told of the error; returned here it would also be logged as an unhandled one.
        return None if isinstance(outcome, Failure) else outcome


def _deliver(waiting: Deferred[object], outcome: object) -> None:
    if not waiting.called:
        waiting.errback(outcome) if isinstance(outcome, Failure) else waiting.callback(outcome)


def shared(result: Deferred[object] | Coroutine[Deferred[object], object, object]) -> Deferred[object]:
    """
    Return a new Deferred with the result of a Deferred or coroutine that a method returned.

    Stock makes jelly of the Deferred itself, so a second caller that is given the same Deferred is answered None.

    :param result: a Deferred or a coroutine.
    """
    if not isinstance(result, Deferred):
        return Deferred.fromCoroutine(result)
    known: _SharedResult | None = getattr(result, "_pbkitShared", None)
    if known is None:
        known = _SharedResult(result)
        result._pbkitShared = known  # type: ignore[attr-defined]
    return known.wait()


class SentFailure(pb.CopyableFailure):
    """
    An exception as it is sent to the caller: its class, the classes that it derives from, and its text.

    Stock's has more in it: in Twisted 26 the files and functions of the traceback. Stock's cannot be sent if the text
    is not UTF-8, or cannot be made, or if the exception is no `Exception`: of SystemExit the class itself is sent,
    which no peer accepts.

    :param failure: of the exception; or one that another server has sent, which is passed on.
    :param most: the most bytes of the text.
    """

    def __init__(self, failure: Failure, most: int) -> None:
        super().__init__(failure)
        self._most = most

    def getTypeToCopy(self) -> bytes:
        """As stock's own."""
        return qual(pb.CopyableFailure).encode("ascii")

    def getStateToCopy(self) -> dict[str, object]:
        """Return what stock's has, but for what is the server's affair."""
        kind: object = self.type
        if isinstance(kind, type):
            name, parents = _nameOf(kind), [_nameOf(each) for each in kind.__mro__]
        else:
            name, parents = sendable(_text(kind)), [sendable(_text(each)) for each in self.parents]
        traceback = "Traceback unavailable\n"
        if self.unsafeTracebacks:
            try:
                traceback = sendable(self.getTraceback(), self._most)
            except Exception:
                pass  # The text of the exception, or of one that it was raised from, cannot be made.
        return {
            "type": name.encode("utf-8", "backslashreplace"),
            "value": textOf(self.value, self._most),
            "parents": parents,
            "traceback": traceback,
            "tb": None,
            "frames": [],
            "stack": [],
            "captureVars": False,
            "count": 0,
            "pickled": 1,
            "unsafeTracebacks": 0,
        }


def _nameOf(kind: type) -> str:
    """Return the qualified name of a class as it can be sent. A program may set both parts of it to anything."""
    return sendable(f"{kind.__module__}.{kind.__name__}")


def textOf(error: object, most: int) -> str:
    """
    Return the text of an exception as it can be sent: what is not UTF-8 is escaped, and a long text is cut.

    :param most: the most bytes.
    """
    try:
        return sendable(str(error), most)
    except Exception:
        # As Python's own tracebacks say it.
        return "<exception str() failed>"


def passedOn(failure: Failure) -> Failure:
    """
    Return the failure to send for an error of another server, which a method awaited and did not catch.

    An ``await`` raises it as a RemoteError, and the caller is told the class that the other server told. Stock's error
    does not have the names of the classes that this one derives from: they are known of pbkit's own errors.
    """
    error = failure.value
    if not isinstance(error, pb.RemoteError):
        return failure
    kind = _text(error.remoteType)
    if isinstance(error, RemoteError):
        text, parents = error.remoteText, [kind, *error.remoteParents]
    else:
        known = BY_NAME.get(kind)
        text, parents = textOf(error, TEXT), [kind] if known is None else [qual(each) for each in known.__mro__]
    told = Failure(error)
    vars(told).update(type=kind, value=text)
    told.parents = parents
    return told


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def methodName(message: object) -> str:
    """
    Return the name of the method that a message calls.

    :raises NoSuchMethod: it is not text.
    """
    try:
        if isinstance(message, str | bytes):
            return message if isinstance(message, str) else message.decode("utf-8")
    except UnicodeDecodeError:
        pass
    raise NoSuchMethod("no such method: the name of a method must be UTF-8 text")
