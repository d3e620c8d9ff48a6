"""`pbkit.testing`: what a user's test can do with a realm, and what fails that should."""

from __future__ import annotations

import unittest
from collections.abc import Callable
from typing import Any, cast

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import IRealm
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock, LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pbkit import AnonymousRealm, Avatar, CachingRealm, ClientFactory, LimitedRealm, Session, SingleClientRealm
from pbkit.errors import (
    AnonymousRefused,
    BadCredentials,
    CallTimedOut,
    ClassRefused,
    ConfigError,
    Disconnected,
    InternalError,
    Kicked,
    LoggedOut,
    NoSuchMethod,
    RemoteError,
    TooManySessions,
)
from pbkit.testing import Link, MemoryServer, MemoryServerMixin, RecordingMind
from pbkit.testing.link import WINDOW
from tests.support import collect
from tests.wire.copies import Card, CardCopy, Plain, PlainCopy
from tests.wire.things import Guide

log = Logger()


class GameError(pb.Error):
    """An error of a user's own, for clients."""


class Broken(Exception):
    """What is not for clients."""


class Part(pb.Referenceable):
    """Something that an avatar hands out."""

    def remote_hi(self, name: str) -> str:
        """Answer."""
        return f"hi {name}"


class Player(Avatar):
    """An avatar as a user would write it, with one method for each thing that may happen."""

    score = 0
    gone: str | None = None

    def detached(self, session: Session) -> Any:
        """Note why."""
        self.gone = type(session.endedWith).__name__

    def perspective_move(self, points: int) -> int:
        """Tell all clients."""
        self.score += points
        for session in self.sessions:
            session.mind.tell("scoreIs", self.score)
        return self.score

    def perspective_wait(self) -> Deferred[Any]:
        """Never answers."""
        return Deferred()

    def perspective_fail(self) -> None:
        """Fails with an error of the user's own."""
        raise GameError("no luck")

    def perspective_break(self) -> None:
        """What the server's log is for."""
        raise Broken("out of dice")

    def perspective_part(self) -> Part:
        """Hand something out."""
        return Part()

    async def perspective_ask(self, *question: str) -> Any:
        """Ask the clients back."""
        return [await session.mind.callRemote("ask", *question) for session in self.sessions]


class Watcher(pb.Referenceable):
    """A mind as a user would write it."""

    def __init__(self) -> None:
        self.scores: list[int] = []

    def remote_scoreIs(self, score: int) -> None:
        """Keep it."""
        self.scores.append(score)

    @staticmethod
    def remote_ask(question: str, *, loud: bool = False) -> str:
        """Answer."""
        return "YES" if loud else "yes"


@implementer(IRealm)
class StockRealm:
    """A realm as stock has it."""

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """`IRealm`."""
        return pb.IPerspective, Player(avatarId.decode()), lambda: None


