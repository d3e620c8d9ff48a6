"""`pbkit.serving.resolve` and `pbkit.serving.service`: from a description to a realm and a running server."""

from __future__ import annotations

import shlex
import sys
from types import ModuleType
from typing import Any, cast

from twisted.cred.checkers import AllowAnonymousAccess, ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import Anonymous, IUsernamePassword, UsernamePassword
from twisted.cred.portal import IRealm, Portal
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.spread import pb
from twisted.test.iosim import connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pbkit import AnonymousRealm, Avatar, CachingRealm, ClockRealm, LimitedRealm, Session, param
from pbkit.config.values import RealmSpec, ServerConfig, parseRealm
from pbkit.demo import DemoAvatar
from pbkit.errors import ConfigError
from pbkit.serving import announce
from pbkit.serving.resolve import describeRealm, load, makeRealm, realmLines
from pbkit.serving.service import Plan, Server, StartFailed, prepare
from pbkit.sessions.clock import ClockAvatar
from pbkit.sessions.realms import NAMED


class Player(Avatar):
    """An avatar of a user's own."""


class GameRealm(LimitedRealm):
    """A realm of a user's own: another default, a parameter more, and an avatar."""

    avatarClass = Player
    max = 5
    motto: str = param("none", "what it is about")


class BuildingRealm(CachingRealm):
    """A realm that makes its avatars itself."""

    def buildAvatar(self, avatarId: str) -> Player:
        """Its own way."""
        return Player(avatarId)


class BareRealm(CachingRealm):
    """A realm without an avatar."""


class ChoosingRealm(CachingRealm):
    """A realm whose constructor chooses the avatar."""

    def __init__(self) -> None:
        super().__init__(Player)


class PickyRealm(CachingRealm):
    """A realm that cannot be made by name alone."""

    def __init__(self, world: object) -> None:
        super().__init__(Player)


@implementer(IRealm)
class StockRealm:
    """A realm as stock has it."""

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """`IRealm`."""
        return pb.IPerspective, Player("x"), lambda: None


@implementer(ICredentialsChecker)
class OnlyPlain:
    """A checker that wants the password itself."""

    credentialInterfaces = (IUsernamePassword,)

    def requestAvatarId(self, credentials: Any) -> Any:
        """`ICredentialsChecker`."""
        return credentials.username


aRealm = GameRealm(max=7)
mixedRealm = CachingRealm(Player, anonymous=AnonymousRealm(Player))
anObject = object()
aPortal = Portal(aRealm, [InMemoryUsernamePasswordDatabaseDontUse(alice=b"sesame")])
emptyPortal = Portal(aRealm)
stockPortal = Portal(aRealm, [OnlyPlain()])


def spell(name: str) -> str:
    """The dotted path of something above."""
    return f"{__name__}.{name}"


def realmOf(text: str, avatar: str | None = None) -> Any:
    """The realm that is described so."""
    return makeRealm(ServerConfig(realm=parseRealm(text), avatar=avatar))


