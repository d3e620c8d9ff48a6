"""
Every mixture of pbkit's and stock's factories, brokers, realms and clients works, or is refused at start.

The tests run in memory, because only the classes differ, not the transport.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

import pbkit
from pbkit import CachingRealm, ServerFactory, SingleClientRealm, dropin, errors
from pbkit.client.connection import SessionFactory
from pbkit.wire.profile import STRICT
from tests.support import LENIENT, PASSWORD, USERS, Recorder, Wire, serve


class StrictWithDropin(ServerFactory):
    """A strict factory with the drop-in broker."""

    protocol = dropin.Broker


class DropinWithStrict(dropin.PBServerFactory):
    """A drop-in factory with the strict broker."""

    protocol = pbkit.Broker


class DropinWithStock(dropin.PBServerFactory):
    """A drop-in factory with stock's broker."""

    protocol = pb.Broker


class StockWithStrict(pb.PBServerFactory):
    """Stock's factory with the strict broker."""

    protocol = pbkit.Broker


class StockWithDropin(pb.PBServerFactory):
    """Stock's factory with the drop-in broker."""

    protocol = dropin.Broker


FACTORIES: tuple[Any, ...] = (
    ServerFactory,
    dropin.PBServerFactory,
    pb.PBServerFactory,
    StrictWithDropin,
    DropinWithStrict,
    DropinWithStock,
    StockWithStrict,
    StockWithDropin,
)


def withBroker(broker: Any) -> Callable[[], Any]:
    """Make client factories of stock's with a broker of ours."""

    def make() -> Any:
        factory = pb.PBClientFactory()
        factory.protocol = broker
        return factory

    return make


def session() -> Any:
    """Make the factory of `pbkit.connect`, by itself."""
    return SessionFactory(Clock(), None, {}, lambda broker, reason: None)


CLIENTS: tuple[Callable[[], Any], ...] = (
    pb.PBClientFactory,
    pbkit.ClientFactory,
    dropin.PBClientFactory,
    withBroker(pbkit.Broker),
    withBroker(dropin.Broker),
    session,
)


class Mind(pb.Referenceable):
    """The client's mind."""

    def remote_ask(self, *args: Any) -> Any:
        """Answer."""
        return ["asked", *args]


class StockAvatar(pb.Avatar):
    """An avatar of a stock program."""

    def __init__(self, mind: Any) -> None:
        self.mind = mind

    def perspective_whoami(self) -> str:
        """Answer."""
        return "me"

    def perspective_ask(self) -> Any:
        """Call the client, with an object."""
        return self.mind.callRemote("ask", {"it": 5})


class ReferenceableAvatar(pb.Referenceable):
    """An avatar that is sent as itself."""

    def __init__(self, mind: Any) -> None:
        self.mind = mind

    def remote_whoami(self) -> str:
        """Answer."""
        return "me"

    def remote_ask(self) -> Any:
        """Call the client."""
        return self.mind.callRemote("ask", {"it": 5})


class SessionAvatar(Recorder):
    """A pbkit avatar."""

    def perspective_ask(self) -> Any:
        """Call the client."""
        (live,) = self.sessions
        return live.mind.callRemote("ask", {"it": 5})


@implementer(IRealm)
class StockRealm:
    """A realm of a stock program that counts logins."""

    def __init__(self, avatar: Callable[[Any], Any]) -> None:
        self._avatar = avatar
        self.inside = 0

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """As `IRealm.requestAvatar`."""
        self.inside += 1

        def logout() -> None:
            self.inside -= 1

        return pb.IPerspective, self._avatar(mind), logout


class SessionRealm(SingleClientRealm):
    """A pbkit realm that refuses a user who was not logged out."""

    @property
    def inside(self) -> int:
        """Return how many sessions there are."""
        return len(self.roster)


REALMS: tuple[Callable[[], Any], ...] = (
    lambda: StockRealm(StockAvatar),
    lambda: StockRealm(ReferenceableAvatar),
    lambda: SessionRealm(SessionAvatar, clock=Clock()),
)


def connected(server: Any, client: Callable[[], Any]) -> Wire:
    """Connect a new client."""
    return Wire(server, client())


def quick(realm: Any, factory: Any) -> Any:
    """Serve a realm; a strict server answers a wrong password at once."""
    return serve(
        realm,
        factory,
        **({"profile": LENIENT} if issubclass(factory, ServerFactory) and factory.profile is STRICT else {}),
    )


