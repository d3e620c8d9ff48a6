"""
`LoggedErrors`: collects the errors that are logged during a test.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from twisted.logger import ILogObserver, LogLevel, formatEvent, globalLogPublisher
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

    def stop(self) -> None:
        """Stop collecting. Idempotent."""
        _listening.discard(self)
        globalLogPublisher.removeObserver(self)
