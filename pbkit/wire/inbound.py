"""
The way in of a connection: bytes become messages, within bounds; calls that are too many wait their turn.
"""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar, cast

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.spread import banana

from pbkit.wire import codec
from pbkit.wire.connection import Connection
from pbkit.wire.profile import Calls, Limits

#: What has to wait behind calls that wait: calls, and what lets go of an object that a waiting call may be on. Answers
#: and errors do not, or a call that asks its own client would wait for itself.
_ORDERED = frozenset((b"message", b"cachemessage", b"decref", b"decache"))

#: What a message that waits costs beside its bytes: a decref has four of them.
OBJECT = 64

#: For how long messages of one connection are served at a stretch, in seconds; then the others have their turn. A chunk
#: of 64 KiB may hold 3,000 calls that are all to be refused, and what waits behind 256 calls 50,000. Connections that
#: have more to be served than that share it.
SLICE = 0.005

#: After how many bytes of messages it looks at the time, and as how many the shortest counts.
LOOK, LEAST = 4096, 256

#: What the arguments of calls that are being served may take, beside what waits, as a multiple of `Calls.queued`.
SERVED = 4

log = Logger()


def weight(message: bytes) -> int:
    """
    What a message takes when it is read, in bytes, and not much less: an empty set of seven bytes takes 224, a string
    of two 56.
    """
    if len(message) < 1024:
        return 64 * len(message)
    # Bytes within strings are counted too; so much does not matter.
    return (
        len(message) + 224 * message.count(b"\x80") + 56 * sum(map(message.count, (b"\x81", b"\x82", b"\x84", b"\x85")))
    )


