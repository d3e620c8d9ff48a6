"""A realm that calls the client while the login is under way: during `requestAvatar`, or in `attached`."""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from pbkit import Avatar, CachingRealm, ClientFactory, ServerFactory, dropin, errors
from pbkit.sessions.realms import AnonymousRealm
from tests.server.case import ServerCase
from tests.support import PASSWORD, Recorder, Wire, serve

#: What a mind may answer: plain data over a stranger's limits, and what is not plain.
ANSWERS: list[Any] = [[1], {str(i): i for i in range(100)}, "x" * 100_000, [[[[[[[[[1]]]]]]]]], None, 0, ()]


class Mind(pb.Referenceable):
    """Answers as the test says."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def remote_ask(self) -> Any:
        """Answer."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class StockAvatar(pb.Avatar):
    """What the realm below gives."""

    def perspective_told(self) -> Any:
        """Say what the mind has answered."""
        return True


@implementer(IRealm)
class AskingRealm:
    """A realm of stock's kind, which asks the mind before it lets the client in."""

    def __init__(self) -> None:
        self.answers: list[Any] = []

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """As `IRealm.requestAvatar`."""
        asked: Deferred[Any] = mind.callRemote("ask")

        def answered(answer: Any) -> Any:
            self.answers.append(answer)
            return pb.IPerspective, StockAvatar(), lambda: None

        return asked.addCallback(answered)


class Asking(Avatar):
    """An avatar that asks its client before it lets it in."""

    answers: list[Any] = []

    async def attached(self, session: Any) -> None:
        """Ask."""
        try:
            self.answers.append(await session.mind.callRemote("ask"))
        except pb.Error as e:
            self.answers.append(e)


class StockRealmTests(ServerCase):
    """A realm of stock's kind on a strict server."""

    def test_answersOfEachKind(self) -> None:
        """The answer reaches the realm, whatever it is, for stock's clients and pbkit's."""
        for client in (pb.PBClientFactory, ClientFactory):
            for answer in ANSWERS:
                realm = AskingRealm()
                wire = Wire(serve(realm, clock=self.clock), client())
                self.successResultOf(wire.login("alice", Mind(answer)))
                self.assertEqual(realm.answers, [answer])

    def test_reference(self) -> None:
        """So does a reference, which the realm can call."""
        realm = AskingRealm()
        wire = Wire(serve(realm, clock=self.clock))
        avatar = self.successResultOf(wire.login("alice", Mind(Mind(5))))
        self.assertEqual(self.successResultOf(self.moved(wire, realm.answers[0].callRemote("ask"))), 5)
        del avatar

    def moved(self, wire: Wire, d: Deferred[Any]) -> Deferred[Any]:
        """Bring a call over."""
        wire.flush()
        return d

    def test_error(self) -> None:
        """An error fails the call, and with it the login."""
        wire = Wire(serve(AskingRealm(), clock=self.clock))
        failure = self.failureResultOf(wire.login("alice", Mind(pb.Error("not now"))))
        self.assertTrue(failure.check(errors.LoginRefused))
        self.flushLoggedErrors()

    def test_limits(self) -> None:
        """An answer over a user's limits fails the call, and with it the login, but not the connection."""
        wire = Wire(serve(AskingRealm(), clock=self.clock))
        answer = [*([i] for i in range(10_001)), Mind(1)]
        failure = self.failureResultOf(wire.login("alice", Mind(answer)))
        self.assertIn("limits.jelly", failure.getErrorMessage())
        self.assertFalse(wire.server.disconnected)
        self.flushLoggedErrors()

    def test_callsWait(self) -> None:
        """While the realm has not decided, the client can call only what a login needs."""
        seen: list[Any] = []

        class Part(pb.Referenceable):
            """Is sent to the mind."""

            def remote_touch(self) -> None:
                """Note it."""
                seen.append("touched")

        class Sending(AskingRealm):
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                self.asked = mind.callRemote("take", Part())
                self.decided: Deferred[Any] = Deferred()
                return self.decided

        class Taking(pb.Referenceable):
            """Calls what it is sent."""

            def remote_take(self, part: Any) -> Any:
                """Call it."""
                return part.callRemote("touch")

        realm = Sending()
        wire = Wire(serve(realm, clock=self.clock))
        login = wire.login("alice", Taking())
        wire.flush()
        self.assertEqual(seen, [])
        realm.asked.addErrback(lambda failure: None)
        realm.decided.callback((pb.IPerspective, StockAvatar(), lambda: None))
        wire.flush()
        self.assertTrue(self.successResultOf(wire.call(self.successResultOf(login), "told")))

    def test_refusedAfterwards(self) -> None:
        """A login that the realm refuses leaves a stranger's limits, once the grace is over."""
        wire = Wire(serve(AskingRealm(), clock=self.clock))
        self.failureResultOf(wire.login("alice", Mind(pb.Error("no"))))
        self.flushLoggedErrors()
        self.assertTrue(wire.server.prelogin.closed)
        self.clock.advance(31)
        limits, _ = wire.server.prelogin.limits()
        self.assertEqual(limits.message, wire.server.profile.gate.message)

    def test_programsPortalStaysUntouched(self) -> None:
        """The program's portal is asked through a copy: its realm and checkers are as they were, also in between."""
        seen: list[Any] = []

        class Portals(Portal):
            """A portal of the program's own."""

            def login(self, credentials: Any, mind: Any, *interfaces: Any) -> Any:
                seen.append((self.realm is realm, self.checkers is portal.checkers, portal.realm is realm))
                return super().login(credentials, mind, *interfaces)

        realm = AskingRealm()
        users = InMemoryUsernamePasswordDatabaseDontUse(alice=PASSWORD)
        portal = Portals(realm, [users])
        wire = Wire(ServerFactory(portal, clock=self.clock))
        self.successResultOf(wire.login("alice", Mind(1)))
        self.assertEqual(seen, [(False, True, True)])
        self.assertIs(portal.realm, realm)

    def test_dropIn(self) -> None:
        """A drop-in server has no gate: answers reach the realm as in stock."""
        for answer in ANSWERS:
            realm = AskingRealm()
            wire = Wire(serve(realm, dropin.PBServerFactory, clock=self.clock))
            self.successResultOf(wire.login("alice", Mind(answer)))
            self.assertEqual(realm.answers, [answer])


