"""`pbkit.testing`: what a user's test can do with a realm, and which problems fail it."""

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
    """A user's own error, meant for clients."""


class Broken(Exception):
    """An error that is not meant for clients."""


class Part(pb.Referenceable):
    """An object that an avatar gives out."""

    def remote_hi(self, name: str) -> str:
        """Return an answer."""
        return f"hi {name}"


class Player(Avatar):
    """An avatar as a user would write it, with a method for each case."""

    score = 0
    gone: str | None = None

    def detached(self, session: Session) -> Any:
        """Record the reason."""
        self.gone = type(session.endedWith).__name__

    def perspective_move(self, points: int) -> int:
        """Tell all clients."""
        self.score += points
        for session in self.sessions:
            session.mind.tell("scoreIs", self.score)
        return self.score

    def perspective_wait(self) -> Deferred[Any]:
        """Never answer."""
        return Deferred()

    def perspective_fail(self) -> None:
        """Fail with the user's own error."""
        raise GameError("no luck")

    def perspective_break(self) -> None:
        """Raise an unexpected exception."""
        raise Broken("out of dice")

    def perspective_part(self) -> Part:
        """Return an object."""
        return Part()

    async def perspective_ask(self, *question: str) -> Any:
        """Call the clients, and return their answers."""
        return [await session.mind.callRemote("ask", *question) for session in self.sessions]


class Watcher(pb.Referenceable):
    """A mind as a user would write it."""

    def __init__(self) -> None:
        self.scores: list[int] = []

    def remote_scoreIs(self, score: int) -> None:
        """Record the argument."""
        self.scores.append(score)

    @staticmethod
    def remote_ask(question: str, *, loud: bool = False) -> str:
        """Answer."""
        return "YES" if loud else "yes"


@implementer(IRealm)
class StockRealm:
    """A stock realm."""

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """As `IRealm.requestAvatar`."""
        return pb.IPerspective, Player(avatarId.decode()), lambda: None


class LoginTests(MemoryServerMixin, SynchronousTestCase):
    """`MemoryServer`: logins."""

    def test_anyUserCanLogIn(self) -> None:
        """Any user can be logged in without a password; the test sees the session and the avatar."""
        server = self.serve(CachingRealm(Player))
        for name, said in (("alice", "alice"), ("Жук", "Жук"), (b"bob", "bob")):
            client = server.login(name)
            self.assertEqual((client.session.avatarId, client.avatar.avatarId), (said, said))
            self.assertEqual(client.call("move", 2), 2)
        self.assertEqual(len(server.sessions), 3)

    def test_refusalIsRaised(self) -> None:
        """A refused login raises the refusal itself, with its text."""
        server = self.serve(LimitedRealm(Player, max=1))
        alice = server.login("alice")
        with self.assertRaises(TooManySessions) as caught:
            server.login("alice")
        self.assertEqual(str(caught.exception), "alice has 1 of 1 connections")
        self.assertEqual(server.sessions, (alice.session,))

    def test_guests(self) -> None:
        """The realm admits or refuses guests."""
        self.assertRaises(AnonymousRefused, self.serve(CachingRealm(Player)).anonymous)
        server = self.serve(CachingRealm(Player, anonymous=AnonymousRealm(Player)))
        guest = server.anonymous()
        self.assertEqual(guest.session.avatarId, "anonymous#1")
        self.assertEqual(server.sessions, (guest.session,))

    def test_ownCheckers(self) -> None:
        """The test's own checkers are asked, with the password."""
        users = InMemoryUsernamePasswordDatabaseDontUse(alice=b"sesame")
        server = self.serve(CachingRealm(Player), checkers=[users])
        self.assertEqual(server.login("alice", password="sesame").session.avatarId, "alice")
        self.assertRaises(BadCredentials, server.login, "alice", password="open")

    def test_stockClient(self) -> None:
        """A stock client logs in, calls and is refused like pbkit's client."""
        server = self.serve(SingleClientRealm(Player))
        mind = RecordingMind(Watcher)
        client = server.login("alice", mind, stock=True)
        self.assertEqual(type(client.reference.broker), pb.Broker)
        self.assertEqual(client.call("move", 3), 3)
        self.assertEqual(mind.told, [("scoreIs", 3)])
        self.assertRaises(TooManySessions, server.login, "alice", stock=True)
        self.assertRaises(NoSuchMethod, client.call, "nothing")

    def test_stockRealm(self) -> None:
        """A stock realm is served as well; it has no sessions."""
        server = self.serve(StockRealm())
        client = server.login("alice")
        self.assertEqual(client.call("move", 1), 1)
        self.assertEqual((client.session, client.avatar, server.sessions), (None, None, ()))

    def test_slowLogin(self) -> None:
        """A login that does not complete at once fails in the plain form, and is a Deferred in the other."""

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
        # The build of alice's avatar never finishes, so her login fails after 30 s.
        server.advance(31)

    def test_twoLoginsOnOneConnection(self) -> None:
        """A connection can have several logins, each with its own session."""
        server = self.serve(CachingRealm(Player))
        connection = server.connect()
        alice, bob = (self.successResultOf(connection.login(name)) for name in ("alice", "bob"))
        self.assertEqual([alice.session.avatarId, bob.session.avatarId], ["alice", "bob"])
        self.assertIs(alice.session.peer, bob.session.peer)
        alice.logout()
        self.assertEqual(server.sessions, (bob.session,))

    def test_address(self) -> None:
        """The test chooses the address of a client."""
        server = self.serve(CachingRealm(Player))
        address = IPv4Address("TCP", "192.0.2.7", 4711)
        client = self.successResultOf(server.connect(address=address).login("alice"))
        self.assertEqual(client.session.address, address)

    def test_endpoint(self) -> None:
        """The user's client code connects through an endpoint."""
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
        """The clock is the given one, or the realm's, or a new one."""
        clock = Clock()
        self.assertIs(self.serve(CachingRealm(Player), clock=clock).clock, clock)
        self.assertIs(self.serve(CachingRealm(Player, clock=clock)).clock, clock)
        self.assertIsNot(self.serve(CachingRealm(Player)).clock, clock)

    def test_closedRealm(self) -> None:
        """A closed realm cannot be served."""
        realm = CachingRealm(Player)
        MemoryServer(realm).close()
        with self.assertRaises(ValueError) as caught:
            MemoryServer(realm)
        self.assertIn("create a new realm", str(caught.exception))


