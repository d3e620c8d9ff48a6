"""A reference is collected where its last holder lets go of it: perhaps in another thread."""

from __future__ import annotations

import gc
import threading
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.spread import pb
from twisted.trial.unittest import TestCase

from pbkit import ClientFactory, ServerFactory

reactor: Any = installed


class Part(pb.Referenceable):
    """Something to be let go of."""


class Giver(pb.Root):
    """Gives one."""

    def remote_part(self) -> Part:
        """A new one."""
        return Part()


class ThreadTests(TestCase):
    """Over a real socket."""

    timeout = 20

    async def test_letGoOfInAThread(self) -> None:
        """The transport is written to by the reactor's thread alone, and the other end learns that it was let go."""
        server = ServerFactory(Giver())
        port = reactor.listenTCP(0, server, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        client = ClientFactory()
        connector = reactor.connectTCP("127.0.0.1", port.getHost().port, client)
        root = await client.getRootObject()
        broker = root.broker
        held = [await root.callRemote("part")]
        writers: list[int] = []
        write = broker.sendEncoded

        def written(expression: Any) -> None:
            writers.append(threading.get_ident())
            write(expression)

        broker.sendEncoded = written

        def drop() -> None:
            held.clear()
            gc.collect()

        await deferToThread(drop)
        while not writers:
            await deferLater(reactor, 0.01)
        self.assertEqual(set(writers), {threading.get_ident()})
        gone: Deferred[None] = Deferred()
        broker.notifyOnDisconnect(lambda: gone.callback(None))
        del broker.sendEncoded, root
        connector.disconnect()
        await gone
