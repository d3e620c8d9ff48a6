"""
Reads lines of standard input, on demand.
"""

from __future__ import annotations

import os
from collections import deque

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IReadDescriptor)
class LineReader:
    """
    Reads lines on demand, at most one chunk ahead, so that a large input is never held in memory.

    `twisted.internet.stdio` would not do: it takes over standard output as well, and closes it at the end of the input.

    :param reactor: notifies when there is input.
    :param descriptor: the file descriptor of standard input.
    """

    def __init__(self, reactor: IReactorFDSet, descriptor: int = 0) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._rest = b""
        self._lines: deque[bytes] = deque()
        self._ended = False
        self._waiting: Deferred[str | None] | None = None

    def next(self) -> Deferred[str | None]:
        """
        Read the next line. Do not call this again before the Deferred has fired.

        :return: a Deferred of the line without its line end, or of None at the end of the input.
        """
        waiting: Deferred[str | None] = Deferred(lambda _: self._stop())
        self._waiting = waiting
        if self._lines or self._ended:
            self._give()
        else:
            self._reactor.addReader(self)
        return waiting

    def fileno(self) -> int:
        """`IReadDescriptor`."""
        return self._descriptor

    def logPrefix(self) -> str:
        """`IReadDescriptor`."""
        return "lines"

    def doRead(self) -> None:
        """`IReadDescriptor`."""
        try:
            data = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return
        except OSError:
            # Standard input is closed, for example by `<&-`.
            data = b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines.extend(lines)
        if not data:
            self._end()
        elif self._lines:
            self._give()

    def connectionLost(self, reason: Failure) -> None:
        """`IReadDescriptor`. Some reactors report the end of a pipe with this instead of a read."""
        self._end()

    def _end(self) -> None:
        if self._rest:
            # The last line may have no line end.
            self._lines.append(self._rest)
            self._rest = b""
        self._ended = True
        self._give()

    def _give(self) -> None:
        waiting = self._waiting
        self._stop()
        if waiting is not None:
            waiting.callback(self._lines.popleft().decode("utf-8", "surrogateescape") if self._lines else None)

    def _stop(self) -> None:
        self._waiting = None
        self._reactor.removeReader(self)