class CallTests(MemoryServerMixin, SynchronousTestCase):
    """`MemoryClient`: calls and their results."""

    def test_errorsComeAsTheirClass(self) -> None:
        """An exception of the server is raised as its class: pbkit's, Python's, and those that the test lists."""
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
        """An exception that the test does not list becomes a `RemoteError` with its name."""
        client = self.serve(CachingRealm(Player)).login("alice")
        with self.assertRaises(RemoteError) as caught:
            client.call("fail")
        self.assertIn("GameError", str(caught.exception))

    def test_waiting(self) -> None:
        """A call without an immediate answer fails in the plain form, and is a Deferred in the other."""
        client = self.serve(CachingRealm(Player)).login("alice")
        with self.assertRaises(AssertionError) as caught:
            client.call("wait")
        self.assertIn("wait() has no answer yet", str(caught.exception))
        waiting = client.callRemote("wait")
        self.assertNoResult(waiting)
        client.connection.cut()
        self.failureResultOf(waiting, Disconnected)

    def test_callsOnOtherObjects(self) -> None:
        """An object that a call returned can be called, until the session ends."""
        client = self.serve(CachingRealm(Player)).login("alice")
        part = client.call("part")
        self.assertEqual(self.successResultOf(client.callOn(part, "hi", "there")), "hi there")
        client.session.end(Kicked)
        self.failureResultOf(client.callOn(part, "hi", "there"), Kicked)

    def test_kicked(self) -> None:
        """After the server has ended a session, calls raise the reason."""
        client = self.serve(CachingRealm(Player)).login("alice")
        client.session.end(Kicked, "cheating")
        with self.assertRaises(Kicked) as caught:
            client.call("move", 1)
        self.assertEqual(str(caught.exception), "this session was ended by the server: cheating")

    def test_staysIn(self) -> None:
        """A client stays logged in without a reference to it."""
        server = self.serve(CachingRealm(Player))
        server.login("alice")
        collect()
        server.flush()
        self.assertEqual([session.avatarId for session in server.sessions], ["alice"])

    def test_logout(self) -> None:
        """A logout ends the session and drops the reference; the connection stays."""
        server = self.serve(CachingRealm(Player))
        client = server.login("alice")
        client.logout()
        server.assertNoSessions()
        self.assertEqual(client.avatar.gone, "LoggedOut")
        self.assertTrue(client.connection.link.connected)
        self.assertRaises(LoggedOut, client.call, "move", 1)


