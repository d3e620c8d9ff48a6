"""
Common code of the peers on Twisted: a server that broadcasts on request, and a client that calls, logs in and listens.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IReactorCore
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogBeginner, textFileLogObserver
from zope.interface import provider

from benchmarks import data
from benchmarks.station import Action, Answer, Station

HOST = "127.0.0.1"
#: How many connections are opened at the same time.
AT_A_TIME = 50
#: How long a notice may take to arrive, in seconds.
NOTICE_TIMEOUT = 30.0


class Server(Protocol):
    """The interface of a peer's server."""

    about: dict[str, Any]

    def start(self, reactor: Any) -> Any:
        """Start the server. Return the address for its clients, or a Deferred of it, as JSON data."""

    def broadcast(self, answered: bool) -> Deferred[Any] | None:
        """
        Send `data.NOTICE` to each client.

        :return: a Deferred if there is something to wait for: all answers, or the end of sending.
        """


class Connection(Protocol):
    """The interface of a client's connection."""

    def call(self, value: Any) -> Deferred[Any]:
        """Send a value, and return a Deferred of the echo."""

    def close(self) -> Deferred[Any]:
        """Close the connection. Return a Deferred that fires when it is closed."""


class Client(Protocol):
    """The interface of a peer's client."""

    def connect(self, reactor: Any, address: Any, number: int, heard: Callable[[], None]) -> Deferred[Any]:
        """
        Connect, and log in if the peer has logins.

        :param number: a number that is different for each connection.
        :param heard: called for each notice.
        :return: a Deferred of a `Connection`.
        """

    def value(self, payload: str) -> Any:
        """As `data.value`, in the form in which the peer sends it."""

    def pump(self, connection: Any, value: Any, inFlight: int, seconds: float) -> Awaitable[dict[str, Any]]:
        """Run a `Pump` over one connection."""


def listen(reactor: Any, factory: Any) -> int:
    """
    Listen on a free port, with TCP_NODELAY.

    :return: the port.
    """
    port = reactor.listenTCP(0, factory, backlog=4096, interface=HOST)
    # Connections inherit the option, so no code of a peer has to change.
    port.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return int(port.getHost().port)


class Pump:
    """
    Keeps a number of calls in flight until the time is over, then waits for the last.

    :ivar done: a Deferred of the number of calls and the seconds that they took.
    """

    def __init__(self, call: Callable[[], Deferred[Any]], inFlight: int, seconds: float) -> None:
        self.done: Deferred[dict[str, Any]] = Deferred()
        self._call = call
        self._count = self._pending = 0
        self._began = time.perf_counter()
        self._until = self._began + seconds
        for _ in range(inFlight):
            self._pending += 1
            self._go()

    def _go(self) -> None:
        self._call().addCallbacks(self._back, self._failed)

    def _back(self, result: Any) -> None:
        self._count += 1
        now = time.perf_counter()
        if now < self._until:
            self._go()
            return
        self._pending -= 1
        if not self._pending and not self.done.called:
            self.done.callback({"count": self._count, "seconds": now - self._began})

    def _failed(self, failure: Any) -> None:
        self._until = 0
        if not self.done.called:
            self.done.errback(failure)


class Plain:
    """The common base of most clients."""

    def value(self, payload: str) -> Any:
        """As `Client.value`."""
        return data.value(payload)

    def pump(self, connection: Any, value: Any, inFlight: int, seconds: float) -> Awaitable[dict[str, Any]]:
        """As `Client.pump`."""
        return Pump(lambda: connection.call(value), inFlight, seconds).done


class Crowd:
    """The connections of one client process, and the notices that they received."""

    def __init__(self, reactor: Any, client: Client) -> None:
        self._reactor = reactor
        self._client = client
        self.connections: list[Connection] = []
        self._heard = self._wanted = 0
        self._waiting: Deferred[None] | None = None

    async def open(self, order: dict[str, Any]) -> None:
        """Open a number of connections."""
        numbers = iter(range(order["first"], order["first"] + order["count"]))

        async def some() -> None:
            for number in numbers:
                connected = self._client.connect(self._reactor, order["address"], number, self.notice)
                self.connections.append(await connected)

        await gatherResults([Deferred.fromCoroutine(some()) for _ in range(AT_A_TIME)], consumeErrors=True)

    async def calls(self, order: dict[str, Any]) -> dict[str, Any]:
        """Make calls for some seconds."""
        value, connection = self._client.value(order["payload"]), self.connections[0]
        checked(await connection.call(value), value)
        return await self._client.pump(connection, value, order["inFlight"], order["seconds"])

    async def login(self, order: dict[str, Any]) -> dict[str, Any]:
        """Log in and disconnect repeatedly for some seconds."""
        numbers = iter(range(10**9))

        async def once() -> None:
            connection = await self._client.connect(self._reactor, order["address"], next(numbers), lambda: None)
            await connection.close()

        return await Pump(lambda: Deferred.fromCoroutine(once()), order["inFlight"], order["seconds"]).done

    def notice(self) -> None:
        """Count a notice of one connection."""
        self._heard += 1
        if self._waiting is not None and self._heard >= self._wanted:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)

    async def heard(self, order: dict[str, Any]) -> None:
        """Wait until each connection has received exactly this many more notices."""
        self._wanted += order["times"] * len(self.connections)
        if self._heard < self._wanted:
            self._waiting = Deferred()
            await self._waiting.addTimeout(NOTICE_TIMEOUT, self._reactor, self._lost)
        if self._heard != self._wanted:
            raise ValueError(f"{self._heard} notices arrived, {self._wanted} were sent")

    def _lost(self, result: Any, timeout: float) -> Any:
        raise ValueError(f"{self._heard} notices arrived within {timeout:.0f} s, {self._wanted} were sent")


