"""The server factory and the login root, with clients of stock's and of pbkit's."""

from __future__ import annotations

import gc
from typing import Any

import attrs
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import Anonymous, IUsernameHashedPassword, UsernamePassword
from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.spread import pb
from zope.interface import implementer

from pbkit import CachingRealm, ClientFactory, LimitedRealm, ServerFactory, dropin, errors
from tests.server.case import REFUSAL, ServerCase, StockRealm, portal
from tests.support import LENIENT, PASSWORD, Client, Recorder, Wire, serve

CLIENTS = (pb.PBClientFactory, ClientFactory, dropin.PBClientFactory)
SERVERS = (ServerFactory, dropin.PBServerFactory, pb.PBServerFactory)


class LoginTests(ServerCase):
    """Which logins succeed."""

    def test_allClientsAndServers(self) -> None:
        """Stock's, ours and the drop-in client each log in at each server, with a name and without."""
        for server in SERVERS:
            for client in CLIENTS:
                factory = serve(CachingRealm(Recorder, clock=self.clock), server)
                wire = Wire(factory, client())
                avatar = self.successResultOf(wire.login("alice", Client()))
                self.assertEqual(self.successResultOf(wire.call(avatar, "whoami")), "alice")
                self.failureResultOf(wire.login("alice", None, b"wrong"))
                self.failureResultOf(wire.login(None))
        self.flushLoggedErrors()

    def test_oneLineEach(self) -> None:
        """A login and a logout are one line each, which name the user and the session."""
        wire = Wire(self.server)
        avatar = self.successResultOf(wire.login())
        (session,) = self.realm.roster
        (line,) = self.lines()
        self.assertTrue(line.startswith("login: 'alice' from "), line)
        self.assertIn(session.sessionId, line)
        del avatar
        gc.collect()
        wire.flush()
        self.assertEqual(self.lines(), [f"logout: 'alice', session {session.sessionId}, LoggedOut"])

    def test_wrongPasswordAndUnknownUser(self) -> None:
        """Both are refused with the same text: the client is not told which of the two it was."""
        wire = Wire(self.lenient)
        one = self.assertRefused(wire.login("alice", None, b"wrong"), errors.BadCredentials)
        two = self.assertRefused(wire.login("nobody", None, b"wrong"), errors.BadCredentials)
        three = self.assertRefused(wire.login("nobody"), errors.BadCredentials)
        self.assertEqual(len({failure.getErrorMessage() for failure in (one, two, three)}), 1)
        self.assertEqual(self.realm.counters.refusals, {"BadCredentials": 3})
        self.assertEqual(self.realm.counters.logins, 0)

    def test_refusedIsNotTheEnd(self) -> None:
        """After a refusal the connection stays, and the right password is let in when the delay is over."""
        wire = Wire(self.server)
        wrong = wire.login("alice", None, b"wrong")
        right = wire.login()
        self.assertNoResult(right)
        self.clock.advance(1)
        wire.flush()
        self.failureResultOf(wrong)
        self.successResultOf(right)

    def test_namesOfEachKind(self) -> None:
        """A name may be sent as bytes or as text; anything else is refused like an unknown name."""
        wire = Wire(self.lenient)
        root = self.successResultOf(wire.factory.getRootObject())
        for name in (b"alice", "alice"):
            self.successResultOf(self.loginAs(wire, root, name))
        gc.collect()
        wire.flush()
        self.lines()
        wrong: list[Any] = [5, None, 1.5, ["alice"], {"a": 1}, ("a",), b"\xff\xfe", b"", "", Client(), root, True]
        for name in wrong:
            self.assertRefused(self.loginAs(wire, root, name), errors.BadCredentials)
        self.assertEqual(self.realm.counters.refusals, {"BadCredentials": len(wrong)})

    def loginAs(self, wire: Wire, root: Any, name: Any) -> Any:
        """Log in by stock's two steps, with any name."""
        d = root.callRemote("login", name)
        d.addCallback(lambda answer: answer[1].callRemote("respond", pb.respond(answer[0], PASSWORD), None))
        wire.flush()
        return d

    def test_responsesOfEachKind(self) -> None:
        """A response that is not the right bytes is refused, whatever it is."""
        wire = Wire(self.lenient)
        root = self.successResultOf(wire.factory.getRootObject())
        responses: list[Any] = [None, 5, "text", b"", [1], {}, Client(), b"x" * 16]
        for response in responses:
            d = root.callRemote("login", b"alice")
            d.addCallback(lambda answer, response=response: answer[1].callRemote("respond", response, None))
            wire.flush()
            self.assertRefused(d, errors.BadCredentials)

    def test_everyChallengeIsNew(self) -> None:
        """No two challenges are the same, and each is of 16 bytes."""
        wire = Wire(self.server)
        root = self.successResultOf(wire.factory.getRootObject())
        found = {self.successResultOf(wire.call(root, "login", b"alice"))[0] for _ in range(50)}
        self.assertEqual((len(found), {len(challenge) for challenge in found}), (50, {16}))

    def test_wrongArity(self) -> None:
        """A call with too few or too many arguments is refused with the signature; the arguments are not logged."""
        wire = Wire(self.server)
        root = self.successResultOf(wire.factory.getRootObject())
        challenger = self.successResultOf(wire.call(root, "login", b"alice"))[1]
        for reference, method, wrong in (
            (root, "login", [(), ("s3same", "s3same")]),
            (root, "loginAnonymous", [(), ("s3same", "s3same")]),
            (challenger, "respond", [(), ("s3same",), ("s3same", "s3same", "s3same")]),
        ):
            for args in wrong:
                failure = self.failureResultOf(wire.call(reference, method, *args))
                self.assertTrue(failure.check(pb.Error))
                self.assertIn(f"{method}(", failure.getErrorMessage())
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual([event for event in self.events if "s3same" in str(event)], [])

    def test_unknownMethods(self) -> None:
        """A call of a method that the root or a challenger lacks is answered `NoSuchMethod`, and not logged."""
        wire = Wire(self.server)
        root = self.successResultOf(wire.factory.getRootObject())
        challenger = self.successResultOf(wire.call(root, "login", b"alice"))[1]
        for reference in (root, challenger):
            for method in ("nothing", "__init__", "checkPassword", "x" * 5000):
                failure = self.failureResultOf(wire.call(reference, method, 1))
                self.assertTrue(failure.check(pb.NoSuchMethod))
                self.assertLess(len(failure.getErrorMessage()), 200)
        self.assertEqual(self.lines(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_anonymous(self) -> None:
        """A realm without guests refuses an anonymous login, with a text that says what to do."""
        wire = Wire(self.server)
        self.assertRefused(wire.login(None), errors.AnonymousRefused, "user name and password")
        noneToAsk = Portal(self.realm, [InMemoryUsernamePasswordDatabaseDontUse(alice=PASSWORD)])
        wire = Wire(ServerFactory(noneToAsk))
        self.assertRefused(wire.login(None), errors.AnonymousRefused)
        self.assertEqual(self.realm.counters.refusals, {"AnonymousRefused": 2})

    def test_checkersRefusalIsCounted(self) -> None:
        """A checker may refuse with one of pbkit's errors: the client gets it, and it is counted."""

        class Checker:
            credentialInterfaces = (IUsernameHashedPassword,)

            def requestAvatarId(self, credentials: Any) -> Any:
                return fail(errors.LoginRefused("come back at eight"))

        wire = Wire(ServerFactory(portal(self.realm, Checker())))
        self.assertRefused(wire.login(), errors.LoginRefused, "come back at eight")
        self.assertEqual(self.realm.counters.refusals, {"LoginRefused": 1})

    def test_namesDoNotForgeLines(self) -> None:
        """A name with line ends and escapes in it, which a checker accepts, is not logged raw."""

        class Anybody:
            credentialInterfaces = (IUsernameHashedPassword,)

            def requestAvatarId(self, credentials: Any) -> Any:
                return succeed(credentials.username)

        realm = LimitedRealm(Recorder, max=1, clock=self.clock)
        wire = Wire(ServerFactory(portal(realm, Anybody())))
        kept = self.successResultOf(wire.login("eve\nlogin: 'admin'\x1b[2J"))
        self.failureResultOf(wire.login("eve\nlogin: 'admin'\x1b[2J"))
        for line in self.lines():
            self.assertNotIn("\n", line)
            self.assertNotIn("\x1b", line)
        del kept


class MindTests(ServerCase):
    """A client may send anything for a mind."""

    MINDS: list[Any] = [5, "x", b"x" * 640_000, [1], {"a": 1}, (1,), 1.5, True, [Client()]]

    def test_neitherNoneNorAReference(self) -> None:
        """Any other mind is refused, with one line in the log, whatever the realm; no session begins."""
        stock = StockRealm()
        for factory in (self.lenient, serve(stock, profile=LENIENT)):
            wire = Wire(factory)
            for mind in self.MINDS:
                self.assertRefused(wire.login("alice", mind), errors.BadMind)
        self.assertEqual((len(self.realm.roster), stock.avatars), (0, []))
        self.assertEqual(self.realm.counters.refusals, {"BadMind": len(self.MINDS)})

    def test_anythingForADropInServer(self) -> None:
        """A drop-in server passes any mind to a realm that is not pbkit's, as stock does."""
        for server in (dropin.PBServerFactory, pb.PBServerFactory):
            realm = StockRealm()
            wire = Wire(serve(realm, server))
            for mind in self.MINDS[:-1]:
                self.successResultOf(wire.login("alice", mind))
                self.assertEqual(realm.avatars[-1].mind, mind)

    def test_pbkitsRealmUnderTheOthers(self) -> None:
        """pbkit's realms refuse such minds under a drop-in and under a stock server too."""
        for server in (dropin.PBServerFactory, pb.PBServerFactory):
            realm = CachingRealm(Recorder, clock=self.clock)
            wire = Wire(serve(realm, server))
            for mind in self.MINDS:
                failure = self.failureResultOf(wire.login("alice", mind))
                self.assertTrue(failure.check(errors.BadMind))
            self.assertEqual(len(realm.roster), 0)

    def test_theServersOwn(self) -> None:
        """The server's own login root, or an object that it gave, sent back as a mind, is refused."""
        wire = Wire(self.server)
        root = self.successResultOf(wire.factory.getRootObject())
        self.assertRefused(wire.login("alice", root), errors.BadMind)
        challenger = self.successResultOf(wire.call(root, "login", b"alice"))[1]
        self.assertRefused(wire.login("alice", challenger), errors.BadMind, logged=False)
        avatar = self.successResultOf(wire.login("bob"))
        self.lines()
        self.assertRefused(wire.login("alice", avatar), errors.BadMind, logged=False)
        self.assertEqual(self.realm.roster.ofAvatar("alice"), ())

    def test_copyable(self) -> None:
        """A Copyable that the server does not know refuses the login and not the connection."""

        class Unknown(pb.Copyable):
            pass

        wire = Wire(self.server)
        self.assertRefused(wire.login("alice", Unknown()), errors.BadMind)
        self.assertEqual(len(self.realm.roster), 0)
        self.successResultOf(wire.login())

    def test_refusedMindIsGivenBack(self) -> None:
        """A client's mind that was refused is not kept, at either end."""
        wire = Wire(self.lenient)
        for _ in range(20):
            self.failureResultOf(wire.login("alice", [Client()]))
            self.failureResultOf(wire.login("alice", Client(), b"wrong"))
        gc.collect()
        wire.flush()
        self.assertEqual(wire.client.localObjects, {})
        self.assertEqual((wire.server.owners, wire.server._channels), ({}, {}))


class RaceTests(ServerCase):
    """Logins and logouts that cross with something else."""

    def test_finishesAfterTheLoss(self) -> None:
        """A login that is through only when the connection is lost is logged out at once, under any server of ours."""
        for server in (ServerFactory, dropin.PBServerFactory):
            realm = StockRealm()
            realm.waiting = Deferred()
            wire = Wire(serve(realm, server))
            d = wire.login()
            self.assertNoResult(d)
            wire.cut()
            realm.waiting.callback(None)
            self.assertEqual(len(realm.avatars), 1)
            self.assertEqual(realm.out, realm.avatars)
            wire.flush()
            self.assertTrue(self.failureResultOf(d).check(pb.PBConnectionLost))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_checkerFinishesAfterTheLoss(self) -> None:
        """When a slow checker accepts a client that has disconnected, no avatar is built."""
        checking: list[Deferred[Any]] = []

        class Slow:
            credentialInterfaces = (IUsernameHashedPassword,)

            def requestAvatarId(self, credentials: Any) -> Any:
                checking.append(Deferred())
                return checking[-1]

        wire = Wire(ServerFactory(portal(self.realm, Slow()), clock=self.clock))
        d = wire.login()
        self.assertNoResult(d)
        wire.cut()
        checking[0].callback(b"alice")
        self.assertEqual((len(self.realm.roster), self.realm.roster.pending), (0, 0))
        self.assertEqual(len(self.realm.lifecycle), 0)  # type: ignore[arg-type]
        self.assertEqual(self.realm.counters.refusals, {"LoginInterrupted": 1})
        wire.flush()
        self.assertTrue(self.failureResultOf(d).check(pb.PBConnectionLost))

    def test_limitIsNotBypassed(self) -> None:
        """A client that drops its avatar and keeps what it got through it still counts."""
        realm = LimitedRealm(Recorder, max=1, clock=self.clock)
        wire = Wire(serve(realm))
        part = self.successResultOf(wire.call(self.successResultOf(wire.login()), "part"))
        gc.collect()
        wire.flush()
        self.assertEqual(self.successResultOf(wire.call(part, "hi")), "hi")
        self.lines()
        self.assertRefused(wire.login(), errors.TooManySessions, "alice has 1 of 1")
        del part
        gc.collect()
        wire.flush()
        self.successResultOf(wire.login())

    def test_callInTheCallback(self) -> None:
        """The usual first line of a client works though the answer comes later and nothing holds the avatar."""
        wire = Wire(self.server)
        d = wire.factory.login(UsernamePassword(b"alice", PASSWORD))
        d.addCallback(lambda avatar: avatar.callRemote("wait"))
        wire.flush()
        gc.collect()
        wire.flush()
        (session,) = self.realm.roster
        session.avatar.waiting.pop().callback("at last")
        wire.flush()
        self.assertEqual(self.successResultOf(d), "at last")
        self.assertEqual(len(self.realm.roster), 0)

    def test_raisingLogout(self) -> None:
        """A logout that raises, or fails later, is logged once and costs nothing, on a decref and at the loss."""

        def raising() -> Any:
            raise ValueError("logout is broken")

        for server in (ServerFactory, dropin.PBServerFactory):
            for logout in (raising, lambda: fail(ValueError("later"))):
                for lose in (True, False):
                    realm = StockRealm(logout)
                    wire = Wire(serve(realm, server))
                    avatar = self.successResultOf(wire.login())
                    if lose:
                        wire.lose()
                    del avatar
                    gc.collect()
                    wire.flush()
                    self.assertEqual(realm.out, realm.avatars)
                    self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
                    self.assertEqual(bool(wire.server.disconnected), lose)

    def test_manyOnOneConnection(self) -> None:
        """The logins of a connection are limited, which does not count as a wrong password; a logout makes room."""
        profile = attrs.evolve(LENIENT, calls=attrs.evolve(LENIENT.calls, logins=3))
        for realm in (self.realm, StockRealm()):
            wire = Wire(serve(realm, profile=profile))
            kept = [self.successResultOf(wire.login()) for _ in range(3)]
            refused = self.failureResultOf(wire.login("bob", Client()))
            self.assertTrue(refused.check(errors.TooManySessions))
            self.assertIn("3 of 3 logins", refused.getErrorMessage())
            del kept[0]
            gc.collect()
            wire.flush()
            kept.append(self.successResultOf(wire.login("bob")))
            self.assertFalse(wire.server.disconnected)
            self.assertEqual(wire.client.localObjects, {})

    def test_fullTable(self) -> None:
        """A login for which there is no room in the tables tells the client so and leaves no session behind."""
        self.patch(pb, "MAX_BROKER_REFS", 3)
        for server, realm in ((ServerFactory, self.realm), (dropin.PBServerFactory, StockRealm())):
            wire = Wire(serve(realm, server))
            root = self.successResultOf(wire.factory.getRootObject())
            challenge, challenger = self.successResultOf(wire.call(root, "login", b"alice"))
            kept = [self.successResultOf(wire.call(root, "login", b"alice"))[1] for _ in range(2)]
            d = wire.call(challenger, "respond", pb.respond(challenge, PASSWORD), None)
            if isinstance(realm, StockRealm):
                self.assertIn("Maximum PB reference count exceeded", self.failureResultOf(d).getErrorMessage())
                self.assertEqual(realm.out, realm.avatars)
            else:
                # The session has tables of its own: what is full does not matter to it.
                self.successResultOf(d)
            self.assertFalse(wire.server.disconnected)
            del kept

    def test_kickedBeforeTheClientHasIt(self) -> None:
        """A session that ends between the realm and the answer is a refused login, not a dead reference."""

        class Kicking(CachingRealm):
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                def kick(result: Any) -> Any:
                    result[1].end()
                    return result

                return super().requestAvatar(avatarId, mind, *interfaces).addCallback(kick)

        wire = Wire(serve(Kicking(Recorder, clock=self.clock)))
        failure = self.failureResultOf(wire.login())
        self.assertTrue(failure.check(errors.LoginInterrupted))
        self.assertEqual((wire.server.owners, wire.server._channels), ({}, {}))


class RealmTests(ServerCase):
    """Realms of any make under servers of any make."""

    def test_stockRealmUnderOurs(self) -> None:
        """A realm that is not pbkit's gets the raw mind and its names as stock gives them, and logs out once."""
        for server in SERVERS:
            realm = StockRealm()
            wire = Wire(serve(realm, server))
            mind = Client()
            avatar = self.successResultOf(wire.login("alice", mind))
            self.assertEqual(self.successResultOf(wire.call(avatar, "whoami")), b"alice")
            self.assertIsInstance(realm.avatars[0].mind, pb.RemoteReference)
            realm.avatars[0].mind.callRemote("tell", 1)
            wire.flush()
            self.assertEqual(mind.told, [("tell", 1)])
            del avatar
            gc.collect()
            wire.flush()
            self.assertEqual(realm.out, realm.avatars)
            wire.lose()
            self.assertEqual(realm.out, realm.avatars)

    def test_avatarThatIsReferenceable(self) -> None:
        """An avatar that is itself a Referenceable is logged out once for each login, by the last one or the loss."""

        class Both(pb.Referenceable):
            def remote_whoami(self) -> str:
                return "both"

        both = Both()
        for server in (ServerFactory, dropin.PBServerFactory):
            for lose in (False, True):
                realm = StockRealm()
                realm.make = lambda avatarId, mind: both  # type: ignore[method-assign]
                wire = Wire(serve(realm, server))
                kept = [self.successResultOf(wire.login()), self.successResultOf(wire.login())]
                self.assertEqual(self.successResultOf(wire.call(kept[0], "whoami")), "both")
                if lose:
                    wire.lose()
                kept.clear()
                gc.collect()
                wire.flush()
                self.assertEqual(realm.out, [both, both])
                wire.lose()
                self.assertEqual(realm.out, [both, both])

    def test_oursUnderStock(self) -> None:
        """Under a stock server a session begins and ends, and its own reference dies with it."""
        realm = CachingRealm(Recorder, clock=self.clock)
        wire = Wire(serve(realm, pb.PBServerFactory))
        for mind in (None, Client()):
            avatar = self.successResultOf(wire.login("alice", mind))
            (session,) = realm.roster
            self.assertEqual(session.peer is None, mind is None)
            self.assertEqual(self.successResultOf(wire.call(avatar, "whoami")), "alice")
            session.end()
            self.assertTrue(self.failureResultOf(wire.call(avatar, "whoami")).check(errors.Kicked))
            self.assertEqual(session.avatar.told("detached", session), 1)
        avatar = self.successResultOf(wire.login("bob"))
        del avatar
        gc.collect()
        wire.flush()
        self.assertEqual((len(realm.roster), realm.counters.ends), (0, {"Kicked": 2, "LoggedOut": 1}))
        self.assertTrue(self.failureResultOf(wire.login("bob", None, b"wrong")).check(UnauthorizedLogin))
        self.flushLoggedErrors()

    def test_oursUnderStockRefusesInPbsWords(self) -> None:
        """Under a stock server a refusal of the realm's own crosses as it is, with no traceback."""
        realm = LimitedRealm(Recorder, max=1, clock=self.clock)
        wire = Wire(serve(realm, pb.PBServerFactory))
        kept = self.successResultOf(wire.login())
        failure = self.failureResultOf(wire.login())
        for base in (*REFUSAL, errors.TooManySessions):
            self.assertTrue(failure.check(base))
        self.assertEqual(self.flushLoggedErrors(), [])
        del kept

    def test_oursInsideAnother(self) -> None:
        """A realm of the user's that hands on to one of pbkit's, and is not marked as one, works."""
        inner = CachingRealm(Recorder, clock=self.clock)

        @implementer(IRealm)
        class Outer:
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                return inner.requestAvatar(avatarId, mind, *interfaces)

        for server in SERVERS:
            wire = Wire(serve(Outer(), server))
            avatar = self.successResultOf(wire.login("alice", Client()))
            (session,) = inner.roster
            self.assertIsNotNone(session.peer)
            session.end()
            self.assertTrue(self.failureResultOf(wire.call(avatar, "whoami")).check(errors.Kicked))
            again = self.successResultOf(wire.login("alice", Client()))
            wire.lose()
            self.assertEqual(len(inner.roster), 0)
            del again

    def test_whatIsNoResult(self) -> None:
        """A realm that returns anything but three things is an error of the server's, told so."""

        @implementer(IRealm)
        class Wrong:
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                return None

        wire = Wire(serve(Wrong()))
        self.assertTrue(self.failureResultOf(wire.login()).check(errors.LoginUnavailable))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_rootThatIsNoPortal(self) -> None:
        """What is not a portal is served as it is."""

        class Root(pb.Root):
            def remote_add(self, a: int, b: int) -> int:
                return a + b

        for server in SERVERS:
            wire = Wire(server(Root()))
            root = self.successResultOf(wire.factory.getRootObject())
            self.assertEqual(self.successResultOf(wire.call(root, "add", 2, 3)), 5)

    def test_whatCannotBeServed(self) -> None:
        """Neither a portal nor a root is refused at once, as by stock."""
        for server in SERVERS:
            self.assertRaises(TypeError, server, object())


class InternalErrorTests(ServerCase):
    """What breaks in the server is not the client's business."""

    def test_oneTracebackWithANumber(self) -> None:
        """One traceback goes into the log, under a number; the client is told the number and nothing else of it."""

        def broken(avatarId: str) -> Any:
            raise ValueError("db password is hunter2")

        for server in (ServerFactory, dropin.PBServerFactory):
            realm = CachingRealm(broken, clock=self.clock)
            wire = Wire(serve(realm, server))
            failure = self.failureResultOf(wire.login())
            self.assertTrue(failure.check(errors.LoginUnavailable))
            self.assertNotIn("hunter2", failure.getErrorMessage())
            number = failure.getErrorMessage().split("error ")[1].rstrip(")")
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
            lines = self.lines()
            self.assertEqual(len([line for line in lines if number in line]), 2, lines)
            self.assertEqual(len(lines), 2)
            self.assertEqual(realm.counters.refusals, {"LoginUnavailable": 1})

    def test_brokenChecker(self) -> None:
        """So it is when a checker breaks."""

        class Broken:
            credentialInterfaces = (IUsernameHashedPassword,)

            def requestAvatarId(self, credentials: Any) -> Any:
                raise LookupError("db password is hunter2")

        wire = Wire(ServerFactory(portal(self.realm, Broken())))
        failure = self.failureResultOf(wire.login())
        self.assertTrue(failure.check(errors.LoginUnavailable))
        self.assertNotIn("hunter2", failure.getErrorMessage())
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.assertEqual(self.realm.counters.refusals, {"LoginUnavailable": 1})

    def test_stockRealmsErrors(self) -> None:
        """What a stock realm raises to refuse crosses with its text if it is meant for clients."""
        for error, reason in (
            (LoginDenied("not today"), errors.LoginRefused),
            (pb.Error("not today"), errors.LoginRefused),
            (UnauthorizedLogin("the password was wrong"), errors.BadCredentials),
        ):
            realm = StockRealm()
            realm.waiting = fail(error)
            self.assertRefused(
                Wire(serve(realm)).login(), reason, "" if reason is errors.BadCredentials else "not today"
            )

    def test_dropInsAreAsStocks(self) -> None:
        """A drop-in server sends and logs what a stock realm raises as stock does."""
        for error in (LoginDenied("not today"), ValueError("broken"), UnauthorizedLogin("the password")):
            seen = []
            for server in (dropin.PBServerFactory, pb.PBServerFactory):
                realm = StockRealm()
                realm.waiting = fail(error)
                failure = self.failureResultOf(Wire(serve(realm, server)).login())
                seen.append((failure.type, failure.getErrorMessage(), len(self.flushLoggedErrors())))
            self.assertEqual(seen[0], seen[1])

    def test_methodsOfAvatars(self) -> None:
        """A call that does not fit is a TypeError to the client, and nothing in the log."""
        wire = Wire(self.server)
        avatar = self.successResultOf(wire.login())
        failure = self.failureResultOf(wire.call(avatar, "whoami", "s3same", key="s3same"))
        self.assertTrue(failure.check(TypeError))
        failure = self.failureResultOf(wire.call(avatar, "nothing", "s3same"))
        self.assertTrue(failure.check(pb.NoSuchMethod))
        self.assertTrue(failure.check(pb.Error))
        self.assertEqual([line for line in self.lines() if "s3same" in line], [])


class CredentialTests(ServerCase):
    """What a checker is given."""

    def test_eachResponseByItself(self) -> None:
        """
        In a drop-in server two answers to one challenge that are being checked at the same time do not get into each
        other's way.
        """
        seen: list[tuple[Any, Deferred[Any]]] = []

        class Slow:
            credentialInterfaces = (IUsernameHashedPassword,)

            def requestAvatarId(self, credentials: Any) -> Any:
                d: Deferred[Any] = Deferred()
                seen.append((credentials, d))
                return d.addCallback(lambda _: self.decide(credentials))

            def decide(self, credentials: Any) -> bytes:
                if not credentials.checkPassword(PASSWORD):
                    raise UnauthorizedLogin()
                return b"alice"

        wire = Wire(dropin.PBServerFactory(portal(self.realm, Slow()), clock=self.clock))
        root = self.successResultOf(wire.factory.getRootObject())
        challenge, challenger = self.successResultOf(wire.call(root, "login", b"alice"))
        wrong = wire.call(challenger, "respond", pb.respond(challenge, b"wrong"), None)
        right = wire.call(challenger, "respond", pb.respond(challenge, PASSWORD), None)
        for _, d in seen:
            d.callback(None)
        wire.flush()
        self.assertTrue(self.failureResultOf(wrong).check(errors.BadCredentials))
        self.successResultOf(right)

    def test_noneInTheirRepr(self) -> None:
        """Neither challenge nor response is in the repr of credentials, which programs log."""
        seen: list[Any] = []

        class Looking:
            credentialInterfaces = (IUsernameHashedPassword,)

            def requestAvatarId(self, credentials: Any) -> Any:
                seen.append(credentials)
                return fail(UnauthorizedLogin())

        wire = Wire(ServerFactory(portal(self.realm, Looking())))
        self.failureResultOf(wire.login())
        text = repr(seen[0])
        self.assertIn("alice", text)
        self.assertNotIn(repr(seen[0]._response), text)
        self.assertNotIn(repr(seen[0]._challenge), text)

    def test_checkers(self) -> None:
        """A stock in-memory checker with names and passwords as text or bytes works, with text and bytes sent."""
        kinds: list[Any] = [{"alice": "sesame"}, {b"alice": b"sesame"}, {"alice": b"sesame"}]
        for users in kinds:
            checker = InMemoryUsernamePasswordDatabaseDontUse()
            checker.users = users
            wire = Wire(ServerFactory(portal(self.realm, checker)), ClientFactory())
            pairs: list[Any] = [("alice", "sesame"), (b"alice", b"sesame")]
            for pair in pairs:
                d = wire.factory.login(UsernamePassword(*pair))
                wire.flush()
                self.successResultOf(d)
            d = wire.factory.login(UsernamePassword(b"alice", b"sesam"))
            wire.flush()
            self.assertTrue(self.failureResultOf(d).check(errors.BadCredentials))

    def test_anonymousIsNotAsked(self) -> None:
        """`Anonymous` credentials go to an anonymous checker and no other."""
        wire = Wire(self.server)
        d = wire.factory.login(Anonymous())
        wire.flush()
        self.assertTrue(self.failureResultOf(d).check(errors.AnonymousRefused))
