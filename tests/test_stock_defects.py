"""
Defects of stock Perspective Broker that pbkit does not have.

Each test runs one scenario twice: with stock's classes, to assert that the defect exists, and with pbkit's, to assert
that it does not. When Twisted fixes a defect, its test fails, and the docs can be corrected.
"""

from __future__ import annotations

import gc
from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.reflect import qual
from twisted.spread import jelly, pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pbkit import Avatar, CachingRealm, LimitedRealm, ServerFactory, SingleClientRealm, Told, dropin, errors
from tests.support import LENIENT, Client, Part, Recorder, Wire, serve
from tests.wire.things import Board

STOCK = pb.PBServerFactory
#: Both factories lack the defects that do not depend on a pbkit realm.
OURS = (ServerFactory, dropin.PBServerFactory)


class Plain(pb.Avatar):
    """An avatar as in Twisted's documentation."""

    def perspective_whoami(self) -> str:
        """Return the avatar's name."""
        return "plain"

    def perspective_part(self) -> Part:
        """Return an object that the client can keep."""
        return Part()


@implementer(IRealm)
class Counting:
    """
    A realm as in Twisted's documentation, which counts logins.

    :param makeAvatar: called for each login.
    :param logout: called at each logout, after it was counted.
    """

    def __init__(self, makeAvatar: Any = Plain, logout: Any = lambda: None) -> None:
        self.makeAvatar = makeAvatar
        self.logout = logout
        self.loggedIn = 0
        self.minds: list[Any] = []

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """As in Twisted's documentation."""
        self.minds.append(mind)
        made = self.makeAvatar()
        made = made if isinstance(made, Deferred) else succeed(made)
        return made.addCallback(self._in)

    def _in(self, avatar: Any) -> Any:
        self.loggedIn += 1
        return pb.IPerspective, avatar, self._out

    def _out(self) -> Any:
        self.loggedIn -= 1
        return self.logout()


class Case(SynchronousTestCase):
    """The common part of the scenarios."""

    def setUp(self) -> None:
        """Make a clock."""
        self.clock = Clock()

    def settle(self, wire: Wire) -> None:
        """Collect garbage, and deliver the releases of references."""
        gc.collect()
        wire.flush()

    def only(self, realm: Any) -> Any:
        """Return the only session of a realm."""
        (session,) = realm.roster
        return session


