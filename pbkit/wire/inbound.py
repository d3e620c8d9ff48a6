"""
`Inbound`: turns received bytes into messages, within limits, and queues the calls that are too many to serve at once.
"""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.spread import banana

from pbkit.wire import codec
from pbkit.wire.connection import Connection
from pbkit.wire.jelly.expressions import countItems
from pbkit.wire.oversized import CLOSING, OversizedMessage
from pbkit.wire.peer import abort
from pbkit.wire.profile import Calls, Limits

#: The commands that keep their place behind queued calls: calls, and those that drop an object which a queued call may
#: be on. Answers and errors do not wait: otherwise a call that asks its own client would wait for itself.
_ORDERED = frozenset((b"message", b"cachemessage", b"decref", b"decache"))

#: How many bytes a queued message takes in memory in addition to its own: a decref has only four of its own.
OBJECT = 64

#: For how long the messages of one connection are served in one turn of the reactor, in seconds. A chunk of 64 KiB can
#: hold 3,000 calls to refuse, and the queue behind 256 calls can hold 50,000. Connections that have more to be served
#: share one slice.
SLICE = 0.005

#: After how many bytes of messages the clock is read, and as how many bytes the shortest message counts.
LOOK, LEAST = 4096, 256

#: How many bytes of a message that exceeds a limit are passed over in one step.
PIECE = 2048

#: How much memory the arguments of the calls in service may take, as a multiple of `Calls.queued`.
SERVED = 4

#: From how many bytes on the arguments of the calls in service count for a user, if the connection holds nothing else.
COUNTED = 64 * 1024

log = Logger()


#: The type bytes of lists, and of all other items.
_LIST, *_ITEMS = (bytes((kind,)) for kind in range(0x80, 0x88))
#: The first bytes of UTF-8 for characters that take four bytes in memory; a text has as many for each character then.
_WIDE = tuple(bytes((byte,)) for byte in range(0xF0, 0xF5))


#: Above this estimate the items of a message are counted exactly, which takes as long as decoding it once more.
EXACT = 256 * 1024


def weight(message: bytes, vocabulary: bool = True) -> int:
    """
    Estimate how much memory a message takes when it is decoded, in bytes: an empty set that takes seven bytes on the
    wire takes 224 in memory, a string of two takes 56. The estimate is often too high, and never below half.

    :param vocabulary: True if common words are abbreviated.
    """
    size = len(message)
    if size < 1024:
        return 64 * size
    # This also counts such bytes inside strings: in a picture that is grey all over, each is a list.
    lists, items = message.count(_LIST), sum(map(message.count, _ITEMS))
    if 224 * lists + 56 * items > EXACT:
        lists, items = countItems(codec.decode(message, vocabulary))
    if b"\x82set" in message or b"frozenset" in message:
        # A set that has just grown has up to 128 bytes for each member.
        items *= 3
    if b"unicode" in message and any(byte in message for byte in _WIDE):
        size *= 4
    return size + 224 * lists + 56 * items