class LoginTests(MemoryServerMixin, SynchronousTestCase):
    """`MemoryServer`: who gets in."""

    def test_anybodyMayLogIn(self) -> None:
        """Whoever a test says is logged in, with a session and an avatar to look at, and without a password."""
        server = self.serve(CachingRealm(Player))
        for name, said in (("alice", "alice"), ("Жук", "Жук"), (b"bob", "bob")):
            client = server.login(name)
            self.assertEqual((client.session.avatarId, client.avatar.avatarId), (said, said))
            self.assertEqual(client.call("move", 2), 2)
        self.assertEqual(len(server.sessions), 3)

    def test_refusalIsRaised(self) -> None:
        """A login that is refused raises the refusal itself, with its text."""
        server = self.serve(LimitedRealm(Player, max=1))
        alice = server.login("alice")
        with self.assertRaises(TooManySessions) as caught:
            server.login("alice")
        self.assertEqual(str(caught.exception), "alice has 1 of 1 connections")
        self.assertEqual(server.sessions, (alice.session,))

    def test_guests(self) -> None:
        """A guest is let in or refused as the realm says."""
        self.assertRaises(AnonymousRefused, self.serve(CachingRealm(Player)).anonymous)
        server = self.serve(CachingRealm(Player, anonymous=AnonymousRealm(Player)))
        guest = server.anonymous()
        self.assertEqual(guest.session.avatarId, "anonymous#1")
        self.assertEqual(server.sessions, (guest.session,))

    def test_ownCheckers(self) -> None:
        """Checkers of one's own are asked, with the password."""
        users = InMemoryUsernamePasswordDatabaseDontUse(alice=b"sesame")
        server = self.serve(CachingRealm(Player), checkers=[users])
        self.assertEqual(server.login("alice", password="sesame").session.avatarId, "alice")
        self.assertRaises(BadCredentials, server.login, "alice", password="open")

    def test_stockClient(self) -> None:
        """A stock client logs in, calls and is refused as pbkit's is."""
        server = self.serve(SingleClientRealm(Player))
        mind = RecordingMind(Watcher)
        client = server.login("alice", mind, stock=True)
        self.assertEqual(type(client.reference.broker), pb.Broker)
        self.assertEqual(client.call("move", 3), 3)
        self.assertEqual(mind.told, [("scoreIs", 3)])
        self.assertRaises(TooManySessions, server.login, "alice", stock=True)
        self.assertRaises(NoSuchMethod, client.call, "nothing")

    def test_stockRealm(self) -> None:
        """A realm that is not pbkit's is served too; it has no sessions to look at."""
        server = self.serve(StockRealm())
        client = server.login("alice")
        self.assertEqual(client.call("move", 1), 1)
        self.assertEqual((client.session, client.avatar, server.sessions), (None, None, ()))

    def test_slowLogin(self) -> None:
        """A login that the server makes wait is no login yet: the plain one says so, the other gives a Deferred."""

        class Slow(CachingRealm):
            building: Deferred[Any]

            def buildAvatar(self, avatarId: str) -> Any:
                self.building = Deferred()
                return self.building

        realm = Slow()
        server = self.serve(realm)
        with self.assertRaises(AssertionError) as caught:
            server.login("alice")
        self.assertIn("the login of 'alice' has no answer yet", str(caught.exception))
        bob = server.connect().login("bob")
        self.assertNoResult(bob)
        realm.building.callback(Player("bob"))
        server.flush()
        self.assertEqual(self.successResultOf(bob).call("move", 1), 1)
        # alice's never comes: 30 s later she is told so.
        server.advance(31)

    def test_twoLoginsOnOneConnection(self) -> None:
        """A connection may carry many log-ins, each with its own session."""
        server = self.serve(CachingRealm(Player))
        connection = server.connect()
        alice, bob = (self.successResultOf(connection.login(name)) for name in ("alice", "bob"))
        self.assertEqual([alice.session.avatarId, bob.session.avatarId], ["alice", "bob"])
        self.assertIs(alice.session.peer, bob.session.peer)
        alice.logout()
        self.assertEqual(server.sessions, (bob.session,))

    def test_address(self) -> None:
        """A client comes from the address that the test says."""
        server = self.serve(CachingRealm(Player))
        address = IPv4Address("TCP", "192.0.2.7", 4711)
        client = self.successResultOf(server.connect(address=address).login("alice"))
        self.assertEqual(client.session.address, address)

    def test_endpoint(self) -> None:
        """Client code of one's own connects by an endpoint."""
        server = self.serve(CachingRealm(Player))
        factory = ClientFactory()

        async def play() -> Any:
            await server.endpoint().connect(factory)
            player = await factory.login(UsernamePassword(b"alice", b"sesame"))
            return await player.callRemote("move", 5)

        playing = Deferred.fromCoroutine(play())
        server.flush()
        self.assertEqual(self.successResultOf(playing), 5)
        self.assertEqual([connection.stock for connection in server.connections], [False])

    def test_clock(self) -> None:
        """The clock is the one given, or the realm's, or a new one."""
        clock = Clock()
        self.assertIs(self.serve(CachingRealm(Player), clock=clock).clock, clock)
        self.assertIs(self.serve(CachingRealm(Player, clock=clock)).clock, clock)
        self.assertIsNot(self.serve(CachingRealm(Player)).clock, clock)

    def test_closedRealm(self) -> None:
        """A realm that has been closed is not taken for one that can be served."""
        realm = CachingRealm(Player)
        MemoryServer(realm).close()
        with self.assertRaises(ValueError) as caught:
            MemoryServer(realm)
        self.assertIn("create a new realm", str(caught.exception))


