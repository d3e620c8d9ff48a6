"""The classes provide the interfaces that the two halves require of each other."""

from __future__ import annotations

from typing import Any

from twisted.cred.portal import IRealm
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyClass, verifyObject

from pbkit import CachingRealm, Realm, currentSession, dropin
from pbkit.interfaces import ICast, IChannel, ILogin, IPeer, ISession, ISessionRealm, current
from pbkit.server import Login
from pbkit.sessions.realms import NAMED
from pbkit.sessions.session import Session
from pbkit.sessions.stocklogin import StockLogin
from pbkit.wire.channel import Channel
from pbkit.wire.peer import Peer
from tests.support import Client, Recorder, Wire, serve


class ProvidedTests(SynchronousTestCase):
    """What a realm receives and returns."""

    def seen(self, server: Any = None) -> tuple[Any, Any]:
        """Return the `ILogin` that a realm received, and its session."""
        seen: list[Any] = []

        class Asking(CachingRealm):
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                seen.append(mind)
                return super().requestAvatar(avatarId, mind, *interfaces)

        realm = Asking(Recorder, clock=Clock())
        factory = serve(realm) if server is None else serve(realm, server)
        wire = Wire(factory)
        self.held = (wire, self.successResultOf(wire.login("alice", Client())))
        return seen[0], next(iter(realm.roster))

    def test_login(self) -> None:
        """A session realm under a pbkit server, strict or drop-in, receives an `ILogin` instead of the mind."""
        for server in (None, dropin.PBServerFactory):
            login, session = self.seen(server)
            self.assertIsInstance(login, Login)
            verifyObject(ILogin, login)
            verifyObject(IPeer, login.peer)
            verifyObject(IChannel, login.channel)
            self.assertIs(login.reachedRealm, True)
            self.assertIsInstance(login.reference, pb.RemoteReference)
            self.assertIs(login.channel.session, session)
            self.assertIs(login.lost, False)
            self.held[0].lose()
            self.assertIs(login.lost, True)

    def test_stockLogin(self) -> None:
        """Under a stock server, a realm converts the raw mind to an `ILogin`."""
        login = StockLogin(None, None)
        verifyObject(ILogin, login)
        verifyObject(IChannel, login.channel)
        login.credentialsAccepted()
        self.assertIs(login.reachedRealm, True)
        mind, _ = self.seen(pb.PBServerFactory)
        self.assertIsInstance(mind, pb.RemoteReference)
        verifyObject(IPeer, IPeer(mind.broker))

    def test_session(self) -> None:
        """A session is an `ISession`, and so an `IPerspective`."""
        _, session = self.seen()
        verifyObject(ISession, session)
        verifyObject(pb.IPerspective, session)

    def test_fanOut(self) -> None:
        """What `IPeer.fanOut` returns is an `ICast`."""
        _, session = self.seen()
        verifyObject(ICast, session.peer.fanOut("told", (1,), {}))

    def test_classes(self) -> None:
        """The classes declare what they implement."""
        for interface, cls in ((IChannel, Channel), (IPeer, Peer), (ISession, Session), (ILogin, Login)):
            verifyClass(interface, cls, tentative=True)
            self.assertTrue(interface.implementedBy(cls))

    def test_realms(self) -> None:
        """Every named realm is a cred realm, and declares that it accepts an `ILogin`."""
        classes: list[Any] = [Realm, *NAMED.values()]
        for cls in classes:
            realm = cls(lambda avatarId, *args: Recorder(avatarId))
            verifyObject(IRealm, realm)
            verifyObject(ISessionRealm, realm)


class CurrentSessionTests(SynchronousTestCase):
    """`currentSession` outside of a connection."""

    def test_noneByDefault(self) -> None:
        """By default there is no session."""
        self.assertIsNone(currentSession())

    def test_whatIsSet(self) -> None:
        """It is the session that the wire has set, until it is reset."""
        session = Session("alice", Recorder("alice"), None, None, None, lambda _: None)
        before = current.set(session)
        self.assertIs(currentSession(), session)
        current.reset(before)
        self.assertIsNone(currentSession())