class ClassTests(MemoryServerMixin, SynchronousTestCase):
    """The classes that clients may send: the same as with twistd."""

    class Cards(CachingRealm):
        """A realm whose clients may send cards."""

        avatarClass = Guide
        allow = frozenset({Card})

    def test_none(self) -> None:
        """Registered classes that the realm does not name are refused."""
        for realm in (CachingRealm(Guide), self.Cards()):
            alice = self.serve(realm).login("alice")
            self.assertRaises(ClassRefused, alice.call, "take", Plain())

    def test_realms(self) -> None:
        """Classes that the realm names are accepted."""
        alice = self.serve(self.Cards()).login("alice")
        alice.call("take", Card(suit="hearts"))
        self.assertEqual([card.suit for card in alice.avatar.taken], ["hearts"])

    def test_more(self) -> None:
        """Classes that the test names are accepted, as with a configuration."""
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
        """It records calls in order, including those that are still on their way."""
        server = self.serve(CachingRealm(Player))
        mind = RecordingMind(scoreIs=lambda score: None)
        alice = server.login("alice", mind)
        alice.call("move", 1)
        alice.call("move", 2)
        self.assertEqual(mind.told, [("scoreIs", 1), ("scoreIs", 3)])
        alice.session.mind.tell("scoreIs", 7)
        self.assertEqual(mind.told[2:], [("scoreIs", 7)])

    def test_callsBack(self) -> None:
        """A mind that calls the server during a call receives its messages in order."""
        server = self.serve(CachingRealm(Player))
        mind = RecordingMind(scoreIs=lambda score: alice.callRemote("move", 1) if score == 10 else None)
        alice = server.login("alice", mind, stock=True)
        for score in (10, 20, 30):
            alice.session.mind.tell("scoreIs", score)
        self.assertEqual([score for _, score in mind.told], [10, 20, 30, 1])

    def test_answers(self) -> None:
        """The result of a declared method is the answer, at once or later."""
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
        """A call of an undeclared method fails the test, and the error lists the declared ones."""
        client = self.serve(CachingRealm(Player)).login("alice", RecordingMind(over=lambda: None))
        with self.assertRaises(AssertionError) as caught:
            client.call("move", 1)
        self.assertEqual(
            str(caught.exception), "the mind received scoreIs(1), but has no remote_scoreIs: it has over()"
        )

    def test_nothingDeclared(self) -> None:
        """Without declarations every call fails the test, and the error explains how to declare methods."""
        client = self.serve(CachingRealm(Player)).login("alice", RecordingMind())
        with self.assertRaises(AssertionError) as caught:
            client.call("move", 1)
        self.assertIn("RecordingMind(scoreIs=lambda score: None)", str(caught.exception))

    def test_argumentsThatDoNotFit(self) -> None:
        """Wrong arguments fail the test, and the call is not recorded."""
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

    def test_serverCallFails(self) -> None:
        """The server's call fails, as with a real client; the test fails at the end at the latest."""
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
        """A class declares its `remote_` methods, also static ones, without running them."""
        mind = RecordingMind(Watcher)
        client = self.serve(CachingRealm(Player)).login("alice", mind)
        client.call("move", 1)
        asked = client.session.mind.callRemote("ask", question="tea", loud=True)
        self.assertEqual(mind.told, [("scoreIs", 1), ("ask", "tea", {"loud": True})])
        self.assertIsNone(self.successResultOf(asked))

    def test_declaredByAnObject(self) -> None:
        """The methods of an object are run."""
        watcher = Watcher()
        mind = RecordingMind(watcher)
        client = self.serve(CachingRealm(Player)).login("alice", mind)
        client.call("move", 1)
        asked = client.session.mind.callRemote("ask", "tea")
        self.assertEqual((mind.told, watcher.scores), ([("scoreIs", 1), ("ask", "tea")], [1]))
        self.assertEqual(self.successResultOf(asked), "yes")

    def test_declaredByASubclass(self) -> None:
        """The methods of a subclass are run."""

        class Counting(RecordingMind):
            total = 0

            def remote_scoreIs(self, score: int) -> None:
                self.total += score

        mind = Counting()
        client = self.serve(CachingRealm(Player)).login("alice", mind)
        client.call("move", 2)
        self.assertEqual((mind.told, mind.total), ([("scoreIs", 2)], 2))

    def test_invalidDeclaration(self) -> None:
        """A value that is not callable is an invalid declaration."""
        self.assertRaises(TypeError, RecordingMind, scoreIs=None)