class LoginTests(Case):
    """Login and logout."""

    def test_loginThatFinishesAfterTheLoss(self) -> None:
        """Stock: an asynchronous login that finishes after its client disconnected is never logged out."""

        def left(server: Any) -> int:
            loading: list[Deferred[Any]] = []

            def load() -> Any:
                loading.append(Deferred())
                return loading[-1]

            realm = Counting(load)
            for _ in range(5):
                wire = Wire(serve(realm, server))
                wire.login().addErrback(lambda _: None)
                wire.cut()
                loading.pop().callback(Plain())
                wire.flush()
            self.flushLoggedErrors(AttributeError)
            return realm.loggedIn

        self.assertEqual(left(STOCK), 5)
        self.assertEqual([left(server) for server in OURS], [0, 0])

    def test_avatarThatIsReferenceable(self) -> None:
        """Stock: of two logins to an avatar that is a Referenceable, only one is logged out before the disconnect."""

        def left(server: Any) -> int:
            avatar = Part()
            realm = Counting(lambda: avatar)
            wire = Wire(serve(realm, server))
            references = [self.successResultOf(wire.login()) for _ in range(2)]
            self.assertEqual((len(references), realm.loggedIn), (2, 2))
            references.clear()
            self.settle(wire)
            return realm.loggedIn

        self.assertEqual(left(STOCK), 1)
        self.assertEqual([left(server) for server in OURS], [0, 0])

    def test_limitThatIsBypassed(self) -> None:
        """Stock: a client that drops its avatar but keeps another object is logged out, and the object still works."""

        def serves(realm: Any, server: Any, loggedIn: Any) -> tuple[str, int]:
            wire = Wire(serve(realm, server))
            part = self.successResultOf(wire.call(self.successResultOf(wire.login()), "part"))
            self.settle(wire)
            return self.successResultOf(wire.call(part, "hi")), loggedIn(realm)

        self.assertEqual(serves(Counting(), STOCK, lambda realm: realm.loggedIn), ("hi", 0))
        self.assertEqual(serves(Counting(), ServerFactory, lambda realm: realm.loggedIn), ("hi", 1))
        for server in OURS:
            realm = LimitedRealm(Recorder, max=1, clock=self.clock)
            self.assertEqual(serves(realm, server, lambda realm: len(realm.roster)), ("hi", 1))

    def test_logoutThatRaises(self) -> None:
        """Stock: a logout that raises during a decref drops the connection."""

        def broken() -> None:
            raise ValueError("logout is broken")

        def drop(server: Any) -> Wire:
            wire = Wire(serve(Counting(logout=broken), server))
            self.successResultOf(wire.login())
            self.settle(wire)
            return wire

        self.assertRaises(ValueError, drop, STOCK)
        for server in OURS:
            wire = drop(server)
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
            self.successResultOf(wire.login("bob"))
            self.settle(wire)
            self.flushLoggedErrors(ValueError)

    def test_logoutThatFailsLater(self) -> None:
        """Stock: the failure of a Deferred that a logout returns is reported only when it is collected."""

        def drop(server: Any) -> tuple[int, int]:
            leaving: Deferred[Any] = Deferred()
            wire = Wire(serve(Counting(logout=lambda: leaving), server))
            self.successResultOf(wire.login())
            self.settle(wire)
            leaving.errback(ValueError("logout is broken"))
            unheeded: list[Any] = []
            leaving.addErrback(unheeded.append)
            return len(self.flushLoggedErrors(ValueError)), len(unheeded)

        self.assertEqual(drop(STOCK), (0, 1))
        self.assertEqual([drop(server) for server in OURS], [(1, 0), (1, 0)])

    def test_fullTable(self) -> None:
        """Stock: if the table of references is full, the login fails, and its session stays."""
        self.patch(pb, "MAX_BROKER_REFS", 3)

        def left(server: Any) -> int:
            realm = Counting()
            wire = Wire(serve(realm, server))
            root = self.successResultOf(wire.factory.getRootObject())
            challenge, challenger = self.successResultOf(wire.call(root, "login", b"alice"))
            kept = [self.successResultOf(wire.call(root, "login", b"alice")) for _ in range(2)]
            d = wire.call(challenger, "respond", pb.respond(challenge, b"sesame"), None)
            refused: list[Any] = []
            avatar: list[Any] = []
            d.addCallbacks(avatar.append, refused.append)
            self.assertEqual(len(refused) + len(avatar), 1)
            self.settle(wire)
            del kept
            return realm.loggedIn - len(avatar)

        self.assertEqual(left(STOCK), 1)
        self.assertEqual([left(server) for server in OURS], [0, 0])

    def test_noLogoutFromTheServersSide(self) -> None:
        """Stock: after the server has run the logout, the client's references still work."""
        wire = Wire(serve(Counting(), STOCK))
        avatar = self.successResultOf(wire.login())
        part = self.successResultOf(wire.call(avatar, "part"))
        for logout in list(wire.server._localCleanup.values()):
            logout()
        self.assertEqual(self.successResultOf(wire.call(avatar, "whoami")), "plain")
        self.assertEqual(self.successResultOf(wire.call(part, "hi")), "hi")
        for server in OURS:
            realm = CachingRealm(Recorder, clock=self.clock)
            wire = Wire(serve(realm, server))
            avatar = self.successResultOf(wire.login())
            part = self.successResultOf(wire.call(avatar, "part"))
            (session,) = realm.roster
            session.end()
            for reference, method in ((avatar, "whoami"), (part, "hi")):
                self.assertTrue(self.failureResultOf(wire.call(reference, method)).check(errors.Kicked))

    def test_whoLogsIn(self) -> None:
        """Stock: a realm learns nothing about the connection of a client without a mind."""
        realm = Counting()
        Wire(serve(realm, STOCK)).login()
        self.assertEqual(realm.minds, [None])
        ours = CachingRealm(Recorder, clock=self.clock)
        for server in OURS:
            wire = Wire(serve(ours, server))
            avatar = self.successResultOf(wire.login())
            session = self.only(ours)
            self.assertIs(session.peer, wire.server.peer)
            self.assertEqual(ours.roster.ofPeer(session.peer.peerId), (session,))
            del avatar
            wire.lose()

    def test_lateLogout(self) -> None:
        """Stock: the usual ``del online[avatarId]`` in an old session's late logout removes the new session."""
        online: dict[Any, Any] = {}

        @implementer(IRealm)
        class Registering:
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                avatar = online[avatarId] = Plain()
                return pb.IPerspective, avatar, lambda: online.pop(avatarId, None)

        def again(realm: Any, server: Any) -> Any:
            factory = serve(realm, server)
            old, new = Wire(factory), Wire(factory)
            self.held = [self.successResultOf(old.login()), self.successResultOf(new.login())]
            old.lose()

        again(Registering(), STOCK)
        self.assertEqual(online, {})
        for server in OURS:
            realm = SingleClientRealm(Recorder, conflict="kick", clock=self.clock)
            again(realm, server)
            (session,) = realm.roster.ofAvatar("alice")
            self.assertIsNone(session.endedWith)
            self.assertEqual(realm.counters.ends, {"Replaced": 1})

    def test_twoPassALimitOfOne(self) -> None:
        """Stock: a realm that checks its limit and then loads the avatar admits two logins."""
        loading: list[Deferred[Any]] = []
        online: list[Any] = []

        def enter(avatar: Any) -> Any:
            online.append(avatar)
            return avatar

        def load() -> Any:
            if online:
                raise pb.Error("one at a time")
            loading.append(Deferred())
            return loading[-1].addCallback(enter)

        def two(factory: Any, avatar: Any) -> int:
            wires = [Wire(factory), Wire(factory)]
            answers = [wire.login() for wire in wires]
            while loading:
                loading.pop().callback(avatar())
            for wire in wires:
                wire.flush()
            came: list[Any] = []
            for answer in answers:
                answer.addCallbacks(came.append, lambda _: None)
            return len(came)

        self.assertEqual(two(serve(Counting(load), STOCK), Plain), 2)

        class Slow(SingleClientRealm):
            def buildAvatar(self, avatarId: str) -> Any:
                loading.append(Deferred())
                return loading[-1]

        for server in OURS:
            realm = Slow(clock=self.clock)
            self.assertEqual(two(serve(realm, server), lambda: Recorder("alice")), 1)
            self.assertEqual(realm.counters.refusals, {"TooManySessions": 1})


