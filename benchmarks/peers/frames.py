"""
The lower bound with encoding: msgpack by msgspec, on Twisted, after four bytes of length.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.protocols.basic import Int32StringReceiver

from benchmarks import data
from benchmarks.messages import ANSWER, CALL, NOTICE, NOTICE_TO_ANSWER, Caller, Client, Hub
from benchmarks.onreactor import listen, main

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder().decode

#: The longest frame, in bytes. Twisted's own default is shorter than a list of 100,000 ints.
LONGEST = 16 * 1024 * 1024


class Serving(Int32StringReceiver):
    """The server's end of a connection."""

    MAX_LENGTH = LONGEST

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def connectionMade(self) -> None:
        """Count the connection."""
        self._hub.members[self] = None

    def connectionLost(self, reason: Any = None) -> None:
        """Remove the connection."""
        del self._hub.members[self]

    def stringReceived(self, string: bytes) -> None:
        """Echo a call, or count an answer."""
        kind, value = decode(string)
        if kind == CALL:
            self.sendString(encode((CALL, value)))
        else:
            self._hub.answered()


class Server:
    """The server."""

    about = {"version": msgspec.__version__}

    def __init__(self) -> None:
        self._hub = Hub()

    def start(self, reactor: Any) -> int:
        """As `onreactor.Server.start`."""
        factory = Factory.forProtocol(lambda: Serving(self._hub))
        factory.noisy = False
        return listen(reactor, factory)

    def broadcast(self, answered: bool) -> Deferred[Any] | None:
        """As `onreactor.Server.broadcast`. Encoded once."""
        frame = encode((NOTICE_TO_ANSWER if answered else NOTICE, data.NOTICE))
        return self._hub.broadcast(lambda member: member.sendString(frame), answered)


class Calling(Int32StringReceiver):
    """The client's end of a connection."""

    MAX_LENGTH = LONGEST
    transport: Any

    def __init__(self, heard: Callable[[], None]) -> None:
        self._heard = heard
        self.caller = Caller(lambda value: self.sendString(encode((CALL, value))), self._leave)

    def _leave(self) -> None:
        self.transport.loseConnection()

    def stringReceived(self, string: bytes) -> None:
        """Receive an echo or a notice."""
        kind, value = decode(string)
        if kind == CALL:
            self.caller.answer(value)
            return
        self._heard()
        if kind == NOTICE_TO_ANSWER:
            self.sendString(encode((ANSWER, None)))

    def connectionLost(self, reason: Any = None) -> None:
        """Fail the calls that have no answer."""
        self.caller.lost(reason)


if __name__ == "__main__":
    main(Server, lambda: Client(Calling))
