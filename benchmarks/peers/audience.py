"""
The processes of `benchmarks.audience`: pbkit's server with a realm, its audience, and a bystander.
"""

from __future__ import annotations

import gc
import os
import random
import re
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

import pbkit
from benchmarks import data
from benchmarks.onreactor import HOST, Crowd, checked, listen, run
from benchmarks.peers.pbkit import Avatar, codec
from benchmarks.peers.stock import Factory
from benchmarks.perspective import PASSWORD, USERS, Client, checker

Orders = dict[str, Callable[[dict[str, Any]], Awaitable[Any]]]

#: A message with `data.NOTICE`: a list of seven, the request id, and the rest, which is always the same.
MESSAGE = re.compile(rb"(\x07\x80.\x87)[\x00-\x7f]+\x81(.+)", re.DOTALL)


async def paced(reactor: Any, do: Callable[[], object], rate: float, seconds: float) -> int:
    """
    Do something a number of times a second, by the clock. If it falls behind, it catches up.

    :return: how many times it was done.
    """
    begin, number = reactor.seconds(), 0
    while number / rate < seconds:
        await deferLater(reactor, max(0.0, begin + number / rate - reactor.seconds()))
        do()
        number += 1
    return number


class Turns:
    """
    Measures the turns of a reactor: from the end of one poll to the start of the next. It replaces the poll object of
    Twisted's reactor for Linux. Other reactors are not measured.

    :ivar longest: the maximum of each figure, not necessarily in the same turn, in seconds: ``all``, the length;
        ``cpu``, the CPU time of the reactor's thread; ``waited``, how long it waited for a processor; ``garbage``, the
        CPU time of Python's garbage collector.
    """

    def __init__(self, reactor: Any) -> None:
        self.longest = self._none()
        self._began: dict[str, float] | None = None
        self._poller: Any = getattr(reactor, "_poller", None)
        self._collecting = self._collected = 0.0
        try:
            # The figures of the main thread, in which the reactor runs.
            self._scheduled: int | None = os.open("/proc/self/schedstat", os.O_RDONLY)
        except OSError:
            self._scheduled = None
        self.known = self._poller is not None and self._scheduled is not None
        if self.known:
            reactor._poller = self
            gc.callbacks.append(self._garbage)

    @staticmethod
    def _none() -> dict[str, float]:
        return dict.fromkeys(("all", "cpu", "waited", "garbage"), 0.0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)

    def _garbage(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._collecting = time.thread_time()
        else:
            self._collected += time.thread_time() - self._collecting

    def _now(self) -> dict[str, float]:
        assert self._scheduled is not None
        waited = int(os.pread(self._scheduled, 100, 0).split()[1]) / 1e9
        return {
            "all": time.perf_counter(),
            "cpu": time.thread_time(),
            "waited": waited,
            "garbage": self._collected,
        }

    def poll(self, *timeouts: Any) -> Any:
        """Measure the turn that has ended, and wait for the next."""
        if self._began is not None:
            for name, now in self._now().items():
                self.longest[name] = max(self.longest[name], now - self._began[name])
        found = self._poller.poll(*timeouts)
        self._began = self._now()
        return found

    def taken(self) -> dict[str, dict[str, float]]:
        """
        Return the maximums, and reset them. Return nothing if they are not known.
        """
        found = {"longest": self.longest} if self.known else {}
        self.longest = self._none()
        return found


class Server:
    """
    A `pbkit.CachingRealm` behind a `pbkit.ServerFactory`, with default settings.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._realm = pbkit.CachingRealm(Avatar)
        self._turns = Turns(reactor)
        self._random = random.Random(7)

    def start(self) -> dict[str, Any]:
        """Listen."""
        address = listen(self._reactor, pbkit.ServerFactory(Portal(self._realm, [checker()])))
        return {"address": address, "codec": codec()}

    async def broadcast(self, order: dict[str, Any]) -> dict[str, Any]:
        """Tell all clients a number of times a second, for some seconds; at a rate of 0, continuously."""
        without = [session for session in self._realm.roster if not session.mind]
        what, details = data.NOTICE
        seconds, counts = order["seconds"], _Counts()

        def tell() -> Deferred[Any]:
            return self._realm.tell("notice", what, details, except_=without).addCallback(counts.add)

        self._turns.taken()
        if order["rate"]:
            number = await paced(self._reactor, tell, order["rate"], seconds)
        else:
            until, number = self._reactor.seconds() + seconds, 0
            while self._reactor.seconds() < until:
                await tell()
                await deferLater(self._reactor, 0)
                number += 1
        await counts.all(self._reactor, number)
        live = sum(1 for session in self._realm.roster if session.mind)
        return {"tells": number, "live": live, **counts.sums, **self._turns.taken()}

    async def join(self, order: dict[str, Any]) -> dict[str, Any]:
        """Let each session join a number of topics."""
        topics = [self._realm.topic(f"room/{number}") for number in range(order["topics"])]
        for session in self._realm.roster:
            for topic in self._random.sample(topics, order["each"]):
                topic.join(session)
        sizes = [len(topic) for topic in topics]
        return {"least": min(sizes), "most": max(sizes)}

    async def tell(self, order: dict[str, Any]) -> dict[str, Any]:
        """Tell a random topic a number of times a second."""
        what, details = data.NOTICE
        counts = _Counts()

        def tell() -> None:
            topic = self._realm.topic(f"room/{self._random.randrange(order['topics'])}")
            topic.tell("notice", what, details).addCallback(counts.add)

        self._turns.taken()
        number = await paced(self._reactor, tell, order["rate"], order["seconds"])
        await counts.all(self._reactor, number)
        live = sum(1 for _ in self._realm.roster)
        return {"tells": number, "live": live, **counts.sums, **self._turns.taken()}


class _Counts:
    """Sums of summaries."""

    def __init__(self) -> None:
        self.sums = dict.fromkeys(pbkit.Summary._fields, 0)
        self._number = 0

    def add(self, summary: pbkit.Summary) -> None:
        self._number += 1
        for name, number in summary._asdict().items():
            self.sums[name] += number

    async def all(self, reactor: Any, number: int) -> None:
        while self._number < number:
            await deferLater(reactor, 0.01)


class Audience(Crowd):
    """
    Stock clients that count notices.

    :ivar counted: how many notices were recognized by their bytes.
    :ivar looks: the bytes of several notices, and of the end of one, once they are known.
    """

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor, Client(Factory, "realm"))
        self.counted = 0
        self.looks: tuple[re.Pattern[bytes], bytes] | None = None

    @property
    def heardSoFar(self) -> int:
        """Return the number of all notices received."""
        return self._heard + self.counted

    async def count(self, order: dict[str, Any]) -> dict[str, int]:
        """Return how many notices have arrived."""
        return {"heard": self.heardSoFar, "counted": self.counted}

    async def lighten(self, order: dict[str, Any]) -> None:
        """Stop parsing plain notices. Otherwise the clients would leave no CPU time for the server."""
        for connection in self.connections:
            connection.reference.broker.dataReceived = Ear(self, connection.reference.broker)  # type: ignore[attr-defined]


class Ear:
    """
    Reads for a stock client: counts the notices, and passes everything else on.
    """

    def __init__(self, audience: Audience, broker: Any) -> None:
        self._audience = audience
        self._broker = broker
        self._stock = broker.dataReceived

    def __call__(self, chunk: bytes) -> None:
        audience, broker = self._audience, self._broker
        between = not (broker.buffer or broker.listStack)
        if between and audience.looks is not None and audience.looks[0].fullmatch(chunk):
            audience.counted += chunk.count(audience.looks[1])
            return
        before = audience.heardSoFar
        self._stock(chunk)
        if audience.looks is None and between and not broker.buffer and audience.heardSoFar == before + 1:
            # These bytes were a notice.
            if found := MESSAGE.fullmatch(chunk):
                begin, rest = map(re.escape, found.groups())
                audience.looks = re.compile(rb"(?:%s[\x00-\x7f]+\x81%s)+" % (begin, rest)), found[2]


class Bystander:
    """A stock client without a mind that makes calls."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._reference: Any = None

    async def open(self, order: dict[str, Any]) -> None:
        """Connect, and log in."""
        factory = Factory()
        factory.noisy = False
        self._reactor.connectTCP(HOST, order["address"], factory)
        self._reference = await factory.login(UsernamePassword(b"user%d" % (USERS - 1), PASSWORD), None)

    async def calls(self, order: dict[str, Any]) -> dict[str, Any]:
        """
        Call a number of times a second, for some seconds, without waiting for the answers.

        :return: the time of each call, in ms.
        """
        took: list[float] = []
        calls: list[Deferred[None]] = []

        def call() -> None:
            calls.append(Deferred.fromCoroutine(once()))

        async def once() -> None:
            began = time.perf_counter()
            answer = await self._reference.callRemote("echo", data.SMALL)
            took.append((time.perf_counter() - began) * 1e3)
            checked(answer, data.SMALL)

        await paced(self._reactor, call, order["rate"], order["seconds"])
        for each in calls:
            await each
        return {"took": took}


def main() -> None:
    """Run a process: ``server``, ``audience``, which can be ``meek``, or ``bystander``."""
    role, *words = sys.argv[1:]
    if role == "server":
        servers: list[Server] = []

        def serving(reactor: Any) -> Orders:
            servers.append(server := Server(reactor))
            return {"broadcast": server.broadcast, "join": server.join, "tell": server.tell}

        run(lambda _: servers[0].start(), serving)
    elif role == "audience":
        if "meek" in words:
            # Take no CPU time from the server and the bystander: on a network the clients have machines of their own.
            # A lower priority does not work: a client that does not answer for 20 s is disconnected.
            os.nice(5)

        def listening(reactor: Any) -> Orders:
            audience = Audience(reactor)
            return {"open": audience.open, "count": audience.count, "lighten": audience.lighten}

        run(lambda _: {}, listening)
    else:

        def standing(reactor: Any) -> Orders:
            bystander = Bystander(reactor)
            return {"open": bystander.open, "calls": bystander.calls}

        run(lambda _: {}, standing)


if __name__ == "__main__":
    main()
