"""
`LoggedErrors`: collects the errors that are logged during a test.
"""

from __future__ import annotations

import inspect
from types import FrameType, TracebackType
from weakref import WeakSet

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.python.reflect import fullyQualifiedName
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
        # Of each error the names of its class and of all that this derives from, and its text.
        self._errors: list[tuple[frozenset[str], str]] = []
        self._failures: WeakSet[Failure] = WeakSet()
        _listening.add(self)
        globalLogPublisher.addObserver(self)

    def __call__(self, event: LogEvent) -> None:
        """Collect one log event, if it is an error: see `ILogObserver`."""
        if event.get("log_level") in (LogLevel.error, LogLevel.critical):
            # "failure" is set by twisted.python.log, whose text is the whole traceback.
            failure, legacy = event.get("log_failure"), event.get("failure")
            text = formatEvent(event) if legacy is None else event.get("why") or ""
            failure = failure or legacy
            if failure is None:
                if text not in HEADINGS:
                    self._errors.append((frozenset(), text))
            else:
                names = _names(failure)
                # A remote failure has the text of the exception in its value, and no exception.
                said = failure.getErrorMessage() if isinstance(failure.type, type) else _text(failure.value)
                brief = f"{text} {names[0].rpartition('.')[2]}: {said}"
                self._errors.append((frozenset(names), brief.strip()))
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
        left: list[tuple[frozenset[str], str]] = []
        wanted = {fullyQualifiedName(kind) for kind in errorTypes}
        for names, text in self._errors:
            if not errorTypes or wanted & names:
                taken.append(text)
            else:
                left.append((names, text))
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


def _names(failure: Failure) -> list[str]:
    """Return the qualified names of an error's class and of all that it derives from, its own first."""
    kind: object = failure.type
    if isinstance(kind, type):
        return [fullyQualifiedName(each) for each in kind.__mro__]
    # The peer sent the names: a failed call whose error nobody looked at.
    return [_text(kind), *map(_text, getattr(failure, "_parents", None) or ())]


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
