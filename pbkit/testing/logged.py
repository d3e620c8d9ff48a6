"""
`LoggedErrors`: collects the errors that are logged during a test.
"""

from __future__ import annotations

import inspect
from types import FrameType, TracebackType
from typing import Any
from weakref import WeakSet

from twisted.logger import ILogObserver, LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

#: Lines that Twisted logs at the level of an error, right before the error itself.
HEADINGS = ("Peer will receive following PB traceback:", "Unhandled error in Deferred:")


#: The active collectors. All servers of a test share one log, so an error that is expected in one is in all of them.
_listening: WeakSet[LoggedErrors] = WeakSet()


@implementer(ILogObserver)
class LoggedErrors:
    """
    Collects logged errors from its creation until `stop`. It keeps their text, not the events, which would keep
    connections alive.
    """

    def __init__(self) -> None:
        self._errors: list[tuple[type[BaseException] | None, str]] = []
        self._failures: WeakSet[Failure] = WeakSet()
        _listening.add(self)
        globalLogPublisher.addObserver(self)

    def __call__(self, event: Any) -> None:
        """Collect one log event, if it is an error: see `ILogObserver`."""
        if event.get("log_level") in (LogLevel.error, LogLevel.critical):
            # "failure" is set by twisted.python.log, whose text is the whole traceback.
            failure, legacy = event.get("log_failure"), event.get("failure")
            text = formatEvent(event) if legacy is None else event.get("why") or ""
            failure = failure or legacy
            if failure is None:
                if text not in HEADINGS:
                    self._errors.append((None, text))
            else:
                brief = f"{text} {failure.type.__name__}: {failure.getErrorMessage()}"
                self._errors.append((failure.type, brief.strip()))
                self._failures.add(failure)

    def flush(self, *errorTypes: type[BaseException]) -> list[str]:
        """
        Return and forget the errors collected so far, also for the other collectors.

        :param errorTypes: return only errors of these classes. Without any, return all.
        """
        for other in tuple(_listening - {self}):
            other._take(*errorTypes)
        return self._take(*errorTypes)

    def _take(self, *errorTypes: type[BaseException]) -> list[str]:
        taken: list[str] = []
        left: list[tuple[type[BaseException] | None, str]] = []
        for kind, text in self._errors:
            if not errorTypes or (kind is not None and issubclass(kind, errorTypes)):
                taken.append(text)
            else:
                left.append((kind, text))
        self._errors = left
        return taken

    def releaseFrames(self) -> None:
        """
        Clear the local variables of the calls that led to the errors, which can be references to avatars.

        Twisted keeps logged Failures as long as no log observer is set. `Failure.cleanFailure` would release them, but
        pytest-twisted makes it do nothing.
        """
        for failure in tuple(self._failures):
            traceback: TracebackType | None = getattr(failure.value, "__traceback__", None)
            while traceback is not None:
                _clear(traceback.tb_frame)
                traceback = traceback.tb_next
        self._failures.clear()

    def stop(self) -> None:
        """Stop collecting. Idempotent."""
        _listening.discard(self)
        globalLogPublisher.removeObserver(self)


def _clear(frame: FrameType | None) -> None:
    """Clear the local variables of a frame and its callers, except where code is running or will go on."""
    resumable = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
    while frame is not None:
        if not frame.f_code.co_flags & resumable:
            try:
                frame.clear()
            except RuntimeError:
                pass  # It is running.
        frame = frame.f_back