class TroubleTests(MemoryServerMixin, SynchronousTestCase):
    """`MemoryConnection`: the ways in which a connection can fail."""

    def setUp(self) -> None:
        """Log alice in, and let her wait for an answer."""
        self.server = self.serve(CachingRealm(Player))
        self.mind = RecordingMind(Watcher)
        self.client = self.server.login("alice", self.mind)
        self.waiting = self.client.callRemote("wait")

    def order(self) -> list[str]:
        """Return which ends learn about the loss, in order."""
        order: list[str] = []
        link = self.client.connection.link
        link.client.notifyOnDisconnect(lambda: order.append("client"))
        link.server.notifyOnDisconnect(lambda: order.append("server"))
        return order

    def test_lost(self) -> None:
        """Both ends learn about a close or a loss, in the order that the test chooses."""
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
        """A stock client sees stock's error after a loss."""
        client = self.server.login("alice", stock=True)
        waiting = client.callRemote("wait")
        client.connection.cut()
        self.failureResultOf(waiting, pb.PBConnectionLost)
        self.assertRaises(pb.DeadReferenceError, client.call, "move", 1)

    def test_vanished(self) -> None:
        """Half open: the client is gone, and the server does not notice until the cut."""
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
        """A stalled client reads and answers nothing. When it resumes, it receives everything that it missed."""
        link = self.client.connection.link
        self.client.connection.stall()
        asked = self.client.session.mind.callRemote("ask", "tea", pbtimeout=None)
        # After 80 s the keepalive would close the connection.
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
        """A realm that probes a stalled client admits the next one, as with real connections."""
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
        """Little output fits into the system's buffer, and the connection closes; the client notices later."""
        order = self.order()
        self.client.connection.stall()
        self.client.connection.loseConnection(server=True)
        self.assertEqual(order, ["server"])
        self.client.connection.resume()
        self.assertEqual(order, ["server", "client"])

    def test_serverClosesOnAFullClient(self) -> None:
        """With more output than fits, an orderly close waits, and only an abort does not."""
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
    """A protocol that records its data and the reason of its end."""

    reason: type[BaseException] | None = None
    got = b""

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.got += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Record the reason, and check that there is only one."""
        if self.reason is not None:
            raise AssertionError("told twice that the connection is gone")
        self.reason = reason.type


class LinkTests(SynchronousTestCase):
    """`Link`, with any protocol."""

    def setUp(self) -> None:
        """Make two ends."""
        self.near, self.far = Ending(), Ending()
        self.link = Link(self.near, self.far)

    def reasons(self) -> tuple[Any, Any]:
        """Return why the server's end and the client's end were closed."""
        while self.link.flush():
            pass
        return self.near.reason, self.far.reason

    def transport(self, end: Any) -> Any:
        """Return the transport of an end."""
        return end.transport

    def test_closed(self) -> None:
        """Data written before a close arrives; data written afterwards does not."""
        self.transport(self.near).write(b"bye")
        self.link.loseConnection(server=True)
        self.transport(self.near).write(b"no")
        self.assertEqual(self.reasons(), (ConnectionDone, ConnectionDone))
        self.assertEqual(self.far.got, b"bye")
        self.assertFalse(self.link.connected)

    def test_aborted(self) -> None:
        """After an abort, unread data is lost, and each end learns who aborted."""
        self.transport(self.near).write(b"bye")
        self.transport(self.near).abortConnection()
        self.assertEqual(self.reasons(), (ConnectionAborted, ConnectionLost))
        self.assertEqual(self.far.got, b"")

    def test_cut(self) -> None:
        """After a cut, data on its way is lost; one end learns about it at once, and the other next."""
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
        """After `vanish`, the server's end lives until it closes, and nothing that it sends arrives."""
        self.link.vanish()
        self.transport(self.near).write(b"hello?")
        self.assertEqual(self.reasons(), (None, ConnectionLost))
        self.link.loseConnection(server=True)
        self.assertEqual(self.reasons()[1], ConnectionLost)
        self.assertIsNotNone(self.near.reason)
        self.assertEqual(self.far.got, b"")

    def test_endless(self) -> None:
        """Two ends that send to each other endlessly are detected."""

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
        """Timers fire at their own time, and the bytes that they send arrive before the next timer."""
        server = self.serve(CachingRealm(Player))
        times: list[float] = []
        mind = RecordingMind(scoreIs=lambda score: times.append(server.clock.seconds()))
        client = server.login("alice", mind)
        server.clock.callLater(1, client.session.mind.tell, "scoreIs", 1)
        server.clock.callLater(2, client.session.mind.tell, "scoreIs", 2)
        server.advance(2.5)
        self.assertEqual((times, server.clock.seconds()), ([1, 2], 2.5))


