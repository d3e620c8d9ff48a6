"""`pbkit.demo`: the avatar that is served by default."""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.test.iosim import IOPump, connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase

from pbkit import CachingRealm, ClientlessRealm, PerConnectionRealm, Realm, ServerFactory
from pbkit.demo import DemoAvatar


class DemoTests(SynchronousTestCase):
    """`DemoAvatar`, called by stock clients, each over a connection of its own."""

    def serve(self, realm: Realm) -> None:
        """Return a server of a realm, with the users alice and bob."""
        users = InMemoryUsernamePasswordDatabaseDontUse(alice=b"a", bob=b"b")
        self.factory = ServerFactory(Portal(realm, [users]), clock=Clock())

    def client(self, name: bytes, password: bytes) -> tuple[Any, IOPump]:
        """Log in with a stock client, and return the reference and the pump of its connection."""
        factory = pb.PBClientFactory()
        _, _, pump = connectedServerAndClient(
            lambda: self.factory.buildProtocol(None), lambda: factory.buildProtocol(None)
        )
        login = factory.login(UsernamePassword(name, password))
        pump.flush()
        return self.successResultOf(login), pump

    def call(self, client: tuple[Any, IOPump], *args: Any) -> Any:
        """Return the answer to a call."""
        reference, pump = client
        answer = reference.callRemote(*args)
        pump.flush()
        return self.successResultOf(answer)

    def test_greetsAndCounts(self) -> None:
        """The first greeting is <1>hello alice, the second <2>hello alice."""
        self.serve(CachingRealm(DemoAvatar))
        alice = self.client(b"alice", b"a")
        self.assertEqual(self.call(alice, "greet"), "<1>hello alice")
        self.assertEqual(self.call(alice, "greet"), "<2>hello alice")

    def test_countGoesOnWhereTheAvatarIsCached(self) -> None:
        """With the caching realm, a user's connections share the count; other users have their own."""
        self.serve(CachingRealm(DemoAvatar))
        alice, alice2, bob = (self.client(b"alice", b"a"), self.client(b"alice", b"a"), self.client(b"bob", b"b"))
        self.assertEqual(self.call(alice, "greet"), "<1>hello alice")
        self.assertEqual(self.call(alice2, "greet"), "<2>hello alice")
        self.assertEqual(self.call(bob, "greet"), "<1>hello bob")

    def test_countsForEachConnectionOverASharedModel(self) -> None:
        """With the per-connection realm, each connection has its own count, over one model."""
        realm = PerConnectionRealm(DemoAvatar)
        self.serve(realm)
        alice, alice2, bob = (self.client(b"alice", b"a"), self.client(b"alice", b"a"), self.client(b"bob", b"b"))
        self.assertEqual(self.call(alice, "greet"), "<1>hello alice")
        self.assertEqual(self.call(alice2, "greet"), "<1>hello alice")
        self.assertEqual(self.call(bob, "greet"), "<1>hello bob")
        models = {session.avatarId: session.avatar.model for session in realm.roster}
        self.assertEqual([session.avatar.model for session in realm.roster].count(models["alice"]), 2)
        self.assertIsNot(models["alice"], models["bob"])

    def test_worksWhereAvatarsAreObliviousOfClients(self) -> None:
        """The avatar needs no hooks, so it works with the clientless realm."""
        self.serve(ClientlessRealm(DemoAvatar))
        self.assertEqual(self.call(self.client(b"alice", b"a"), "greet"), "<1>hello alice")

    def test_echoes(self) -> None:
        """The method `echo` returns its argument."""
        self.serve(CachingRealm(DemoAvatar))
        alice = self.client(b"alice", b"a")
        for x in [None, True, 3, 1.5, "zoë", b"\xff", [1, ["a"]], (1, 2), {"a": {"b": 1}}]:
            self.assertEqual(self.call(alice, "echo", x), x)

    def test_saysWhoOneIs(self) -> None:
        """The method `whoami` returns the user's name."""
        self.serve(CachingRealm(DemoAvatar))
        self.assertEqual(self.call(self.client(b"bob", b"b"), "whoami"), "bob")

    def test_countsItsSessions(self) -> None:
        """The count includes the caller's session, and no ended ones."""
        realm = CachingRealm(DemoAvatar)
        self.serve(realm)
        alice = self.client(b"alice", b"a")
        self.assertEqual(self.call(alice, "sessions"), 1)
        self.client(b"bob", b"b")
        alice2 = self.client(b"alice", b"a")
        self.assertEqual(self.call(alice, "sessions"), 2)
        first, *_ = realm.roster
        first.end()
        self.assertEqual(self.call(alice2, "sessions"), 1)
