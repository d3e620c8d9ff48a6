"""
The part that all peers on Twisted share: a server that is told to broadcast, a client that calls, logs in, and listens.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IReactorCore
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogBeginner
from zope.interface import provider

from benchmarks import data
from benchmarks.station import Action, Answer, Station

HOST = "127.0.0.1"
#: Connections that are on their way at a time.
AT_A_TIME = 50
#: How long a notice may be on its way, in seconds.
NOTICE_TIMEOUT = 30.0


class Server(Protocol):
    """What a peer's server is to the benchmark."""

    about: dict[str, Any]

    def start(self, reactor: Any) -> Any:
        """:return: the address for its clients, or a Deferred of it. It has to go through JSON."""

    def broadcast(self, answered: bool) -> Deferred[Any] | None:
        """
        Send `data.NOTICE` to each client.

        :return: a Deferred, if there is something to wait for: all the answers, or that all have been told.
        """


class Connection(Protocol):
    """One connection of a client's."""

    def call(self, value: Any) -> Deferred[Any]:
        """Have a value echoed."""

    def close(self) -> Deferred[Any]:
        """Leave; it fires when the connection is lost."""


class Client(Protocol):
    """What a peer's client is to the benchmark."""

    def connect(self, reactor: Any, address: Any, number: int, heard: Callable[[], None]) -> Deferred[Any]:
        """
        Connect, and log in if it is a peer where one does.

        :param number: a different one for each.
        :param heard: to be called at each notice.
        :return: a Deferred of a `Connection`.
        """

    def value(self, payload: str) -> Any:
        """As `data.value`, in the form that it is sent in."""

    def pump(self, connection: Any, value: Any, inFlight: int, seconds: float) -> Awaitable[dict[str, Any]]:
        """As `Pump`, over one connection."""


def listen(reactor: Any, factory: Any) -> int:
    """
    Listen at some port, without Nagle's delay.

    :return: the port.
    """
    port = reactor.listenTCP(0, factory, backlog=4096, interface=HOST)
    # Connections inherit it, and no peer's own code has to be touched for it.
    port.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return int(port.getHost().port)


class Pump:
    """
    Keeps so many calls under way until the time is up, then waits for the last.

    :ivar done: a Deferred of how many, and how long it took.
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
    """What most clients are."""

    def value(self, payload: str) -> Any:
        """As `Client.value`."""
        return data.value(payload)

    def pump(self, connection: Any, value: Any, inFlight: int, seconds: float) -> Awaitable[dict[str, Any]]:
        """As `Client.pump`."""
        return Pump(lambda: connection.call(value), inFlight, seconds).done


class Crowd:
    """The connections of one client process, and what they have heard."""

    def __init__(self, reactor: Any, client: Client) -> None:
        self._reactor = reactor
        self._client = client
        self.connections: list[Connection] = []
        self._heard = self._wanted = 0
        self._waiting: Deferred[None] | None = None

    async def open(self, order: dict[str, Any]) -> None:
        """Connect so many."""
        numbers = iter(range(order["first"], order["first"] + order["count"]))

        async def some() -> None:
            for number in numbers:
                connected = self._client.connect(self._reactor, order["address"], number, self.notice)
                self.connections.append(await connected)

        await gatherResults([Deferred.fromCoroutine(some()) for _ in range(AT_A_TIME)], consumeErrors=True)

    async def calls(self, order: dict[str, Any]) -> dict[str, Any]:
        """Call, for a while."""
        value, connection = self._client.value(order["payload"]), self.connections[0]
        checked(await connection.call(value), value)
        return await self._client.pump(connection, value, order["inFlight"], order["seconds"])

    async def login(self, order: dict[str, Any]) -> dict[str, Any]:
        """Log in and leave, for a while."""
        numbers = iter(range(10**9))

        async def once() -> None:
            connection = await self._client.connect(self._reactor, order["address"], next(numbers), lambda: None)
            await connection.close()

        return await Pump(lambda: Deferred.fromCoroutine(once()), order["inFlight"], order["seconds"]).done

    def notice(self) -> None:
        """One connection has heard one."""
        self._heard += 1
        if self._waiting is not None and self._heard >= self._wanted:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)

    async def heard(self, order: dict[str, Any]) -> None:
        """Wait until each connection has heard so many more, and no more than that."""
        self._wanted += order["times"] * len(self.connections)
        if self._heard < self._wanted:
            self._waiting = Deferred()
            await self._waiting.addTimeout(NOTICE_TIMEOUT, self._reactor, self._lost)
        if self._heard != self._wanted:
            raise ValueError(f"{self._heard} notices came in, {self._wanted} were sent")

    def _lost(self, result: Any, timeout: float) -> Any:
        raise ValueError(f"{self._heard} notices came in, {self._wanted} were sent, and {timeout:.0f} s have passed")


def checked(answer: Any, value: Any) -> None:
    """:raises ValueError: an echo is not what was called."""
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
    Broadcast so many times.

    :param turn: to be awaited for a new turn of the reactor, in which what was written is sent.
    """
    for _ in range(order["count"]):
        answers = broadcast(order["answered"])
        if answers is not None:
            await answers
        await turn()


@provider(ILogObserver)
def _unexpected(event: LogEvent) -> None:
    """Errors are to be seen when something fails; what writing a log costs depends on the log, and is left out."""
    if event["log_level"] >= LogLevel.error:
        print(eventAsText(event), file=sys.stderr, flush=True)


def run(start: Callable[[Any], Any], orders: Callable[[Any], dict[str, Callable[[dict[str, Any]], Any]]]) -> None:
    """
    The main program of a process that takes orders: it runs until there are no more.

    :param start: called with the reactor once it runs; gives what is said first, a dict, or a Deferred of it.
    :param orders: called with the reactor before; gives coroutine functions by name, each of an order.
    """
    from twisted.internet import reactor as installed

    # A log that nobody has begun keeps its last 65,536 events, and all that they are about.
    globalLogBeginner.beginLoggingTo([_unexpected], discardBuffer=True, redirectStandardIO=False)
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
    A peer's main program: ``server`` or ``client``, and what else it is told.
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
