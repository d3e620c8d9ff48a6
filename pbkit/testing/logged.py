"""
`LoggedErrors`: what is logged as an error while a test runs.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from twisted.logger import ILogObserver, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

#: What Twisted logs as an error by itself, right before the error.
HEADINGS = ("Peer will receive following PB traceback:", "Unhandled error in Deferred:")


#: Those that listen. The log is one for all servers of a test, and an error that was expected is so for all of them.
_listening: WeakSet[LoggedErrors] = WeakSet()


@implementer(ILogObserver)
class LoggedErrors:
    """Listens from when it is made until `stop`. Keeps text and not the events: these would keep connections alive."""

    def __init__(self) -> None:
        self._errors: list[tuple[type[BaseException] | None, str]] = []
        _listening.add(self)
        globalLogPublisher.addObserver(self)

    def __call__(self, event: Any) -> None:
        """`ILogObserver`."""
        if event.get("log_level") in (LogLevel.error, LogLevel.critical):
            # The second is what Twisted's older way of logging has, and its text is the whole traceback.
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
        :param errorTypes: only errors of these classes; without any, all.
        :return: what was logged since the last time; from now on nobody else who listens has it either.
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
        """Listen no more. Idempotent."""
        _listening.discard(self)
        globalLogPublisher.removeObserver(self)
