"""How a login becomes a session, in every race."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from traceback import walk_tb
from typing import Any

from twisted.cred.checkers import ANONYMOUS
from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pbkit import Admit, AnonymousRealm, CachingRealm, LimitedRealm, Realm, Refuse, Session, SingleClientRealm, errors
from pbkit.interfaces import ILogin, ISessionRealm, currentSession
from pbkit.sessions.lifecycle import Cached, Lingering
from pbkit.sessions.stock import StockLogin
from tests.support import Client, Recorder, Stubborn, Wire, collect, enter, serve


class Slow(CachingRealm):
    """
    Builds when the test says so.

    :ivar builds: by order, the Deferred of each build.
    """

    def __init__(self, *args: Any, kind: type[Deferred[Any]] = Deferred, **kw: Any) -> None:
        self.builds: list[Deferred[Any]] = []
        self._kind = kind
        super().__init__(*args, **kw)

    def buildAvatar(self, avatarId: str) -> Any:
        """Wait."""
        self.builds.append(self._kind())
        return self.builds[-1]


class SlowSingle(Slow, SingleClientRealm):
    """The same, with one client at a time."""


class Hooked(Recorder):
    """
    Its hooks do what the realm's test says.

    :cvar onAttached: called with the session; what it returns is what `attached` returns.
    """

    onAttached: Callable[[Session], Any] = staticmethod(lambda session: None)
    onDetached: Callable[[Session], Any] = staticmethod(lambda session: None)

    def attached(self, session: Session) -> Any:
        """Write it down, and do it."""
        super().attached(session)
        return self.onAttached(session)

    def detached(self, session: Session) -> Any:
        """Write it down, and do it."""
        super().detached(session)
        return self.onDetached(session)


class RealmTestCase(SynchronousTestCase):
    """What the tests below share."""

    def setUp(self) -> None:
        """A clock."""
        self.clock = Clock()

    def hooked(self, attached: Callable[[Session], Any], detached: Callable[[Session], Any] = lambda s: None) -> Any:
        """A class of avatars whose hooks do this."""
        self.made: list[Hooked] = []
        made = self.made

        class Made(Hooked):
            """Is remembered."""

            onAttached = staticmethod(attached)
            onDetached = staticmethod(detached)

            def __init__(self, avatarId: str) -> None:
                super().__init__(avatarId)
                made.append(self)

        return Made

    def events(self) -> list[str]:
        """What the hooks of all avatars were told."""
        return [what for avatar in self.made for what, _ in avatar.events]

    def assertNothingLeft(self, realm: Realm, wires: tuple[Wire, ...] = ()) -> None:
        """Nothing is left in any table."""
        roster = realm.roster
        self.assertEqual((len(roster), roster.pending, len(roster.view.everyone())), (0, 0, 0))
        self.assertEqual((roster._byAvatar, roster._byPeer, roster._sessions), ({}, {}, {}))
        self.assertEqual((realm._logins, realm._leaving, realm._arbitration._probes), (set(), set(), {}))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        for wire in wires:
            self.assertEqual(len(wire.server._channels), 0)
            self.assertEqual((wire.server.owners, wire.server.callers), ({}, {}))

    def wire(self, realm: Realm) -> Wire:
        """A new connection."""
        return Wire(serve(realm, clock=self.clock))


class LoginTests(RealmTestCase):
    """A login that goes well, and one that is refused."""

    def test_interfaces(self) -> None:
        """A realm is a cred realm that wants an `ILogin`; it gets a whole one."""
        seen: list[Any] = []

        class Looking(CachingRealm):
            """Looks at its log-ins."""

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
        """A realm serves perspectives and nothing else."""
        self.assertRaises(NotImplementedError, Realm(Recorder).requestAvatar, "alice", None, IRealm)

    def test_begins(self) -> None:
        """A login makes a session: counted, told of, and in the roster before anybody hears of it."""
        realm = CachingRealm(Recorder, clock=self.clock)
        begun: list[tuple[Session, bool, int]] = []
        realm.roster.onBegin(lambda s: begun.append((s, s in tuple(realm.roster), len(s.avatar.sessions))))
        session = self.successResultOf(enter(realm))
        self.assertEqual(begun, [(session, True, 1)])
        self.assertEqual((realm.counters.logins, realm.counters.refusals, realm.counters.ends), (1, {}, {}))
        self.assertEqual(session.avatar.events, [("attached", session)])

    def test_endIsTold(self) -> None:
        """At its end listeners find it out of the roster and dead; then `detached` runs."""
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
        """An avatar id is a text, whatever the checker gave: bytes are UTF-8."""
        realm = CachingRealm(Recorder)
        for given, avatarId in ((b"alice", "alice"), ("alice", "alice"), ("zoë".encode(), "zoë"), ("zoë", "zoë")):
            session = self.successResultOf(enter(realm, given))
            self.assertEqual((session.avatarId, session.avatar.avatarId), (avatarId, avatarId))
        self.assertEqual(len(realm.roster.ofAvatar("zoë")), 2)
        for given in ("anonymous", "anonymous#", "anonymous#7b", "xanonymous#7", "#7"):
            self.successResultOf(enter(realm, given))

    def test_badAvatarIds(self) -> None:
        """What is no text, nothing, not UTF-8, or of the form kept for guests is refused."""
        realm = CachingRealm(Recorder, anonymous=AnonymousRealm(Recorder))
        bad: tuple[object, ...] = ("", b"", b"\xff\xfe", 7, None, ["alice"], ("alice",), "anonymous#7", b"anonymous#7")
        for avatarId in bad:
            failure = self.failureResultOf(enter(realm, avatarId))
            self.assertIs(failure.type, errors.BadAvatarId)
        self.assertEqual(realm.counters.refusals, {"BadAvatarId": len(bad)})
        self.assertNothingLeft(realm)

    def test_anonymous(self) -> None:
        """Who has no name is refused, unless there is an anonymous realm for him, which then has his session."""
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
        """A realm that could build nothing is a ConfigError at once; three ways of saying what to build are right."""
        self.assertRaises(errors.ConfigError, CachingRealm)

        class ByAttribute(CachingRealm):
            """Names its class."""

            avatarClass = Recorder

        class ByMethod(CachingRealm):
            """Builds itself."""

            async def buildAvatar(self, avatarId: str) -> Recorder:
                """Build."""
                return Recorder(avatarId)

        for realm in (CachingRealm(Recorder), ByAttribute(), ByMethod()):
            self.assertIsInstance(self.successResultOf(enter(realm)).avatar, Recorder)

    def test_badMind(self) -> None:
        """A mind that is neither None nor a reference is refused before anything is built."""
        realm = Slow(clock=self.clock)
        failure = self.failureResultOf(realm.requestAvatar("alice", StockLogin(5, None), pb.IPerspective))
        self.assertIs(failure.type, errors.BadMind)
        self.assertEqual((realm.builds, realm.counters.refusals), ([], {"BadMind": 1}))
        self.assertNothingLeft(realm)

    def test_refusalsAreOfThreeKinds(self) -> None:
        """Whatever refuses a login is an `UnauthorizedLogin`, a `LoginDenied` and a `pb.Error`, with a text."""
        for kind in (LookupError("the secret"), pb.Error("told"), LoginDenied("told"), errors.TooManySessions("told")):

            class Failing(CachingRealm):
                """Fails."""

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
        """A build that fails with CancelledError while the connection lives is the server's failure, and logged."""

        class Failing(CachingRealm):
            """Something of its own was cancelled."""

            def buildAvatar(self, avatarId: str) -> None:
                """Fail."""
                raise CancelledError()

        failure = self.failureResultOf(enter(Failing(clock=self.clock)))
        self.assertIs(failure.type, errors.LoginUnavailable)
        self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 1)

    def test_buildThatGivesNoAvatar(self) -> None:
        """A build that returns something else has failed: that is logged, and the next login builds anew."""
        results: list[object] = [None, object()]

        class Careless(CachingRealm):
            """Forgets to return one, twice."""

            def buildAvatar(self, avatarId: str) -> object:
                """Build."""
                return results.pop() if results else Recorder(avatarId)

        realm = Careless(clock=self.clock)
        for _ in range(2):
            self.assertIs(self.failureResultOf(enter(realm)).type, errors.LoginUnavailable)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 2)
        self.assertNothingLeft(realm)
        self.successResultOf(enter(realm))

    def test_ownPolicy(self) -> None:
        """A user's own policy is a function, asked after the realm's."""

        def closed(view: Any, candidate: Any) -> Any:
            return Admit() if candidate.avatarId == "alice" else Refuse(errors.LoginRefused("come back at eight"))

        realm = CachingRealm(Recorder, admission=closed)
        self.successResultOf(enter(realm))
        failure = self.failureResultOf(enter(realm, "bob"), errors.LoginRefused)
        self.assertEqual(str(failure.value), "come back at eight")
        self.assertEqual(realm.counters.refusals, {"LoginRefused": 1})

    def test_refusalThatIsAConstant(self) -> None:
        """A policy may return the same `Refuse` each time: it gathers nothing of the log-ins that it refused."""
        closed = Refuse(errors.LoginRefused("come back at eight"))
        realm = CachingRealm(Recorder, admission=lambda view, candidate: closed, clock=self.clock)
        frames: list[int] = []
        for _ in range(3):
            failure = self.failureResultOf(enter(realm), errors.LoginRefused)
            self.assertEqual(str(failure.value), "come back at eight")
            frames.append(len(list(walk_tb(closed.error.__traceback__))))
        self.assertEqual(len(set(frames)), 1, frames)

    def test_policyThatRaises(self) -> None:
        """A policy that raises, or forgets to decide, refuses the login, and is logged."""
        policy: Any
        for policy in (lambda view, candidate: 1 / 0, lambda view, candidate: None):
            realm = CachingRealm(Recorder, admission=policy)
            self.assertIs(self.failureResultOf(enter(realm)).type, errors.LoginUnavailable)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError, TypeError)), 1)
            self.assertNothingLeft(realm)

    def test_clockOfTheConnection(self) -> None:
        """A realm that was given no clock has that of the first connection that logs in."""
        realm = Slow()
        wire = self.wire(realm)
        login = wire.login()
        self.assertIs(realm.clock, self.clock)
        self.clock.advance(30)
        wire.flush()
        self.assertTrue(self.failureResultOf(login).check("pbkit.errors.LoginTimedOut"))