class MakeRealmTests(SynchronousTestCase):
    """`makeRealm`: the realm that an operator names."""

    def refusal(self, text: str, avatar: str | None = None) -> str:
        """What is said to an operator who names it so."""
        return str(self.assertRaises(ConfigError, realmOf, text, avatar))

    def test_everyNamedRealmIsServed(self) -> None:
        """Each short name gives its realm, with the demo avatar where the realm has none of its own."""
        for name, realmClass in NAMED.items():
            realm = realmOf(name)
            self.assertIs(type(realm), realmClass)
            self.assertIs(realm.avatarClass, ClockAvatar if realmClass is ClockRealm else DemoAvatar)

    def test_parametersAreTyped(self) -> None:
        """The text of a value becomes what the parameter declares."""
        realm = realmOf("limited:max=2:conflict=kick:linger=1.5")
        self.assertEqual((realm.max, realm.conflict, realm.linger), (2, "kick", 1.5))

    def test_dottedClassIsMade(self) -> None:
        """A realm class of the user's is made with the parameters given, and keeps its avatar."""
        realm = realmOf(spell("GameRealm") + ":motto=chess")
        self.assertEqual((type(realm), realm.max, realm.motto), (GameRealm, 5, "chess"))
        self.assertIs(realm.avatarClass, Player)

    def test_dottedClassWithoutAnAvatarHasTheDemo(self) -> None:
        """A class that has neither an avatar class nor a way to build one serves the demo."""
        self.assertIs(realmOf(spell("BareRealm")).avatarClass, DemoAvatar)
        self.assertIsNone(realmOf(spell("BuildingRealm")).avatarClass)
        self.assertIs(realmOf(spell("ChoosingRealm")).avatarClass, Player)

    def test_avatarIsTheOneNamed(self) -> None:
        """A named avatar class is served by a named realm, and by a class of the user's in place of its own."""
        self.assertIs(realmOf("single", spell("Player")).avatarClass, Player)
        self.assertIs(realmOf(spell("GameRealm"), "pbkit.demo.DemoAvatar").avatarClass, DemoAvatar)

    def test_dottedObjectIsServedAsItIs(self) -> None:
        """A realm that is made already is that very object."""
        self.assertIs(realmOf(spell("aRealm")), aRealm)

    def test_stockRealmIsServed(self) -> None:
        """A class that is no realm of pbkit's, but one of cred's, will do."""
        self.assertIsInstance(realmOf(spell("StockRealm")), StockRealm)

    def test_unknownNameIsRefusedWithTheChoices(self) -> None:
        """A short name that is none of ours is answered with all of them."""
        said = self.refusal("cashing")
        for name in ["'cashing'", *NAMED, "dotted path"]:
            self.assertIn(name, said)

    def test_unknownKeyIsRefusedWithTheChoices(self) -> None:
        """A key that the realm does not have is answered with those it has."""
        said = self.refusal("limited:maximum=3")
        self.assertIn("'maximum'", said)
        self.assertIn("max: int = 3", said)
        self.assertIn("conflict: refuse|kick|probe = refuse", said)
        self.assertIn("linger: float = 0", said)

    def test_wrongValueIsRefusedWithWhatIsRight(self) -> None:
        """A value that cannot be is answered with what can."""
        self.assertIn("an integer of at least 1", self.refusal("limited:max=two"))
        self.assertIn("an integer of at least 1", self.refusal("limited:max=0"))
        self.assertIn("refuse, kick, probe", self.refusal("limited:conflict=Kick"))

    def test_whatCannotBeImportedIsRefused(self) -> None:
        """A module or a name in it that is not there is told so, for realms and avatars alike."""
        self.assertIn("no such module or attribute", self.refusal("nosuchgame.GameRealm"))
        self.assertIn("NoSuchRealm", self.refusal(spell("NoSuchRealm")))
        self.assertIn("no such module or attribute", self.refusal("caching", "nosuchgame.Player"))
        self.assertIn("dotted path", self.refusal("caching", "Player"))

    def test_moduleThatBreaksIsTold(self) -> None:
        """What a user's module raises while it is imported is told on one line, with where."""
        module = ModuleType("brokengame")
        code = compile("\n\ndef __getattr__(name):\n    raise ValueError('no\\nlevels')\n", "/x/brokengame.py", "exec")
        exec(code, module.__dict__)
        self.patch(sys, "modules", {**sys.modules, "brokengame": module})
        said = str(self.assertRaises(ConfigError, load, "brokengame.GameRealm", "realm"))
        self.assertIn("ValueError: no levels (brokengame.py, line 4)", said)

    def test_whatIsNoRealmIsRefused(self) -> None:
        """A class or an object that is not a realm is told so."""
        self.assertIn("not a realm class", self.refusal(spell("Player")))
        self.assertIn("got an instance of object", self.refusal(spell("anObject")))
        self.assertIn("got an instance of function", self.refusal(spell("spell")))

    def test_whatIsNoAvatarClassIsRefused(self) -> None:
        """An avatar is a class of avatars."""
        for path in [spell("GameRealm"), spell("spell"), spell("anObject"), "builtins.object"]:
            self.assertIn("not an avatar class", self.refusal("caching", path))

    def test_objectTakesNothingMore(self) -> None:
        """A realm that is made already takes no parameter and no avatar, and that is said."""
        self.assertIn("is an object", self.refusal(spell("aRealm") + ":max=3"))
        self.assertIn("is an object", self.refusal(spell("aRealm"), spell("Player")))

    def test_stockRealmTakesNothing(self) -> None:
        """Nobody knows what a realm that is not pbkit's takes, so it takes nothing."""
        self.assertIn("no parameters", self.refusal(spell("StockRealm") + ":max=3"))
        self.assertIn("no avatar", self.refusal(spell("StockRealm"), spell("Player")))

    def test_classThatCannotBeMadeIsRefused(self) -> None:
        """A constructor that wants more is told by its own words."""
        self.assertIn("world", self.refusal(spell("PickyRealm")))

    def test_describesWhatIsInForce(self) -> None:
        """A realm is described by its short name or its path, with its parameters as they are."""
        every = {"goodbye": "always", "idleTimeout": 0.0, "maxSessionAge": 0.0}
        self.assertEqual(
            describeRealm(realmOf("limited:max=2")),
            ("limited", {**every, "linger": 0.0, "max": 2, "conflict": "refuse", "handover": "before"}),
        )
        name, parameters = describeRealm(aRealm)
        self.assertEqual((name, parameters["max"], parameters["motto"]), (spell("GameRealm"), 7, "none"))

    def test_listsNamesParametersTypesAndDefaults(self) -> None:
        """Each named realm has one line."""
        lines = {line.split()[0]: line for line in realmLines()}
        self.assertEqual(list(lines), list(NAMED))
        self.assertIn("max: int = 3, conflict: refuse|kick|probe = refuse", lines["limited"])
        self.assertIn("linger: float = 0.0", lines["caching"])