class MixtureTestCase(SynchronousTestCase):
    """What the tests of mixtures share: connections of all kinds, and what a user does on one."""

    def mixtures(self, factories: Any, served: Callable[[Any, Any], Any]) -> Iterator[tuple[Any, Callable[[], Wire]]]:
        """Each factory with each realm and each client: the realm, and what makes connections."""
        for factory in factories:
            for makeRealm in REALMS:
                for client in CLIENTS:
                    realm = makeRealm()
                    server = served(realm, factory)
                    yield realm, partial(connected, server, client)

    def use(self, realm: Any, wire: Wire, login: Callable[[Wire, Any], Deferred[Any]]) -> None:
        """Log in, call and be called, and log out; then log in again and lose the connection."""
        for _ in range(2):
            avatar = self.successResultOf(login(wire, Mind()))
            self.assertEqual(realm.inside, 1)
            self.assertIn(self.successResultOf(wire.call(avatar, "whoami")), ("me", "alice"))
            self.assertEqual(self.successResultOf(wire.call(avatar, "ask")), ["asked", {"it": 5}])
            del avatar
            gc.collect(0)
            wire.flush()
            self.assertEqual(realm.inside, 0)
        kept = self.successResultOf(login(wire, Mind()))
        wire.lose()
        self.assertEqual(realm.inside, 0)
        del kept


class MixtureTests(MixtureTestCase):
    """All mixtures."""

    def test_password(self) -> None:
        """A login with a password."""
        for realm, connect in self.mixtures(FACTORIES, serve):
            self.use(realm, connect(), lambda wire, mind: wire.login("alice", mind))

    def test_anonymous(self) -> None:
        """A login as a guest, if the realm accepts guests."""
        for realm, connect in self.mixtures(FACTORIES, serve):
            if isinstance(realm, StockRealm):
                self.use(realm, connect(), lambda wire, mind: wire.login(None, mind))

    def test_refused(self) -> None:
        """A wrong password leaves nothing behind, and the right one is accepted."""
        for realm, connect in self.mixtures(FACTORIES, lambda realm, factory: quick(realm, factory)):
            wire = connect()
            failure = self.failureResultOf(wire.login("alice", Mind(), b"wrong"))
            self.assertTrue(failure.check(UnauthorizedLogin), failure)
            self.assertEqual(realm.inside, 0)
            self.flushLoggedErrors()
            self.use(realm, wire, lambda wire, mind: wire.login("alice", mind))

    def test_stockBroker(self) -> None:
        """A strict factory refuses stock's broker when it is made, because its limits are in the broker."""

        class WithStock(ServerFactory):
            protocol = pb.Broker

        error = self.assertRaises(errors.ConfigError, serve, CachingRealm(Recorder, clock=Clock()), WithStock)
        self.assertIn("invalid protocol: got twisted.spread.pb.Broker, expected pbkit.Broker", str(error))
        factory = serve(CachingRealm(Recorder, clock=Clock()))
        factory.protocol = pb.Broker
        self.assertRaises(errors.ConfigError, factory.doStart)
        self.assertRaises(errors.ConfigError, factory.buildProtocol, None)


class KeyWrapper(pb._PortalWrapper):
    """A program's own login root, with a login by key instead of a challenge."""

    def remote_loginKey(self, name: bytes, key: Any, mind: Any) -> Deferred[Any]:
        """Log in."""
        if type(key) is not bytes:
            raise pb.Error("a key is bytes")
        d: Deferred[Any] = self.portal.login(UsernamePassword(name, key), mind, pb.IPerspective)
        return d.addCallback(self._cbLogin)


class KeyRoot(pb._PortalRoot):
    """Makes a login root for each connection."""

    def rootObject(self, broker: Any) -> Any:
        """As `pb.IPBRoot.rootObject`."""
        return KeyWrapper(self.portal, broker)


class Rooted:
    """As `KeyRoot`, but not derived from `pb._PortalRoot`."""

    def __init__(self, portal: Any) -> None:
        self.portal = portal

    rootObject = KeyRoot.rootObject


class PlainUsers(InMemoryUsernamePasswordDatabaseDontUse):
    """A checker of plaintext passwords."""

    credentialInterfaces: Any = (IUsernamePassword,)


