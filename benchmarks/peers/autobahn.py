"""
autobahn's WebSocket on Twisted, with msgpack in its messages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autobahn
import msgpack
from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from twisted.internet.defer import Deferred

from benchmarks import data
from benchmarks.messages import ANSWER, CALL, NOTICE, NOTICE_TO_ANSWER, Caller, Hub
from benchmarks.onreactor import HOST, Plain, listen, main

PATH = "ws://127.0.0.1/"


class Serving(WebSocketServerProtocol):
    """The server's end of a connection."""

    def onOpen(self) -> None:
        """Count the connection."""
        self.factory.hub.members[self] = None

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Remove the connection."""
        self.factory.hub.members.pop(self, None)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Echo a call, or count an answer."""
        kind, value = msgpack.unpackb(payload)
        if kind == CALL:
            self.sendMessage(msgpack.packb((CALL, value)), True)
        else:
            self.factory.hub.answered()


class Server:
    """The server."""

    about = {"version": autobahn.__version__}

    def __init__(self) -> None:
        self._hub = Hub()
        self._factory = WebSocketServerFactory(PATH)
        self._factory.protocol = Serving
        self._factory.hub = self._hub
        self._factory.noisy = False

    def start(self, reactor: Any) -> int:
        """As `onreactor.Server.start`."""
        return listen(reactor, self._factory)

    def broadcast(self, answered: bool) -> Deferred[Any] | None:
        """As `onreactor.Server.broadcast`. Encoded and framed once."""
        payload = msgpack.packb((NOTICE_TO_ANSWER if answered else NOTICE, data.NOTICE))
        prepared = self._factory.prepareMessage(payload, True)
        return self._hub.broadcast(lambda member: member.sendPreparedMessage(prepared), answered)


class Calling(WebSocketClientProtocol):
    """The client's end of a connection. autobahn sets TCP_NODELAY itself."""

    caller: Caller

    def onOpen(self) -> None:
        """Report that the connection can be used."""
        self.caller = Caller(lambda value: self.sendMessage(msgpack.packb((CALL, value)), True), self.sendClose)
        self.factory.opened.callback(self.caller)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Receive an echo or a notice."""
        kind, value = msgpack.unpackb(payload)
        if kind == CALL:
            self.caller.answer(value)
            return
        self.factory.heard()
        if kind == NOTICE_TO_ANSWER:
            self.sendMessage(msgpack.packb((ANSWER, None)), True)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Fail the calls that have no answer."""
        error = ConnectionError(f"closed: {code} {reason}")
        if self.factory.opened.called:
            self.caller.lost(error)
        else:
            self.factory.opened.errback(error)


class Client(Plain):
    """The client."""

    def connect(self, reactor: Any, address: Any, number: int, heard: Callable[[], None]) -> Deferred[Caller]:
        """As `onreactor.Client.connect`."""
        factory = WebSocketClientFactory(PATH)
        factory.protocol = Calling
        factory.noisy = False
        factory.heard = heard
        factory.opened = opened = Deferred[Caller]()
        reactor.connectTCP(HOST, address, factory)
        # The server's end opens before it answers the handshake.
        return opened


if __name__ == "__main__":
    main(Server, Client)
