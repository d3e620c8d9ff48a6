"""Clients that do not read, over real sockets, with TLS and without."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    SSL4ClientEndpoint,
    SSL4ServerEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
)
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.spread import pb
from twisted.trial.unittest import TestCase

from pbkit import CachingRealm, Session, Told
from tests.support import PASSWORD, Client, Recorder, serve
from tests.test_process import selfSigned

#: The size of each message in bytes, and their number: 400 MiB.
PIECE, TIMES = 65536, 6400
#: What the server may grow by: 1 MiB in the outbox, the buffers of the wire and the system, and other garbage.
GROWTH = 32 * 1024 * 1024


def resident() -> int:
    """Return the memory of this process in bytes, or 0 where it is not known."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if path.exists() else 0


class SocketTests(TestCase):
    """A client that does not read, and one that does."""

    timeout = 120

    def setUp(self) -> None:
        """Use the installed reactor."""
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.realm = CachingRealm(Recorder, clock=self.reactor)
        self.kept: list[Any] = []

    async def sleep(self, seconds: float) -> None:
        """Let the reactor run."""
        waiting: Deferred[None] = Deferred()
        self.reactor.callLater(seconds, waiting.callback, None)
        await waiting

    async def enter(self, endpoint: Any, name: str) -> tuple[Client, Any, Session]:
        """Log in, and return the client's object, its transport and the session."""
        factory, client = pb.PBClientFactory(), Client()
        broker = await endpoint.connect(factory)
        self.addCleanup(self.hangUp, broker)
        self.kept.append(await factory.login(UsernamePassword(name.encode(), PASSWORD), client))
        return client, broker.transport, self.realm.roster.ofAvatar(name)[0]

    def hangUp(self, broker: Any) -> Deferred[None]:
        """Close a client's connection, and wait for that."""
        gone: Deferred[None] = Deferred()
        broker.notifyOnDisconnect(lambda: gone.callback(None))
        broker.transport.abortConnection()
        return gone

    async def frozen(self, server: Any, client: Any) -> None:
        """
        Tell 400 MiB to a client that does not read, and a notice now and then to both clients. The server grows by the
        limit only, and the other client hears every notice at once. When the first client reads again, it hears what
        was queued, in order, and the last message.
        """
        port = await server(0).listen(serve(self.realm, clock=self.reactor))
        self.addCleanup(port.stopListening)
        endpoint = client(port.getHost().port)
        slow, transport, session = await self.enter(endpoint, "alice")
        quick, _, other = await self.enter(endpoint, "bob")
        transport.pauseProducing()
        text = "x" * PIECE
        before, told = resident(), set()
        for number in range(TIMES):
            told.add(session.mind.tell("tell", number, text))
            if number % 100 == 0:
                summary = await self.realm.tell("tell", number)
                self.assertEqual(sum(summary), 2)
                await self.sleep(0)
        self.assertEqual(told, {Told.SENT, Told.QUEUED})
        self.assertLessEqual(session.backlog.bytes, 1024 * 1024)
        self.assertLess(resident() - before, GROWTH)
        self.assertIsNone(other.outbox)
        while len(quick.told) < TIMES / 100:
            await self.sleep(0.01)
        self.assertEqual(quick.told, [("tell", n) for n in range(0, TIMES, 100)])
        transport.resumeProducing()
        while session.outbox is not None or slow.told[-1][1] != TIMES - 1:
            await self.sleep(0.01)
        numbers = [what[1] for what in slow.told if len(what) == 3]
        self.assertEqual(numbers, sorted({*numbers}))
        self.assertLess(len(numbers), TIMES / 4)

    async def test_tcp(self) -> None:
        """Over TCP."""
        await self.frozen(
            lambda port: TCP4ServerEndpoint(self.reactor, port, interface="127.0.0.1"),
            lambda port: TCP4ClientEndpoint(self.reactor, "127.0.0.1", port),
        )

    async def test_tls(self) -> None:
        """Over TLS."""
        pem = selfSigned()
        certificate = PrivateCertificate.loadPEM(pem)
        trusting = optionsForClientTLS("localhost", trustRoot=Certificate.loadPEM(pem))
        await self.frozen(
            lambda port: SSL4ServerEndpoint(self.reactor, port, certificate.options(), interface="127.0.0.1"),
            lambda port: SSL4ClientEndpoint(self.reactor, "127.0.0.1", port, trusting),
        )
        # Twisted's own warning.
        others = [each for each in self.flushWarnings() if not str(each["message"]).startswith("Passing pyOpenSSL")]
        self.assertEqual(others, [])