class PrepareTests(SynchronousTestCase):
    """`prepare`: what is decided before anything is opened."""

    def prepare(self, realm: str = "caching", **kw: Any) -> Plan:
        """The plan for this description."""
        self.reactor = MemoryReactorClock()
        return prepare(ServerConfig(realm=parseRealm(realm), **kw), self.reactor)

    def refusal(self, realm: str = "caching", **kw: Any) -> str:
        """What is said to an operator who wants that."""
        return str(self.assertRaises(ConfigError, self.prepare, realm, **kw))

    def test_opensNothing(self) -> None:
        """No port is open when all is decided."""
        self.prepare(listen=("tcp:8787:interface=127.0.0.1", "unix:pbkit.sock"))
        self.assertEqual((self.reactor.tcpServers, self.reactor.unixServers), ([], []))

    def test_withoutAuthThereIsOneGuest(self) -> None:
        """One user called guest, with a password that nobody can guess and that is new each time."""
        plans = [self.prepare(), self.prepare()]
        passwords = set()
        for plan in plans:
            assert plan.guest is not None
            checker: Any
            (checker,) = plan.checkers
            self.assertIsInstance(checker, InMemoryUsernamePasswordDatabaseDontUse)
            self.assertEqual(checker.users, {b"guest": plan.guest.password.encode()})
            self.assertGreaterEqual(len(plan.guest.password), 16)
            self.assertNotIn(plan.guest.password, repr(plan))
            passwords.add(plan.guest.password)
        self.assertEqual(len(passwords), 2)

    def test_withoutAuthTheAnonymousRealmIsForAnybody(self) -> None:
        """It takes anonymous log-ins, and has no user."""
        plan = self.prepare("anonymous")
        self.assertIsNone(plan.guest)
        self.assertEqual([type(one) for one in plan.checkers], [AllowAnonymousAccess])

    def test_withoutAuthARealmWithGuestsTakesBoth(self) -> None:
        """A realm of the user's that takes some log-ins without a name gets those, and the one user."""
        plan = self.prepare(spell("mixedRealm"))
        self.assertIsNotNone(plan.guest)
        self.assertEqual(
            {type(one) for one in plan.checkers},
            {AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse},
        )

    def test_withoutAuthAStockRealmHasTheGuest(self) -> None:
        """A realm that is not pbkit's is served to the one user."""
        self.assertIsNotNone(self.prepare(spell("StockRealm")).guest)

    def test_withoutAuthOnlyThisMachineIsServed(self) -> None:
        """Any listener beyond loopback is refused, with how to have it."""
        said = self.refusal(listen=("tcp:1:interface=127.0.0.1", "tcp:8787"))
        for part in ["tcp:8787", "interface=127.0.0.1", "--auth file:passwd"]:
            self.assertIn(part, said)
        self.assertIn("--auth anonymous", self.refusal("anonymous", listen=("tcp:8787",)))

    def test_withAuthAnybodyMayBeServed(self) -> None:
        """Whoever says who may log in may listen anywhere, and gets no guest."""
        plan = self.prepare(listen=("tcp:8787",), auth=("memory:alice:sesame",))
        self.assertIsNone(plan.guest)
        self.assertEqual(len(plan.checkers), 1)
        self.prepare("anonymous", listen=("tcp:8787",), auth=("anonymous",))

    def test_anonymousAuthForARealmThatTakesNoneIsRefused(self) -> None:
        """With no checker but one for guests, before a realm that turns them away, nobody could come in."""
        self.assertIn("refuses anonymous", self.refusal(auth=("anonymous",)))
        self.prepare(auth=("memory:a:b", "anonymous"))
        self.prepare(spell("mixedRealm"), auth=("anonymous", "memory:a:b"))
        self.prepare(spell("StockRealm"), auth=("anonymous",))

    def test_wrongEndpointIsRefused(self) -> None:
        """A listener that cannot be is told with its text, and how one is written."""
        for text, said in [
            ("tcp:http", "invalid literal"),
            ("tcp", "port"),
            ("", "Unknown endpoint"),
            ("nonsense:1", "Unknown endpoint"),
            ("ssl:1:privateKey=no-such.pem", "No such file"),
            ("tcp:8787\\", "expected an endpoint such as"),
        ]:
            refusal = self.refusal(listen=(text,), auth=("memory:a:b",))
            self.assertIn(said, refusal)
            self.assertIn("tcp:8787:interface=127.0.0.1", refusal)

    def test_portalIsServedAsItIs(self) -> None:
        """A portal of the user's brings its realm and checkers, may be open to all, and has no guest."""
        plan = self.prepare(portal=spell("aPortal"), listen=("tcp:1",))
        self.assertEqual((plan.portal, plan.realm, plan.guest, plan.announced), (aPortal, aRealm, None, False))
        self.assertIs(Server(plan, self.reactor, Terminal()).portal, aPortal)

    def test_portalThatCannotServeIsRefused(self) -> None:
        """What is none, one without checkers, and one whose checker cannot work with PB."""
        self.assertIn("got an instance of GameRealm, expected a cred Portal", self.refusal(portal=spell("aRealm")))
        self.assertIn("no checkers", self.refusal(portal=spell("emptyPortal")))
        self.assertIn("plaintext", self.refusal(portal=spell("stockPortal")))
        self.assertIn("no such module or attribute", self.refusal(portal="nosuchgame.portal"))

    def test_nowhereToListenIsRefused(self) -> None:
        """A server without a listener is a mistake."""
        self.assertIn("no listener", self.refusal(listen=()))


