"""
The lines of standard input, when they are asked for.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IReadDescriptor)
class Lines:
    """
    Reads no further ahead than a chunk, so that a large input is never all in memory.

    Not by `twisted.internet.stdio`, which would make standard output its own as well, and close it at the end of input.

    :param reactor: reads, once a line is asked for.
    :param descriptor: standard input.
    """

    def __init__(self, reactor: Any, descriptor: int = 0) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._rest = b""
        self._lines: deque[bytes] = deque()
        self._ended = False
        self._waiting: Deferred[str | None] | None = None

    def next(self) -> Deferred[str | None]:
        """
        :return: a Deferred of the next line, without its end; of None after the last. One at a time.
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
            # Closed, as by `<&-`.
            data = b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines.extend(lines)
        if not data:
            self._end()
        elif self._lines:
            self._give()

    def connectionLost(self, reason: Failure) -> None:
        """`IReadDescriptor`. The end of a pipe: some reactors say so without a read."""
        self._end()

    def _end(self) -> None:
        if self._rest:
            # The last line may lack its end.
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
