"""
The way in of a connection: bytes become messages, within bounds; calls that are too many wait their turn.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.spread import banana

from pbkit.wire import codec
from pbkit.wire.profile import Calls, Limits

if TYPE_CHECKING:
    from pbkit.wire.broker import Broker

#: What has to wait behind calls that wait: calls, and what lets go of an object that a waiting call may be on. Answers
#: and errors do not, or a call that asks its own client would wait for itself.
_ORDERED = frozenset((b"message", b"cachemessage", b"decref", b"decache"))

#: What a message that waits costs beside its bytes: a decref has four of them.
OBJECT = 64


class Intake:
    """
    What came in on one connection and has not been served.

    :param broker: the connection.
    :param limits: what a message may be.
    :param calls: how many may be served at once, and how many may wait.
    :ivar served: how many calls are being served at the moment: those whose Deferred has not fired.
    :ivar paused: whether nothing is read until there is room. Not the other end's fault, so that counts as life.
    """

    __slots__ = ("_broker", "_busy", "_calls", "_framer", "_limits", "_most", "_queue", "_queued", "paused", "served")

    def __init__(self, broker: Broker, limits: Limits, calls: Calls) -> None:
        self._broker = broker
        self._limits = limits
        self._calls = calls
        self._most = sys.maxsize if calls.served is None else calls.served
        self._framer = codec.Framer(*self._bounds())
        self._queue: deque[bytes] | None = None
        self._queued = self.served = 0
        self._busy = self.paused = False

    def _bounds(self) -> tuple[int, int, int, int, int]:
        limits = self._limits
        # Read at use: programs set it while they run.
        string = banana.SIZE_LIMIT if limits.string is None else limits.string
        prefix: Any = self._broker.prefixLimit
        return limits.message, limits.items, limits.depth, string, prefix

    def limit(self, limits: Limits, calls: Calls) -> None:
        """Other bounds, from the next message on."""
        self._limits, self._calls = limits, calls
        self._most = sys.maxsize if calls.served is None else calls.served
        self._framer.limit(*self._bounds())
        if self._queue:
            self._run()

    @property
    def held(self) -> int:
        """How many bytes are kept here."""
        return self._framer.held + self._queued

    def received(self, chunk: bytes) -> None:
        """
        Bytes came in.

        :raises Exception: in drop-in use, what stock raises. Else the connection is closed, with a line in the log.
        """
        if self._limits.string is None:
            self._framer.limit(*self._bounds())
        self._framer.feed(chunk)
        self._run()

    def _run(self) -> None:
        if self._busy:
            return  # While a message is being served; these are next.
        self._busy = True
        broker, framer = self._broker, self._framer
        broker.outflow.cork()
        try:
            while not broker.closed:
                if self._queue and self.served < self._most:
                    broker.messageReceived(self._dequeue())
                elif self.paused:
                    break
                else:
                    message = framer.next()
                    if message is None:
                        break
                    if self._queue or self.served >= self._most:
                        self._enqueue(message)
                    else:
                        broker.messageReceived(message)
        except (codec.TooLarge, codec.Malformed) as error:
            broker.malformed(error)
        finally:
            self._busy = False
            broker.outflow.uncork()

    # Calls that wait.

    def _enqueue(self, message: bytes) -> None:
        expression = codec.decode(message)
        command = expression[0] if isinstance(expression, list) and expression else None
        if command not in _ORDERED or (command == b"message" and not self._broker.serves(expression)):
            self._broker.messageReceived(message)
            return
        if self._queue is None:
            self._queue = deque()
        self._queue.append(message)
        self._queued += len(message) + OBJECT
        if self._queued > self._calls.queued:
            self._pause(True)

    def _dequeue(self) -> bytes:
        assert self._queue is not None
        message = self._queue.popleft()
        self._queued -= len(message) + OBJECT
        if self.paused and self._queued <= self._calls.queued // 2:
            self._pause(False)
        return message

    def _pause(self, paused: bool) -> None:
        self.paused = paused
        transport: Any = self._broker.transport
        act = getattr(transport, "pauseProducing" if paused else "resumeProducing", None)
        if act is not None:
            act()

    def began(self) -> None:
        """A call is being served whose Deferred has not fired."""
        self.served += 1

    def done(self, result: Any) -> Any:
        """One less. To be added to that Deferred."""
        self.served -= 1
        if self._queue:
            self._run()
        return result

    # Those who stand in line.

    def hold(self) -> None:
        """Read nothing, until `resume`."""
        self._pause(True)

    def resume(self) -> None:
        """Read again, and serve what has come."""
        self._pause(False)
        self._run()

    def close(self) -> None:
        """The connection is lost: what waits is not served any more."""
        self._queue, self._queued = None, 0
