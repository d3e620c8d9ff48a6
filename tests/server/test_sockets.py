"""The door, over real sockets, with TLS and without."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import attrs
from twisted.cred.credentials import IUsernameHashedPassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import (
    SSL4ClientEndpoint,
    SSL4ServerEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
)
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.internet.task import deferLater
from twisted.spread import pb
from twisted.trial.unittest import TestCase

from pbkit import CachingRealm, ServerFactory, errors
from pbkit.wire.profile import STRICT
from tests.server.case import portal
from tests.support import PASSWORD, Recorder, serve
from tests.test_process import selfSigned

#: Strict, but quick.
QUICK = attrs.evolve(STRICT, door=attrs.evolve(STRICT.door, delay=0.05, longest=0.1))


class SocketTests(TestCase):
    """Guesses over a real connection."""

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
        """Each guess is answered, the third too, and then the connection is closed; a success resets the count."""
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
        # Warnings of Twisted's own.
        others = [each for each in self.flushWarnings() if not str(each["message"]).startswith("Passing pyOpenSSL")]
        self.assertEqual(others, [])


class Counting:
    """A checker that notes when it is asked."""

    credentialInterfaces = (IUsernameHashedPassword,)

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.asked: list[float] = []
        self._seconds = seconds

    def requestAvatarId(self, credentials: Any) -> Any:
        """As `ICredentialsChecker.requestAvatarId`."""
        if credentials.checkPassword(PASSWORD):
            return credentials.username
        self.asked.append(self._seconds())
        return fail(UnauthorizedLogin())


class FloodTests(TestCase):
    """A guesser that waits for no answer, over connections of which each has sent three guesses."""

    timeout = 60

    async def flood(self, listen: Any, guesser: Any, other: Any) -> None:
        """
        Guess as fast as possible for 1.5 s. Each guess is checked in a delay of its own, however many connections there
        are, and meanwhile the right password is let in from elsewhere.
        """
        from twisted.internet import reactor

        clock: Any = reactor
        checker = Counting(clock.seconds)
        door = attrs.evolve(STRICT.door, delay=0.2, longest=0.4)
        realm = CachingRealm(Recorder, clock=clock)
        server: Any = ServerFactory(portal(realm, checker), clock=clock, profile=attrs.evolve(STRICT, door=door))
        port = await listen(clock).listen(server)
        self.addCleanup(port.stopListening)
        start, refusals, brokers = clock.seconds(), list[Any](), list[Any]()
        while clock.seconds() < start + 1.5:
            factory = pb.PBClientFactory()
            brokers.append(await guesser(clock, port).connect(factory))
            for _ in range(3):
                login: Deferred[Any] = factory.login(UsernamePassword(b"alice", b"wrong"))
                login.addErrback(lambda failure: refusals.append(failure.type))
            if len(brokers) % 20 == 10:
                elsewhere, before = pb.PBClientFactory(), clock.seconds()
                brokers.append(await other(clock, port).connect(elsewhere))
                await elsewhere.login(UsernamePassword(b"alice", PASSWORD))
                # At most what a busy machine takes: the guesses at the other address hold up each other for longer.
                self.assertLess(clock.seconds() - before, 5.0)
            if len(brokers) > 60:
                brokers.pop(0).transport.abortConnection()
        # At 0.2, 0.6, 1.0 and 1.4 s after the first, if nothing else takes time.
        self.assertLessEqual(len(checker.asked), 5)
        for earlier, later in pairwise(checker.asked):
            self.assertGreater(later - earlier, 0.19)
        self.assertIn(b"pbkit.errors.TooManyAttempts", refusals)
        for broker in brokers:
            if broker.disconnected:
                continue
            lost: Deferred[None] = Deferred()
            broker.notifyOnDisconnect(lambda lost=lost: lost.callback(None))
            broker.transport.abortConnection()
            await lost
        # The server learns of the losses a moment later; then no session is left, and nothing waits.
        while len(realm.roster) or server.root._throttle.checks:
            await deferLater(clock, 0.01)

    async def test_tcp(self) -> None:
        """Over TCP, where the right password comes from another address."""
        await self.flood(
            lambda clock: TCP4ServerEndpoint(clock, 0, interface="127.0.0.1"),
            lambda clock, port: TCP4ClientEndpoint(clock, "127.0.0.1", port.getHost().port),
            lambda clock, port: TCP4ClientEndpoint(
                clock, "127.0.0.1", port.getHost().port, bindAddress=("127.0.0.2", 0)
            ),
        )