def portalOf(realm: Any) -> Portal:
    """Make a portal for `KeyWrapper`, and for its stock methods."""
    users: Any = PlainUsers(**dict.fromkeys(USERS, PASSWORD))
    hashed: Any = InMemoryUsernamePasswordDatabaseDontUse(**dict.fromkeys(USERS, PASSWORD))
    return Portal(IRealm(realm), [users, hashed, AllowAnonymousAccess()])


def passed(realm: Any, factory: Any) -> Any:
    """Pass the root to the factory."""
    return factory(KeyRoot(portalOf(realm)))


def put(realm: Any, factory: Any) -> Any:
    """Put the root into a factory that was made with a portal."""
    portal = portalOf(realm)
    server = factory(portal)
    server.root = KeyRoot(portal)
    return server


@implementer(pb.IPBRoot)
class Adapted(Rooted):
    """A root that provides `pb.IPBRoot` itself."""


def adapted(realm: Any, factory: Any) -> Any:
    """Pass a root that does not derive from `pb._PortalRoot`."""
    return factory(Adapted(portalOf(realm)))


def withKey(wire: Wire, mind: Any, key: Any = PASSWORD) -> Deferred[Any]:
    """Log in with a key."""
    root: Deferred[Any] = wire.factory.getRootObject()
    answer = root.addCallback(lambda root: root.callRemote("loginKey", b"alice", key, mind))
    wire.flush()
    return answer


class OwnRootTests(MixtureTestCase):
    """A program's own login root, derived from stock's."""

    def test_key(self) -> None:
        """A login by key."""
        for make in (passed, put, adapted):
            for realm, connect in self.mixtures(FACTORIES, make):
                self.use(realm, connect(), withKey)

    def test_password(self) -> None:
        """A login with a password, through the methods of stock's root."""
        for make in (passed, put):
            for realm, connect in self.mixtures(FACTORIES[:2], make):
                self.use(realm, connect(), lambda wire, mind: wire.login("alice", mind))

    def test_strict(self) -> None:
        """A strict server has a gate before it: limits, plain data only, and a time to log in."""
        for make in (passed, put, adapted):
            clock = Clock()
            realm = StockRealm(StockAvatar)
            server = make(realm, partial(ServerFactory, clock=clock))
            wire = Wire(server)
            for wrong in (Sent(), {"it": Sent()}, {Sent.__name__: [(Sent(),)]}):
                failure = self.failureResultOf(withKey(wire, None, wrong))
                self.assertTrue(failure.check(errors.ClassRefused), failure)
            self.assertEqual(Made.made, 0)
            failure = self.failureResultOf(withKey(wire, None, [5]))
            self.assertEqual(failure.value, "a key is bytes")
            # A refusal is not logged with a traceback, and is not one of pbkit's.
            failure = self.failureResultOf(withKey(wire, Mind(), b"wrong"))
            self.assertTrue(failure.check(errors.BadCredentials))
            self.assertEqual(self.flushLoggedErrors(), [])
            self.assertEqual(wire.client.localObjects, {})
            self.assertFalse(wire.server.closed)
            # Other messages are not served.
            other = pb.RemoteReference(None, wire.client, 1, 0)
            self.assertEqual(self.failureResultOf(wire.call(other, "whoami")).value, "Invalid Object ID")
            kept = self.successResultOf(withKey(wire, Mind()))
            self.assertEqual(self.successResultOf(wire.call(kept, "whoami")), "me")
            # A client that is logged in has the limits of a user, and no deadline for a login.
            self.assertEqual(wire.server.prelogin.limits()[0], STRICT.limits)
            clock.advance(1000)
            wire.flush()
            self.assertFalse(wire.server.closed)
            del kept
            gc.collect(0)
            wire.flush()
            self.assertEqual((realm.inside, wire.server.prelogin.sessions), (0, 0))
            wire.lose()
            idle, large = Wire(server), Wire(server)
            clock.advance(31)
            self.assertTrue(idle.server.closed)
            withKey(large, None, [b"x"] * 1000).addErrback(lambda failure: None)
            self.assertTrue(large.server.closed)


class Sent(pb.Copyable):
    """A Copyable whose class is registered."""


class Made(pb.RemoteCopy):
    """The copy, which counts how often it was made."""

    made = 0

    def setCopyableState(self, state: Any) -> None:
        """Count the copy."""
        Made.made += 1


pb.setUnjellyableForClass(Sent, Made)