class MindTests(Case):
    """Minds and references."""

    def test_anything(self) -> None:
        """Stock: a realm receives anything that a client sends as a mind, even the server's own login object."""
        for mind in (5, "x", [1], {"a": 1}, b"x" * 100_000):
            realm = Counting()
            wire = Wire(serve(realm, STOCK))
            wire.login("alice", mind)
            wire.login("alice", self.successResultOf(wire.factory.getRootObject()))
            self.assertEqual(realm.minds[0], mind)
            self.assertIs(realm.minds[1], wire.server.localObjectForID(b"root"))
            for ours in (Counting(), CachingRealm(Recorder, clock=self.clock)):
                wire = Wire(serve(ours, profile=LENIENT))
                root = self.successResultOf(wire.factory.getRootObject())
                for wrong in (mind, root):
                    failure = self.failureResultOf(wire.login("alice", wrong))
                    self.assertTrue(failure.check(errors.BadMind))
                if isinstance(ours, Counting):
                    self.assertEqual(ours.minds, [])

    def test_minds(self) -> None:
        """Stock: references of different connections cannot be compared with each other or with None."""

        def minds(server: Any) -> list[Any]:
            realm = Counting()
            for wire in [Wire(serve(realm, server)) for _ in range(3)]:
                self.addCleanup(list, [wire, self.successResultOf(wire.login("alice", Client()))])
            return realm.minds

        one, two, three = minds(STOCK)
        self.assertEqual(hash(one), hash(two))
        for compare in (
            lambda: one == two,
            lambda: one != two,
            lambda: one == None,  # noqa: E711
            lambda: two in [one, two],
            lambda: [one, two].remove(two),
            lambda: {one, two},
            lambda: {one: 1, two: 2},
        ):
            self.assertRaises(TypeError, compare)
        for server in OURS:
            one, two, three = minds(server)
            same = (one == two, one != two, one == None, one == one)  # noqa: E711
            self.assertEqual(same, (False, True, False, True))
            self.assertIn(three, [one, two, three])
            left = [one, two, three]
            left.remove(two)
            self.assertIs(left[1], three)
            self.assertEqual(len({one, two, three}), 3)
            self.assertEqual({one: 1, two: 2, three: 3}[two], 2)
            # Any order will do, if it is one.
            self.assertEqual(sorted([one, two, three]), sorted([three, two, one]))
            self.assertEqual(len({each.broker for each in (one, two, three)}), 3)
            self.assertEqual((one.broker == two.broker, one.broker == None), (False, False))  # noqa: E711

    def test_oneObjectTwice(self) -> None:
        """Stock: the minds of two logins with one client object compare equal; pbkit's `Session.mind` does not."""
        mind = Client()
        realm = Counting()
        wire = Wire(serve(realm, STOCK))
        kept = [self.successResultOf(wire.login("alice", mind)), self.successResultOf(wire.login("bob", mind))]
        self.assertTrue(realm.minds[0] == realm.minds[1])
        ours = CachingRealm(Recorder, clock=self.clock)
        for server in OURS:
            wire = Wire(serve(ours, server))
            kept += [self.successResultOf(wire.login("alice", mind)), self.successResultOf(wire.login("bob", mind))]
            one, two = ours.roster
            self.assertNotEqual(one.mind, two.mind)
            self.assertNotEqual(one.mind.reference, two.mind.reference)
            self.assertEqual(len({one.mind, two.mind}), 2)
            wire.lose()

    def test_deadReference(self) -> None:
        """Stock: a call to a lost client raises immediately, and no callback for the loss can be added."""
        realm = Counting()
        wire = Wire(serve(realm, STOCK))
        wire.login("alice", Client())
        wire.lose()
        self.assertRaises(pb.DeadReferenceError, realm.minds[0].callRemote, "tell")
        self.assertRaises(AttributeError, realm.minds[0].notifyOnDisconnect, print)
        ours = CachingRealm(Recorder, clock=self.clock)
        for server in OURS:
            wire = Wire(serve(ours, server))
            avatar = self.successResultOf(wire.login("alice", Client()))
            session = self.only(ours)
            wire.lose()
            self.assertTrue(self.failureResultOf(session.mind.callRemote("tell")).check(errors.Disconnected))
            if server.profile.raiseOnDead:
                self.assertRaises(errors.Disconnected, session.mind.reference.callRemote, "tell")
            else:
                self.failureResultOf(session.mind.reference.callRemote("tell"), errors.Disconnected)
            self.assertIs(session.mind.tell("tell"), Told.GONE)
            told: list[Any] = []
            session.mind.reference.notifyOnDisconnect(told.append)
            session.peer.onLost(lambda told=told: told.append("lost"))
            self.assertEqual(told, [session.mind.reference, "lost"])
            del avatar

    def test_referenceThatIsPinned(self) -> None:
        """Stock: a callback for a client's loss keeps its mind alive until the loss, long after its logout."""
        realm = Counting()
        wire = Wire(serve(realm, STOCK))
        self.successResultOf(wire.login("alice", Client()))
        realm.minds.pop().notifyOnDisconnect(lambda _: None)
        self.settle(wire)
        self.assertEqual(realm.loggedIn, 0)
        self.assertEqual(len(wire.client.localObjects), 1)
        for server in OURS:
            # A Recorder would keep its sessions.
            ours = CachingRealm(Avatar, clock=self.clock)
            wire = Wire(serve(ours, server))
            avatar = self.successResultOf(wire.login("alice", Client()))
            session = self.only(ours)
            session.peer.onLost(lambda: None)
            session.mind.reference.notifyOnDisconnect(lambda _: None)
            session = avatar = None
            self.settle(wire)
            self.settle(wire)
            self.assertEqual(len(ours.roster), 0)
            self.assertEqual(wire.client.localObjects, {})
            del avatar, session

    def test_callbackThatRaises(self) -> None:
        """Stock: if one callback for a client's loss raises, the later ones are not called."""
        told: list[str] = []

        def broken(*args: Any) -> None:
            raise ValueError("broken")

        realm = Counting()
        wire = Wire(serve(realm, STOCK))
        wire.login("alice", Client())
        realm.minds[0].notifyOnDisconnect(broken)
        realm.minds[0].notifyOnDisconnect(lambda _: told.append("stock"))
        wire.lose()
        self.assertEqual((told, len(self.flushLoggedErrors(ValueError))), ([], 1))
        for server in OURS:
            ours = CachingRealm(Recorder, clock=self.clock)
            wire = Wire(serve(ours, server))
            avatar = self.successResultOf(wire.login("alice", Client()))
            session = self.only(ours)
            session.peer.onLost(broken)
            session.peer.onLost(lambda: told.append("ours"))
            wire.lose()
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
            del avatar
        self.assertEqual(told, ["ours", "ours"])

    def test_callWithoutADeadline(self) -> None:
        """Stock: a call to a client that never answers waits as long as the client stays connected."""
        realm = Counting()
        mind = Client()
        mind.answer = Deferred()
        wire = Wire(serve(realm, STOCK))
        kept = self.successResultOf(wire.login("alice", mind))
        waiting = [realm.minds[0].callRemote("ask") for _ in range(10)]
        wire.flush()
        self.clock.advance(10**6)
        self.assertEqual((len(waiting), len(wire.server.waitingForAnswers)), (10, 10))
        for server in OURS:
            ours = CachingRealm(Recorder, clock=self.clock)
            wire = Wire(serve(ours, server))
            kept = self.successResultOf(wire.login("alice", mind))
            session = self.only(ours)
            waiting = [session.mind.callRemote("ask", pbtimeout=20) for _ in range(10)]
            wire.flush()
            self.clock.advance(20)
            for call in waiting:
                self.assertTrue(self.failureResultOf(call).check(errors.CallTimedOut))
            self.assertEqual((wire.server.callers, session.mind.reference.broker.waitingForAnswers), ({}, {}))
        del kept

    def test_callWithoutAnAnswer(self) -> None:
        """Stock: a call without an answer returns None, or a failed Deferred that nobody expects, or raises."""

        class Shy(pb.Copyable):
            def getStateToCopy(self) -> Any:
                raise ValueError("not to be copied")

        realm = Counting()
        wire = Wire(serve(realm, STOCK))
        wire.login("alice", Client())
        self.assertIsNone(realm.minds[0].callRemote("tell", pbanswer=False))
        self.failureResultOf(realm.minds[0].callRemote("tell", Shy(), pbanswer=False), ValueError)
        for server in OURS:
            ours = CachingRealm(Recorder, clock=self.clock)
            wire = Wire(serve(ours, server))
            avatar = self.successResultOf(wire.login("alice", Client()))
            session = self.only(ours)
            self.assertIs(session.mind.tell("tell"), Told.SENT)
            self.assertRaises(ValueError, session.mind.tell, "tell", Shy())
            self.assertIsNone(self.successResultOf(session.mind.callRemote("tell", pbanswer=False)))
            wire.lose()
            self.assertIs(session.mind.tell("tell"), Told.GONE)
            del avatar


