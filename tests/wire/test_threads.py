"""A reference is collected in the thread that drops it last, which may be another one than the reactor's."""

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
    """An object that is referred to."""


class Giver(pb.Root):
    """A root that returns a reference."""

    def remote_part(self) -> Part:
        """Return a new object."""
        return Part()


class ThreadTests(TestCase):
    """A reference that is collected in another thread, over a real socket."""

    timeout = 20

    async def test_letGoOfInAThread(self) -> None:
        """Only the reactor's thread writes to the transport; the other end learns that the reference was dropped."""
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