@implementer(IListeningPort)
class Port:
    """An open port."""

    open = True

    def startListening(self) -> None:
        """Open from the start."""

    def stopListening(self) -> Any:
        """Close."""
        self.open = False
        return succeed(None)

    def getHost(self) -> Any:
        """Where."""
        return IPv4Address("TCP", "127.0.0.1", 4321)


@implementer(IStreamServerEndpoint)
class Endpoint:
    """An endpoint that does as it is told."""

    def __init__(self, answer: Any = None) -> None:
        self.port = Port()
        self.answer: Deferred[Any] = succeed(self.port) if answer is None else answer
        self.factory: Any = None

    def listen(self, factory: Any) -> Deferred[Any]:
        """Answer as told."""
        self.factory = factory
        return self.answer


class Terminal:
    """What the operator saw."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.complaints: list[str] = []
        self.closed = False

    def say(self, text: str) -> None:
        """Keep it."""
        assert not self.closed
        self.said.append(text)

    def complain(self, text: str) -> None:
        """Keep it."""
        assert not self.closed
        self.complaints.append(text)

    def close(self) -> None:
        """Keep that."""
        self.closed = True


def inUse() -> Deferred[Any]:
    """The answer of an endpoint whose port is taken."""
    return fail(CannotListenError("127.0.0.1", 8787, OSError(98, "Address already in use")))


class Reactor(MemoryReactorClock):
    """A reactor that does not run yet, and counts the turns that it is given."""

    turns = 0

    def iterate(self, delay: float = 0) -> None:
        """One turn."""
        self.turns += 1


class ServerTests(SynchronousTestCase):
    """`Server`: the service."""

    def make(self, *endpoints: Endpoint, realm: str = "caching", auth: tuple[str, ...] = ()) -> Server:
        """A server over these endpoints."""
        self.reactor = Reactor()
        plan = prepare(ServerConfig(realm=parseRealm(realm), auth=auth), self.reactor)
        listen = tuple((f"tcp:{n}:interface=127.0.0.1", endpoint) for n, endpoint in enumerate(endpoints))
        self.terminal = Terminal()
        return Server(Plan(plan.realm, plan.checkers, listen, plan.guest, plan.announced), self.reactor, self.terminal)

    def lines(self, events: Any) -> list[str]:
        """The log as it reads."""
        return [str(formatEvent(event)) for event in events]

    def test_startOpensAllListeners(self) -> None:
        """Each endpoint listens, with one factory that is quiet about it."""
        endpoints = Endpoint(), Endpoint()
        server = self.make(*endpoints)
        server.startService()
        self.assertEqual([one.factory for one in endpoints], [server.factory] * 2)
        self.assertFalse(server.factory.noisy)

    def test_privilegedStartOpensThemOnce(self) -> None:
        """What is opened while the process has its rights is not opened again."""
        endpoint = Endpoint()
        server = self.make(endpoint)
        server.privilegedStartService()
        endpoint.answer = inUse()
        server.startService()
        self.assertTrue(endpoint.port.open)
        self.flushLoggedErrors()
        self.failureResultOf(endpoint.answer, CannotListenError)

    def test_logsItsStartOnOneLineEach(self) -> None:
        """One line says version, realm with parameters, avatar and profile; one each says where it listens."""
        server = self.make(Endpoint(), Endpoint(), realm="limited:max=2", auth=("memory:alice:sesame",))
        with capturedLogs() as events:
            server.privilegedStartService()
            server.startService()
        start, *listening = events
        self.assertEqual(start["realm"], "limited")
        self.assertEqual(start["parameters"]["max"], 2)
        self.assertEqual((start["profile"], start["avatar"]), ("strict", "pbkit.demo.DemoAvatar"))
        self.assertIn("pbkit 0", self.lines(events)[0])
        self.assertEqual([event["address"].port for event in listening], [4321, 4321])

    def test_guestIsAnnouncedAndNotLogged(self) -> None:
        """User, password and a line to paste are shown on the terminal, once all is open, and never logged."""
        server = self.make(Endpoint(), Endpoint())
        with capturedLogs() as events:
            server.privilegedStartService()
            server.startService()
        guest = server.plan.guest
        assert guest is not None
        said = "\n".join(self.terminal.said)
        self.assertIn("user:     guest", said)
        self.assertIn(f"password: {guest.password}", said)
        self.assertEqual(said.count(f"call tcp:127.0.0.1:4321 greet --user {guest.name}"), 2)
        self.assertTrue(self.terminal.closed)
        for event, line in zip(events, self.lines(events), strict=True):
            self.assertNotIn(guest.password, line)
            self.assertNotIn(guest.password, repr(event))

    def test_usersOfCheckersAreNotAnnounced(self) -> None:
        """Who said who may log in knows."""
        server = self.make(Endpoint(), auth=("memory:alice:sesame",))
        with capturedLogs() as events:
            server.startService()
        self.assertEqual(self.terminal.said, [])
        self.assertNotIn("sesame", repr(events))

    def test_checkersWorkTogether(self) -> None:
        """Users of both checkers log in; a bare portal would keep the later one only."""
        endpoint = Endpoint()
        server = self.make(endpoint, auth=("memory:alice:a", "memory:bob:b"))
        server.startService()
        self.assertEqual(self.greet(endpoint, UsernamePassword(b"alice", b"a")), "<1>hello alice")
        self.assertEqual(self.greet(endpoint, UsernamePassword(b"bob", b"b")), "<1>hello bob")

    def test_anonymousRealmGreetsAnybody(self) -> None:
        """Without --auth, the anonymous realm serves a client without a name."""
        endpoint = Endpoint()
        server = self.make(endpoint, realm="anonymous")
        server.startService()
        self.assertIn("greet --anonymous", self.terminal.said[-1])
        self.assertEqual(self.greet(endpoint, Anonymous()), "<1>hello anonymous#1")

    def greet(self, endpoint: Endpoint, credentials: Any) -> Any:
        """What a stock client is greeted with."""
        factory = pb.PBClientFactory()
        _, _, self.pump = connectedServerAndClient(
            lambda: endpoint.factory.buildProtocol(None), lambda: factory.buildProtocol(None)
        )
        self.me: Any = factory.login(credentials)
        self.pump.flush()
        self.me = self.successResultOf(self.me)
        greeting = self.me.callRemote("greet")
        self.pump.flush()
        return self.successResultOf(greeting)

    def test_oneThatCannotListenLeavesNoneOpen(self) -> None:
        """The start fails with one line that is logged and shown, and what was open is closed."""
        endpoints = Endpoint(), Endpoint(inUse()), Endpoint()
        server = self.make(*endpoints)
        with capturedLogs() as events:
            error = self.assertRaises(StartFailed, server.privilegedStartService)
        said = "cannot listen on 127.0.0.1:8787: Address already in use"
        self.assertEqual(str(error), said)
        self.assertEqual(error.code, 1)
        self.assertEqual(self.lines(events)[-1], f"pbkit could not start: {said}")
        self.assertEqual(self.terminal.complaints, [f"pbkit could not start: {said}"])
        self.assertEqual(self.terminal.said, [])
        self.assertFalse(endpoints[0].port.open)
        self.assertIsNone(endpoints[2].factory)
        # Ports close in the next turn, which a reactor that never runs would not have.
        self.assertEqual(self.reactor.turns, 1)

    def test_oneThatCannotListenLaterStopsTheServer(self) -> None:
        """An endpoint that fails only in time ends the process: it is not what was asked for."""
        slow: Deferred[Any] = Deferred()
        server = self.make(Endpoint(), Endpoint(slow))
        server.startService()
        self.assertFalse(self.terminal.closed)
        with capturedLogs() as events:
            slow.errback(CannotListenError("127.0.0.1", 1, OSError(98, "Address already in use")))
        self.assertIn("could not start", self.lines(events)[0])
        for f, args, kw in self.reactor.whenRunningHooks:
            f(*args, **kw)
        self.assertTrue(self.reactor.hasStopped)

    def test_oneThatListensLaterIsAnnouncedThen(self) -> None:
        """An endpoint that takes its time is told of when it is open."""
        slow: Deferred[Any] = Deferred()
        server = self.make(Endpoint(), Endpoint(slow))
        server.startService()
        before = len(self.terminal.said)
        slow.callback(Port())
        self.assertGreater(len(self.terminal.said), before)
        self.assertTrue(self.terminal.closed)

    def test_stopBeforeItListensCancels(self) -> None:
        """An endpoint that is not open yet when the server stops is given up."""
        cancelled: list[object] = []
        server = self.make(Endpoint(Deferred(cancelled.append)))
        server.startService()
        self.successResultOf(server.stopService())
        self.assertEqual(len(cancelled), 1)

    def test_stopEndsEverySession(self) -> None:
        """Stopping closes the ports, ends the sessions, waits for the hooks, and logs what there was."""
        told: list[str] = []
        hook: Deferred[None] = Deferred()

        class Slow(DemoAvatar):
            def attached(self, session: Session) -> None:
                """Come."""

            def detached(self, session: Session) -> Deferred[None]:
                told.append(type(session.endedWith).__name__)
                return hook

        endpoint = Endpoint()
        server = self.make(endpoint, auth=("memory:alice:a",))
        cast(Any, server.plan.realm).avatarClass = Slow
        server.startService()
        self.greet(endpoint, UsernamePassword(b"alice", b"a"))
        with capturedLogs() as events:
            stopping = server.stopService()
            self.assertEqual(told, ["Shutdown"])
            self.assertFalse(endpoint.port.open)
            self.pump.flush()
            self.assertNoResult(stopping)
            hook.callback(None)
        self.successResultOf(stopping)
        self.assertEqual(self.lines(events)[-1], "pbkit stopped: 1 logins, 0 refused; sessions ended: {'Shutdown': 1}")

    def test_stopDoesNotWaitForEver(self) -> None:
        """A hook that hangs holds the process up for 5 s and no longer."""

        class Hanging(DemoAvatar):
            def attached(self, session: Session) -> None:
                """Come."""

            def detached(self, session: Session) -> Deferred[None]:
                return Deferred()

        endpoint = Endpoint()
        server = self.make(endpoint, auth=("memory:alice:a",))
        cast(Any, server.plan.realm).avatarClass = Hanging
        server.startService()
        self.greet(endpoint, UsernamePassword(b"alice", b"a"))
        stopping = server.stopService()
        self.reactor.advance(4.9)
        self.assertNoResult(stopping)
        self.reactor.advance(0.2)
        self.successResultOf(stopping)

    def test_stockRealmStops(self) -> None:
        """A realm that is not pbkit's has nothing to close."""
        server = self.make(Endpoint(), realm=spell("StockRealm"))
        server.startService()
        self.successResultOf(server.stopService())


