"""The door, over real sockets, with TLS and without."""

from __future__ import annotations

from typing import Any

import attrs
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

from pbkit import CachingRealm, errors
from pbkit.wire.profile import STRICT
from tests.support import PASSWORD, Recorder, serve
from tests.test_process import selfSigned

#: Strict, but quick.
QUICK = attrs.evolve(STRICT, door=attrs.evolve(STRICT.door, delay=0.05, longest=0.1))


class SocketTests(TestCase):
    """A guesser at the other end of a real connection."""

    timeout = 60

    def setUp(self) -> None:
        """With the reactor that is installed."""
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.realm = CachingRealm(Recorder, clock=self.reactor)

    async def guess(self, server: Any, client: Any) -> None:
        """Guess three times, the last time while nothing else is on its way, and wait for the end."""
        port = await server(0).listen(serve(self.realm, clock=self.reactor, profile=QUICK))
        self.addCleanup(port.stopListening)
        factory = pb.PBClientFactory()
        broker = await client(port.getHost().port).connect(factory)
        closed: Deferred[None] = Deferred()
        broker.notifyOnDisconnect(lambda: closed.callback(None))
        told = []
        for password in (b"secret", b"swordfish", PASSWORD, b"secret", b"swordfish", b"12345"):
            d = factory.login(UsernamePassword(b"alice", password))
            told.append(await d.addErrback(lambda failure: failure.type))
        self.assertIsInstance(told.pop(2), pb.RemoteReference)
        self.assertEqual(told, [f"pbkit.errors.{errors.BadCredentials.__name__}".encode()] * 5)
        await closed
        while len(self.realm.roster):
            waiting: Deferred[None] = Deferred()
            self.reactor.callLater(0.01, waiting.callback, None)
            await waiting
        self.assertEqual(self.realm.counters.refusals, {"BadCredentials": 5})

    async def test_tcp(self) -> None:
        """Each guess is answered, the third too, and then the connection is closed; a success begins anew."""
        await self.guess(
            lambda port: TCP4ServerEndpoint(self.reactor, port, interface="127.0.0.1"),
            lambda port: TCP4ClientEndpoint(self.reactor, "127.0.0.1", port),
        )

    async def test_tls(self) -> None:
        """With TLS as well, where what is written after the closing would be lost."""
        pem = selfSigned()
        certificate = PrivateCertificate.loadPEM(pem)
        trusting = optionsForClientTLS("localhost", trustRoot=Certificate.loadPEM(pem))
        await self.guess(
            lambda port: SSL4ServerEndpoint(self.reactor, port, certificate.options(), interface="127.0.0.1"),
            lambda port: SSL4ClientEndpoint(self.reactor, "127.0.0.1", port, trusting),
        )
        # Twisted's own affair.
        others = [each for each in self.flushWarnings() if not str(each["message"]).startswith("Passing pyOpenSSL")]
        self.assertEqual(others, [])