class BuildTests(RealmTestCase):
    """Builds that take their time."""

    def test_tenAtOnce(self) -> None:
        """Ten concurrent first log-ins build one avatar, which is attached ten times."""
        realm = Slow(clock=self.clock)
        wire = self.wire(realm)
        logins = [wire.login("alice", Client()) for _ in range(10)]
        self.assertEqual((len(realm.builds), realm.roster.pending, len(realm.roster)), (1, 10, 0))
        avatar = Recorder("alice")
        realm.builds[0].callback(avatar)
        wire.flush()
        kept = [self.successResultOf(each) for each in logins]
        self.assertEqual({session.avatar for session in realm.roster}, {avatar})
        self.assertEqual([what for what, _ in avatar.events], ["attached"] * 10)
        del kept, logins
        wire.flush()
        self.assertEqual([what for what, _ in avatar.events], ["attached"] * 10 + ["detached"] * 10)
        self.assertNothingLeft(realm, (wire,))

    def test_failedBuild(self) -> None:
        """A failed build fails those log-ins, and the next builds anew."""
        realm = Slow(clock=self.clock)
        logins = [enter(realm) for _ in range(3)]
        realm.builds[0].errback(pb.Error("no such player"))
        for each in logins:
            self.assertEqual(str(self.failureResultOf(each, errors.LoginRefused).value), "no such player")
        again = enter(realm)
        realm.builds[1].callback(Recorder("alice"))
        self.successResultOf(again)
        self.assertEqual(realm.counters.refusals, {"LoginRefused": 3})

    def test_leaverCancelsNothing(self) -> None:
        """A waiter that disconnects, the first one too, cancels no build that others wait for."""
        for leaver in (0, 1):
            realm = Slow(clock=self.clock)
            wires = [self.wire(realm) for _ in range(2)]
            logins = [wire.login() for wire in wires]
            wires[leaver].cut()
            self.assertEqual(realm.roster.pending, 1)
            realm.builds[0].callback(Recorder("alice"))
            wires[1 - leaver].flush()
            self.successResultOf(logins[1 - leaver])
            self.assertEqual((len(realm.roster), len(realm.builds)), (1, 1))
            self.assertEqual(realm.counters.refusals, {"LoginInterrupted": 1})
            for wire in wires:
                wire.flush()
            self.failureResultOf(logins[leaver])

    def test_allLeave(self) -> None:
        """When all who wait are gone the build is cancelled, and nothing is left of it."""
        realm = Slow(clock=self.clock)
        wires = [self.wire(realm) for _ in range(2)]
        logins = [wire.login() for wire in wires]
        for wire in wires:
            wire.cut()
        self.assertIsInstance(realm.builds[0].result, type(None))
        self.assertTrue(realm.builds[0].called)
        self.assertEqual(len(realm.lifecycle), 0)  # type: ignore[arg-type]
        self.assertNothingLeft(realm, tuple(wires))
        for wire, login in zip(wires, logins, strict=True):
            wire.flush()
            self.failureResultOf(login)

    def test_lossThatFollowsTheBuild(self) -> None:
        """A build that pays no heed to its client's being gone leaves nothing when it is ready at last."""
        for realm in (Slow(clock=self.clock, kind=Stubborn), SlowSingle(clock=self.clock, kind=Stubborn)):
            wire = self.wire(realm)
            login = wire.login()
            wire.cut()
            self.assertNothingLeft(realm, (wire,))
            avatar = Recorder("alice")
            realm.builds[0].callback(avatar)
            self.assertEqual(avatar.events, [])
            self.assertNothingLeft(realm, (wire,))
            wire.flush()
            self.failureResultOf(login)

    def test_hungBuild(self) -> None:
        """A build has 30 s, also if it pays no heed to being cancelled; then its place is free."""
        for kind in (Deferred, Stubborn):
            realm = SlowSingle(clock=self.clock, kind=kind)
            login = enter(realm)
            self.clock.advance(29.9)
            self.assertNoResult(login)
            self.assertEqual(realm.roster.pending, 1)
            self.clock.advance(0.2)
            self.failureResultOf(login, errors.LoginTimedOut)
            self.assertNothingLeft(realm)
            again = enter(realm)
            realm.builds[1].callback(Recorder("alice"))
            self.successResultOf(again)

    def test_buildThatRaisesWhenCancelled(self) -> None:
        """A build that raises when it is cancelled holds no place of one who is gone, and is logged."""

        def canceller(d: Deferred[Any]) -> None:
            raise LookupError("while cancelling")

        class Nasty(SingleClientRealm):
            """Its builds cannot be cancelled in peace."""

            def buildAvatar(self, avatarId: str) -> Deferred[Any]:
                """Wait."""
                return Deferred(canceller)

        realm = Nasty(clock=self.clock)
        wire = self.wire(realm)
        wire.login().addErrback(lambda _: None)
        wire.cut()
        self.assertNothingLeft(realm, (wire,))
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def test_lostWithinTheBuild(self) -> None:
        """If the connection is lost, or the server stopped, while a plain build runs, no hook is called."""
        happens: list[Callable[[], object]] = []
        avatarClass = self.hooked(lambda session: None)

        class Sudden(CachingRealm):
            """Something happens while it builds."""

            def buildAvatar(self, avatarId: str) -> Any:
                """Build."""
                happens.pop()()
                return avatarClass(avatarId)

        realm = Sudden(clock=self.clock)
        wire = self.wire(realm)
        happens.append(wire.cut)
        self.failureResultOf(enter(realm, wire=wire), errors.LoginInterrupted)
        self.assertNothingLeft(realm, (wire,))
        happens.append(realm.close)
        self.failureResultOf(enter(realm, "bob"), errors.ServerStopping)
        self.assertEqual((len(self.made), self.events()), (2, []))
        self.assertNothingLeft(realm)

    def test_endsWhileTheyAreTold(self) -> None:
        """The first of those who waited for a build may take another one's connection away at that moment."""
        wires: list[Wire] = []
        avatarClass = self.hooked(lambda session: wires[1].cut())
        realm = Slow(clock=self.clock)
        wires.extend(self.wire(realm) for _ in range(3))
        logins = [wire.login() for wire in wires]
        realm.builds[0].callback(avatarClass("alice"))
        for wire in wires:
            wire.flush()
        kept = [self.successResultOf(logins[n]) for n in (0, 2)]
        self.failureResultOf(logins[1])
        self.assertEqual((len(realm.roster), self.events()), (2, ["attached"] * 2))
        del kept

    def test_currentSessionIsNone(self) -> None:
        """A build runs in nobody's name."""
        seen: list[Any] = []

        class Looking(CachingRealm):
            """Looks whose call it is."""

            def buildAvatar(self, avatarId: str) -> Recorder:
                """Look."""
                seen.append(currentSession())
                return Recorder(avatarId)

        wire = self.wire(Looking())
        self.successResultOf(wire.login())
        self.assertEqual(seen, [None])