class DoorTests(Case):
    """Attempts of unauthenticated clients."""

    def challenge(self, wire: Wire) -> tuple[bytes, Any]:
        """Return a login that waits for its answer."""
        root = self.successResultOf(wire.factory.getRootObject())
        challenge, challenger = self.successResultOf(wire.call(root, "login", b"alice"))
        return challenge, challenger

    def test_guessesOnOneChallenge(self) -> None:
        """Stock: one challenge accepts 300 guesses, answered at once, and then the correct password."""

        def lastOf(server: Any) -> tuple[int, Any]:
            wire = Wire(serve(Counting(), server, **({} if server is STOCK else {"clock": self.clock})))
            challenge, challenger = self.challenge(wire)
            reasons: list[Any] = []
            for i in range(300):
                d = challenger.callRemote("respond", pb.respond(challenge, b"%d" % i), None)
                d.addErrback(lambda failure: reasons.append(failure.type))
                wire.flush()
            d = wire.call(challenger, "respond", pb.respond(challenge, b"sesame"), None)
            last: list[Any] = []
            d.addCallbacks(lambda avatar: last.append("in"), lambda failure: last.append(failure.type))
            self.flushLoggedErrors(UnauthorizedLogin)
            return reasons.count(b"twisted.cred.error.UnauthorizedLogin"), last.pop()

        self.assertEqual(lastOf(STOCK), (300, "in"))
        self.assertEqual(lastOf(ServerFactory), (0, b"pbkit.errors.ChallengeExpired"))

    def test_answerThatIsReplayed(self) -> None:
        """Stock: a recorded answer logs in again on the same challenge."""

        def secondTime(server: Any) -> Any:
            wire = Wire(serve(Counting(), server))
            challenge, challenger = self.challenge(wire)
            captured = pb.respond(challenge, b"sesame")
            first = self.successResultOf(wire.call(challenger, "respond", captured, None))
            again: list[Any] = []
            d = wire.call(challenger, "respond", captured, None)
            d.addCallbacks(lambda avatar: again.append("in"), lambda failure: again.append(failure.type))
            del first
            return again.pop()

        self.assertEqual(secondTime(STOCK), "in")
        self.assertEqual(secondTime(ServerFactory), b"pbkit.errors.ChallengeExpired")

    def test_unlimitedGuesses(self) -> None:
        """Stock: password guesses are neither delayed nor ended."""

        def answered(server: Any) -> tuple[int, bool]:
            wire = Wire(serve(Counting(), server, **({} if server is STOCK else {"clock": self.clock})))
            told: list[Any] = []
            for _ in range(100):
                wire.login("alice", None, b"wrong").addErrback(told.append)
            self.flushLoggedErrors(UnauthorizedLogin)
            # Logins that are not checked are answered at once.
            told = [failure for failure in told if not failure.check(errors.TooManyFailures, errors.TooManyAttempts)]
            for _ in range(40):
                self.clock.advance(0.5)
                wire.flush()
            return len(told), bool(wire.server.disconnected)

        self.assertEqual(answered(STOCK), (100, False))
        self.assertEqual(answered(ServerFactory), (0, True))

    def test_userNameThatIsAList(self) -> None:
        """Stock: a user name can be a list, which makes a checker log a traceback."""

        def tracebacks(server: Any) -> int:
            wire = Wire(serve(Counting(), server))
            root = self.successResultOf(wire.factory.getRootObject())
            d = root.callRemote("login", ["alice"])
            d.addCallback(lambda answer: answer[1].callRemote("respond", pb.respond(answer[0], b"sesame"), None))
            wire.flush()
            self.failureResultOf(d)
            return len(self.flushLoggedErrors())

        self.assertGreater(tracebacks(STOCK), 0)
        self.assertEqual(tracebacks(ServerFactory), 0)

    def test_codeThatRunsBeforeLogin(self) -> None:
        """Stock: a class that any module has registered with jelly runs its code for unauthenticated clients."""
        run: list[Any] = []

        class Sent(pb.Copyable):
            pass

        class Made(pb.RemoteCopy):
            def setCopyableState(self, state: Any) -> None:
                run.append(state)

        name = qual(Sent).encode()
        pb.setUnjellyableForClass(Sent, Made)
        self.addCleanup(lambda: vars(jelly)["unjellyableRegistry"].pop(name))

        def runs(server: Any) -> int:
            run.clear()
            wire = Wire(serve(Counting(), server))
            root = self.successResultOf(wire.factory.getRootObject())
            for d in (wire.call(root, "login", Sent()), wire.call(root, "loginAnonymous", Sent())):
                d.addErrback(lambda failure: None)
            self.flushLoggedErrors()
            return len(run)

        self.assertEqual(runs(STOCK), 2)
        self.assertEqual(runs(ServerFactory), 0)


class SharingTests(Case):
    """State that two users of one connection share with stock, but must not."""

    def test_stateOfAnotherUser(self) -> None:
        """Stock: a Cacheable that was sent to alice shows alice's state to bob on the same connection."""
        board = Board()

        class Showing(pb.Avatar):
            def __init__(self, avatarId: str) -> None:
                self.avatarId = avatarId

            def perspective_board(self) -> Board:
                return board

        @implementer(IRealm)
        class ShowingRealm:
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                return pb.IPerspective, Showing(avatarId.decode()), lambda: None

        def seen(server: Any) -> list[Any]:
            wire = Wire(serve(ShowingRealm(), server))
            avatars = [self.successResultOf(wire.login(name)) for name in ("alice", "bob")]
            copies = [self.successResultOf(wire.call(avatar, "board")) for avatar in avatars]
            names = [copy.seenBy for copy in copies]
            board.observers.clear()
            board.stoppedObserving = lambda *args: None  # type: ignore[method-assign]
            return names

        self.assertEqual(seen(STOCK), ["alice", "alice"])
        self.assertEqual(seen(ServerFactory), ["alice", "bob"])