def checked(answer: Any, value: Any) -> None:
    """
    Check an echo.

    :raises ValueError: if it differs from what was sent.
    """
    if answer != value:
        raise ValueError(f"the echo of {value!r:.100} is {answer!r:.100}")


def _onReactor(reactor: Any, f: Callable[[dict[str, Any]], Coroutine[Any, Any, Any]]) -> Action:
    def action(order: dict[str, Any], answer: Answer) -> None:
        def begin() -> None:
            Deferred.fromCoroutine(f(order)).addCallbacks(answer, lambda failure: answer(failure.value))

        reactor.callFromThread(begin)

    return action


async def broadcasting(
    broadcast: Callable[[bool], Deferred[Any] | None], turn: Callable[[], Awaitable[Any]], order: dict[str, Any]
) -> None:
    """
    Broadcast a number of times.

    :param turn: returns a Deferred that fires in a later turn of the reactor, after the output has been sent.
    """
    for _ in range(order["count"]):
        answers = broadcast(order["answered"])
        if answers is not None:
            await answers
        await turn()


@provider(ILogObserver)
def _unexpected(event: LogEvent) -> None:
    """Print errors only. The cost of writing other log messages depends on the log, so it is left out."""
    if event["log_level"] >= LogLevel.error:
        print(eventAsText(event), file=sys.stderr, flush=True)


def run(start: Callable[[Any], Any], orders: Callable[[Any], dict[str, Callable[[dict[str, Any]], Any]]]) -> None:
    """
    Run a process that handles orders, until the input ends.

    :param start: called with the running reactor; returns the first message, a dict, or a Deferred of it.
    :param orders: called with the reactor before that; returns the coroutine functions of the orders, by name.
    """
    from twisted.internet import reactor as installed

    observer: Any = _unexpected
    if "BENCHMARKS_LOG" in os.environ:
        # The file has no name, so nothing is left behind.
        observer = textFileLogObserver(tempfile.TemporaryFile("w+", encoding="utf-8"))
    # A log that is not started keeps its last 65,536 events, with everything they refer to.
    globalLogBeginner.beginLoggingTo([observer], discardBuffer=True, redirectStandardIO=False)
    reactor: Any = IReactorCore(installed)
    station = Station({name: _onReactor(reactor, f) for name, f in orders(reactor).items()})

    def started(hello: dict[str, Any]) -> None:
        station.start(**hello)

    def failed(failure: Any) -> None:
        traceback.print_exception(failure.value)
        sys.stderr.flush()
        os._exit(1)

    reactor.callWhenRunning(lambda: maybeDeferred(start, reactor).addCallback(started).addErrback(failed))
    reactor.run()


def main(server: Callable[..., Server], client: Callable[..., Client]) -> None:
    """
    Run a peer's program. Its arguments are ``server`` or ``client``, and those of the peer.
    """
    role, *words = sys.argv[1:]
    if role == "server":
        serving = server(*words)

        def start(reactor: Any) -> Deferred[dict[str, Any]]:
            address: Deferred[Any] = maybeDeferred(serving.start, reactor)
            return address.addCallback(lambda found: {"address": found, **serving.about})

        def orders(reactor: Any) -> dict[str, Callable[[dict[str, Any]], Any]]:
            return {"broadcast": lambda order: broadcasting(serving.broadcast, lambda: deferLater(reactor, 0), order)}

        run(start, orders)
    else:
        peer = client(*words)

        def listening(reactor: Any) -> dict[str, Callable[[dict[str, Any]], Any]]:
            crowd = Crowd(reactor, peer)
            return {name: getattr(crowd, name) for name in ("open", "calls", "login", "heard")}

        run(lambda _: {}, listening)
