"""
RPyC: a thread per connection; everything except tuples of plain values is sent by reference.
"""

from __future__ import annotations

import socket
import sys
import time
from typing import Any

import rpyc
from rpyc.utils.server import ThreadedServer

from benchmarks import data
from benchmarks.station import Answer, Station

HOST = "127.0.0.1"


class Echo(rpyc.Service):
    """The served object."""

    def exposed_echo(self, value: Any) -> Any:
        """Return the argument."""
        return value


def serve() -> None:
    """Run the server, with TCP_NODELAY like the client. Connections inherit the option from the listener."""
    server = ThreadedServer(Echo, hostname=HOST, port=0)
    server.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    Station({}).start(address=server.port, version=rpyc.__version__)
    server.start()


class Calls:
    """The client, with one connection for its calls."""

    def __init__(self) -> None:
        self._connection: Any = None

    def open(self, order: dict[str, Any], answer: Answer) -> None:
        """Connect."""
        stream = rpyc.SocketStream.connect(HOST, order["address"], nodelay=True)
        self._connection = rpyc.connect_stream(stream)
        answer({})

    def calls(self, order: dict[str, Any], answer: Answer) -> None:
        """As `benchmarks.onreactor.Pump`."""
        echo, value = rpyc.async_(self._connection.root.echo), data.frozen(data.value(order["payload"]))
        if self._connection.root.echo(value) != value:
            raise ValueError(f"the echo of {value!r:.100} differs")
        count, pending = 0, order["inFlight"]
        began = now = time.perf_counter()
        until = began + order["seconds"]

        def back(result: Any) -> None:
            nonlocal count, pending, now
            if result.error:
                raise ValueError(f"the call failed: {result.value}")
            count += 1
            now = time.perf_counter()
            if now < until:
                echo(value).add_callback(back)
            else:
                pending -= 1

        for _ in range(pending):
            echo(value).add_callback(back)
        while pending:
            self._connection.serve(None)
        answer({"count": count, "seconds": now - began})


if __name__ == "__main__":
    if sys.argv[1] == "server":
        serve()
    else:
        client = Calls()
        station = Station({"open": client.open, "calls": client.calls})
        station.start()
        station.wait()
