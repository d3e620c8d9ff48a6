"""
How long does the garbage collector stop a server with 10,000 sessions?

    python benchmarks/pauses.py [--sessions N] [--gc freeze|python]

Clients log in through a real server, in memory, with the collector as twistd's server sets it (``--gc freeze``, see
`pbkit.serving.collection`) or as Python does. Then they call. It prints the longest collection of each phase in CPU
time, and the number of full ones. The clients are in the same process, so there are about twice as many objects as in a
server.
"""

from __future__ import annotations

import argparse
import gc
import platform
import time
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet.task import Clock
from twisted.logger import globalLogBeginner
from twisted.spread import pb

from pbkit import Avatar, CachingRealm, ServerFactory
from pbkit.serving.collection import FIRST, INTERVAL, Collection
from pbkit.testing.link import Link


class Player(Avatar):
    """The avatar."""

    def perspective_echo(self, value: Any) -> Any:
        """Return the argument."""
        return value


class Mind(pb.Referenceable):
    """A client's own object."""


class Pauses:
    """The collections of this process, from now on."""

    def __init__(self) -> None:
        self._began = 0.0
        self._took: list[float] = []
        self._full = 0
        gc.callbacks.append(self._collecting)

    def _collecting(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
        else:
            self._took.append(time.thread_time() - self._began)
            self._full += info["generation"] == 2

    def show(self, what: str) -> None:
        """Print the longest collection since the last time."""
        print(f"{what}: longest {max(self._took, default=0.0) * 1e3:.1f} ms, {self._full} full", flush=True)
        self._took, self._full = [], 0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--sessions", type=int, default=10_000, help="the number of sessions (default: 10000)")
    parser.add_argument("--gc", choices=("freeze", "python"), default="freeze", help="who sets the collector")
    chosen = parser.parse_args()
    # A log that is not started keeps its last events, with everything they refer to.
    nowhere: Any = lambda event: None  # noqa: E731
    globalLogBeginner.beginLoggingTo([nowhere], discardBuffer=True, redirectStandardIO=False)
    clock, serverClock = Clock(), Clock()
    if chosen.gc == "freeze":
        Collection(clock).startService()
    clock.advance(FIRST)
    users = InMemoryUsernamePasswordDatabaseDontUse(alice=b"sesame")
    factory = ServerFactory(Portal(CachingRealm(Player, clock=serverClock), [users]), clock=serverClock)
    pauses, clients, kept = Pauses(), list[tuple[Link, pb.RemoteReference]](), list[Any]()
    print(f"Python {platform.python_version()}, {chosen.sessions:,} sessions, --gc {chosen.gc}")
    every = max(1, chosen.sessions // 20)
    for number in range(chosen.sessions):
        client, mind, found = pb.PBClientFactory(), Mind(), list[Any]()
        link = Link(factory.buildProtocol(None), client.buildProtocol(None))
        client.login(UsernamePassword(b"alice", b"sesame"), mind).addBoth(found.append)
        link.flush()
        assert isinstance(found[0], pb.RemoteReference), found
        clients.append((link, found[0]))
        kept += (client, mind)
        if number % every == 0:
            clock.advance(INTERVAL)
    pauses.show("while they log in")
    for number, (link, reference) in enumerate(clients):
        reference.callRemote("echo", [{"x": number}]).addErrback(print)
        link.flush()
        if number % every == 0:
            clock.advance(INTERVAL)
    pauses.show("while they call")


if __name__ == "__main__":
    main()
