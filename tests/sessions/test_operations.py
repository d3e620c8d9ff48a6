"""What the operator of a realm can do: kick, ban, drain, and look at the sessions."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import AnonymousRealm, CachingRealm, Session, SingleClientRealm, errors
from pbkit.sessions.operations import CUT
from pbkit.testing import MemoryServer, RecordingMind
from pbkit.testing.link import WINDOW
from tests.support import Recorder, Wire, enter, serve, timers


class Host(Recorder):
    """An avatar that also hands out an object with a method that waits."""

    def attached(self, session: Session) -> Any:
        """Wait, if the test says so."""
        super().attached(session)
        return type(self).gate

    gate: Deferred[None] | None = None


class OperationsCase(SynchronousTestCase):
    """The base of the tests below."""

    def setUp(self) -> None:
        """Make a server with users and guests."""
        self.avatarClass: Any = type("Host", (Host,), {})
        self.guests = AnonymousRealm(self.avatarClass)
        self.realm = CachingRealm(self.avatarClass, anonymous=self.guests)
        self.server = MemoryServer(self.realm)
        self.addCleanup(self.server.close)

    def login(self, name: str | None, host: str = "192.0.2.1", mind: Any = None) -> Any:
        """Log in from an address."""
        connection = self.server.connect(address=IPv4Address("TCP", host, 4711))
        return self.successResultOf(connection.login(name, mind))

    def refused(self, name: str | None, host: str = "192.0.2.1") -> Any:
        """Return the reason with which a login is refused."""
        connection = self.server.connect(address=IPv4Address("TCP", host, 4711))
        login = connection.login(name)
        self.server.flush()
        error = self.failureResultOf(login, errors.LoginRefused).value
        connection.loseConnection()
        return error

    def out(self, d: Deferred[Any]) -> Any:
        """Return the result of a Deferred once the bytes have moved."""
        self.server.flush()
        return self.successResultOf(d)

    def names(self) -> list[str]:
        """Return the avatar ids that are logged in."""
        return sorted(session.avatarId for session in self.server.sessions)


class KickTests(OperationsCase):
    """`Realm.kick`."""

    def test_whom(self) -> None:
        """
        Sessions are kicked by session id, user, host, network or function; with several of these, if all of them match.
        """
        for kw, gone in (
            ({"avatarId": "alice"}, ["alice", "alice"]),
            ({"address": "192.0.2.1"}, ["alice", "bob"]),
            ({"address": IPv4Address("TCP", "192.0.2.1", 1)}, ["alice", "bob"]),
            ({"address": "192.0.2.0/24"}, ["alice", "alice", "bob"]),
            ({"address": "192.0.2.0/24", "avatarId": "alice"}, ["alice", "alice"]),
            ({"where": lambda session: session.avatarId > "b"}, ["bob", "carol"]),
            ({"where": lambda session: False}, []),
            ({"avatarId": "nobody"}, []),
            ({"sessionId": "nobody"}, []),
            ({"address": "2001:db8::/32"}, []),
        ):
            for name, host in (("alice", "192.0.2.1"), ("alice", "192.0.2.2"), ("bob", "192.0.2.1"), ("carol", "::1")):
                self.login(name, host)
            before = {session.sessionId: session.avatarId for session in self.realm.roster}
            kicking = self.realm.kick(errors.Kicked, "out", **kw)
            left = {session.sessionId for session in self.realm.roster}
            ids = self.out(kicking)
            self.assertEqual(set(ids), before.keys() - left)
            self.assertEqual(sorted(before[each] for each in ids), gone, kw)
            self.out(self.realm.kick(where=lambda session: True))
        self.assertEqual(self.names(), [])

    def test_bySessionId(self) -> None:
        """One session of several is kicked, with the reason."""
        first, second = self.login("alice"), self.login("alice")
        self.assertEqual(
            self.out(self.realm.kick(errors.Idle, "tea", sessionId=first.session.sessionId)), [first.session.sessionId]
        )
        self.assertIn("tea", str(self.assertRaises(errors.Idle, first.call, "whoami")))
        self.assertEqual(second.call("whoami"), "alice")

    def test_guestsToo(self) -> None:
        """Guests are kicked too, in the realm that serves them."""
        guest = self.login(None)
        self.assertEqual(self.out(self.realm.kick(address="192.0.2.1")), [guest.session.sessionId])
        guest = self.login(None)
        self.assertEqual(self.out(self.realm.kick(avatarId=guest.session.avatarId)), [guest.session.sessionId])

    def test_whatCannotBe(self) -> None:
        """
        No keyword, an invalid address, an invalid reason, or a function that raises is an error, and no session ends.
        """
        self.login("alice")
        self.login("bob")
        self.assertRaises(TypeError, self.realm.kick)
        self.assertRaises(TypeError, self.realm.kick, errors.LoginRefused, avatarId="alice")
        self.assertRaises(TypeError, self.realm.kick, detail=7, avatarId="alice")
        self.assertRaises(errors.ConfigError, self.realm.kick, address="localhost")
        self.assertRaises(
            ZeroDivisionError, self.realm.kick, where=lambda session: session.avatarId == "alice" or 1 / 0
        )
        self.assertEqual(self.names(), ["alice", "bob"])

    def test_withoutPeer(self) -> None:
        """A session without a known connection ends."""
        session = self.successResultOf(enter(self.realm))
        self.assertEqual(self.successResultOf(self.realm.kick(avatarId="alice")), [session.sessionId])
        self.assertIsInstance(session.endedWith, errors.Kicked)

    def test_underAStockFactory(self) -> None:
        """
        Under a stock factory, a client with a mind is told, and its connection is closed, unless another known session
        uses it.
        """
        realm = CachingRealm(Recorder, clock=Clock())
        wire = Wire(serve(realm, pb.PBServerFactory))
        minds = [RecordingMind(), RecordingMind()]
        avatars = [
            self.successResultOf(wire.login(name, mind)) for name, mind in zip(("alice", "bob"), minds, strict=True)
        ]
        kicking = realm.kick(avatarId="alice")
        wire.flush()
        self.successResultOf(kicking)
        self.assertEqual(minds[0].told, [("goodbye", "Kicked", "")])
        self.assertEqual(self.successResultOf(wire.call(avatars[1], "whoami")), "bob")
        kicking = realm.kick(avatarId="bob")
        wire.flush()
        self.successResultOf(kicking)
        self.assertFalse(wire.connected)


class BanTests(OperationsCase):
    """`Realm.ban` and `unban`."""

    def test_user(self) -> None:
        """
        A user's sessions end with `Banned`. New logins are refused with the time left and the reason, until the ban is
        over.
        """
        mind = RecordingMind()
        hers = self.login("alice", mind=mind)
        self.login("bob")
        self.assertEqual(self.out(self.realm.ban(60, "spam", avatarId="alice")), [hers.session.sessionId])
        self.assertEqual(mind.told, [("goodbye", "Banned", "for 60 s: spam")])
        self.server.advance(20)
        error = self.refused("alice")
        self.assertIsInstance(error, errors.LoginBanned)
        self.assertEqual(str(error), "banned for another 40 s: spam")
        self.assertEqual(self.names(), ["bob"])
        self.server.advance(40)
        self.login("alice")
        self.assertEqual(self.realm.bans, ())
        self.assertEqual(self.realm.counters.refusals, {"LoginBanned": 1})

    def test_address(self) -> None:
        """A network is banned for users and for guests, and for no other address."""
        for name in ("alice", None):
            self.login(name)
        self.login("bob", "198.51.100.1")
        self.assertEqual(len(self.out(self.realm.ban(60, address="192.0.2.0/24"))), 2)
        for name in ("carol", None):
            self.assertIsInstance(self.refused(name, "192.0.2.77"), errors.LoginBanned)
        self.login("carol", "198.51.100.2")
        self.assertEqual([ban.address for ban in self.realm.bans], ["192.0.2.0/24"])
        self.assertTrue(self.realm.unban(address="192.0.2.0/24"))
        self.assertFalse(self.realm.unban(address="192.0.2.0/24"))
        for name in ("alice", None):
            self.login(name)

    def test_pendingLogin(self) -> None:
        """A login that is pending when its user is banned is refused."""
        for kw in ({"avatarId": "alice"}, {"address": "192.0.2.1"}):
            self.avatarClass.gate = Deferred()
            connection = self.server.connect(address=IPv4Address("TCP", "192.0.2.1", 4711))
            login = connection.login("alice")
            self.assertEqual(self.out(self.realm.ban(60, **kw)), [])
            self.avatarClass.gate.callback(None)
            self.server.flush()
            self.failureResultOf(login, errors.LoginBanned)
            self.assertEqual(self.names(), [])
            self.realm.unban(**kw)

    def test_whatCannotBe(self) -> None:
        """
        Both keywords, neither, an empty avatar id, a guest, an invalid address or time: an error says what is right.
        """
        for kw in ({}, {"avatarId": "alice", "address": "192.0.2.1"}, {"avatarId": ""}, {"avatarId": b"alice"}):
            self.assertRaises(TypeError, self.realm.ban, 60, **kw)
            self.assertRaises(TypeError, self.realm.unban, **kw)
        self.assertRaises(TypeError, self.realm.ban, 60, 7, avatarId="alice")
        self.assertRaises(errors.ConfigError, self.realm.ban, 0, avatarId="alice")
        self.assertRaises(errors.ConfigError, self.realm.ban, 60, address="nowhere")
        for realm, name in ((self.realm, "anonymous#7"), (self.guests, "alice")):
            error = self.assertRaises(errors.ConfigError, realm.ban, 60, avatarId=name)
            self.assertIn("ban the address", str(error))
        self.assertEqual((self.realm.bans, self.guests.bans), ((), ()))

    def test_holderIsNotEndedForOneWhoIsBanned(self) -> None:
        """A new login from a banned address replaces no session, and probes none."""
        realm = SingleClientRealm(Recorder, conflict="kick")
        server = MemoryServer(realm)
        self.addCleanup(server.close)
        holder = server.login("alice")
        realm.ban(60, address="192.0.2.1")
        login = server.connect(address=IPv4Address("TCP", "192.0.2.1", 4711)).login("alice")
        server.flush()
        self.failureResultOf(login, errors.LoginBanned)
        self.assertEqual(holder.call("whoami"), "alice")


class DrainTests(OperationsCase):
    """`Realm.drain`."""

    def test_idleOnesGoAtOnce(self) -> None:
        """Users and guests without a running call are told, and out. New logins are refused for good."""
        mind = RecordingMind()
        clients = [self.login("alice", mind=mind), self.login("bob"), self.login(None)]
        draining = self.realm.drain(5, detail="upgrade")
        self.assertEqual(self.names(), [])
        self.assertIsNone(self.out(draining))
        self.assertEqual(mind.told, [("goodbye", "Draining", "upgrade")])
        for client in clients:
            self.assertFalse(client.connection.link.connected)
        for name in ("carol", None):
            self.assertIsInstance(self.refused(name), errors.ServerDraining)
        self.assertEqual(timers(self.server.clock), [])

    def test_runningCallsMayFinish(self) -> None:
        """A call that is being served is answered, new calls are not, and then that session ends."""
        mind = RecordingMind()
        client = self.login("alice", mind=mind)
        waiting = client.callRemote("wait")
        part = client.call("part")
        draining = self.realm.drain(5)
        self.server.flush()
        self.assertEqual(mind.told, [("goodbye", "Draining", "")])
        self.assertEqual(self.names(), ["alice"])
        self.assertRaises(errors.Draining, client.call, "whoami")
        hi = client.callOn(part, "hi")
        self.server.flush()
        self.failureResultOf(hi, errors.Draining)
        self.server.advance(3)
        self.assertNoResult(draining)
        client.avatar.waiting[0].callback("done")
        self.out(draining)
        self.assertEqual(self.successResultOf(waiting), "done")
        self.assertEqual((self.names(), len(mind.told)), ([], 1))
        self.assertFalse(client.connection.link.connected)
        self.assertEqual(client.avatar.told("detached", client.session), 1)
        self.assertEqual(timers(self.server.clock), [])

    def test_serverMayStillCall(self) -> None:
        """A method that is running may call its client, and gets an answer."""

        class Asking(Recorder):
            async def perspective_ask(self) -> Any:
                await self.waiting[0]
                (session,) = self.sessions
                return await session.mind.callRemote("ask")

        realm = CachingRealm(Asking)
        server = MemoryServer(realm)
        self.addCleanup(server.close)
        client = server.login("alice", RecordingMind(ask=lambda: 42))
        client.avatar.waiting.append(Deferred())
        answer = client.callRemote("ask")
        realm.drain(5)
        server.flush()
        client.avatar.waiting[0].callback(None)
        server.flush()
        self.assertEqual(self.successResultOf(answer), 42)

    def test_timeIsUp(self) -> None:
        """
        When the time is up, the remaining sessions end: their calls are answered with the reason, and they are out.
        """
        client = self.login("alice")
        waiting = client.callRemote("wait")
        draining = self.realm.drain(5)
        self.server.advance(4.9)
        self.assertNoResult(draining)
        self.server.advance(0.2)
        self.failureResultOf(waiting, errors.Draining)
        self.successResultOf(draining)
        self.assertEqual(self.names(), [])
        self.assertFalse(client.connection.link.connected)

    def test_frozenClients(self) -> None:
        """
        A client that does not answer is out after its grace; one that reads nothing, half a second after the time.
        """
        minds = [RecordingMind(tell=lambda text: None) for _ in range(3)]
        clients = [self.login(name, mind=mind) for name, mind in zip(("alice", "bob", "carol"), minds, strict=True)]
        clients[1].connection.stall()
        clients[2].connection.stall()
        clients[2].session.mind.tell("tell", "x" * 2 * WINDOW)
        draining = self.realm.drain(5)
        self.server.flush()
        connected = [client.connection.link.connected for client in clients]
        self.assertEqual((self.names(), connected), ([], [False, True, True]))
        self.server.advance(2.1)
        self.assertEqual([client.connection.link.connected for client in clients], [False, False, True])
        self.server.advance(2.8 + CUT)
        self.assertNoResult(draining)
        self.server.advance(0.2)
        self.successResultOf(draining)
        self.assertFalse(clients[2].connection.link.connected)
        self.assertEqual(timers(self.server.clock), [])

    def test_lessTimeThanAGoodbye(self) -> None:
        """
        With less time than a goodbye has, no answer is waited for, and a client that reads nothing is disconnected as
        well.
        """
        for large in (False, True):
            self.setUp()
            client = self.login("alice", mind=RecordingMind(tell=lambda text: None))
            client.callRemote("wait").addErrback(lambda _: None)
            client.connection.stall()
            if large:
                client.session.mind.tell("tell", "x" * 2 * WINDOW)
            draining = self.realm.drain(1)
            self.server.advance(0.9)
            self.assertEqual(self.names(), ["alice"])
            self.server.advance(0.2)
            self.assertEqual((self.names(), client.connection.link.connected), ([], large))
            self.server.advance(0.2)
            self.assertFalse(client.connection.link.connected)
            self.successResultOf(draining)

    def test_pendingLogins(self) -> None:
        """Pending logins are refused, and delay nothing."""
        gate: Deferred[None] = Deferred()
        self.avatarClass.gate = gate
        logins = [self.server.connect().login(name) for name in ("alice", "bob", None)]
        self.out(self.realm.drain(5))
        for login in logins:
            self.failureResultOf(login, errors.ServerDraining)
        gate.callback(None)
        self.assertEqual(self.names(), [])

    def test_whoLeavesMeanwhile(self) -> None:
        """A session that logs out, is lost or is kicked during its call is out; no client is told twice."""
        minds = [RecordingMind() for _ in range(3)]
        clients = [self.login(name, mind=mind) for name, mind in zip(("alice", "bob", "carol"), minds, strict=True)]
        for client in clients:
            client.callRemote("wait").addErrback(lambda _: None)
        draining = self.realm.drain(5)
        self.server.flush()
        clients[0].connection.cut()
        clients[1].session.kick(errors.Kicked)
        clients[2].session.end(errors.Kicked)
        self.out(draining)
        self.assertEqual([mind.told for mind in minds], [[("goodbye", "Draining", "")]] * 3)
        self.assertEqual(timers(self.server.clock), [])

    def test_twice(self) -> None:
        """A second drain shortens the time, and does not lengthen it; both end when all clients are out."""
        client = self.login("alice")
        waiting = client.callRemote("wait")
        first, second = self.realm.drain(60), self.realm.drain(5)
        self.realm.drain(120)
        self.server.advance(5.1)
        self.failureResultOf(waiting, errors.Draining)
        for each in (first, second):
            self.successResultOf(each)
        self.assertEqual(timers(self.server.clock), [])

    def test_atOnce(self) -> None:
        """With no time at all, all sessions end now."""
        client = self.login("alice")
        waiting = client.callRemote("wait").addErrback(lambda _: None)
        draining = self.realm.drain(0)
        self.assertEqual(self.names(), [])
        self.out(draining)
        self.assertTrue(waiting.called)
        self.assertFalse(client.connection.link.connected)

    def test_otherReason(self) -> None:
        """Clients are told another reason. An invalid one is an error, and no session ends."""
        mind = RecordingMind()
        self.login("alice", mind=mind)
        for arguments in ((-1,), (float("inf"),), ("5",), (True,)):
            self.assertRaises(errors.ConfigError, self.realm.drain, *arguments)
        self.assertRaises(TypeError, self.realm.drain, 5, errors.LoginRefused)
        self.assertEqual(self.names(), ["alice"])
        self.out(self.realm.drain(5, errors.Shutdown))
        self.assertEqual(mind.told, [("goodbye", "Shutdown", "")])

    def test_thenClosed(self) -> None:
        """A closed realm refuses logins because it stops, and draining it does not change that."""
        self.login("alice")
        self.out(self.realm.drain(5))
        self.assertFalse(self.realm.closed)
        self.out(self.realm.close())
        self.assertTrue(self.realm.closed)
        self.out(self.realm.drain(5))
        self.assertTrue(self.realm.closed)
        self.assertIsInstance(self.refused("alice"), errors.ServerStopping)

    def test_underAStockFactory(self) -> None:
        """Under a stock factory, a call on the avatar is answered before the connection is closed."""
        clock = Clock()
        realm = CachingRealm(Recorder, clock=clock)
        wire = Wire(serve(realm, pb.PBServerFactory))
        wire.server.factory.clock = clock
        mind = RecordingMind()
        avatar = self.successResultOf(wire.login("alice", mind))
        (session,) = realm.roster
        waiting = wire.call(avatar, "wait")
        draining = realm.drain(5)
        wire.flush()
        self.assertTrue(self.failureResultOf(wire.call(avatar, "whoami")).check("pbkit.errors.Draining"))
        self.assertEqual((mind.told, session.busy), ([("goodbye", "Draining", "")], True))
        session.avatar.waiting[0].callback("done")
        wire.flush()
        self.assertEqual(self.successResultOf(waiting), "done")
        clock.advance(0)
        wire.flush()
        self.successResultOf(draining)
        self.assertFalse(wire.connected)

    def test_withoutClock(self) -> None:
        """Without a clock there is no waiting."""
        realm = CachingRealm(Recorder)
        session = self.successResultOf(enter(realm))
        self.successResultOf(realm.drain(5))
        self.assertIsInstance(session.endedWith, errors.Draining)


class RosterTests(OperationsCase):
    """The roster, for operators."""

    def test_look(self) -> None:
        """Sessions are counted, listed, and found by session id, user and connection."""
        roster = self.realm.roster
        self.assertFalse(roster)
        clients = [self.login(name) for name in ("alice", "bob", "alice")]
        sessions = [client.session for client in clients]
        self.assertEqual((len(roster), list(roster)), (3, sessions))
        self.assertIn(sessions[0], roster)
        self.assertEqual(roster.ofAvatar("alice"), (sessions[0], sessions[2]))
        self.assertEqual(roster.ofPeer(sessions[1].peer.peerId), (sessions[1],))
        self.assertIs(roster.get(sessions[2].sessionId), sessions[2])
        self.assertEqual(repr(roster), "<Roster: 3 sessions, 0 pending logins>")
        sessions[0].end()
        self.assertNotIn(sessions[0], roster)
        self.assertNotIn("alice", roster)