class CallTests(MemoryServerMixin, SynchronousTestCase):
    """`MemoryClient`: calls and what comes of them."""

    def test_errorsComeAsTheirClass(self) -> None:
        """What the server raises is raised, by class: pbkit's, Python's, and those that the test names."""
        server = self.serve(CachingRealm(Player), allow=[GameError])
        client = server.login("alice")
        with self.assertRaises(GameError) as caught:
            client.call("fail")
        self.assertEqual(str(caught.exception), "no luck")
        self.assertRaises(TypeError, client.call, "move")
        self.assertRaises(NoSuchMethod, client.call, "nothing")
        self.failureResultOf(client.callRemote("fail"), GameError)
        with self.assertRaises(InternalError) as told:
            client.call("break")
        self.assertNotIn("dice", str(told.exception))
        self.assertEqual(len(self.flushLoggedErrors(Broken)), 1)

    def test_errorsThatWereNotNamed(self) -> None:
        """An exception that the test has not named comes as a `RemoteError` that says which it was."""
        client = self.serve(CachingRealm(Player)).login("alice")
        with self.assertRaises(RemoteError) as caught:
            client.call("fail")
        self.assertIn("GameError", str(caught.exception))

    def test_waiting(self) -> None:
        """A call without an answer is a failure of the plain kind, and a Deferred of the other."""
        client = self.serve(CachingRealm(Player)).login("alice")
        with self.assertRaises(AssertionError) as caught:
            client.call("wait")
        self.assertIn("wait() has no answer yet", str(caught.exception))
        waiting = client.callRemote("wait")
        self.assertNoResult(waiting)
        client.connection.cut()
        self.failureResultOf(waiting, Disconnected)

    def test_callsOnOtherObjects(self) -> None:
        """What a call gave can be called in turn, and is dead when the session is over."""
        client = self.serve(CachingRealm(Player)).login("alice")
        part = client.call("part")
        self.assertEqual(self.successResultOf(client.callOn(part, "hi", "there")), "hi there")
        client.session.end(Kicked)
        self.failureResultOf(client.callOn(part, "hi", "there"), Kicked)

    def test_kicked(self) -> None:
        """A session that the server ends answers with the reason."""
        client = self.serve(CachingRealm(Player)).login("alice")
        client.session.end(Kicked, "cheating")
        with self.assertRaises(Kicked) as caught:
            client.call("move", 1)
        self.assertEqual(str(caught.exception), "this session was ended by the server: cheating")

    def test_staysIn(self) -> None:
        """A client that nobody keeps is in all the same."""
        server = self.serve(CachingRealm(Player))
        server.login("alice")
        collect()
        server.flush()
        self.assertEqual([session.avatarId for session in server.sessions], ["alice"])

    def test_logout(self) -> None:
        """A client that logs out is out; the connection stays, and the reference is gone."""
        server = self.serve(CachingRealm(Player))
        client = server.login("alice")
        client.logout()
        server.assertNoSessions()
        self.assertEqual(client.avatar.gone, "LoggedOut")
        self.assertTrue(client.connection.link.connected)
        self.assertRaises(LoggedOut, client.call, "move", 1)


class ClassTests(MemoryServerMixin, SynchronousTestCase):
    """Which classes clients may send: those that twistd would let them."""

    class Cards(CachingRealm):
        """Its clients may send cards."""

        avatarClass = Guide
        allow = frozenset({Card})

    def test_none(self) -> None:
        """None but those that the realm names, whatever is registered."""
        for realm in (CachingRealm(Guide), self.Cards()):
            alice = self.serve(realm).login("alice")
            self.assertRaises(ClassRefused, alice.call, "take", Plain())

    def test_realms(self) -> None:
        """Those that it names are."""
        alice = self.serve(self.Cards()).login("alice")
        alice.call("take", Card(suit="hearts"))
        self.assertEqual([card.suit for card in alice.avatar.taken], ["hearts"])

    def test_more(self) -> None:
        """And those that the test names, as a configuration would."""
        alice = self.serve(self.Cards(), classes=[Plain]).login("alice")
        for one in (Card(), Plain()):
            alice.call("take", one)
        self.assertEqual([type(one) for one in alice.avatar.taken], [CardCopy, PlainCopy])
        with self.assertRaises(ConfigError) as caught:
            MemoryServer(CachingRealm(Guide), classes=[Part])
        self.assertIn("not registered", str(caught.exception))