class ClosingTests(SynchronousTestCase):
    """The problems that `MemoryServer.close` reports."""

    def problem(self, server: MemoryServer) -> str:
        """Return the text of the problem."""
        with self.assertRaises(AssertionError) as caught:
            server.close()
        server.close()
        return str(caught.exception)

    def test_clean(self) -> None:
        """Clients that are logged in, stalled or gone, and calls without an answer, are not problems."""
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

    def test_liveSessions(self) -> None:
        """`assertNoSessions` names the live sessions."""
        server = MemoryServer(CachingRealm(Player))
        client = server.login("alice")
        with self.assertRaises(AssertionError) as caught:
            server.assertNoSessions()
        self.assertEqual(str(caught.exception), f"there are still sessions: {client.session!r}")
        server.close()

    def test_leakedSession(self) -> None:
        """A session that remains after its client has disconnected has leaked."""
        server = MemoryServer(CachingRealm(Player))
        # As under a stock factory without a mind: no loss of a connection can end this session.
        self.successResultOf(server.realm.requestAvatar("alice", None, pb.IPerspective))
        self.assertRegex(self.problem(server), "^there are still sessions: <Session .* of 'alice', live>$")

    def test_leakedLogin(self) -> None:
        """A pending login that remains has leaked."""

        class Slow(CachingRealm):
            def buildAvatar(self, avatarId: str) -> Any:
                return Deferred()

        server = MemoryServer(Slow())
        refused: Deferred[Any] = server.realm.requestAvatar("alice", None, pb.IPerspective)
        self.assertEqual(self.problem(server), "there are still sessions: 1 pending login(s)")
        self.failureResultOf(refused)

    def test_hookThatNeverEnds(self) -> None:
        """A `detached` hook that does not finish is a problem; one that takes a second is not."""
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

    def test_leakedTimer(self) -> None:
        """A timer that an avatar did not stop is reported by name."""

        class Ticking(Player):
            def attached(self, session: Session) -> None:
                self.loop = LoopingCall(self.perspective_move, 1)
                self.loop.clock = cast(Clock, session.clock)
                self.loop.start(1)

        server = MemoryServer(CachingRealm(Ticking))
        server.login("alice")
        self.assertIn("timers are left after all clients have disconnected: LoopingCall", self.problem(server))

    def test_loggedError(self) -> None:
        """A logged error is a problem, unless the test has flushed it."""
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

    def test_errorInAHook(self) -> None:
        """An exception in a `detached` hook, which otherwise would only be logged, fails the test."""

        class Bad(Player):
            def detached(self, session: Session) -> None:
                raise KeyError("lost")

        server = MemoryServer(CachingRealm(Bad))
        server.login("alice")
        self.assertRegex(self.problem(server), "an error was logged: detached of 'alice' raised.* KeyError: 'lost'")
        self.flushLoggedErrors(KeyError)

    def test_expectedForAllServers(self) -> None:
        """An error that the test has flushed is expected for each of its servers."""
        server, other = (MemoryServer(CachingRealm(Player)) for _ in range(2))
        self.assertRaises(InternalError, server.login("alice").call, "break")
        self.assertEqual(len(server.flushLoggedErrors(Broken)), 1)
        self.assertEqual(other.flushLoggedErrors(), [])
        server.close()
        other.close()
        self.flushLoggedErrors(Broken)

    def test_errorsWithoutAnException(self) -> None:
        """An error without an exception counts; a warning does not."""
        server = MemoryServer(CachingRealm(Player))
        log.warn("not so good")
        log.error("bad: {what}", what="all")
        self.assertEqual(server.flushLoggedErrors(KeyError), [])
        self.assertEqual(server.flushLoggedErrors(), ["bad: all"])
        server.close()
        log.error("after the end")
        self.assertEqual(server.flushLoggedErrors(), [])

    def test_unhandledFailure(self) -> None:
        """An unhandled error in a Deferred is a problem, although Twisted logs it only when it is collected."""

        class Careless(Player):
            def perspective_move(self, points: int) -> int:
                failed: Deferred[Any] = Deferred()
                vars(failed)["itself"] = failed  # Only the garbage collector finds it.
                failed.errback(GameError("unseen"))
                return points

        server = MemoryServer(CachingRealm(Careless))
        server.login("alice").call("move", 1)
        self.assertIn("an error was logged: GameError: unseen", self.problem(server))
        self.flushLoggedErrors(GameError)

    def test_aRemoteErrorThatNobodyLookedAt(self) -> None:
        """An error of the other end's is told of like any other, whichever end made the call."""

        class Careless(Player):
            def perspective_tease(self) -> None:
                vars(Careless)["session"].mind.reference.callRemote("boom")

            def attached(self, session: Session) -> None:
                type(self).session = session  # type: ignore[attr-defined]

        class Mind(pb.Referenceable):
            def remote_boom(self) -> None:
                raise GameError("boom")

        for stock in (False, True):
            for call in ("tease", "break"):
                server = MemoryServer(CachingRealm(Careless))
                client = server.login("alice", Mind(), stock=stock)
                client.reference.callRemote(call)
                server.flush()
                collect()
                problem = self.problem(server)
                self.assertIn({"tease": "GameError: boom", "break": "InternalError: internal error"}[call], problem)
                self.flushLoggedErrors()

    def test_flushedByClass(self) -> None:
        """A remote error is of its class and of those that this derives from."""
        for kind, found in ((InternalError, 1), (pb.Error, 1), (KeyError, 0)):
            server = MemoryServer(CachingRealm(Player))
            server.login("alice").reference.callRemote("break")
            server.flush()
            collect()
            server.flushLoggedErrors(Broken)
            self.assertEqual(len(server.flushLoggedErrors(kind)), found)
            server.flushLoggedErrors()
            server.close()
        self.flushLoggedErrors()

    def test_allProblems(self) -> None:
        """All problems are reported, not only the first."""
        server = MemoryServer(CachingRealm(Player))
        server.clock.callLater(9, list)
        log.error("bad")
        server.login("alice", RecordingMind()).session.mind.tell("hey")
        problem = self.problem(server)
        for part in ("has no remote_hey", "timers are left", "an error was logged: bad"):
            self.assertIn(part, problem)

    def test_context(self) -> None:
        """A context manager closes the server, and an error of the test itself takes precedence."""
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
    """`MemoryServerMixin`, in test cases that these tests run."""

    def outcome(self, test: Callable[[Any], object]) -> unittest.TestResult:
        """Return the outcome of a test."""

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
        """A test that leaves something behind fails at its end."""

        def dirty(case: Any) -> None:
            case.serve(CachingRealm(Player)).clock.callLater(1, list)

        result = self.outcome(dirty)
        self.assertFalse(result.wasSuccessful())
        self.assertIn("timers are left", str([*result.failures, *result.errors]))

    def test_loggedErrors(self) -> None:
        """Errors that the test case has flushed are expected for its servers as well."""

        def flushed(case: Any) -> None:
            client = case.serve(CachingRealm(Player)).login("alice")
            case.assertRaises(InternalError, client.call, "break")
            case.assertEqual(len(case.flushLoggedErrors(Broken)), 1)

        self.assertTrue(self.outcome(flushed).wasSuccessful())
