"""
The way out of a connection: what is written in one go leaves in one piece, and what waits is counted.

A transport takes all that it is given, so a client that does not read eats the server's memory. Here it is given
64 KiB at a time, and has to ask for more: by registering as its pull producer, which every transport of Twisted's
knows, with TLS and without. What waits meanwhile is ours, and has a bound.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IPullProducer
from twisted.logger import Logger
from zope.interface import implementer

from pbkit.wire.connection import Connection

#: How much a transport is given before it has to ask for more, in bytes: Twisted's own ``bufferSize``.
WINDOW = 64 * 1024

log = Logger()


@implementer(IPullProducer)
class Outbound:
    """
    The one producer of a connection. Stock's pagers take their turns here.

    :param broker: the connection.
    :ivar window: how many bytes the transport is given before it has to ask for more.
    :ivar buffered: how many bytes wait here. What the transport has, a window and a message at most, does not count.
    :ivar drained: how often the transport has had nothing left.
    """

    __slots__ = (
        "_blocked",
        "_broker",
        "_callbacks",
        "_corked",
        "_direct",
        "_given",
        "_over",
        "_producing",
        "_waiting",
        "buffered",
        "drained",
        "window",
    )

    def __init__(self, broker: Connection) -> None:
        self._broker = broker
        self.window = WINDOW
        self.buffered = self.drained = 0
        # What the transport was given since it last asked, and whether it has to ask before it is given more.
        self._given = 0
        self._blocked = False
        # Whether it is a plain socket of Twisted's; None is not known yet.
        self._direct: bool | None = None
        # Whether we are its producer: None while we become it, when stock's transports ask at once.
        self._producing: bool | None = False
        self._corked: list[bytes] | None = None
        self._waiting: deque[bytes] | None = None
        self._callbacks: list[Callable[[], object]] | None = None
        self._over: float | None = None

    @property
    def writable(self) -> bool:
        """Whether what is written now leaves at once."""
        return not self._blocked

    def onWritable(self, f: Callable[[], object]) -> None:
        """Call `f` once, when nothing waits any more; at once if nothing does. Never, if the connection is lost."""
        if not self._blocked:
            f()
        elif self._callbacks is None:
            self._callbacks = [f]
        else:
            self._callbacks.append(f)

    def write(self, data: bytes) -> None:
        """Send this, behind all that was written before."""
        if self._corked is not None:
            self._corked.append(data)
            self._given += len(data)
            if self._given > self.window:
                self._flush()
        else:
            self._send(data)

    def cork(self) -> None:
        """
        From now on writes are collected: on a plain socket, which also sends what is written after somebody has called
        its ``loseConnection``. With TLS that would be lost, and there Twisted itself collects small writes.
        """
        if isinstance(self._broker.transport, FileDescriptor):
            self._corked = []

    def uncork(self) -> None:
        """What was collected leaves, in one piece."""
        if self._corked is not None:
            self._flush()
            self._corked = None

    def _flush(self) -> None:
        pieces = self._corked
        if pieces:
            self._corked = []
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._given -= len(data)
            self._send(data)

    def _send(self, data: bytes) -> None:
        if self._blocked:
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.append(data)
            self.buffered += len(data)
            most = self._broker.prelogin.output
            if self.buffered > most:
                self._broker.refuse(
                    f"{self._broker.prelogin.outputBound}: more than {most} bytes wait for it to be read"
                )
            return
        transport: Any = self._broker.transport
        if self._direct is None:
            self._direct = isinstance(transport, tcp.Connection)
        if self._direct and not (self._given or self._broker.pageProducers or transport.TLS):
            # The transport has nothing left, as what it has left would have made it ask. So it is sent at once, without
            # a turn of the reactor, which would have to begin and to stop watching the socket for it.
            sent = transport.writeSomeData(data) if transport.connected else 0
            if sent == len(data):
                return
            if type(sent) is int:
                data = data[sent:]
            # What is wrong, if anything is, the transport finds for itself.
            transport.write(data)
            self._blocked = self._produce()
            self._direct = self._blocked
            return
        self._given += len(data)
        transport.write(data)
        if self._given > self.window:
            self._blocked = self._produce()

    def _produce(self) -> bool:
        """Become the transport's producer, so that it asks for more. False if it cannot ask."""
        if self._producing is False:
            self._producing = None
            transport: Any = self._broker.transport
            try:
                transport.registerProducer(self, False)
            except (AttributeError, RuntimeError):
                # No such thing in this transport, or the program has registered one of its own.
                self._producing = False
                self._given = 0
                return False
            self._producing = True
        return True

    def resumeProducing(self) -> None:
        """`IPullProducer`: the transport has room."""
        if self._producing is None:
            return
        self.drained += 1
        self._given = 0
        while self._waiting:
            # In large pieces: a transport copies what it has left each time.
            pieces, size = [], 0
            while self._waiting and size <= self.window:
                pieces.append(self._waiting.popleft())
                size += len(pieces[-1])
            self.buffered -= size
            self._blocked = False
            self._send(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            if self._blocked:
                return
        self._blocked, self._waiting, self._over = False, None, None
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            callback()
        if not self._blocked:
            self._page()

    def _page(self) -> None:
        pagers = self._broker.pageProducers
        for pager in tuple(pagers):
            try:
                pager.sendNextPage()
                going = pager.stillPaging()
            except Exception:
                # In stock this ends the connection, or its transport's producer.
                self._broker.peerLog.failure(log, "a pager raised, it is taken off")
                going = False
            if not going and pager in pagers:
                pagers.remove(pager)
        if not pagers:
            self._stop()

    def page(self) -> None:
        """There is a pager: its first page leaves as soon as there is room."""
        self._produce()
        if not self._blocked:
            self._page()

    def unpaged(self) -> None:
        """A pager was taken off."""
        if not self._broker.pageProducers:
            self._stop()

    def _stop(self) -> None:
        # Of a plain socket it has to be known when the last of it has left, or what is sent at once would overtake it.
        if self._producing and not self._blocked and not (self._direct and self._given):
            self._producing = False
            self._broker.transport.unregisterProducer()

    def stopProducing(self) -> None:
        """`IProducer`: the connection is lost."""
        self._producing = False
        self._waiting, self._callbacks = None, None

    def lasting(self, now: float, most: int) -> float:
        """
        For how long more than `most` bytes have waited here, in seconds, as seen by one who looks now and then.
        """
        if self.buffered <= most:
            self._over = None
            return 0.0
        if self._over is None:
            self._over = now
        return now - self._over