class AnnounceTests(SynchronousTestCase):
    """`pbkit.serving.announce`: the line to paste."""

    def test_clientReachesWhereTheServerListens(self) -> None:
        """The client endpoint for each kind of address, quoted as Twisted wants it."""
        for description, address, expected in [
            ("tcp:0:interface=127.0.0.1", IPv4Address("TCP", "127.0.0.1", 99), "tcp:127.0.0.1:99"),
            ("ssl:0:interface=127.0.0.1", IPv4Address("TCP", "127.0.0.1", 99), "ssl:127.0.0.1:99"),
            (r"tcp6:0:interface=\:\:1", IPv6Address("TCP", "::1", 99), r"tcp:\:\:1:99"),
            ("unix:/run/a:b", UNIXAddress("/run/a:b"), r"unix:/run/a\:b"),
        ]:
            self.assertEqual(announce.clientDescription(description, address), expected)

    def test_lineIsQuotedForTheShell(self) -> None:
        """Whatever the password and the path, the shell sees one word for each."""
        guest = announce.Guest("guest", "a b'$c")
        line = announce.announcement(guest, "greet", [("unix:x", UNIXAddress("/run/a b"))])[-1]
        words = shlex.split(line)
        self.assertEqual(words[0], "PBKIT_PASSWORD=a b'$c")
        self.assertEqual(words[-5:], ["call", "unix:/run/a b", "greet", "--user", "guest"])

    def test_avatarWithoutAGreetingIsNotGreeted(self) -> None:
        """Where the avatar is the user's own, the line leaves open what to call."""
        reactor = MemoryReactorClock()
        config = ServerConfig(realm=RealmSpec("caching"), avatar=spell("Player"))
        plan = prepare(config, reactor)
        terminal = Terminal()
        Server(
            Plan(plan.realm, plan.checkers, (("tcp:1", Endpoint()),), plan.guest, True), reactor, terminal
        ).startService()
        self.assertIn(" METHOD --user guest", terminal.said[-1])