class HookTests(RealmTestCase):
    """`attached` and `detached`, and what happens while they run."""

    def setUp(self) -> None:
        """A gate for slow hooks."""
        super().setUp()
        self.gate: Deferred[Any] = Deferred()

    def returns(self, result: Any, session: Session) -> Any:
        """A hook that returns this."""
        return result

    def test_attachedRaises(self) -> None:
        """`attached` raising, at once or later, refuses the login; `detached` does not run, and nothing is left."""

        async def later(session: Session) -> None:
            raise pb.Error("not today")

        def atOnce(session: Session) -> None:
            raise pb.Error("not today")

        for hook in (atOnce, later):
            realm = CachingRealm(self.hooked(hook), clock=self.clock)
            wire = self.wire(realm)
            failure = self.failureResultOf(wire.login())
            self.assertEqual(failure.getErrorMessage(), "not today")
            self.assertEqual(self.events(), ["attached"])
            self.assertEqual((realm.counters.logins, realm.counters.ends), (0, {}))
            self.assertNothingLeft(realm, (wire,))

    def test_attachedHasThirtySeconds(self) -> None:
        """A hook that hangs refuses the login after 30 s; `detached` runs if it returns after all."""
        kinds: tuple[type[Deferred[Any]], ...] = (Deferred, Stubborn)
        for kind in kinds:
            gate = kind()
            realm = SingleClientRealm(self.hooked(partial(self.returns, gate)), clock=self.clock)
            login = enter(realm)
            self.clock.advance(29.9)
            self.assertNoResult(login)
            self.clock.advance(0.2)
            self.failureResultOf(login, errors.LoginTimedOut)
            self.assertEqual((realm.roster.pending, len(realm.roster), self.events()), (0, 0, ["attached"]))
            if kind is Stubborn:
                gate.callback(None)
                self.assertEqual(self.events(), ["attached", "detached"])
            self.assertNothingLeft(realm)

    def test_endedWithinAttached(self) -> None:
        """`attached` may end its session: the login is refused, with the reason, and `detached` runs."""

        def sync(session: Session) -> None:
            session.end(errors.Kicked, "banned")

        async def coroutine(session: Session) -> None:
            session.end(errors.Kicked, "banned")

        for hook in (sync, coroutine):
            realm = CachingRealm(self.hooked(hook), clock=self.clock)
            wire = self.wire(realm)
            failure = self.failureResultOf(wire.login())
            self.assertTrue(failure.check("pbkit.errors.LoginInterrupted"))
            self.assertIn("banned", failure.getErrorMessage())
            self.assertEqual(self.events(), ["attached", "detached"])
            self.assertEqual(self.made[0].sessions, ())
            self.assertEqual((realm.counters.logins, realm.counters.ends), (0, {}))
            self.assertNothingLeft(realm, (wire,))

    def test_endedWithinAttachedThatRaises(self) -> None:
        """`attached` that ends its session and then raises has not returned: no `detached`."""

        def hook(session: Session) -> None:
            session.end(errors.Kicked)
            raise pb.Error("and out")

        realm = CachingRealm(self.hooked(hook), clock=self.clock)
        self.failureResultOf(enter(realm), errors.LoginRefused)
        self.assertEqual(self.events(), ["attached"])
        self.assertNothingLeft(realm)

    def kickedWhileAttaching(self, finish: Callable[[], None]) -> tuple[Deferred[Any], Realm]:
        """A session that is ended while its `attached` waits, which then finishes."""
        seen: list[Session] = []

        def hook(session: Session) -> Deferred[Any]:
            seen.append(session)
            return self.gate

        realm = SingleClientRealm(self.hooked(hook), clock=self.clock)
        login = enter(realm)
        seen[0].end(errors.Kicked)
        self.assertEqual(self.events(), ["attached"])
        finish()
        return login, realm

    def test_kickedWhileAttaching(self) -> None:
        """A session that is ended while `attached` waits is refused; `detached` runs once if that returns."""
        login, realm = self.kickedWhileAttaching(lambda: self.gate.callback(None))
        self.failureResultOf(login, errors.LoginInterrupted)
        self.assertEqual(self.events(), ["attached", "detached"])
        self.assertNothingLeft(realm)

    def test_kickedWhileAttachingWhichRaises(self) -> None:
        """It does not run if `attached` raises."""
        login, realm = self.kickedWhileAttaching(lambda: self.gate.errback(pb.Error("no")))
        self.failureResultOf(login, errors.LoginRefused)
        self.assertEqual(self.events(), ["attached"])
        self.assertNothingLeft(realm)

    def test_kickedWhileAttachingWhichHangs(self) -> None:
        """Nor if it never returns; the place was free at once."""
        login, realm = self.kickedWhileAttaching(lambda: None)
        self.assertEqual(len(realm.roster.view.everyone()), 0)
        self.clock.advance(30)
        self.failureResultOf(login, errors.LoginTimedOut)
        self.assertEqual(self.events(), ["attached"])
        self.assertNothingLeft(realm)

    def lostWhileAttaching(self) -> tuple[Realm, Wire]:
        """A connection that is lost while `attached` waits."""
        realm = SingleClientRealm(self.hooked(lambda session: self.gate), clock=self.clock)
        wire = self.wire(realm)
        wire.login().addErrback(lambda _: None)
        wire.cut()
        # The place is free at once: the user may come back before the hook is done.
        self.assertEqual((len(realm.roster.view.everyone()), realm._logins), (0, set()))
        self.assertEqual(self.events(), ["attached"])
        return realm, wire

    def test_lostWhileAttaching(self) -> None:
        """If the connection is lost while `attached` waits, `detached` runs once when that returns."""
        realm, wire = self.lostWhileAttaching()
        self.gate.callback(None)
        self.assertEqual(self.events(), ["attached", "detached"])
        self.assertIsInstance(self.made[0].events[0][1].endedWith, errors.Disconnected)
        self.assertEqual(realm.counters.refusals, {"LoginInterrupted": 1})
        self.assertNothingLeft(realm, (wire,))

    def test_lostWhileAttachingWhichRaises(self) -> None:
        """If it raises instead, `detached` does not run; the error is logged, for nobody else hears of it."""
        realm, wire = self.lostWhileAttaching()
        self.gate.errback(LookupError("late"))
        collect()
        self.assertEqual(self.events(), ["attached"])
        self.assertNothingLeft(realm, (wire,))
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def test_lostWhileAttachingWhichHangs(self) -> None:
        """If it never returns it is cancelled after 30 s, and `detached` does not run."""
        realm, wire = self.lostWhileAttaching()
        self.clock.advance(30)
        self.assertEqual(self.events(), ["attached"])
        self.assertNothingLeft(realm, (wire,))

    def test_lostWithinAttached(self) -> None:
        """The connection may be lost while a plain `attached` runs: `detached` follows."""
        wires: list[Wire] = []
        for slow in (False, True):
            avatarClass = self.hooked(lambda session: wires[-1].cut())
            realm = Slow(clock=self.clock) if slow else CachingRealm(avatarClass, clock=self.clock)
            wires.append(self.wire(realm))
            login = enter(realm, wire=wires[-1])
            if isinstance(realm, Slow):
                realm.builds[0].callback(avatarClass("alice"))
            self.failureResultOf(login, errors.LoginInterrupted)
            self.assertEqual(self.events(), ["attached", "detached"])
            self.assertNothingLeft(realm, (wires[-1],))

    def test_endedWithinBegin(self) -> None:
        """The session may be ended while listeners hear of its beginning: it has begun and ended once."""
        realm = CachingRealm(self.hooked(lambda session: None), clock=self.clock)
        realm.roster.onBegin(lambda session: session.end(errors.Kicked))
        wire = self.wire(realm)
        failure = self.failureResultOf(wire.login())
        self.assertTrue(failure.check("pbkit.errors.LoginInterrupted"))
        self.assertEqual(self.events(), ["attached", "detached"])
        self.assertEqual((realm.counters.logins, realm.counters.ends), (1, {"Kicked": 1}))
        self.assertNothingLeft(realm, (wire,))

    def test_attachedMayCallItsClient(self) -> None:
        """`attached` may ask its client something and wait for the answer; if that fails the login is refused."""
        answers: list[Any] = []

        async def ask(session: Session) -> None:
            answers.append(await session.mind.callRemote("ask"))

        async def fail(session: Session) -> None:
            await session.mind.callRemote("fail")

        realm = CachingRealm(self.hooked(ask), clock=self.clock)
        client = Client()
        client.answer = "blue"
        kept = self.successResultOf(self.wire(realm).login("alice", client))
        self.assertEqual(answers, ["blue"])
        realm = CachingRealm(self.hooked(fail), clock=self.clock)
        failure = self.failureResultOf(self.wire(realm).login("alice", Client()))
        self.assertTrue(failure.check("pbkit.errors.LoginUnavailable"))
        self.assertNotIn("own affair", failure.getErrorMessage())
        self.flushLoggedErrors()
        self.assertNothingLeft(realm)
        del kept

    def test_detachedRaises(self) -> None:
        """`detached` that raises, at once or later, is logged; the session has ended, its connection lives on."""

        async def later(session: Session) -> None:
            raise LookupError("no")

        def atOnce(session: Session) -> None:
            raise LookupError("no")

        for hook in (atOnce, later):
            realm = CachingRealm(self.hooked(lambda s: None, hook), clock=self.clock)
            wire = self.wire(realm)
            avatar = self.successResultOf(wire.login())
            del avatar
            wire.flush()
            self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
            self.assertEqual(realm.counters.ends, {"LoggedOut": 1})
            self.assertNothingLeft(realm, (wire,))
            self.successResultOf(wire.login())
            self.flushLoggedErrors(LookupError)

    def test_onlyDetached(self) -> None:
        """Both hooks are optional: an avatar that has `detached` alone hears of the end."""
        heard: list[Session] = []

        class Watching(pb.Avatar):
            """Wants to know of the end only."""

            def __init__(self, avatarId: str) -> None:
                pass

            def detached(self, session: Session) -> None:
                """Hear."""
                heard.append(session)

        session = self.successResultOf(enter(CachingRealm(Watching)))
        session.end()
        self.assertEqual(heard, [session])

    def test_avatarIsHeldWhileItIsTold(self) -> None:
        """An avatar is not dropped, and so not built anew beside itself, while it is still being told of an end."""
        realm = CachingRealm(self.hooked(lambda s: None, lambda s: self.gate), linger=1, clock=self.clock)
        session = self.successResultOf(enter(realm))
        session.end()
        self.clock.advance(10)
        self.assertIs(self.successResultOf(enter(realm)).avatar, session.avatar)
        self.gate.callback(None)
        self.assertEqual(len(self.made), 1)


