"""
`Outbound`: sends what a connection writes, in large pieces, and limits what waits for the peer to read.

A transport buffers everything it is given, so a client that does not read would exhaust the server's memory. Here the
transport is given 64 KiB at a time and has to ask for more: `Outbound` registers as its pull producer, which every
Twisted transport supports, with TLS and without. The rest waits in our own buffer, which has a limit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IPullProducer
from twisted.logger import Logger
from zope.interface import implementer

from pbkit.wire.connection import Connection

#: How many bytes a transport is given before it has to ask for more: Twisted's own ``bufferSize``.
WINDOW = 64 * 1024

log = Logger()


@implementer(IPullProducer)
class Outbound:
    """
    The output of one connection, and the one producer of its transport. Stock's pagers take their turns here.

    :param connection: the connection.
    :ivar window: how many bytes the transport is given before it has to ask for more.
    :ivar buffered: how many bytes wait here. It does not count what the transport has, at most a window and a message.
    :ivar drained: how often everything has left.
    """

    __slots__ = (
        "_blocked",
        "_connection",
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

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.window = WINDOW
        self.buffered = self.drained = 0
        # How many bytes the transport was given since it last asked, and whether it must ask before it gets more.
        self._given = 0
        self._blocked = False
        # Whether the transport is a plain TCP socket of Twisted's. None: not known yet.
        self._direct: bool | None = None
        # Whether this is the transport's producer. None: it is registering, during which some transports ask at once.
        self._producing: bool | None = False
        self._corked: list[bytes] | None = None
        self._waiting: deque[bytes] | None = None
        self._callbacks: list[Callable[[], object]] | None = None
        self._over: float | None = None

    @property
    def writable(self) -> bool:
        """True if what is written now leaves at once."""
        return not self._blocked

    def onWritable(self, f: Callable[[], object]) -> None:
        """Call `f` once, as soon as nothing is waiting: now, or later, or never if the connection is lost before."""
        if not self._blocked:
            f()
        elif self._callbacks is None:
            self._callbacks = [f]
        else:
            self._callbacks.append(f)

    def write(self, data: bytes) -> None:
        """Send this after everything written before."""
        if self._corked is not None:
            self._corked.append(data)
            self._given += len(data)
            if self._given > self.window:
                self._flush()
        else:
            self._send(data)

    def cork(self) -> None:
        """
        Collect writes until `uncork`. This is done on a plain socket only, which also sends what is written after its
        ``loseConnection`` was called. With TLS such writes would be lost, and there Twisted itself collects small
        writes.
        """
        if isinstance(self._connection.transport, FileDescriptor):
            self._corked = []

    def uncork(self) -> None:
        """Send the collected writes in one piece."""
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
            most = self._connection.prelogin.outputLimit
            if self.buffered > most:
                name = self._connection.prelogin.outputLimitName
                self._connection.refuse(f"{name}: more than {most} bytes are waiting for the peer to read")
            else:
                self._connection.prelogin.charge()
            return
        transport = self._connection.transport
        if self._direct is None:
            # Importing this at the top would import OpenSSL, which takes as long as all of `twisted.spread.pb`. With a
            # real transport it has been imported already.
            from twisted.internet import tcp

            self._direct = isinstance(transport, tcp.Connection)
        if self._direct and not (self._given or self._connection.pageProducers or transport.TLS):
            # The transport's own buffer is empty, or it would still have to ask. So send at once. Waiting for the next
            # turn of the reactor would cost it to start and to stop watching the socket.
            sent = transport.writeSomeData(data) if transport.connected else 0
            if sent == len(data):
                return
            if type(sent) is int:
                data = data[sent:]
            # If the socket has failed, the transport finds that out itself.
            transport.write(data)
            self._blocked = self._produce()
            self._direct = self._blocked
            return
        self._given += len(data)
        transport.write(data)
        if self._given > self.window:
            self._blocked = self._produce()

    def _produce(self) -> bool:
        """Register as the transport's producer, so that it asks for more. Return False if it cannot ask."""
        if self._producing is False:
            self._producing = None
            transport = self._connection.transport
            try:
                transport.registerProducer(self, False)
            except (AttributeError, RuntimeError):
                # This transport takes no producers, or the program has registered one of its own.
                self._producing = False
                self._given = 0
                return False
            self._producing = True
        return True

    def resumeProducing(self) -> None:
        """Give the transport more: it has room."""
        if self._producing is None:
            return
        self.drained += 1
        self._given = 0
        try:
            self._sendWaiting()
        finally:
            if self._connection.prelogin.charged:
                self._connection.prelogin.charge()

    def _sendWaiting(self) -> None:
        while self._waiting:
            # Write large pieces: a transport copies what is left of its buffer at each write.
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
        pagers = self._connection.pageProducers
        for pager in tuple(pagers):
            try:
                pager.sendNextPage()
                going = pager.stillPaging()
            except Exception:
                # In stock this would close the connection, or stop the transport's producer.
                self._connection.peerLog.failure(log, "removed a pager: it raised an exception")
                going = False
            if not going and pager in pagers:
                pagers.remove(pager)
        if not pagers:
            self._stop()

    def page(self) -> None:
        """Let the pagers of the connection begin: one was added."""
        self._produce()
        if not self._blocked:
            self._page()

    def unpaged(self) -> None:
        """Stop asking for pages if the last pager was removed."""
        if not self._connection.pageProducers:
            self._stop()

    def _stop(self) -> None:
        # With a plain socket, stay registered until it has sent everything. Otherwise data that is sent at once could
        # overtake what is still in its buffer.
        if self._producing and not self._blocked and not (self._direct and self._given):
            self._producing = False
            self._connection.transport.unregisterProducer()

    def stopProducing(self) -> None:
        """Drop what is waiting: the connection is lost."""
        self._producing = False
        self._waiting, self._callbacks = None, None

    def lasting(self, now: float, most: int) -> float:
        """
        Return for how many seconds more than `most` bytes have been waiting, as far as earlier calls have seen.

        :param now: the time.
        """
        if self.buffered <= most:
            self._over = None
            return 0.0
        if self._over is None:
            self._over = now
        return now - self._over
