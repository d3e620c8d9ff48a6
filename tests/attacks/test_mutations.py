"""
Messages of stock clients with random changes.

The default is 250 connections. For a long run, set ``PBKIT_MUTATIONS=20000``.
"""

from __future__ import annotations

import gc
import os
import random
from typing import Any

from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.spread.util import CallbackPageCollector, StringPager
from twisted.trial.unittest import SynchronousTestCase

from pbkit import Avatar, CachingRealm
from pbkit.wire import codec
from tests.attacks.attacker import HUGE, encoded, logged
from tests.support import Client, Part, Wire, serve

#: The number of connections.
NUMBER = int(os.environ.get("PBKIT_MUTATIONS", "250"))

#: Values that replace parts of a message.
ODD: list[Any] = [
    *(0, 1, -1, 5, 2**31, 2**61 - 1, 2**440, 1.5, float("nan"), b"", b"root", b"list", b"\xff\xfe", b"\x1b[31m", []),
    *([b"list"], [b"None"], [b"remote", 1], [b"local", 1], [b"local", b"root"], [b"cached", 1], [b"lcache", 1]),
    *([b"reference", 1, [b"list"]], [b"dereference", 1], [b"unicode", b"\xff"], [b"dictionary", [1]], [b"boolean", 3]),
    *([b"decimal", 1, 2**40], [b"set", [b"list"]], [b"module", b"os"], [b"answer", 1, 1], [[1]]),
    [b"twisted.spread.pb.CopyableFailure", [b"dictionary"]],
]


class Busy(Avatar):
    """An avatar with methods of several kinds."""

    def __init__(self, avatarId: str) -> None:
        super().__init__(avatarId)
        self.part = Part()

    def perspective_echo(self, *args: Any, **kw: Any) -> Any:
        """Return the argument."""
        return args

    def perspective_part(self) -> Part:
        """Return an object of the avatar."""
        return self.part

    def perspective_page(self, collector: Any) -> None:
        """Send a string in pages."""
        if isinstance(collector, pb.RemoteReference):
            StringPager(collector, b"x" * 20_000)

    def perspective_back(self, client: Any) -> Any:
        """Call the client."""
        return client.callRemote("ask") if isinstance(client, pb.RemoteReference) else None


class MutationTests(SynchronousTestCase):
    """A server in memory, and clients that send almost valid messages."""

    def setUp(self) -> None:
        """Make a server."""
        self.clock = Clock()
        self.realm = CachingRealm(Busy, clock=self.clock)
        self.factory = serve(self.realm, clock=self.clock)

    def valid(self) -> bytes:
        """Return the messages of a client that logs in and makes calls."""
        wire = Wire(self.factory)
        said: list[bytes] = []
        transport: Any = wire.client.transport
        write = transport.write

        def taken(data: bytes) -> None:
            said.append(data)
            write(data)

        transport.write = taken
        client = Client()
        avatar = self.successResultOf(wire.login("alice", client))
        cycle: list[Any] = [1]
        cycle.append(cycle)
        for name, args in (
            ("echo", (1, "x", [1, {"a": 2.5}], None, True)),
            ("echo", (client, client, [client])),
            ("echo", (cycle,)),
            ("back", (client,)),
            ("part", ()),
            ("page", (CallbackPageCollector(lambda pages: None),)),
        ):
            wire.call(avatar, name, *args).addErrback(lambda failure: None)
        self.clock.advance(1)
        wire.flush()
        wire.lose()
        return b"".join(said)

    def changed(self, luck: random.Random, expression: Any, often: float) -> Any:
        """Return an expression with a random change."""
        if luck.random() < often:
            return luck.choice(ODD)
        if not isinstance(expression, list):
            return expression
        items = [self.changed(luck, each, often) for each in expression]
        if items and luck.random() < often:
            del items[luck.randrange(len(items))]
        if luck.random() < often:
            items.insert(luck.randrange(len(items) + 1), luck.choice(ODD))
        return items

    def shuffled(self, luck: random.Random, data: bytes) -> bytes:
        """Return bytes with some changed, added and removed."""
        out = bytearray(data)
        for _ in range(luck.randrange(1, 12)):
            at = luck.randrange(len(out))
            what = luck.randrange(3)
            if what == 0:
                out[at] = luck.randrange(256)
            elif what == 1:
                del out[at : at + luck.randrange(1, 9)]
            else:
                out[at:at] = luck.randbytes(luck.randrange(1, 9))
        return bytes(out)

    def test_nothingEscapesAndNothingIsKept(self) -> None:
        """No exception escapes, nothing that is sent contains a traceback, and at the end nothing is left."""
        data = self.valid()
        framer = codec.Framer(HUGE, HUGE, 1000, HUGE)
        framer.feed(data)
        messages = [codec.decode(message) for message in iter(framer.next, None)][1:]
        seed = random.randrange(2**32)
        luck = random.Random(seed)
        with logged() as text:
            for number in range(NUMBER):
                wire = Wire(self.factory)
                if luck.random() < 0.25:
                    sent = self.shuffled(luck, data)
                else:
                    if luck.random() < 0.8:
                        wire.login("alice", Client()).addErrback(lambda failure: None)
                    often = luck.choice([0.01, 0.05, 0.2])
                    chosen = luck.sample(messages, luck.randrange(1, len(messages)))
                    sent = encoded(*(self.changed(luck, each, often) for each in chosen))
                while sent and not wire.server.disconnected:
                    size = luck.choice([1, 7, 100, 1500, 65536])
                    wire.server.dataReceived(sent[:size])
                    sent = sent[size:]
                self.clock.advance(luck.choice([0.0, 0.1, 2.0, 40.0]))
                wire.cut()
                server = wire.server
                tables = server.owners, server.callers, server.localObjects or (), server.inbound.held
                self.assertFalse(any(tables), f"seed {seed}, connection {number}: {tables}")
        self.assertNotIn("Traceback", text(), f"seed {seed}")
        self.assertNotIn("\x1b", text(), f"seed {seed}")
        self.clock.advance(120)
        gc.collect()
        self.assertEqual((len(self.realm.roster), self.clock.getDelayedCalls()), (0, []))