class TakeoverTests(RealmTestCase):
    """A newcomer that replaces a session."""

    def test_inOrder(self) -> None:
        """The newcomer is attached first, then the old session ends; in the roster both happen in one step."""
        realm = SingleClientRealm(self.hooked(lambda s: None), conflict="kick", clock=self.clock)
        old = self.successResultOf(enter(realm))
        sizes: list[int] = []
        realm.roster.onBegin(lambda s: sizes.append(len(realm.roster)))
        realm.roster.onEnd(lambda s: sizes.append(len(realm.roster)))
        new = self.successResultOf(enter(realm))
        self.assertEqual(self.made[0].events, [("attached", old), ("attached", new), ("detached", old)])
        self.assertIsInstance(old.endedWith, errors.Replaced)
        self.assertEqual((sizes, list(realm.roster)), ([1, 1], [new]))
        self.assertEqual(self.made[0].sessions, (new,))
        self.assertEqual(realm.counters.ends, {"Replaced": 1})

    def test_avatarKnowsOnlyTheNewcomer(self) -> None:
        """Whoever hears of the newcomer's beginning finds one session with the avatar too, where one is the limit."""
        realm = SingleClientRealm(Recorder, conflict="kick", clock=self.clock)
        self.successResultOf(enter(realm))
        seen: list[Any] = []
        realm.roster.onBegin(lambda s: seen.append(s.avatar.sessions))
        new = self.successResultOf(enter(realm))
        self.assertEqual(seen, [(new,)])

    def test_failedBuildEndsNobody(self) -> None:
        """A takeover whose build fails, hangs or is given up leaves the old session as it was."""
        for fate in ("fails", "hangs", "leaves"):
            building: list[Deferred[Any]] = []

            class Fresh(Realm):
                """A new avatar for each login; all but the first take their time."""

                def makePolicy(self) -> Any:
                    """One at a time."""
                    return SingleClientRealm(Recorder, conflict="kick").makePolicy()

                def buildAvatar(self, avatarId: str, building: list[Deferred[Any]] = building) -> Any:
                    """Build."""
                    building.append(Deferred())
                    return building[-1] if len(building) > 1 else Recorder(avatarId)

            realm = Fresh(clock=self.clock)
            old = self.successResultOf(enter(realm))
            wire = self.wire(realm)
            wire.login().addErrback(lambda _: None)
            self.assertEqual((len(realm.roster), realm.roster.pending), (1, 1))
            if fate == "fails":
                building[1].errback(pb.Error("no"))
            elif fate == "hangs":
                self.clock.advance(30)
            else:
                wire.cut()
            self.assertIsNone(old.endedWith)
            self.assertEqual((list(realm.roster), realm.roster.pending), ([old], 0))
            self.assertEqual(len(realm.roster.view.avatar("alice")), 1)
            self.assertEqual(old.avatar.events, [("attached", old)])

    def test_failedAttachedEndsNobody(self) -> None:
        """A takeover whose `attached` fails, hangs, ends itself or is given up leaves the old session as it was."""

        def fails(session: Session) -> Any:
            raise pb.Error("no")

        hook: Any
        for hook in (fails, lambda s: Deferred(), lambda s: Stubborn(), lambda s: s.end(errors.Kicked), "leaves"):
            hooks: list[Any] = [lambda s: None]
            avatarClass = self.hooked(partial(lambda hooks, s: hooks[0](s), hooks))
            realm = SingleClientRealm(avatarClass, conflict="kick", clock=self.clock)
            old = self.successResultOf(enter(realm))
            hooks[0] = (lambda s: Deferred()) if hook == "leaves" else hook
            wire = self.wire(realm)
            wire.login().addErrback(lambda _: None)
            if hook == "leaves":
                wire.cut()
            self.clock.advance(30)
            self.assertIsNone(old.endedWith)
            self.assertEqual((list(realm.roster), realm.roster.pending), ([old], 0))
            self.assertEqual(self.made[0].told("detached", old), 0)
            hooks[0] = lambda s: None
            new = self.successResultOf(enter(realm))
            self.assertEqual((list(realm.roster), type(old.endedWith)), ([new], errors.Replaced))

    def test_oldOneEndsMeanwhile(self) -> None:
        """The old session may end while the newcomer is being built: it ends once, with its own reason."""
        gates: list[Deferred[Any]] = []
        hooks: list[Any] = [lambda s: None]
        realm = SingleClientRealm(self.hooked(lambda s: hooks[0](s)), conflict="kick", clock=self.clock)
        old = self.successResultOf(enter(realm))
        hooks[0] = lambda s: gates.append(Deferred()) or gates[-1]  # type: ignore[func-returns-value]
        new = enter(realm)
        old.end(errors.LoggedOut)
        gates[0].callback(None)
        self.assertEqual(list(realm.roster), [self.successResultOf(new)])
        self.assertEqual(realm.counters.ends, {"LoggedOut": 1})
        self.assertEqual(self.made[0].told("detached", old), 1)

    def test_oldOneEndsTheNewOne(self) -> None:
        """`detached` of the old session may end the new one: each has ended once, and the login is refused."""
        seen: list[Session] = []

        def detached(session: Session) -> None:
            for other in session.avatar.sessions:
                other.end(errors.Kicked)

        realm = SingleClientRealm(self.hooked(seen.append, detached), conflict="kick", clock=self.clock)
        self.successResultOf(enter(realm))
        self.failureResultOf(enter(realm), errors.LoginInterrupted)
        self.assertEqual(realm.counters.ends, {"Replaced": 1, "Kicked": 1})
        self.assertEqual(sorted(self.events()), ["attached", "attached", "detached", "detached"])
        self.assertNothingLeft(realm)

    def test_twoRaceForOnePlace(self) -> None:
        """Of two newcomers at once under refuse one gets the only place, the other is refused."""
        realm = SlowSingle(clock=self.clock)
        first, second = enter(realm), enter(realm)
        failure = self.failureResultOf(second, errors.TooManySessions)
        self.assertEqual(str(failure.value), "alice has 1 of 1 connections")
        realm.builds[0].callback(Recorder("alice"))
        self.assertEqual(list(realm.roster), [self.successResultOf(first)])

    def test_twoRaceUnderKick(self) -> None:
        """Under kick they come in one after the other; each replaces the one before, and one is left."""
        realm = SlowSingle(conflict="kick", clock=self.clock)
        logins = [enter(realm) for _ in range(3)]
        avatar = Recorder("alice")
        realm.builds[0].callback(avatar)
        for each in logins[:2]:
            # Replaced before it had its answer, or after.
            each.addErrback(lambda failure: failure.trap(errors.LoginInterrupted))
            self.successResultOf(each)
        last = self.successResultOf(logins[2])
        self.assertEqual(list(realm.roster), [last])
        self.assertEqual([what for what, _ in avatar.events].count("detached"), 2)
        self.assertEqual(realm.counters.ends, {"Replaced": 2})

    def test_twoRaceUnderKickWhenTheFirstFails(self) -> None:
        """If the first of two newcomers fails, the second replaces the one who was there before both."""
        hooks: list[Any] = [lambda s: None]
        realm = SingleClientRealm(self.hooked(lambda s: hooks[0](s)), conflict="kick", clock=self.clock)
        old = self.successResultOf(enter(realm))
        gate: Deferred[Any] = Deferred()
        hooks[0] = lambda s: gate
        first = enter(realm)
        hooks[0] = lambda s: None
        second = enter(realm)
        self.assertNoResult(second)
        gate.errback(pb.Error("no"))
        self.failureResultOf(first, errors.LoginRefused)
        self.assertEqual(list(realm.roster), [self.successResultOf(second)])
        self.assertIsInstance(old.endedWith, errors.Replaced)

    def test_twoRaceUnderProbe(self) -> None:
        """Under probe one of two newcomers takes the place of a holder that is dead; the other is refused."""
        realm = SingleClientRealm(Recorder, conflict="probe", clock=self.clock)
        dead = self.wire(realm)
        kept = self.successResultOf(dead.login())
        (old,) = realm.roster
        wires = [self.wire(realm) for _ in range(2)]
        logins = [wire.login() for wire in wires]
        self.clock.advance(10)
        for wire in wires:
            wire.flush()
        kept = self.successResultOf(logins[0])
        self.assertTrue(self.failureResultOf(logins[1]).check("pbkit.errors.TooManySessions"))
        self.assertIsInstance(old.endedWith, errors.Replaced)
        self.assertEqual((len(realm.roster), realm.roster.pending), (1, 0))
        del kept

    def test_limitCountsThePending(self) -> None:
        """Pending log-ins count: of ten at once under a limit of three, three are let in."""

        class SlowLimited(Slow, LimitedRealm):
            """Three at a time, and slow."""

        realm = SlowLimited(clock=self.clock)
        logins = [enter(realm) for _ in range(10)]
        for each in logins[3:]:
            failure = self.failureResultOf(each, errors.TooManySessions)
            self.assertEqual(str(failure.value), "alice has 3 of 3 connections")
        realm.builds[0].callback(Recorder("alice"))
        for each in logins[:3]:
            self.successResultOf(each)
        self.assertEqual(realm.counters.refusals, {"TooManySessions": 7})


