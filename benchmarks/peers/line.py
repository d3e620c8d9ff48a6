"""
The lower bound: lines of bytes on Twisted, echoed unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineOnlyReceiver

import twisted
from benchmarks import data
from benchmarks.messages import Caller, Client, Hub
from benchmarks.onreactor import listen, main

#: The prefixes of lines that are not echoes, and the line of an answer.
NOTICE, NOTICE_TO_ANSWER, ANSWER = b"!", b"?", b"."
TEXT = repr(data.NOTICE).encode()


class Serving(LineOnlyReceiver):
    """The server's end of a connection."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def connectionMade(self) -> None:
        """Count the connection."""
        self._hub.members[self] = None

    def connectionLost(self, reason: Any = None) -> None:
        """Remove the connection."""
        del self._hub.members[self]

    def lineReceived(self, line: bytes) -> None:
        """Echo a call, or count an answer."""
        if line == ANSWER:
            self._hub.answered()
        else:
            self.sendLine(line)


class Server:
    """The server."""

    about = {"version": twisted.__version__}

    def __init__(self) -> None:
        self._hub = Hub()

    def start(self, reactor: Any) -> int:
        """As `onreactor.Server.start`."""
        factory = Factory.forProtocol(lambda: Serving(self._hub))
        factory.noisy = False
        return listen(reactor, factory)

    def broadcast(self, answered: bool) -> Deferred[Any] | None:
        """As `onreactor.Server.broadcast`."""
        line = (NOTICE_TO_ANSWER if answered else NOTICE) + TEXT
        return self._hub.broadcast(lambda member: member.sendLine(line), answered)


class Calling(LineOnlyReceiver):
    """The client's end of a connection."""

    transport: Any

    def __init__(self, heard: Callable[[], None]) -> None:
        self._heard = heard
        self.caller = Caller(self.sendLine, lambda: self.transport.loseConnection())

    def lineReceived(self, line: bytes) -> None:
        """Receive an echo or a notice."""
        kind = line[:1]
        if kind not in (NOTICE, NOTICE_TO_ANSWER):
            self.caller.answer(line)
            return
        self._heard()
        if kind == NOTICE_TO_ANSWER:
            self.sendLine(ANSWER)

    def connectionLost(self, reason: Any = None) -> None:
        """Fail the calls that have no answer."""
        self.caller.lost(reason)


class Lines(Client):
    """A client whose values are bytes."""

    def value(self, payload: str) -> bytes:
        """As `onreactor.Client.value`."""
        text: str = data.value(payload)
        return text.encode()


if __name__ == "__main__":
    main(Server, lambda: Lines(Calling))