class MindTests(MemoryServerMixin, SynchronousTestCase):
    """`RecordingMind`."""

    def test_tells(self) -> None:
        """It writes down what it is told, in order, also what is still on its way when it is asked."""
        server = self.serve(CachingRealm(Player))
        mind = RecordingMind(scoreIs=lambda score: None)
        alice = server.login("alice", mind)
        alice.call("move", 1)
        alice.call("move", 2)
        self.assertEqual(mind.told, [("scoreIs", 1), ("scoreIs", 3)])
        alice.session.mind.tell("scoreIs", 7)
        self.assertEqual(mind.told[2:], [("scoreIs", 7)])

    def test_callsBack(self) -> None:
        """A mind that calls the server while it is told something gets no message before its turn."""
        server = self.serve(CachingRealm(Player))
        mind = RecordingMind(scoreIs=lambda score: alice.callRemote("move", 1) if score == 10 else None)
        alice = server.login("alice", mind, stock=True)
        for score in (10, 20, 30):
            alice.session.mind.tell("scoreIs", score)
        self.assertEqual([score for _, score in mind.told], [10, 20, 30, 1])

    def test_answers(self) -> None:
        """What a declared method returns is the answer, at once or later."""
        server = self.serve(CachingRealm(Player))
        later: Deferred[str] = Deferred()

        async def ask(question: str) -> str:
            return await later

        server.login("alice", RecordingMind(ask=lambda question: f"{question}? yes"), stock=True)
        alice = server.login("alice", RecordingMind(ask=ask), stock=True)
        answer = alice.callRemote("ask", "tea")
        self.assertNoResult(answer)
        later.callback("no")
        server.flush()
        self.assertEqual(self.successResultOf(answer), ["tea? yes", "no"])

    def test_unexpected(self) -> None:
        """To be told what was not declared fails the test, with what was and what may be told."""
        client = self.serve(CachingRealm(Player)).login("alice", RecordingMind(over=lambda: None))
        with self.assertRaises(AssertionError) as caught:
            client.call("move", 1)
        self.assertEqual(
            str(caught.exception), "the mind received scoreIs(1), but has no remote_scoreIs: it has over()"
        )

    def test_nothingDeclared(self) -> None:
        """One without declarations may be told nothing, and says how to declare something."""
        client = self.serve(CachingRealm(Player)).login("alice", RecordingMind())
        with self.assertRaises(AssertionError) as caught:
            client.call("move", 1)
        self.assertIn("RecordingMind(scoreIs=lambda score: None)", str(caught.exception))

    def test_argumentsThatDoNotFit(self) -> None:
        """Arguments that a declared method does not take fail the test, and are not written down."""
        mind = RecordingMind(scoreIs=lambda score, player: None)
        client = self.serve(CachingRealm(Player)).login("alice", mind)
        with self.assertRaises(AssertionError) as caught:
            client.call("move", 1)
        self.assertEqual(
            str(caught.exception),
            "the mind received scoreIs(1), which does not fit remote_scoreIs(score, player): "
            "missing a required argument: 'player'",
        )
        self.assertEqual(mind.told, [])

    def test_theServerIsToldToo(self) -> None:
        """The server's own call fails, as it would with a real client; and the test fails at the latest at the end."""
        server = MemoryServer(CachingRealm(Player))
        client = server.login("alice", RecordingMind(Watcher))
        asking = client.session.mind.callRemote("nothing")
        with self.assertRaises(AssertionError) as caught:
            server.close()
        self.assertIn(
            "has no remote_nothing: it has ask(question: 'str', *, loud: 'bool' = False)", str(caught.exception)
        )
        self.failureResultOf(asking)

    def test_declaredByAClass(self) -> None:
        """A class declares by its `remote_` methods, static ones too; they are not run."""
        mind = RecordingMind(Watcher)
        client = self.serve(CachingRealm(Player)).login("alice", mind)
        client.call("move", 1)
        asked = client.session.mind.callRemote("ask", question="tea", loud=True)
        self.assertEqual(mind.told, [("scoreIs", 1), ("ask", "tea", {"loud": True})])
        self.assertIsNone(self.successResultOf(asked))

    def test_declaredByAnObject(self) -> None:
        """An object's methods are run."""
        watcher = Watcher()
        mind = RecordingMind(watcher)
        client = self.serve(CachingRealm(Player)).login("alice", mind)
        client.call("move", 1)
        asked = client.session.mind.callRemote("ask", "tea")
        self.assertEqual((mind.told, watcher.scores), ([("scoreIs", 1), ("ask", "tea")], [1]))
        self.assertEqual(self.successResultOf(asked), "yes")

    def test_declaredByASubclass(self) -> None:
        """A subclass has methods of its own; they are run."""

        class Counting(RecordingMind):
            total = 0

            def remote_scoreIs(self, score: int) -> None:
                self.total += score

        mind = Counting()
        client = self.serve(CachingRealm(Player)).login("alice", mind)
        client.call("move", 2)
        self.assertEqual((mind.told, mind.total), ([("scoreIs", 2)], 2))

    def test_declarationThatIsNone(self) -> None:
        """What cannot be called is no declaration."""
        self.assertRaises(TypeError, RecordingMind, scoreIs=None)