class CloseTests(RealmTestCase):
    """The end of a realm."""

    def test_endsAll(self) -> None:
        """Every session ends with `Shutdown`, its `detached` runs, and newcomers are refused."""
        realm = CachingRealm(self.hooked(lambda s: None), clock=self.clock)
        sessions = [self.successResultOf(enter(realm, name)) for name in ("alice", "alice", "bob")]
        self.successResultOf(realm.close())
        self.assertEqual({type(each.endedWith) for each in sessions}, {errors.Shutdown})
        self.assertEqual(sorted(self.events()), ["attached"] * 3 + ["detached"] * 3)
        self.failureResultOf(enter(realm), errors.ServerStopping)
        self.assertEqual((realm.counters.ends, realm.counters.refusals), ({"Shutdown": 3}, {"ServerStopping": 1}))
        self.assertNothingLeft(realm)
        self.successResultOf(realm.close())

    def test_waitsForDetached(self) -> None:
        """It waits for asynchronous `detached` hooks."""
        gates: list[Deferred[Any]] = []

        def detached(session: Session) -> Deferred[Any]:
            gates.append(Deferred())
            return gates[-1]

        realm = CachingRealm(self.hooked(lambda s: None, detached), clock=self.clock)
        for name in ("alice", "bob"):
            self.successResultOf(enter(realm, name))
        closing = realm.close()
        gates[0].callback(None)
        self.assertNoResult(closing)
        gates[1].callback(None)
        self.successResultOf(closing)
        self.assertNothingLeft(realm)

    def test_waitsForDetachedOfSessionsThatEndedBefore(self) -> None:
        """Also for those of sessions that had ended already."""
        gate: Deferred[Any] = Deferred()
        realm = CachingRealm(self.hooked(lambda s: None, lambda s: gate), clock=self.clock)
        self.successResultOf(enter(realm)).end()
        closing = realm.close()
        self.assertNoResult(closing)
        gate.callback(None)
        self.successResultOf(closing)

    def test_waitsForCoroutines(self) -> None:
        """Also for those that are ``async def``, after an ``async def`` `attached`."""
        gate: Deferred[Any] = Deferred()

        async def attached(session: Session) -> None:
            pass

        async def detached(session: Session) -> None:
            await gate

        realm = CachingRealm(self.hooked(attached, detached), clock=self.clock)
        self.successResultOf(enter(realm))
        closing = realm.close()
        self.assertNoResult(closing)
        gate.callback(None)
        self.successResultOf(closing)

    def test_waitsForFiveSecondsAtMost(self) -> None:
        """It does not wait for longer than 5 s, or the time given; nothing is logged for that."""
        for seconds, kw in ((5.0, {}), (2.0, {"timeout": 2.0})):
            realm = CachingRealm(self.hooked(lambda s: None, lambda s: Stubborn()), clock=self.clock)
            self.successResultOf(enter(realm))
            closing = realm.close(**kw)
            self.clock.advance(seconds - 0.1)
            self.assertNoResult(closing)
            self.clock.advance(0.2)
            self.successResultOf(closing)
            del closing
            collect()
            self.assertEqual(self.flushLoggedErrors(), [])
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_pendingLoginsAreRefused(self) -> None:
        """Whoever is being built, attached, decided upon or probed for is refused as the server stops."""
        realm = SlowSingle(conflict="kick", clock=self.clock)
        logins = [enter(realm), enter(realm), enter(realm, "bob")]
        realm.builds[1].callback(self.hooked(lambda s: Deferred())("bob"))
        closing = realm.close()
        for each in logins:
            self.failureResultOf(each, errors.ServerStopping)
        self.assertEqual(realm.counters.refusals, {"ServerStopping": 3})
        self.clock.advance(30)
        self.successResultOf(closing)
        self.assertEqual(self.events(), ["attached"])
        self.assertNothingLeft(realm)

    def test_waitsForAttachedThatIsUnderWay(self) -> None:
        """A session whose `attached` is under way has its `detached` within the time of closing."""
        gate: Deferred[Any] = Deferred()
        realm = CachingRealm(self.hooked(lambda s: gate), clock=self.clock)
        login = enter(realm)
        closing = realm.close()
        self.failureResultOf(login, errors.ServerStopping)
        self.assertNoResult(closing)
        gate.callback(None)
        self.successResultOf(closing)
        self.assertEqual(self.events(), ["attached", "detached"])
        self.assertIsInstance(self.made[0].events[0][1].endedWith, errors.Shutdown)

    def test_fromWithin(self) -> None:
        """A realm may be closed from anybody's hook or listener: sessions end once, log-ins are refused."""
        for where in ("attached", "detached", "begin", "end", "build"):
            realms: list[CachingRealm] = []
            closing: list[Deferred[Any]] = []

            def close(*_: Any, realms: list[CachingRealm] = realms, closing: list[Deferred[Any]] = closing) -> None:
                closing.append(realms[0].close())

            attached, detached = ((close if where == name else lambda s: None) for name in ("attached", "detached"))
            avatarClass = self.hooked(attached, detached)

            class Closing(Slow):
                """May be closed while it builds."""

                def buildAvatar(self, avatarId: str, where: str = where, close: Callable[..., None] = close) -> Any:
                    """Build."""
                    if where == "build" and self.builds:
                        close()
                    return super().buildAvatar(avatarId)

            realm = Closing(clock=self.clock)
            realms.append(realm)
            if where == "begin":
                realm.roster.onBegin(close)
            if where == "end":
                realm.roster.onEnd(close)
            logins = [enter(realm, name) for name in ("alice", "alice", "bob")]
            for name, build in zip(("alice", "bob"), realm.builds, strict=True):
                if not build.called:
                    build.callback(avatarClass(name))
            for session in tuple(realm.roster):
                session.end()
            self.assertTrue(closing, where)
            for each in closing:
                self.successResultOf(each)
            for login in logins:
                self.assertTrue(login.called, where)
                login.addErrback(lambda failure: failure.trap(errors.ServerStopping, errors.LoginInterrupted))
            for avatar in self.made:
                for _, session in avatar.events:
                    self.assertEqual((avatar.told("attached", session), avatar.told("detached", session)), (1, 1))
            self.assertNothingLeft(realm)

    def test_raisingCancellerIsInNobodysWay(self) -> None:
        """A pending build that raises when it is cancelled keeps neither sessions nor other log-ins from ending."""

        def canceller(d: Deferred[Any]) -> None:
            raise LookupError("while cancelling")

        class Mixed(CachingRealm):
            """Builds alice at once."""

            def buildAvatar(self, avatarId: str) -> Any:
                """Build."""
                return Recorder(avatarId) if avatarId == "alice" else Deferred(canceller)

        realm = Mixed(clock=self.clock)
        session = self.successResultOf(enter(realm))
        pending = [enter(realm, "bob"), enter(realm, "carol")]
        self.successResultOf(realm.close())
        self.assertIsInstance(session.endedWith, errors.Shutdown)
        for each in pending:
            self.failureResultOf(each, errors.ServerStopping)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 2)
        self.assertNothingLeft(realm)

    def test_anonymousOnesToo(self) -> None:
        """The anonymous realm within closes with it."""
        guests = AnonymousRealm(self.hooked(lambda s: None), clock=self.clock)
        realm = CachingRealm(Recorder, anonymous=guests, clock=self.clock)
        session = self.successResultOf(enter(realm, ANONYMOUS))
        self.successResultOf(realm.close())
        self.assertIsInstance(session.endedWith, errors.Shutdown)
        self.failureResultOf(enter(realm, ANONYMOUS), errors.ServerStopping)

    def test_leavesNoTimers(self) -> None:
        """No lingering avatar's timer is left, also if its session's `detached` ends later."""
        gate: Deferred[Any] = Deferred()
        realm = CachingRealm(self.hooked(lambda s: None, lambda s: gate), linger=300, clock=self.clock)
        self.successResultOf(enter(realm))
        closing = realm.close()
        gate.callback(None)
        self.successResultOf(closing)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertNothingLeft(realm)

    def test_overAWire(self) -> None:
        """A client whose server stops is told so at its next call."""
        realm = CachingRealm(Recorder, clock=self.clock)
        wire = self.wire(realm)
        avatar = self.successResultOf(wire.login())
        self.successResultOf(realm.close())
        self.assertTrue(self.failureResultOf(wire.call(avatar, "whoami")).check("pbkit.errors.Shutdown"))
        self.assertTrue(self.failureResultOf(wire.login()).check("pbkit.errors.ServerStopping"))


class LifecycleChoiceTests(RealmTestCase):
    """What a realm's parameters choose."""

    def test_linger(self) -> None:
        """``linger=0`` keeps avatars; more than 0 drops them."""
        self.assertIs(type(CachingRealm(Recorder).lifecycle), Cached)
        self.assertIs(type(CachingRealm(Recorder, linger=5).lifecycle), Lingering)
