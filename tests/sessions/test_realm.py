"""Logins at a realm."""

from __future__ import annotations

from traceback import walk_tb
from typing import Any

from twisted.cred.checkers import ANONYMOUS
from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.internet.defer import CancelledError, Deferred
from twisted.spread import pb
from zope.interface.verify import verifyObject

from pbkit import Admit, AnonymousRealm, CachingRealm, PerConnectionRealm, Realm, Refuse, Session, errors
from pbkit.interfaces import ILogin, ISessionRealm
from pbkit.sessions.lifecycle import Cached, Lingering
from pbkit.sessions.stocklogin import StockLogin
from tests.sessions.case import RealmTestCase, Slow
from tests.support import Client, Recorder, enter


class LoginTests(RealmTestCase):
    """Logins that succeed, and logins that are refused."""

    def test_interfaces(self) -> None:
        """A realm is a cred realm that takes an `ILogin`, and it receives a complete one."""
        seen: list[Any] = []

        class Looking(CachingRealm):
            """A realm that looks at its logins."""

            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Deferred[Any]:
                """Look."""
                seen.append(mind)
                return super().requestAvatar(avatarId, mind, *interfaces)

        realm = Looking(Recorder)
        verifyObject(IRealm, realm)
        verifyObject(ISessionRealm, realm)
        wire = self.wire(realm)
        self.successResultOf(wire.login("alice", Client()))
        verifyObject(ILogin, seen[0])
        self.assertIs(seen[0].peer, wire.server.peer)
        self.assertFalse(seen[0].lost)

    def test_otherInterfaces(self) -> None:
        """A realm serves `pb.IPerspective` and nothing else."""
        self.assertRaises(NotImplementedError, Realm(Recorder).requestAvatar, "alice", None, IRealm)

    def test_begins(self) -> None:
        """A login makes a session, which is counted, announced, and in the roster before it is announced."""
        realm = CachingRealm(Recorder, clock=self.clock)
        begun: list[tuple[Session, bool, int]] = []
        realm.roster.onBegin(lambda s: begun.append((s, s in tuple(realm.roster), len(s.avatar.sessions))))
        session = self.successResultOf(enter(realm))
        self.assertEqual(begun, [(session, True, 1)])
        self.assertEqual((realm.counters.logins, realm.counters.refusals, realm.counters.ends), (1, {}, {}))
        self.assertEqual(session.avatar.events, [("attached", session)])

    def test_endIsTold(self) -> None:
        """At the end of a session, listeners find it ended and not in the roster; then `detached` runs."""
        realm = CachingRealm(Recorder, clock=self.clock)
        session = self.successResultOf(enter(realm))
        ended: list[Any] = []
        realm.roster.onEnd(
            lambda s: ended.append((s, len(realm.roster), type(s.endedWith), s.avatar.told("detached", s)))
        )
        session.end(errors.Kicked)
        self.assertEqual(ended, [(session, 0, errors.Kicked, 0)])
        self.assertEqual(session.avatar.told("detached", session), 1)
        self.assertEqual(realm.counters.ends, {"Kicked": 1})
        self.assertNothingLeft(realm)

    def test_avatarIds(self) -> None:
        """An avatar id is a str, whatever the checker returned: bytes are decoded as UTF-8."""
        realm = CachingRealm(Recorder)
        for given, avatarId in ((b"alice", "alice"), ("alice", "alice"), ("zoë".encode(), "zoë"), ("zoë", "zoë")):
            session = self.successResultOf(enter(realm, given))
            self.assertEqual((session.avatarId, session.avatar.avatarId), (avatarId, avatarId))
        self.assertEqual(len(realm.roster.ofAvatar("zoë")), 2)
        for given in ("anonymous", "anonymous#", "anonymous#7b", "xanonymous#7", "#7"):
            self.successResultOf(enter(realm, given))

    def test_badAvatarIds(self) -> None:
        """An avatar id that is not text, is empty, is not UTF-8, or is reserved for guests is refused."""
        realm = CachingRealm(Recorder, anonymous=AnonymousRealm(Recorder))
        bad: tuple[object, ...] = ("", b"", b"\xff\xfe", 7, None, ["alice"], ("alice",), "anonymous#7", b"anonymous#7")
        for avatarId in bad:
            failure = self.failureResultOf(enter(realm, avatarId))
            self.assertIs(failure.type, errors.BadAvatarId)
        self.assertEqual(realm.counters.refusals, {"BadAvatarId": len(bad)})
        self.assertNothingLeft(realm)

    def test_anonymous(self) -> None:
        """An anonymous login is refused, unless there is an anonymous realm, which then has the session."""
        self.failureResultOf(enter(CachingRealm(Recorder), ANONYMOUS), errors.AnonymousRefused)
        guests = AnonymousRealm(Recorder)
        realm = CachingRealm(Recorder, anonymous=guests)
        first, second = (self.successResultOf(enter(realm, ANONYMOUS)) for _ in range(2))
        self.assertEqual((first.avatarId, second.avatarId), ("anonymous#1", "anonymous#2"))
        self.assertIsNot(first.avatar, second.avatar)
        self.assertEqual((list(guests.roster), list(realm.roster)), ([first, second], []))
        self.assertTrue(realm.takesAnonymous)

    def test_anonymousIsOne(self) -> None:
        """``anonymous=`` takes an `AnonymousRealm` and nothing else."""
        for other in (AnonymousRealm, CachingRealm(Recorder), True, "x"):
            self.assertRaises(errors.ConfigError, CachingRealm, Recorder, anonymous=other)

    def test_needsAnAvatar(self) -> None:
        """
        A realm that cannot build avatars is a ConfigError when it is made. There are three ways to tell it what to
        build.
        """
        self.assertRaises(errors.ConfigError, CachingRealm)

        class ByAttribute(CachingRealm):
            """A realm with the class as an attribute."""

            avatarClass = Recorder

        class ByMethod(CachingRealm):
            """A realm that builds avatars itself."""

            async def buildAvatar(self, avatarId: str) -> Recorder:
                """Build."""
                return Recorder(avatarId)

        for realm in (CachingRealm(Recorder), ByAttribute(), ByMethod()):
            self.assertIsInstance(self.successResultOf(enter(realm)).avatar, Recorder)

    def test_badMind(self) -> None:
        """A mind that is neither None nor a reference is refused before the avatar is built."""
        realm = Slow(clock=self.clock)
        failure = self.failureResultOf(realm.requestAvatar("alice", StockLogin(5, None), pb.IPerspective))
        self.assertIs(failure.type, errors.BadMind)
        self.assertEqual((realm.builds, realm.counters.refusals), ([], {"BadMind": 1}))
        self.assertNothingLeft(realm)

    def test_refusalsAreOfThreeKinds(self) -> None:
        """Every refusal is an `UnauthorizedLogin`, a `LoginDenied` and a `pb.Error`, with a text."""
        for kind in (LookupError("the secret"), pb.Error("told"), LoginDenied("told"), errors.TooManySessions("told")):

            class Failing(CachingRealm):
                """A realm that fails."""

                async def buildAvatar(self, avatarId: str, kind: Exception = kind) -> None:
                    """Fail."""
                    raise kind

            realm = Failing(clock=self.clock)
            failure = self.failureResultOf(enter(realm))
            for base in (UnauthorizedLogin, LoginDenied, pb.Error):
                self.assertIsInstance(failure.value, base)
            internal = isinstance(kind, LookupError)
            self.assertEqual(len(self.flushLoggedErrors(LookupError)), int(internal))
            self.assertEqual("told" in str(failure.value), not internal)
            self.assertNotIn("the secret", str(failure.value))
            self.assertEqual(realm.counters.refusals, {failure.type.__name__: 1})
            self.assertEqual(realm.counters.logins, 0)
            self.assertNothingLeft(realm)

    def test_buildThatIsCancelledByItself(self) -> None:
        """A build that fails with CancelledError while the connection lives is a failure of the server, and logged."""

        class Failing(CachingRealm):
            """A realm in which something of its own is cancelled."""

            def buildAvatar(self, avatarId: str) -> None:
                """Fail."""
                raise CancelledError()

        failure = self.failureResultOf(enter(Failing(clock=self.clock)))
        self.assertIs(failure.type, errors.LoginUnavailable)
        self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 1)

    def test_buildThatGivesNoAvatar(self) -> None:
        """A build that returns something else has failed: this is logged, and the next login builds again."""
        results: list[object] = [None, object()]

        class Careless(CachingRealm):
            """A realm that returns no avatar, twice."""

            def buildAvatar(self, avatarId: str) -> object:
                """Build."""
                return results.pop() if results else Recorder(avatarId)

        realm = Careless(clock=self.clock)
        for _ in range(2):
            self.assertIs(self.failureResultOf(enter(realm)).type, errors.LoginUnavailable)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 2)
        self.assertNothingLeft(realm)
        self.successResultOf(enter(realm))

    def test_classThatDoesNotFit(self) -> None:
        """
        Where the avatar class, `buildAvatar` or `attached` cannot be called, the log says what is wrong, and the client
        is not asked to try again: the next login would fail too.
        """

        def make(avatarId: str, game: object) -> Any:
            return Recorder(avatarId)

        class Building(CachingRealm):
            """Its `buildAvatar` takes too little."""

            def buildAvatar(self) -> Any:  # type: ignore[override]
                """Build."""

        class Deaf(Recorder):
            """Its hook takes too little."""

            def attached(self) -> None:  # type: ignore[override]
                """Begin."""

        class Changed(CachingRealm):
            """Its class is set when the realm exists already."""

        changed = Changed(Recorder, clock=self.clock)
        changed.avatarClass = make
        models = PerConnectionRealm(lambda avatarId, model: Recorder(avatarId), clock=self.clock)
        models.modelClass = make
        for realm, why in (
            (changed, "missing a required argument: 'game'"),
            (Building(clock=self.clock), "too many positional arguments"),
            (CachingRealm(Deaf, clock=self.clock), "too many positional arguments"),
            (models, "missing a required argument: 'game'"),
        ):
            for _ in range(2):
                failure = self.failureResultOf(enter(realm), errors.ServerMisconfigured)
                self.assertNotIn("try again", failure.getErrorMessage())
                (logged,) = self.flushLoggedErrors(TypeError)
                self.assertIn(why, str(logged.value))
            self.assertNothingLeft(realm)

    def test_typeErrorWithin(self) -> None:
        """A TypeError that is raised within the class is a failure like any other."""

        class Raising(Recorder):
            """Fails."""

            def __init__(self, avatarId: str) -> None:
                raise TypeError("no")

        self.assertIs(self.failureResultOf(enter(CachingRealm(Raising))).type, errors.LoginUnavailable)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_ownPolicy(self) -> None:
        """A user's own policy is a function, which is asked after the realm's."""

        def closed(view: Any, candidate: Any) -> Any:
            return Admit() if candidate.avatarId == "alice" else Refuse(errors.LoginRefused("come back at eight"))

        realm = CachingRealm(Recorder, admission=closed)
        self.successResultOf(enter(realm))
        failure = self.failureResultOf(enter(realm, "bob"), errors.LoginRefused)
        self.assertEqual(str(failure.value), "come back at eight")
        self.assertEqual(realm.counters.refusals, {"LoginRefused": 1})

    def test_refusalThatIsAConstant(self) -> None:
        """A policy may return the same `Refuse` each time; it accumulates nothing of the logins that it refused."""
        closed = Refuse(errors.LoginRefused("come back at eight"))
        realm = CachingRealm(Recorder, admission=lambda view, candidate: closed, clock=self.clock)
        frames: list[int] = []
        for _ in range(3):
            failure = self.failureResultOf(enter(realm), errors.LoginRefused)
            self.assertEqual(str(failure.value), "come back at eight")
            frames.append(len(list(walk_tb(closed.error.__traceback__))))
        self.assertEqual(len(set(frames)), 1, frames)

    def test_policyThatRaises(self) -> None:
        """A policy that raises, or returns no decision, refuses the login, and is logged."""
        policy: Any
        for policy in (lambda view, candidate: 1 / 0, lambda view, candidate: None):
            realm = CachingRealm(Recorder, admission=policy)
            self.assertIs(self.failureResultOf(enter(realm)).type, errors.LoginUnavailable)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError, TypeError)), 1)
            self.assertNothingLeft(realm)

    def test_clockOfTheConnection(self) -> None:
        """A realm without a clock takes that of the first connection that logs in."""
        realm = Slow()
        wire = self.wire(realm)
        login = wire.login()
        self.assertIs(realm.clock, self.clock)
        self.clock.advance(30)
        wire.flush()
        self.assertTrue(self.failureResultOf(login).check("pbkit.errors.LoginTimedOut"))


class LifecycleChoiceTests(RealmTestCase):
    """What a realm's parameters choose."""

    def test_linger(self) -> None:
        """``linger=0`` keeps avatars; above 0 they are dropped."""
        self.assertIs(type(CachingRealm(Recorder).lifecycle), Cached)
        self.assertIs(type(CachingRealm(Recorder, linger=5).lifecycle), Lingering)