class TroubleTests(MemoryServerMixin, SynchronousTestCase):
    """`MemoryConnection`: the ways in which a connection can go wrong."""

    def setUp(self) -> None:
        """alice is in, and waits for an answer."""
        self.server = self.serve(CachingRealm(Player))
        self.mind = RecordingMind(Watcher)
        self.client = self.server.login("alice", self.mind)
        self.waiting = self.client.callRemote("wait")

    def order(self) -> list[str]:
        """Who is told that the connection is gone, in order."""
        order: list[str] = []
        link = self.client.connection.link
        link.client.notifyOnDisconnect(lambda: order.append("client"))
        link.server.notifyOnDisconnect(lambda: order.append("server"))
        return order

    def test_lost(self) -> None:
        """Whoever closes or loses the connection, both ends learn of it, in the order that the test says."""
        for lose, first in (
            (lambda connection: connection.loseConnection(), "server"),
            (lambda connection: connection.loseConnection(server=True), "client"),
            (lambda connection: connection.cut(), "server"),
            (lambda connection: connection.cut(client=True), "client"),
        ):
            self.setUp()
            order = self.order()
            lose(self.client.connection)
            self.assertEqual((order[0], sorted(order)), (first, ["client", "server"]))
            self.failureResultOf(self.waiting, Disconnected)
            self.server.assertNoSessions()
            self.assertEqual(self.client.avatar.gone, "Disconnected")
            self.assertRaises(Disconnected, self.client.call, "move", 1)

    def test_lostForAStockClient(self) -> None:
        """A stock client is told of a loss what stock tells."""
        client = self.server.login("alice", stock=True)
        waiting = client.callRemote("wait")
        client.connection.cut()
        self.failureResultOf(waiting, pb.PBConnectionLost)
        self.assertRaises(pb.DeadReferenceError, client.call, "move", 1)

    def test_vanished(self) -> None:
        """Half open: the client is gone, the server goes on as if nothing had happened, until it finds out."""
        order = self.order()
        asked = self.client.session.mind.callRemote("ask", "tea")
        self.mind.told.clear()
        self.client.connection.vanish()
        self.failureResultOf(self.waiting, Disconnected)
        self.assertIn(self.client.session, self.server.sessions)
        self.assertEqual(order, ["client"])
        self.successResultOf(asked)
        late = self.client.session.mind.callRemote("ask", "tea")
        self.server.advance(29)
        self.assertNoResult(late)
        self.server.advance(2)
        self.failureResultOf(late, CallTimedOut)
        self.assertRaises(AssertionError, self.client.connection.resume)
        self.client.connection.cut()
        self.assertEqual(order, ["client", "server"])
        self.server.assertNoSessions()

    def test_stalled(self) -> None:
        """A stalled client reads nothing and answers nothing; when it goes on, it gets all that it has missed."""
        link = self.client.connection.link
        self.client.connection.stall()
        asked = self.client.session.mind.callRemote("ask", "tea", pbtimeout=None)
        # After 80 s keepalive would take it for dead.
        self.server.advance(60)
        self.assertNoResult(asked)
        self.assertEqual(self.mind.told, [])
        self.assertGreater(link.unread, 0)
        with self.assertRaises(AssertionError) as caught:
            self.client.connection.loseConnection()
        self.assertIn("resume it first", str(caught.exception))
        self.client.connection.resume()
        self.assertIsNone(self.successResultOf(asked))
        self.assertEqual((self.mind.told, link.unread), ([("ask", "tea")], 0))

    def test_staleHolder(self) -> None:
        """A realm that probes a stalled client lets the next one in, as it would in life."""
        server = self.serve(SingleClientRealm(Player, conflict="probe"))
        first = server.login("alice")
        self.assertRaises(TooManySessions, server.login, "alice")
        first.connection.stall()
        second = server.connect().login("alice")
        self.assertNoResult(second)
        server.advance(60)
        self.assertEqual(server.sessions, (self.successResultOf(second).session,))
        first.connection.resume()

    def test_serverClosesOnAStalledClient(self) -> None:
        """What is little is taken by the system, and the connection closes; the client hears of it when it goes on."""
        order = self.order()
        self.client.connection.stall()
        self.client.connection.loseConnection(server=True)
        self.assertEqual(order, ["server"])
        self.client.connection.resume()
        self.assertEqual(order, ["server", "client"])

    def test_serverClosesOnAFullClient(self) -> None:
        """Where more waits than the system takes, closing in good order waits too, and only aborting does not."""
        order = self.order()
        self.client.connection.stall()
        for _ in range(WINDOW // 1000 + 1):
            self.client.session.mind.tell("scoreIs", "x" * 1000)
        self.client.connection.loseConnection(server=True)
        self.assertEqual(order, [])
        self.client.connection.link.server.transport.abortConnection()
        self.server.flush()
        self.assertEqual(order, ["server"])
        self.assertEqual(self.client.connection.link.unread, 0)


class Ending(Protocol):
    """Notes why it ended, and what it was sent."""

    reason: type[BaseException] | None = None
    got = b""

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.got += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note it; only once."""
        if self.reason is not None:
            raise AssertionError("told twice that the connection is gone")
        self.reason = reason.type


class LinkTests(SynchronousTestCase):
    """`Link`, with any protocol."""

    def setUp(self) -> None:
        """Two ends."""
        self.near, self.far = Ending(), Ending()
        self.link = Link(self.near, self.far)

    def reasons(self) -> tuple[Any, Any]:
        """Why the server's end and the client's have ended."""
        while self.link.flush():
            pass
        return self.near.reason, self.far.reason

    def transport(self, end: Any) -> Any:
        """What an end writes to."""
        return end.transport

    def test_closed(self) -> None:
        """What was written before it was closed arrives; what is written after does not."""
        self.transport(self.near).write(b"bye")
        self.link.loseConnection(server=True)
        self.transport(self.near).write(b"no")
        self.assertEqual(self.reasons(), (ConnectionDone, ConnectionDone))
        self.assertEqual(self.far.got, b"bye")
        self.assertFalse(self.link.connected)

    def test_aborted(self) -> None:
        """What had not been read is lost, and each end learns which of them it was."""
        self.transport(self.near).write(b"bye")
        self.transport(self.near).abortConnection()
        self.assertEqual(self.reasons(), (ConnectionAborted, ConnectionLost))
        self.assertEqual(self.far.got, b"")

    def test_cut(self) -> None:
        """What was on its way is lost, one end is told at once and the other next."""
        for client in (False, True):
            self.setUp()
            self.transport(self.near).write(b"bye")
            self.transport(self.far).write(b"bye")
            self.link.cut(client)
            self.assertEqual((self.near.reason is None, self.far.reason is None), (client, not client))
            self.assertEqual(self.reasons(), (ConnectionLost, ConnectionLost))
            self.assertEqual(self.near.got + self.far.got, b"")
            self.link.cut()
            self.link.vanish()
            self.link.stall()
            self.assertFalse(self.link.stalled or self.link.vanished)

    def test_vanished(self) -> None:
        """The server's end lives on until it closes, and nothing that it says arrives."""
        self.link.vanish()
        self.transport(self.near).write(b"hello?")
        self.assertEqual(self.reasons(), (None, ConnectionLost))
        self.link.loseConnection(server=True)
        self.assertEqual(self.reasons()[1], ConnectionLost)
        self.assertIsNotNone(self.near.reason)
        self.assertEqual(self.far.got, b"")

    def test_endless(self) -> None:
        """Two ends that never stop talking are found out."""

        class Echo(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(data)  # type: ignore[union-attr]

        ends = Echo(), Echo()
        link = Link(*ends)
        self.transport(ends[0]).write(b"x")
        self.assertRaises(AssertionError, link.flush)


class TimeTests(MemoryServerMixin, SynchronousTestCase):
    """`MemoryServer.advance`."""

    def test_bytesMoveInBetween(self) -> None:
        """What is due in the meantime comes at its own time, with what follows of it."""
        server = self.serve(CachingRealm(Player))
        times: list[float] = []
        mind = RecordingMind(scoreIs=lambda score: times.append(server.clock.seconds()))
        client = server.login("alice", mind)
        server.clock.callLater(1, client.session.mind.tell, "scoreIs", 1)
        server.clock.callLater(2, client.session.mind.tell, "scoreIs", 2)
        server.advance(2.5)
        self.assertEqual((times, server.clock.seconds()), ([1, 2], 2.5))


class ClosingTests(SynchronousTestCase):
    """What `MemoryServer.close` takes offence at, and what not."""

    def problem(self, server: MemoryServer) -> str:
        """What it says."""
        with self.assertRaises(AssertionError) as caught:
            server.close()
        server.close()
        return str(caught.exception)

    def test_clean(self) -> None:
        """Clients that are still in, stalled or gone, and calls that nobody waits for, are no offence."""
        server = MemoryServer(CachingRealm(Player, linger=60.0))
        stalled, vanished, left, cut = (server.login(name) for name in ("alice", "bob", "carol", "dave"))
        for client in (stalled, left):
            client.callRemote("wait")
        stalled.connection.stall()
        vanished.connection.vanish()
        cut.connection.cut()
        server.close()
        self.assertEqual([left.avatar.gone, stalled.avatar.gone], ["Disconnected", "Disconnected"])
        self.assertTrue(stalled.connection.link.client.disconnected)

    def test_somebodyIsIn(self) -> None:
        """`assertNoSessions` names the sessions that live."""
        server = MemoryServer(CachingRealm(Player))
        client = server.login("alice")
        with self.assertRaises(AssertionError) as caught:
            server.assertNoSessions()
        self.assertEqual(str(caught.exception), f"there are still sessions: {client.session!r}")
        server.close()

    def test_aSessionIsLeft(self) -> None:
        """A session that no hang-up ends is one that has leaked."""
        server = MemoryServer(CachingRealm(Player))
        # As under a stock factory without a mind: there is no connection that could be lost.
        self.successResultOf(server.realm.requestAvatar("alice", None, pb.IPerspective))
        self.assertRegex(self.problem(server), "^there are still sessions: <Session .* of 'alice', live>$")

    def test_aPendingLoginIsLeft(self) -> None:
        """So is a login that holds a place."""

        class Slow(CachingRealm):
            def buildAvatar(self, avatarId: str) -> Any:
                return Deferred()

        server = MemoryServer(Slow())
        refused: Deferred[Any] = server.realm.requestAvatar("alice", None, pb.IPerspective)
        self.assertEqual(self.problem(server), "there are still sessions: 1 pending login(s)")
        self.failureResultOf(refused)

    def test_aHookThatNeverEnds(self) -> None:
        """A `detached` hook that does not come to its end is told of; one that takes a second is none."""
        pending: list[Deferred[Any]] = []

        class Slow(Player):
            def detached(self, session: Session) -> Any:
                pending.append(Deferred())
                return pending[-1]

        server = MemoryServer(CachingRealm(Slow))
        server.login("alice")
        self.assertIn("a detached hook did not finish within 5 s", self.problem(server))
        for realm in (CachingRealm(Slow), CachingRealm(Slow, clock=Clock())):
            server = MemoryServer(realm)
            server.login("alice")
            server.clock.callLater(1, lambda: pending[-1].callback(None))
            server.close()

    def test_aTimerIsLeft(self) -> None:
        """A timer that an avatar has forgotten to stop is told of, by name."""

        class Ticking(Player):
            def attached(self, session: Session) -> None:
                self.loop = LoopingCall(self.perspective_move, 1)
                self.loop.clock = cast(Clock, session.clock)
                self.loop.start(1)

        server = MemoryServer(CachingRealm(Ticking))
        server.login("alice")
        self.assertIn("timers are left after all clients have disconnected: LoopingCall", self.problem(server))

    def test_anErrorWasLogged(self) -> None:
        """An error that was logged is told of, unless the test has looked at it."""
        for expected, problem in (((Broken,), False), ((), False), ((KeyError,), True)):
            server = MemoryServer(CachingRealm(Player))
            client = server.login("alice")
            self.assertRaises(InternalError, client.call, "break")
            self.assertEqual(bool(server.flushLoggedErrors(*expected)), not problem)
            if problem:
                self.assertIn("an error was logged: ", self.problem(server))
            else:
                server.close()
        self.assertEqual(len(self.flushLoggedErrors(Broken)), 3)

    def test_anErrorInAHook(self) -> None:
        """What a `detached` hook raises would be seen in the log only; here it fails the test."""

        class Bad(Player):
            def detached(self, session: Session) -> None:
                raise KeyError("lost")

        server = MemoryServer(CachingRealm(Bad))
        server.login("alice")
        self.assertRegex(self.problem(server), "an error was logged: detached of 'alice' raised.* KeyError: 'lost'")
        self.flushLoggedErrors(KeyError)

    def test_expectedForAllServers(self) -> None:
        """An error that the test has looked at is expected for each of its servers."""
        server, other = (MemoryServer(CachingRealm(Player)) for _ in range(2))
        self.assertRaises(InternalError, server.login("alice").call, "break")
        self.assertEqual(len(server.flushLoggedErrors(Broken)), 1)
        self.assertEqual(other.flushLoggedErrors(), [])
        server.close()
        other.close()
        self.flushLoggedErrors(Broken)

    def test_errorsWithoutAnException(self) -> None:
        """A line that is logged as an error counts; a warning does not."""
        server = MemoryServer(CachingRealm(Player))
        log.warn("not so good")
        log.error("bad: {what}", what="all")
        self.assertEqual(server.flushLoggedErrors(KeyError), [])
        self.assertEqual(server.flushLoggedErrors(), ["bad: all"])
        server.close()
        log.error("after the end")
        self.assertEqual(server.flushLoggedErrors(), [])

    def test_aFailureThatNobodyLookedAt(self) -> None:
        """A Deferred that failed unseen is told of, though Twisted logs it only when it is collected."""

        class Careless(Player):
            def perspective_move(self, points: int) -> int:
                failed: Deferred[Any] = Deferred()
                vars(failed)["itself"] = failed  # Only the collector finds it.
                failed.errback(GameError("unseen"))
                return points

        server = MemoryServer(CachingRealm(Careless))
        server.login("alice").call("move", 1)
        self.assertIn("an error was logged: GameError: unseen", self.problem(server))
        self.flushLoggedErrors(GameError)

    def test_allAtOnce(self) -> None:
        """All that is wrong is told, not the first only."""
        server = MemoryServer(CachingRealm(Player))
        server.clock.callLater(9, list)
        log.error("bad")
        server.login("alice", RecordingMind()).session.mind.tell("hey")
        problem = self.problem(server)
        for part in ("has no remote_hey", "timers are left", "an error was logged: bad"):
            self.assertIn(part, problem)

    def test_context(self) -> None:
        """As a context manager it is closed in the end, and an error of the test itself goes first."""
        with MemoryServer(CachingRealm(Player)) as server:
            client = server.login("alice")
        self.assertIsNotNone(client.session.endedWith)
        for error in (ZeroDivisionError, AssertionError):
            with self.assertRaises(error) as caught, MemoryServer(CachingRealm(Player)) as server:
                server.clock.callLater(9, list)
                raise error("the test's own")
            self.assertEqual(str(caught.exception), "the test's own")
        with self.assertRaises(AssertionError), MemoryServer(CachingRealm(Player)) as server:
            server.clock.callLater(9, list)


class MixinTests(SynchronousTestCase):
    """`MemoryServerMixin`, in test cases that are run here."""

    def outcome(self, test: Callable[[Any], object]) -> unittest.TestResult:
        """What comes of a test."""

        class Inner(MemoryServerMixin, SynchronousTestCase):
            def test_it(self) -> None:
                test(self)

        result = unittest.TestResult()
        Inner("test_it").run(result)
        return result

    def test_passes(self) -> None:
        """A test that leaves nothing behind passes."""

        def clean(case: Any) -> None:
            case.assertEqual(case.serve(CachingRealm(Player)).login("alice").call("move", 2), 2)

        self.assertTrue(self.outcome(clean).wasSuccessful())

    def test_fails(self) -> None:
        """One that leaves something behind fails, when it is over."""

        def dirty(case: Any) -> None:
            case.serve(CachingRealm(Player)).clock.callLater(1, list)

        result = self.outcome(dirty)
        self.assertFalse(result.wasSuccessful())
        self.assertIn("timers are left", str([*result.failures, *result.errors]))

    def test_loggedErrors(self) -> None:
        """Errors that the test case has flushed are none to its servers either."""

        def flushed(case: Any) -> None:
            client = case.serve(CachingRealm(Player)).login("alice")
            case.assertRaises(InternalError, client.call, "break")
            case.assertEqual(len(case.flushLoggedErrors(Broken)), 1)

        self.assertTrue(self.outcome(flushed).wasSuccessful())
