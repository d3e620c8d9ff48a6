"""
The cost of being able to end a session: one small call with the session's own tables, and with the connection's.

The same stock realm is served twice in memory: with a channel for each login, and with the tables of the connection, as
in stock, where a reference cannot be invalidated. The bytes of 100 calls are received at once, as with 100 in flight.
The two are measured in turn. The figure is the median of the rounds, with the minimum and maximum.

    python -m benchmarks.channels
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import attrs
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import IRealm, Portal
from twisted.spread import pb
from zope.interface import implementer

from pbkit import ServerFactory
from pbkit.testing import Link
from pbkit.wire import codec
from pbkit.wire.profile import STRICT

CALLS, REPEATS, ROUNDS = 100, 200, 15


class Echo(pb.Avatar):
    """An avatar that echoes."""

    def perspective_echo(self, value: Any) -> Any:
        """Return the argument."""
        return value


@implementer(IRealm)
class EchoRealm:
    """A realm as for stock PB."""

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """As `IRealm.requestAvatar`."""
        return pb.IPerspective, Echo(), lambda: None


class Server:
    """One connection that is logged in."""

    def __init__(self, ownChannels: bool) -> None:
        portal = Portal(EchoRealm(), [InMemoryUsernamePasswordDatabaseDontUse(alice=b"sesame")])
        factory = ServerFactory(portal, profile=attrs.evolve(STRICT, ownChannels=ownChannels))
        client = pb.PBClientFactory()
        self.link = Link(factory.buildProtocol(None), client.buildProtocol(None))
        got: list[Any] = []
        client.login(UsernamePassword(b"alice", b"sesame")).addBoth(got.append)
        self.link.flush()
        self.reference = got[0]
        calls = [codec.encodeCall(b"", i, self.reference.luid, "echo", 1, (5,), {}, True, 655360) for i in range(CALLS)]
        self.chunk = b"".join(call for call in calls if call is not None)
        self.link.server.transport.write = self.written
        self.answers = 0

    def written(self, data: bytes) -> None:
        """Count the answers, and discard the output."""
        self.answers += data.count(b"\x03\x80\x1b\x87")

    def run(self) -> float:
        """
        Return the microseconds of CPU for one call.
        """
        received, chunk, self.answers = self.link.server.dataReceived, self.chunk, 0
        asked = self.link.server.outbound.resumeProducing
        begin = time.process_time()
        for _ in range(REPEATS):
            received(chunk)
            asked()
        used = time.process_time() - begin
        assert self.answers == CALLS * REPEATS, self.answers
        return used * 1e6 / (CALLS * REPEATS)


def main() -> None:
    """Measure, and print the result."""
    servers = {"the connection's tables": Server(False), "a channel": Server(True)}
    taken: dict[str, list[float]] = {name: [] for name in servers}
    for server in servers.values():
        server.run()
    for _ in range(ROUNDS):
        for name, server in servers.items():
            taken[name].append(server.run())
    print(f"codec: {'compiled' if codec.compiled else 'pure Python'}")
    for name, each in taken.items():
        print(f"{name}: {statistics.median(each):.2f} µs a call ({min(each):.2f} to {max(each):.2f})")
    ratios = [own / shared for shared, own in zip(*taken.values(), strict=True)]
    print(f"ratio: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