class SessionRealmTests(ServerCase):
    """`attached` of an avatar on a strict server."""

    def setUp(self) -> None:
        """Nothing answered yet."""
        super().setUp()
        Asking.answers = []

    def test_answersOfEachKind(self) -> None:
        """The answer reaches `attached`, whatever it is."""
        for answer in ANSWERS:
            wire = Wire(serve(CachingRealm(Asking, clock=self.clock), clock=self.clock))
            self.successResultOf(wire.login("alice", Mind(answer)))
        self.assertEqual(Asking.answers, ANSWERS)

    def guest(self, answer: Any) -> tuple[Wire, Deferred[Any]]:
        """Log in as a guest, which is asked."""
        wire = Wire(serve(AnonymousRealm(Asking, clock=self.clock), clock=self.clock))
        return wire, wire.login(None, Mind(answer))

    def test_guests(self) -> None:
        """A guest's plain answer reaches `attached` too: it is not replaced by None."""
        for answer in ([1], "x", {"a": 1}, None, 5):
            wire, login = self.guest(answer)
            self.successResultOf(login)
        self.assertEqual(Asking.answers, [[1], "x", {"a": 1}, None, 5])

    def test_guestsHaveAStrangersLimits(self) -> None:
        """An answer of a guest over the limits of a stranger closes the connection."""
        wire, login = self.guest({str(i): i for i in range(100)})
        self.failureResultOf(login)
        self.assertIn("128 items", wire.server.refused)
        self.flushLoggedErrors()

    def test_guestsAnswersThatAreNotRead(self) -> None:
        """What a guest answers that is not plain, or an error, is an error for the caller, and never None."""
        for answer in (Mind(1), pb.Error("not now"), ValueError("x")):
            wire, login = self.guest(answer)
            self.successResultOf(login)
            self.flushLoggedErrors()
            self.assertIsInstance(Asking.answers.pop(), pb.Error)
            del login
            wire.flush()
            self.assertEqual(set(wire.client.localObjects), {luid for luid in wire.client.localObjects if luid < 2})

    def test_grantedGuests(self) -> None:
        """Once a guest is logged in it has the limits of a user."""
        realm = AnonymousRealm(Recorder, clock=self.clock)
        wire = Wire(serve(realm, clock=self.clock))
        avatar = self.successResultOf(wire.login(None, Mind({str(i): i for i in range(100)})))
        (session,) = realm.roster
        asked = session.mind.callRemote("ask")
        wire.flush()
        self.assertEqual(len(self.successResultOf(asked)), 100)
        del avatar


class PingTests(SynchronousTestCase):
    """What a stranger answers to a ping."""

    def test_nothingIsUnjellied(self) -> None:
        """Whatever comes back counts as an answer."""
        wire = Wire(serve(CachingRealm(Recorder)))
        for expression in ([b"answer", 1, [b"some.Class", [b"dictionary"]]], [b"error", 1, [b"x"]], [b"answer", 1, 5]):
            wire.server.currentRequestID = 0
            pinged = wire.server.peer.ping(5)
            wire.client.expressionReceived = lambda expression: None
            wire.flush()
            wire.client.sendEncoded(expression)
            wire.flush()
            self.assertIs(self.successResultOf(pinged), True)
        self.assertEqual(self.flushLoggedErrors(), [])


class SocketTests(TestCase):
    """The same over TCP."""

    timeout = 60

    def test_stockRealm(self) -> Deferred[None]:
        """A realm of stock's kind that asks the mind is answered, by a stock client and by pbkit's."""
        return ensureDeferred(self.overTcp())

    async def overTcp(self) -> None:
        """Log in, and be asked."""
        from twisted.cred.credentials import UsernamePassword
        from twisted.internet import reactor

        realm = AskingRealm()
        users = InMemoryUsernamePasswordDatabaseDontUse(alice=PASSWORD)
        server = ServerFactory(Portal(realm, [users, AllowAnonymousAccess()]))
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(server)
        self.addCleanup(port.stopListening)
        for factory in (pb.PBClientFactory(), ClientFactory()):
            for answer in ANSWERS:
                login = factory.login(UsernamePassword(b"alice", PASSWORD), Mind(answer))
                broker: Any = await TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port).connect(factory)
                avatar = await login
                self.assertTrue(await avatar.callRemote("told"))
                lost: Deferred[None] = Deferred()
                broker.notifyOnDisconnect(lambda lost=lost: lost.callback(None))
                broker.transport.loseConnection()
                await lost
        self.assertEqual(realm.answers, ANSWERS * 2)
