"""
What does it cost to tell 5,000 watchers what has changed?

    python benchmarks/presence.py [--watchers N] [--changes N] [--rounds N]

Clients log in through a real server and watch the realm's presence. In each round a number of sessions begin or end at
once, and the changes are told. For comparison, each round also tells all clients one small notice. The output is
discarded, so this measures pbkit and not the sockets. It prints the CPU time for one client: the median of the rounds
with the minimum and maximum.
"""

from __future__ import annotations

import argparse
import gc
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.spread import pb

from pbkit import Avatar, CachingRealm, ServerFactory
from pbkit.testing.link import Link

#: How long changes are collected before they are told, and a little more.
BATCH = 0.2


class Sink(StringTransport):
    """A transport whose peer reads everything at once."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0

    def write(self, data: bytes) -> None:
        """Count the bytes."""
        self.written += len(data)

    def read(self) -> None:
        """Ask for more output, as a transport does whose buffer is empty."""
        while self.producer is not None and not self.streaming:
            self.producer.resumeProducing()


class Mind(pb.Referenceable):
    """
    A client's own object.

    :ivar version: the version of the presence that it was told last.
    """

    version = ""

    def remote_presence(self, version: str, changes: list[Any], fresh: bool) -> None:
        """Note the version."""
        self.version = version


class House:
    """A server with clients that watch."""

    def __init__(self, watchers: int) -> None:
        self.clock = Clock()
        self.realm = CachingRealm(Avatar, clock=self.clock)
        users = InMemoryUsernamePasswordDatabaseDontUse(watcher=b"sesame")
        factory = ServerFactory(Portal(self.realm, [users, AllowAnonymousAccess()]), clock=self.clock)
        self._kept: list[Any] = []
        self._present: list[Any] = []
        links: list[Link] = []
        minds: list[Mind] = []
        for _ in range(watchers):
            client = pb.PBClientFactory()
            links.append(Link(factory.buildProtocol(None), client.buildProtocol(None)))
            minds.append(Mind())
            found: list[Any] = []
            client.login(UsernamePassword(b"watcher", b"sesame"), minds[-1]).addBoth(found.append)
            links[-1].flush()
            assert isinstance(found[0], pb.RemoteReference), found
            self._kept += (client, *found)
        first, *others = self.realm.roster
        self.realm.presence.watch(first)
        while not minds[0].version:
            self.clock.advance(0)
            links[0].flush()
        # The others know the state already, as if they had reconnected. To tell it to each would take minutes.
        for session in others:
            self.realm.presence.watch(session, minds[0].version)
        self.sinks = [Sink() for _ in links]
        for link, sink in zip(links, self.sinks, strict=True):
            link.flush()
            link.server.transport = sink

    def change(self, changes: int) -> float:
        """Let sessions begin, or end if they had begun. Return the CPU seconds of telling it."""
        if self._present:
            for session in self._present:
                session.end()
            self._present = []
        else:
            for number in range(changes):
                got: list[Any] = []
                self.realm.requestAvatar(f"user{number}", None, pb.IPerspective).addBoth(got.append)
                self._present.append(got[0][1])
        return self._timed(lambda: self.clock.advance(BATCH))

    def notice(self) -> float:
        """Tell all clients a notice. Return the CPU seconds."""
        return self._timed(lambda: self.realm.tell("notice", "moved", {"id": 4711, "x": 120, "y": 64}))

    def _timed(self, do: Callable[[], object]) -> float:
        before = sum(sink.written for sink in self.sinks)
        start = time.process_time()
        do()
        took = time.process_time() - start
        assert sum(sink.written for sink in self.sinks) > before
        for sink in self.sinks:
            sink.read()
        return took


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--watchers", type=int, default=5_000, help="the number of clients (default: 5000)")
    parser.add_argument("--changes", type=int, default=40, help="the number of changes in a round (default: 40)")
    parser.add_argument("--rounds", type=int, default=30, help="how many rounds (default: 30)")
    chosen = parser.parse_args()
    house = House(chosen.watchers)
    gc.collect()
    gc.freeze()
    found: dict[str, list[float]] = {f"{chosen.changes} changes of presence": [], "one notice": []}
    for number in range(chosen.rounds + 2):
        for samples, took in zip(found.values(), (house.change(chosen.changes), house.notice()), strict=True):
            # Two rounds warm up.
            if number > 1:
                samples.append(took / chosen.watchers * 1e6)
    print(
        f"Python {platform.python_version()}, {chosen.watchers:,} clients, {chosen.rounds} rounds; µs for each: median "
        "(least to most)"
    )
    for what, samples in found.items():
        print(f"{what:30}{statistics.median(samples):8.2f} ({min(samples):.2f} to {max(samples):.2f})")


if __name__ == "__main__":
    main()
