"""The client factory, with stock and pbkit servers."""

from __future__ import annotations

from typing import Any

from twisted.cred.credentials import Anonymous, UsernamePassword
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.spread.jelly import SecurityOptions, globalSecurity
from twisted.trial.unittest import SynchronousTestCase

from pbkit import AnonymousRealm, CachingRealm, ClientFactory, ServerFactory, dropin, errors
from tests.support import Client, Recorder, Wire, serve

SERVERS = (ServerFactory, dropin.PBServerFactory, pb.PBServerFactory)


def credentials(name: Any, password: Any) -> Any:
    """Return credentials of str or bytes: Twisted annotates them for bytes only."""
    return UsernamePassword(name, password)


class ClientFactoryTests(SynchronousTestCase):
    """`ClientFactory` and the drop-in `PBClientFactory`."""

    def wire(self, server: Any, client: Any = None, realm: Any = None) -> Wire:
        """Return a connection to a server of some class."""
        return Wire(serve(realm or CachingRealm(Recorder, clock=Clock()), server), client or ClientFactory())

    def test_textAndBytes(self) -> None:
        """User name and password can each be str or bytes, with any server; stock raises TypeError for str."""
        for server in SERVERS:
            for client in (ClientFactory, dropin.PBClientFactory):
                for name, password in (("alice", "sesame"), (b"alice", b"sesame"), ("alice", b"sesame")):
                    wire = self.wire(server, client())
                    d = wire.factory.login(credentials(name, password), Client())
                    wire.flush()
                    avatar = self.successResultOf(d)
                    self.assertEqual(self.successResultOf(wire.call(avatar, "whoami")), "alice")

    def test_textThatIsNotAscii(self) -> None:
        """A str is sent as UTF-8."""
        server = serve(CachingRealm(Recorder, clock=Clock()))
        checker = next(iter(server.root.portal.checkers.values()))
        checker.users["zoë".encode()] = "pässword".encode()
        wire = Wire(server, ClientFactory())
        d = wire.factory.login(credentials("zoë", "pässword"))
        wire.flush()
        self.assertEqual(self.successResultOf(wire.call(self.successResultOf(d), "whoami")), "zoë")

    def test_anonymous(self) -> None:
        """Anonymous logins work with any server."""
        for server in SERVERS:
            wire = self.wire(server, realm=AnonymousRealm(Recorder, clock=Clock()))
            d = wire.factory.login(Anonymous(), Client())
            wire.flush()
            avatar = self.successResultOf(d)
            self.assertEqual(self.successResultOf(wire.call(avatar, "whoami")), "anonymous#1")

    def test_refusalsCanBeTold(self) -> None:
        """The class of a pbkit server's refusal arrives."""
        wire = self.wire(ServerFactory)
        failure = self.failureResultOf(wire.login("alice", None, b"wrong"))
        self.assertTrue(failure.check(errors.BadCredentials))
        self.assertTrue(failure.check(errors.LoginRefused))
        self.assertFalse(failure.check(errors.TooManySessions))

    def test_loginBeforeTheConnection(self) -> None:
        """A login can be requested before there is a connection; it fails if none is made."""
        factory = ClientFactory()
        d = factory.login(credentials("alice", "sesame"))
        wire = Wire(serve(CachingRealm(Recorder, clock=Clock())), factory)
        wire.flush()
        self.successResultOf(d)
        factory = ClientFactory()
        d = factory.login(credentials("alice", "sesame"))
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        self.assertTrue(self.failureResultOf(d).check(ConnectionRefusedError))

    def test_constructedAsStock(self) -> None:
        """The factory takes stock's arguments, by position and by name, and builds brokers as stock's does."""
        security = SecurityOptions()
        for cls, broker in ((ClientFactory, None), (dropin.PBClientFactory, dropin.Broker)):
            factory = cls()
            self.assertEqual((factory.unsafeTracebacks, factory.security), (False, globalSecurity))
            factory = cls(True, security)
            self.assertEqual((factory.unsafeTracebacks, factory.security), (True, security))
            built = cls(security=security).buildProtocol(None)
            self.assertIs(built.security, security)
            self.assertEqual(built.isClient, True)
            self.assertIsInstance(built, broker or pb.Broker)

    def test_clock(self) -> None:
        """The connections use the factory's clock."""
        clock = Clock()
        wire = self.wire(ServerFactory, ClientFactory(clock=clock))
        self.assertIs(wire.client.peer.clock, clock)

    def test_mindIsCalled(self) -> None:
        """The server calls the mind, which can answer with the result of a coroutine."""

        class Mind(pb.Referenceable):
            async def remote_add(self, a: int, b: int) -> int:
                return a + b

        realm = CachingRealm(Recorder, clock=Clock())
        wire = self.wire(ServerFactory, realm=realm)
        avatar = self.successResultOf(wire.login("alice", Mind()))
        (session,) = realm.roster
        added = session.mind.callRemote("add", 2, 3)
        wire.flush()
        self.assertEqual(self.successResultOf(added), 5)
        del avatar

    def test_helloComesFirst(self) -> None:
        """The hello reaches the server before a login that was requested earlier."""
        seen: list[Any] = []

        class Asking(CachingRealm):
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                seen.append(mind.hello)
                return super().requestAvatar(avatarId, mind, *interfaces)

        factory = ClientFactory(hello={"app": "game"})
        d = factory.login(credentials("alice", "sesame"))
        wire = Wire(serve(Asking(Recorder, clock=Clock())), factory)
        wire.flush()
        self.successResultOf(d)
        self.assertEqual(seen, [{"app": "game", "program": seen[0]["program"]}])