class Inbound:
    """
    What one connection has received and not served yet.

    :param connection: the connection.
    :param limits: the limits of a message.
    :param calls: how many calls are served at once, and how many may be queued.
    :ivar arguments: the estimated size of the arguments of all calls in service.
    :ivar served: the number of calls in service: those whose Deferred has not fired.
    :cvar resting: the number of connections that have used up their slice and have more to be served. It counts those
        of all servers in the process, since they share one reactor.
    :ivar paused: True while nothing is read because the queue is full or the connection is held in line. Silence during
        that time is not the peer's fault.
    """

    resting: ClassVar[int] = 0

    __slots__ = (
        "_busy",
        "_calls",
        "_clock",
        "_connection",
        "_framer",
        "_later",
        "_limits",
        "_oversized",
        "_owes",
        "_queue",
        "_queued",
        "_scanned",
        "_unscanned",
        "arguments",
        "paused",
        "served",
    )

    def __init__(self, connection: Connection, limits: Limits, calls: Calls) -> None:
        self._connection = connection
        self._limits = limits
        self._calls = calls
        # The framer exists only while part of a message has arrived: it takes 220 bytes.
        self._framer: codec.Framer | None = None
        # The message that is being passed over, what has arrived of it and after it, and how much of that was looked
        # at.
        self._oversized: OversizedMessage | None = None
        self._unscanned = b""
        self._scanned = 0
        self._queue: deque[bytes] | None = None
        self._queued = self.served = 0
        self.arguments = 0
        self._busy = self.paused = False
        # The reactor of the transport. An in-memory connection has none, and is served without slices.
        clock = getattr(connection.transport, "reactor", None)
        self._clock: IReactorTime | None = clock if IReactorTime.providedBy(clock) else None
        # Until when other connections are owed time, to make up for what this one has used of its slice: one chunk of
        # TLS arrives in a thousand pieces.
        self._owes = 0.0
        # The call that goes on after a slice has ended.
        self._later: IDelayedCall | None = None

    def _framerLimits(self) -> tuple[int, int, int, int, int]:
        limits = self._limits
        # Read SIZE_LIMIT at each use: programs change it at run time.
        string = banana.SIZE_LIMIT if limits.string is None else limits.string
        return limits.message, limits.items, limits.depth, string, self._connection.prefixLimit

    def limit(self, limits: Limits, calls: Calls) -> None:
        """Apply other limits, from the next message on."""
        self._limits, self._calls = limits, calls
        if self._framer is not None:
            self._framer.limit(*self._framerLimits())
        if self._queue:
            self._run()

    @property
    def held(self) -> int:
        """How many received bytes are kept here."""
        return self._queued + len(self._unscanned) - self._scanned + (0 if self._framer is None else self._framer.held)

    def received(self, chunk: bytes) -> None:
        """
        Take received bytes, and serve the messages that they complete.

        :raises Exception: in drop-in use, what stock raises. In strict use the connection is closed instead, with one
            line in the log.
        """
        if self._oversized is not None:
            self._unscanned, self._scanned = self._unscanned[self._scanned :] + chunk, 0
        else:
            self._feed(chunk)
        self._run()

    def _feed(self, chunk: bytes) -> None:
        if self._framer is None:
            self._framer = codec.Framer(*self._framerLimits())
        elif self._limits.string is None:
            self._framer.limit(*self._framerLimits())
        self._framer.feed(chunk)

    def _run(self) -> None:
        if self._busy or self._later is not None:
            return  # A message is being served, or it is the turn of others: these bytes are next.
        until = began = None
        spent = 0.0
        clock = self._clock
        if clock is not None:
            began = clock.seconds()
            # Time that others have had since then is paid back.
            spent = max(0.0, self._owes - began)
            until = began + SLICE / (Inbound.resting + 1) - spent
            if until < began:
                self._rest(clock)
                return
        self._busy = True
        look = LOOK
        connection = self._connection
        connection.outbound.cork()
        try:
            while not connection.closed:
                if self._queue and not self._full():
                    message = self._dequeue()
                    size = len(message)
                    connection.messageReceived(message)
                elif self.paused:
                    break
                elif self._oversized is not None:
                    size = self._passOver(self._oversized)
                    if not size:
                        break
                else:
                    framer = self._framer
                    if framer is None:
                        break
                    try:
                        following = framer.next()
                    except codec.TooLarge as error:
                        if not self._beginsToPassOver(framer, error):
                            raise
                        continue
                    if following is None:
                        if not framer.held:
                            self._framer = None
                        break
                    size = len(following)
                    if self._queue or (self.served and self._full()):
                        self._enqueue(following)
                    else:
                        connection.messageReceived(following)
                look -= LEAST + size
                if look <= 0:
                    look = LOOK
                    if until is not None and clock is not None and clock.seconds() >= until:
                        self._rest(clock)
                        break
        except (codec.TooLarge, codec.Malformed) as error:
            connection.malformed(error)
        finally:
            self._busy = False
            # Do not keep the last message: it can be several megabytes.
            connection.message = b""
            if clock is not None and began is not None:
                ended = clock.seconds()
                self._owes = ended + spent + (ended - began)
            connection.outbound.uncork()
            if connection.prelogin.charged or self._queued or self._unscanned or self._framer is not None:
                connection.prelogin.charge()

    def _beginsToPassOver(self, framer: codec.Framer, error: codec.TooLarge) -> bool:
        """Begin to pass over a message that exceeds a limit; return False if it costs the connection."""
        if not self._connection.passesOver(error):
            framer.refused()
            return False
        most = CLOSING * self._limits.message
        self._oversized = OversizedMessage(error, most, self._connection.vocabulary, self._connection.prefixLimit)
        self._unscanned, self._scanned = framer.refused(), 0
        self._framer = None
        return True

    def _passOver(self, oversized: OversizedMessage) -> int:
        """Pass over a piece of a message that exceeds a limit. Return its size, 0 if there is nothing of it yet."""
        piece = self._unscanned[self._scanned : self._scanned + PIECE]
        following = oversized.feed(piece)
        self._scanned += len(piece) - len(following)
        if oversized.references or oversized.caches:
            references, oversized.references = oversized.references, []
            caches, oversized.caches = oversized.caches, []
            self._connection.giveBackIds(references, caches)
        if oversized.complete:
            following = self._unscanned[self._scanned :]
            self._oversized, self._unscanned, self._scanned = None, b"", 0
            if following:
                self._feed(following)
            self._connection.refuseMessage(oversized.head, oversized.error.which, oversized.error.bound)
        return len(piece)

    def _rest(self, clock: IReactorTime) -> None:
        # Stop reading until then. Otherwise what is still to be served would pile up here.
        if not self._connection.closed:
            self._read(False)
            Inbound.resting += 1
            self._later = clock.callLater(0, self._goOn)

    def _goOn(self) -> None:
        Inbound.resting -= 1
        self._later = None
        self._owes = 0.0
        try:
            self._run()
        except Exception:
            # This happens in drop-in use only. The reactor does the same if dataReceived raises.
            log.failure("closed a connection: serving a message failed")
            abort(self._connection.transport)
        if self._later is None and not self.paused:
            self._read(True)

    def _read(self, reading: bool) -> None:
        act = getattr(self._connection.transport, "resumeProducing" if reading else "pauseProducing", None)
        if act is not None:
            act()

    # Calls that are queued.

    def _full(self) -> bool:
        most = self._calls.served
        if most is None:
            return False
        return self.served >= most or (self.served > 1 and self.arguments > SERVED * self._calls.queued)

    def _enqueue(self, message: bytes) -> None:
        expression = codec.decode(message)
        command = expression[0] if isinstance(expression, list) and expression else None
        if (
            type(command) is not bytes
            or command not in _ORDERED
            or (command == b"message" and not self._connection.serves(expression))
        ):
            self._connection.messageReceived(message)
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
        Count a call whose Deferred has not fired.

        :return: its estimated size, for `done`.
        """
        weighs = weight(self._connection.message, self._connection.vocabulary)
        self.served += 1
        self.arguments += weighs
        if self.arguments > COUNTED:
            self._connection.prelogin.charge()
        return weighs

    def done(self, result: Any, weighs: int) -> Any:
        """Stop counting such a call. Add this to its Deferred: it returns `result` unchanged."""
        self.served -= 1
        self.arguments -= weighs
        if self._connection.prelogin.charged:
            self._connection.prelogin.charge()
        if self._queue:
            self._run()
        return result

    # Connections that are held in line.

    def hold(self) -> None:
        """Read nothing until `resume`."""
        self._pause(True)

    def resume(self) -> None:
        """Read again, and serve what has arrived."""
        self._pause(False)
        self._run()

    def close(self) -> None:
        """The connection is lost: drop what has not been served."""
        self._queue, self._queued = None, 0
        # A program may keep the connection. It should not keep part of a message with it.
        self._framer = codec.Framer(*self._framerLimits())
        self._oversized, self._unscanned, self._scanned = None, b"", 0
        if self._later is not None:
            Inbound.resting -= 1
            self._later.cancel()
            self._later = None
