"""Our realms under stock's `pb.PBServerFactory`, which passes the raw mind and nothing else."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pbkit import CachingRealm, SingleClientRealm, Told, currentSession, errors
from pbkit.interfaces import IChannel, ILogin, IPeer
from pbkit.sessions.stocklogin import StockLogin, loginOf
from tests.support import Client, Recorder, Wire, serve, timers


class Player(Recorder):
    """An avatar that returns the session of a call."""

    def perspective_session(self) -> str:
        """Return the session id of this call."""
        return str(currentSession().sessionId)


class LoginOfTests(SynchronousTestCase):
    """`loginOf`."""

    def test_interface(self) -> None:
        """A raw mind becomes a complete `ILogin`; an `ILogin` stays as it is."""
        login = loginOf(None)
        verifyObject(ILogin, login)
        verifyObject(IChannel, login.channel)
        self.assertEqual((login.reference, login.peer, login.hello, login.lost), (None, None, {}, False))
        self.assertIs(loginOf(login), login)

    def test_anyMindIsKeptForTheRealmToJudge(self) -> None:
        """A value that is not a reference has no peer, and is passed on for the realm to refuse."""
        mind: object
        for mind in (5, "x", [], {}):
            self.assertEqual(loginOf(mind), StockLogin(mind, None))


class StockServerTests(SynchronousTestCase):
    """Sessions under stock's server factory."""

    def setUp(self) -> None:
        """Make a stock server."""
        self.clock = Clock()
        self.serve(CachingRealm(Player, clock=self.clock))

    def serve(self, realm: CachingRealm | SingleClientRealm) -> None:
        """Serve another realm."""
        self.realm = realm
        self.server = serve(realm, pb.PBServerFactory)

    def test_callsAndLogout(self) -> None:
        """Calls work with and without a mind, `currentSession` is right, and releasing the reference logs out."""
        for mind in (None, Client()):
            wire = Wire(self.server)
            avatar = self.successResultOf(wire.login("alice", mind))
            (session,) = self.realm.roster
            self.assertEqual(self.successResultOf(wire.call(avatar, "session")), session.sessionId)
            self.assertEqual(session.peer is None, mind is None)
            self.clock.advance(1)
            self.successResultOf(wire.call(avatar, "whoami"))
            self.assertEqual(session.lastActive, self.clock.seconds())
            del avatar
            wire.flush()
            self.assertEqual(len(self.realm.roster), 0)
        self.assertEqual(self.realm.counters.ends, {"LoggedOut": 2})

    def test_peer(self) -> None:
        """With a mind there is a real peer, the same for each session of the connection."""
        wire = Wire(self.server)
        kept = [self.successResultOf(wire.login(name, Client())) for name in ("alice", "bob")]
        one, two = self.realm.roster
        verifyObject(IPeer, one.peer)
        self.assertIs(one.peer, two.peer)
        assert one.peer is not None
        self.assertEqual(self.realm.roster.ofPeer(one.peer.peerId), (one, two))
        ping = one.peer.ping(10)
        wire.flush()
        self.assertTrue(self.successResultOf(ping))
        del kept

    def test_disconnect(self) -> None:
        """
        The loss of the connection ends the session with `Disconnected` if there is a mind; without one, with
        `LoggedOut`.
        """
        for mind, reason in ((Client(), "Disconnected"), (None, "LoggedOut")):
            self.serve(CachingRealm(Player, clock=self.clock))
            wire = Wire(self.server)
            kept = self.successResultOf(wire.login("alice", mind))
            (session,) = self.realm.roster
            wire.lose()
            self.assertEqual(self.realm.counters.ends, {reason: 1})
            self.assertEqual(session.avatar.told("detached", session), 1)
            del kept

    def test_endedIsDead(self) -> None:
        """The session's own reference is invalid after its end."""
        wire = Wire(self.server)
        avatar = self.successResultOf(wire.login())
        next(iter(self.realm.roster)).end()
        failure = self.failureResultOf(wire.call(avatar, "whoami"))
        self.assertTrue(failure.check("pbkit.errors.Kicked"))

    def test_mindAfterTheEnd(self) -> None:
        """After the end of a session its mind is not called, although nothing else would prevent that here."""
        wire = Wire(self.server)
        client = Client()
        kept = self.successResultOf(wire.login("alice", client))
        (session,) = self.realm.roster
        session.end(errors.Kicked)
        self.failureResultOf(session.mind.callRemote("ask"), errors.Kicked)
        self.assertIs(session.mind.tell("tell"), Told.GONE)
        wire.flush()
        self.assertEqual(client.told, [])
        del kept

    def test_mindInsideTheLoss(self) -> None:
        """A call in the moment of the loss, where stock raises, fails its Deferred."""
        wire = Wire(self.server)
        kept = self.successResultOf(wire.login("alice", Client()))
        (session,) = self.realm.roster
        got: list[Any] = []

        def lost() -> None:
            reference = cast(pb.RemoteReference, session.mind.reference)
            self.assertRaises(pb.DeadReferenceError, reference.callRemote, "ask")
            got.extend([session.endedWith, session.mind.callRemote("ask"), session.mind.tell("tell")])

        wire.server.disconnects.insert(0, lost)
        wire.cut()
        ended, answer, told = got
        self.assertIsNone(ended)
        self.failureResultOf(answer, pb.DeadReferenceError)
        self.assertIs(told, Told.GONE)
        del kept

    def test_kick(self) -> None:
        """A takeover works under stock."""
        self.serve(SingleClientRealm(Player, conflict="kick", clock=self.clock))
        first, second = Wire(self.server), Wire(self.server)
        old = self.successResultOf(first.login("alice", Client()))
        new = self.successResultOf(second.login("alice", Client()))
        self.assertTrue(self.failureResultOf(first.call(old, "whoami")).check("pbkit.errors.Replaced"))
        self.assertEqual(self.successResultOf(second.call(new, "whoami")), "alice")
        # The stock client logs that its mind has no `remote_goodbye`.
        self.flushLoggedErrors(pb.NoSuchMethod)

    def test_lossDuringTheLogin(self) -> None:
        """A login whose connection is lost while it is pending leaves nothing, if a mind made the connection known."""
        gate: Deferred[Player] = Deferred()

        class Slow(CachingRealm):
            """A realm that builds slowly."""

            def buildAvatar(self, avatarId: str) -> Deferred[Player]:
                """Wait."""
                return gate

        self.serve(Slow(clock=self.clock))
        wire = Wire(self.server)
        self.assertNoResult(wire.login("alice", Client()))
        wire.cut()
        self.assertEqual((len(self.realm.roster), self.realm.roster.pending), (0, 0))
        self.assertEqual(timers(self.clock), [])
        self.flushLoggedErrors(pb.Error)

    def test_badMind(self) -> None:
        """A mind that is not a reference is refused."""
        wire = Wire(self.server)
        failure = self.failureResultOf(wire.login("alice", 5))
        self.assertTrue(failure.check("pbkit.errors.BadMind"))
        self.assertEqual(self.realm.counters.refusals, {"BadMind": 1})
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_twoLoginsOnOneConnection(self) -> None:
        """Two logins of one user on one connection end separately."""
        wire = Wire(self.server)
        first, second = (self.successResultOf(wire.login("alice", Client())) for _ in range(2))
        one, two = self.realm.roster
        one.end()
        self.failureResultOf(wire.call(first, "whoami"))
        self.assertEqual(self.successResultOf(wire.call(second, "session")), two.sessionId)
