"""
Foolscap, the successor by Perspective Broker's author. It always uses TLS.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import foolscap
from foolscap.api import Referenceable, Tub
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import AdoptedStreamServerEndpoint

from benchmarks.onreactor import HOST, Plain, main


class Echo(Referenceable):
    """The served object."""

    def remote_echo(self, value: Any) -> Any:
        """Return the argument."""
        return value


class Server:
    """The server."""

    about = {"version": foolscap.__version__}

    def start(self, reactor: Any) -> str:
        """As `onreactor.Server.start`: the address is a FURL."""
        tub = Tub()
        tub.startService()
        listening = socket.create_server((HOST, 0))
        listening.setblocking(False)
        tub.setLocation(f"tcp:{HOST}:{listening.getsockname()[1]}")
        tub.listenOn(AdoptedStreamServerEndpoint(reactor, listening.detach(), socket.AF_INET))
        self._tub = tub
        furl: str = tub.registerReference(Echo())
        return furl

    def broadcast(self, answered: bool) -> Deferred[Any] | None:
        """As `onreactor.Server.broadcast`."""
        raise NotImplementedError("the fan-out of Foolscap is not measured")


class Connection:
    """A client's connection."""

    def __init__(self, tub: Any, reference: Any) -> None:
        self._tub = tub
        self._reference = reference

    def call(self, value: Any) -> Deferred[Any]:
        """As `onreactor.Connection.call`."""
        answer: Deferred[Any] = self._reference.callRemote("echo", value)
        return answer

    def close(self) -> Deferred[Any]:
        """As `onreactor.Connection.close`."""
        stopped: Deferred[Any] = self._tub.stopService()
        return stopped


class Client(Plain):
    """The client."""

    def connect(self, reactor: Any, address: Any, number: int, heard: Callable[[], None]) -> Deferred[Connection]:
        """As `onreactor.Client.connect`."""
        tub = Tub()
        tub.startService()
        reference: Deferred[Any] = tub.getReference(address)
        return reference.addCallback(lambda got: Connection(tub, got))


if __name__ == "__main__":
    main(Server, Client)