class Inbound:
    """
    What came in on one connection and has not been served.

    :param broker: the connection.
    :param limits: what a message may be.
    :param calls: how many may be served at once, and how many may wait.
    :ivar served: how many calls are being served at the moment: those whose Deferred has not fired.
    :cvar resting: how many connections have more to be served, when it is their turn again: of all servers, since one
        reactor serves them all.
    :ivar paused: whether nothing is read until there is room. Not the other end's fault, so that counts as life.
    """

    resting: ClassVar[int] = 0

    __slots__ = (
        "_broker",
        "_busy",
        "_calls",
        "_clock",
        "_framer",
        "_later",
        "_limits",
        "_owes",
        "_queue",
        "_queued",
        "_weight",
        "paused",
        "served",
    )

    def __init__(self, broker: Connection, limits: Limits, calls: Calls) -> None:
        self._broker = broker
        self._limits = limits
        self._calls = calls
        # There is one while there is a part of a message: it takes 220 bytes.
        self._framer: Any = None
        self._queue: deque[bytes] | None = None
        self._queued = self.served = 0
        # What all those weigh whose Deferred has not fired.
        self._weight = 0
        self._busy = self.paused = False
        # The reactor that reads for us. A connection in memory has none, and is served at once.
        clock = getattr(broker.transport, "reactor", None)
        self._clock: Any = clock if IReactorTime.providedBy(clock) else None
        # Until when others are to be served, to make up for what it has had of its slice: a chunk of TLS comes in a
        # thousand pieces.
        self._owes = 0.0
        # What goes on where a slice has ended.
        self._later: IDelayedCall | None = None

    def _bounds(self) -> tuple[int, int, int, int, int]:
        limits = self._limits
        # Read at use: programs set it while they run.
        string = banana.SIZE_LIMIT if limits.string is None else limits.string
        prefix: Any = self._broker.prefixLimit
        return limits.message, limits.items, limits.depth, string, prefix

    def limit(self, limits: Limits, calls: Calls) -> None:
        """Other bounds, from the next message on."""
        self._limits, self._calls = limits, calls
        if self._framer is not None:
            self._framer.limit(*self._bounds())
        if self._queue:
            self._run()

    @property
    def held(self) -> int:
        """How many bytes are kept here."""
        return self._queued if self._framer is None else self._framer.held + self._queued

    def received(self, chunk: bytes) -> None:
        """
        Bytes came in.

        :raises Exception: in drop-in use, what stock raises. Else the connection is closed, with a line in the log.
        """
        if self._framer is None:
            self._framer = codec.Framer(*self._bounds())
        elif self._limits.string is None:
            self._framer.limit(*self._bounds())
        self._framer.feed(chunk)
        self._run()

    def _run(self) -> None:
        if self._busy or self._later is not None:
            return  # While a message is being served, or others have their turn; these are next.
        until = began = None
        spent = 0.0
        if self._clock is not None:
            began = self._clock.seconds()
            # Time in which others were served is given back.
            spent = max(0.0, self._owes - began)
            until = began + SLICE / (Inbound.resting + 1) - spent
            if until < began:
                self._rest()
                return
        self._busy = True
        look = LOOK
        broker = self._broker
        broker.outbound.cork()
        try:
            while not broker.closed:
                if self._queue and not self._full():
                    message = self._dequeue()
                    broker.messageReceived(message)
                elif self.paused:
                    break
                else:
                    framer = self._framer
                    following = None if framer is None else framer.next()
                    if following is None:
                        if framer is not None and not framer.held:
                            self._framer = None
                        break
                    message = following
                    if self._queue or (self.served and self._full()):
                        self._enqueue(message)
                    else:
                        broker.messageReceived(message)
                look -= LEAST + len(message)
                if look <= 0:
                    look = LOOK
                    if until is not None and self._clock.seconds() >= until:
                        self._rest()
                        break
        except (codec.TooLarge, codec.Malformed) as error:
            broker.malformed(error)
        finally:
            self._busy = False
            # It may have been of some megabytes.
            broker.message = b""
            if began is not None:
                ended = self._clock.seconds()
                self._owes = ended + spent + (ended - began)
            broker.outbound.uncork()

    def _rest(self) -> None:
        # Nothing is read meanwhile, or what is to be served would pile up here.
        if not self._broker.closed:
            self._read(False)
            Inbound.resting += 1
            self._later = self._clock.callLater(0, self._goOn)

    def _goOn(self) -> None:
        Inbound.resting -= 1
        self._later = None
        self._owes = 0.0
        try:
            self._run()
        except Exception:
            # In drop-in use. As the reactor has it where a dataReceived raises.
            log.failure("a message could not be served, the connection is closed")
            cast(Any, self._broker.transport).abortConnection()
        if self._later is None and not self.paused:
            self._read(True)

    def _read(self, reading: bool) -> None:
        transport: Any = self._broker.transport
        act = getattr(transport, "resumeProducing" if reading else "pauseProducing", None)
        if act is not None:
            act()

    # Calls that wait.

    def _full(self) -> bool:
        most = self._calls.served
        if most is None:
            return False
        return self.served >= most or (self.served > 1 and self._weight > SERVED * self._calls.queued)

    def _enqueue(self, message: bytes) -> None:
        expression = codec.decode(message)
        command = expression[0] if isinstance(expression, list) and expression else None
        if (
            type(command) is not bytes
            or command not in _ORDERED
            or (command == b"message" and not self._broker.serves(expression))
        ):
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
        if self._later is None:
            self._read(not paused)

    def began(self) -> int:
        """
        A call is being served whose Deferred has not fired.

        :return: what it weighs, for `done`.
        """
        weighs = weight(self._broker.message)
        self.served += 1
        self._weight += weighs
        return weighs

    def done(self, result: Any, weighs: int) -> Any:
        """One less. To be added to that Deferred."""
        self.served -= 1
        self._weight -= weighs
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
        # Whoever keeps something of the connection is not to keep the half of a message too.
        self._framer = codec.Framer(*self._bounds())
        if self._later is not None:
            Inbound.resting -= 1
            self._later.cancel()
            self._later = None
