"""`pbkit.serving.resolve`, `plan` and `service`: from the settings to a running server."""

from __future__ import annotations

import importlib
import os
import shlex
import socket
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
from pbkit.serving.service import Plan, Server, StartFailed, prepare, reasonOf
from pbkit.sessions.clock import ClockAvatar
from pbkit.sessions.realms import NAMED


class Player(Avatar):
    """An avatar of a user's program."""


class GameRealm(LimitedRealm):
    """A realm of a user's program, with another default, its own parameter, and an avatar."""

    avatarClass = Player
    max = 5
    motto: str = param("none", "what it is about")


class BuildingRealm(CachingRealm):
    """A realm that builds its avatars itself."""

    def buildAvatar(self, avatarId: str) -> Player:
        """Build an avatar."""
        return Player(avatarId)


class BareRealm(CachingRealm):
    """A realm without an avatar."""


class ChoosingRealm(CachingRealm):
    """A realm whose constructor chooses the avatar."""

    def __init__(self) -> None:
        super().__init__(Player)


class PickyRealm(CachingRealm):
    """A realm whose constructor needs an argument."""

    def __init__(self, world: object) -> None:
        super().__init__(Player)


@implementer(IRealm)
class StockRealm:
    """A stock realm."""

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """`IRealm`."""
        return pb.IPerspective, Player("x"), lambda: None


@implementer(ICredentialsChecker)
class OnlyPlain:
    """A checker that needs the plaintext password."""

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
    """Return the dotted path of an object of this module."""
    return f"{__name__}.{name}"


def realmOf(text: str, avatar: str | None = None) -> Any:
    """Return the realm for a description."""
    return makeRealm(ServerConfig(realm=parseRealm(text), avatar=avatar))


class MakeRealmTests(SynchronousTestCase):
    """`makeRealm`: the realm that the settings name."""

    def refusal(self, text: str, avatar: str | None = None) -> str:
        """Return the error text for a description."""
        return str(self.assertRaises(ConfigError, realmOf, text, avatar))

    def test_everyNamedRealmIsServed(self) -> None:
        """Each short name gives its realm, with the demo avatar unless the realm has its own."""
        for name, realmClass in NAMED.items():
            realm = realmOf(name)
            self.assertIs(type(realm), realmClass)
            self.assertIs(realm.avatarClass, ClockAvatar if realmClass is ClockRealm else DemoAvatar)

    def test_parametersAreTyped(self) -> None:
        """Parameter values are converted to the declared type."""
        realm = realmOf("limited:max=2:conflict=kick:linger=1.5")
        self.assertEqual((realm.max, realm.conflict, realm.linger), (2, "kick", 1.5))

    def test_dottedClassIsMade(self) -> None:
        """A user's realm class is instantiated with the parameters, and keeps its avatar."""
        realm = realmOf(spell("GameRealm") + ":motto=chess")
        self.assertEqual((type(realm), realm.max, realm.motto), (GameRealm, 5, "chess"))
        self.assertIs(realm.avatarClass, Player)

    def test_dottedClassWithoutAnAvatarHasTheDemo(self) -> None:
        """A realm class with neither avatarClass nor buildAvatar gets the demo avatar."""
        self.assertIs(realmOf(spell("BareRealm")).avatarClass, DemoAvatar)
        self.assertIsNone(realmOf(spell("BuildingRealm")).avatarClass)
        self.assertIs(realmOf(spell("ChoosingRealm")).avatarClass, Player)

    def test_avatarIsTheOneNamed(self) -> None:
        """--avatar sets the avatar of a named realm, and replaces that of a user's realm class."""
        self.assertIs(realmOf("single", spell("Player")).avatarClass, Player)
        self.assertIs(realmOf(spell("GameRealm"), "pbkit.demo.DemoAvatar").avatarClass, DemoAvatar)

    def test_dottedObjectIsServedAsItIs(self) -> None:
        """A realm object is used as it is."""
        self.assertIs(realmOf(spell("aRealm")), aRealm)

    def test_stockRealmIsServed(self) -> None:
        """A class that implements cred's IRealm is accepted."""
        self.assertIsInstance(realmOf(spell("StockRealm")), StockRealm)

    def test_unknownNameIsRefusedWithTheChoices(self) -> None:
        """The error for an unknown short name lists the known ones."""
        said = self.refusal("cashing")
        for name in ["'cashing'", *NAMED, "dotted path"]:
            self.assertIn(name, said)

    def test_unknownKeyIsRefusedWithTheChoices(self) -> None:
        """The error for an unknown parameter lists the known ones."""
        said = self.refusal("limited:maximum=3")
        self.assertIn("'maximum'", said)
        self.assertIn("max: int = 3", said)
        self.assertIn("conflict: refuse|kick|probe = refuse", said)
        self.assertIn("linger: float = 0", said)

    def test_wrongValueIsRefusedWithWhatIsRight(self) -> None:
        """The error for an invalid value says what is expected."""
        self.assertIn("an integer of at least 1", self.refusal("limited:max=two"))
        self.assertIn("an integer of at least 1", self.refusal("limited:max=0"))
        self.assertIn("refuse, kick, probe", self.refusal("limited:conflict=Kick"))

    def test_whatCannotBeImportedIsRefused(self) -> None:
        """A missing module or attribute is an error, for realms and avatars."""
        self.assertIn("no such module or attribute", self.refusal("nosuchgame.GameRealm"))
        self.assertIn("NoSuchRealm", self.refusal(spell("NoSuchRealm")))
        self.assertIn("no such module or attribute", self.refusal("caching", "nosuchgame.Player"))
        self.assertIn("dotted path", self.refusal("caching", "Player"))

    def test_moduleThatBreaksIsTold(self) -> None:
        """An exception while importing a user's module is reported on one line, with file and line number."""
        module = ModuleType("brokengame")
        code = compile("\n\ndef __getattr__(name):\n    raise ValueError('no\\nlevels')\n", "/x/brokengame.py", "exec")
        exec(code, module.__dict__)
        self.patch(sys, "modules", {**sys.modules, "brokengame": module})
        said = str(self.assertRaises(ConfigError, load, "brokengame.GameRealm", "realm"))
        self.assertIn("ValueError: no levels (brokengame.py, line 4)", said)

    def test_linesOfTheUserAreCited(self) -> None:
        """The line is that of the user's module, also if pbkit, or a module that it imports, raised the exception."""
        directory = self.mktemp()
        os.mkdir(directory)
        self.patch(sys, "path", [directory, *sys.path])
        cases = [
            (
                "\nfrom pbkit import LimitedRealm\nrealm = LimitedRealm(max='2')\n",
                r"got '2' \(string\).*\(@, line 3\)$",
            ),
            ("1 / 0\n", r"ZeroDivisionError: division by zero \(@, line 1\)$"),
            ("\nimport cited1\n", r"ZeroDivisionError: division by zero \(cited1.py, line 1\)$"),
            ("\nimport json\njson.loads('x')\n", r"JSONDecodeError: .*\(@, line 3\)$"),
            ("import nosuchmodule\n", r"No module named 'nosuchmodule' \(@, line 1\)$"),
            ("\nx = (\n", r"SyntaxError: .*\(@, line 2\)$"),
            ("raise ValueError\n", r"ValueError \(@, line 1\)$"),
            (
                "Realm = 3\n",
                r"cannot find realm @m.realm: module @m has no attribute 'realm', did you mean 'Realm'\?$",
            ),
            (
                "\nfrom pbkit import LimitedRealm\nclass realm(LimitedRealm):\n    max = 'x'\n",
                r"realm @m.realm \(@\): invalid max",
            ),
            (
                "\nfrom pbkit import LimitedRealm\nclass realm(LimitedRealm):\n"
                "    def __init__(self):\n        super().__init__(max=0)\n",
                r"realm @m.realm: invalid max: got 0 .*\(@, line 5\)$",
            ),
        ]
        for number, (code, expected) in enumerate(cases):
            name = f"cited{number}"
            self.addCleanup(sys.modules.pop, name, None)
            with open(os.path.join(directory, f"{name}.py"), "w", encoding="utf-8") as file:
                file.write(code)
            importlib.invalidate_caches()
            self.assertRegex(self.refusal(f"{name}.realm"), expected.replace("@m", name).replace("@", f"{name}.py"))

    def test_whatIsNoRealmIsRefused(self) -> None:
        """A class or object that is not a realm is an error."""
        self.assertIn("not a realm class", self.refusal(spell("Player")))
        self.assertIn("got an instance of object", self.refusal(spell("anObject")))
        self.assertIn("got an instance of function", self.refusal(spell("spell")))

    def test_whatIsNoAvatarClassIsRefused(self) -> None:
        """An object that is not an avatar class is an error."""
        for path in [spell("GameRealm"), spell("spell"), spell("anObject"), "builtins.object"]:
            self.assertIn("not an avatar class", self.refusal("caching", path))

    def test_objectTakesNothingMore(self) -> None:
        """Parameters and avatars cannot be set for a realm object."""
        self.assertIn("is an object", self.refusal(spell("aRealm") + ":max=3"))
        self.assertIn("is an object", self.refusal(spell("aRealm"), spell("Player")))

    def test_stockRealmTakesNothing(self) -> None:
        """Parameters and avatars cannot be set for a realm that is not derived from `pbkit.Realm`."""
        self.assertIn("no parameters", self.refusal(spell("StockRealm") + ":max=3"))
        self.assertIn("no avatar", self.refusal(spell("StockRealm"), spell("Player")))

    def test_classThatCannotBeMadeIsRefused(self) -> None:
        """An exception of the constructor is reported."""
        self.assertIn("world", self.refusal(spell("PickyRealm")))

    def test_describesWhatIsInForce(self) -> None:
        """A realm is described by its name and its parameters in force."""
        every = {"goodbye": "always", "idleTimeout": 0.0, "maxSessionAge": 0.0}
        self.assertEqual(
            describeRealm(realmOf("limited:max=2")),
            ("limited", {**every, "linger": 0.0, "max": 2, "conflict": "refuse", "handover": "before"}),
        )
        name, parameters = describeRealm(aRealm)
        self.assertEqual((name, parameters["max"], parameters["motto"]), (spell("GameRealm"), 7, "none"))

    def test_listsNamesParametersTypesAndDefaults(self) -> None:
        """--list-realms has one line per named realm."""
        lines = {line.split()[0]: line for line in realmLines()}
        self.assertEqual(list(lines), list(NAMED))
        self.assertIn("max: int = 3, conflict: refuse|kick|probe = refuse", lines["limited"])
        self.assertIn("linger: float = 0.0", lines["caching"])


class PrepareTests(SynchronousTestCase):
    """`prepare`: the decisions before anything is opened."""

    def prepare(self, realm: str = "caching", **kw: Any) -> Plan:
        """Return the plan for these settings."""
        self.reactor = MemoryReactorClock()
        return prepare(ServerConfig(realm=parseRealm(realm), **kw), self.reactor)

    def refusal(self, realm: str = "caching", **kw: Any) -> str:
        """Return the error text for these settings."""
        return str(self.assertRaises(ConfigError, self.prepare, realm, **kw))

    def test_opensNothing(self) -> None:
        """No port is opened."""
        self.prepare(listen=("tcp:8787:interface=127.0.0.1", "unix:pbkit.sock"))
        self.assertEqual((self.reactor.tcpServers, self.reactor.unixServers), ([], []))

    def test_withoutAuthThereIsOneGuest(self) -> None:
        """Without --auth there is one user, guest, with a new random password each time."""
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
        """Without --auth the anonymous realm accepts anonymous logins only."""
        plan = self.prepare("anonymous")
        self.assertIsNone(plan.guest)
        self.assertEqual([type(one) for one in plan.checkers], [AllowAnonymousAccess])

    def test_withoutAuthARealmWithGuestsTakesBoth(self) -> None:
        """Without --auth a realm that also accepts anonymous logins gets both checkers."""
        plan = self.prepare(spell("mixedRealm"))
        self.assertIsNotNone(plan.guest)
        self.assertEqual(
            {type(one) for one in plan.checkers},
            {AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse},
        )

    def test_withoutAuthAStockRealmHasTheGuest(self) -> None:
        """Without --auth a stock realm gets the guest."""
        self.assertIsNotNone(self.prepare(spell("StockRealm")).guest)

    def test_withoutAuthOnlyThisMachineIsServed(self) -> None:
        """Without --auth a listener that other machines can reach is an error."""
        said = self.refusal(listen=("tcp:1:interface=127.0.0.1", "tcp:8787"))
        for part in ["tcp:8787", "interface=127.0.0.1", "--auth file:passwd"]:
            self.assertIn(part, said)
        self.assertIn("--auth anonymous", self.refusal("anonymous", listen=("tcp:8787",)))

    def test_withAuthAnybodyMayBeServed(self) -> None:
        """With --auth a server may listen anywhere, and has no guest."""
        plan = self.prepare(listen=("tcp:8787",), auth=("memory:alice:sesame",))
        self.assertIsNone(plan.guest)
        self.assertEqual(len(plan.checkers), 1)
        self.prepare("anonymous", listen=("tcp:8787",), auth=("anonymous",))

    def test_anonymousAuthForARealmThatTakesNoneIsRefused(self) -> None:
        """--auth anonymous alone is an error if the realm refuses anonymous logins."""
        self.assertIn("refuses anonymous", self.refusal(auth=("anonymous",)))
        self.prepare(auth=("memory:a:b", "anonymous"))
        self.prepare(spell("mixedRealm"), auth=("anonymous", "memory:a:b"))
        self.prepare(spell("StockRealm"), auth=("anonymous",))

    def test_wrongEndpointIsRefused(self) -> None:
        """The error for an invalid endpoint quotes it and shows an example."""
        for text, said in [
            ("tcp:http", "invalid port 'http', expected 0 to 65535"),
            ("tcp:127.0.0.1:8787", "the address is given as interface="),
            ("tcp", "port"),
            ("", "Unknown endpoint"),
            ("nonsense:1", "Unknown endpoint"),
            ("ssl:1:privateKey=no-such.pem", "No such file"),
            ("tcp:8787\\", "expected an endpoint such as"),
        ]:
            refusal = self.refusal(listen=(text,), auth=("memory:a:b",))
            self.assertIn(said, refusal)
            self.assertIn("tcp:8787:interface=127.0.0.1", refusal)

    def test_listenerThatCannotOpenIsRefused(self) -> None:
        """An invalid port, an impossible path and a repeated listener are errors before the start."""
        for listen, said in [
            (("tcp:99999:interface=127.0.0.1",), "invalid port '99999', expected 0 to 65535"),
            (("unix:/no/such/directory/socket",), "no such directory: /no/such/directory"),
            (("unix:",), "the path is missing, expected unix:PATH"),
            ((f"unix:{__file__}",), "exists and is not a socket"),
            (("ssl:1:privateKey=" + __file__,), "cannot load the private key or the certificate, expected PEM files"),
            (("tcp:1:interface=127.0.0.1:backlog=x",), "invalid number 'x'"),
            (("tcp:1:interface=127.0.0.1:foo=x",), "unknown option 'foo'"),
            (("tcp:interface=127.0.0.1",), "missing 'port'"),
            (("unix:/tmp/x\\",), "trailing backslash"),
            (("unix:/tmp/" + "x" * 120,), "the path has 125 bytes, expected at most 10"),
            (("tcp:1:interface=127.0.0.1", "tcp:1:interface=127.0.0.1"), "given twice"),
        ]:
            self.assertIn(said, self.refusal(listen=listen, auth=("memory:a:b",)))
        self.prepare(listen=("tcp:0:interface=127.0.0.1", "tcp:0:interface=127.0.0.1"))

    def test_portalIsServedAsItIs(self) -> None:
        """A portal brings its realm and checkers, may listen anywhere, and has no guest."""
        plan = self.prepare(portal=spell("aPortal"), listen=("tcp:1",))
        self.assertEqual((plan.portal, plan.realm, plan.guest, plan.announced), (aPortal, aRealm, None, False))
        self.assertIs(Server(plan, self.reactor, Terminal()).portal, aPortal)

    def test_portalThatCannotServeIsRefused(self) -> None:
        """An object that is not a portal, and a portal with no usable checkers, are errors."""
        self.assertIn("got an instance of GameRealm, expected a cred Portal", self.refusal(portal=spell("aRealm")))
        self.assertIn("no checkers", self.refusal(portal=spell("emptyPortal")))
        self.assertIn("plaintext", self.refusal(portal=spell("stockPortal")))
        self.assertIn("no such module or attribute", self.refusal(portal="nosuchgame.portal"))

    def test_nowhereToListenIsRefused(self) -> None:
        """A server without listeners is an error."""
        self.assertIn("no listener", self.refusal(listen=()))


@implementer(IListeningPort)
class Port:
    """An open port."""

    open = True

    def startListening(self) -> None:
        """Do nothing: the port is open."""

    def stopListening(self) -> Any:
        """Close the port."""
        self.open = False
        return succeed(None)

    def getHost(self) -> Any:
        """Return the address."""
        return IPv4Address("TCP", "127.0.0.1", 4321)


@implementer(IStreamServerEndpoint)
class Endpoint:
    """An endpoint with a prepared answer."""

    def __init__(self, answer: Any = None) -> None:
        self.port = Port()
        self.answer: Deferred[Any] = succeed(self.port) if answer is None else answer
        self.factory: Any = None

    def listen(self, factory: Any) -> Deferred[Any]:
        """Return the prepared answer."""
        self.factory = factory
        return self.answer


class Terminal:
    """Records what is shown to the operator."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.complaints: list[str] = []
        self.closed = False

    def say(self, text: str) -> None:
        """Record the line."""
        assert not self.closed
        self.said.append(text)

    def complain(self, text: str) -> None:
        """Record the line."""
        assert not self.closed
        self.complaints.append(text)

    def close(self) -> None:
        """Record the call."""
        self.closed = True


def inUse() -> Deferred[Any]:
    """Return the answer of an endpoint whose port is in use."""
    return fail(CannotListenError("127.0.0.1", 8787, OSError(98, "Address already in use")))


class Reactor(MemoryReactorClock):
    """A reactor that does not run yet, and counts its iterations."""

    turns = 0

    def iterate(self, delay: float = 0) -> None:
        """Count the iteration."""
        self.turns += 1


class ServerTests(SynchronousTestCase):
    """`Server`: the service."""

    def make(self, *endpoints: Endpoint, realm: str = "caching", auth: tuple[str, ...] = ()) -> Server:
        """Return a server with these endpoints."""
        self.reactor = Reactor()
        plan = prepare(ServerConfig(realm=parseRealm(realm), auth=auth), self.reactor)
        listen = tuple((f"tcp:{n}:interface=127.0.0.1", endpoint) for n, endpoint in enumerate(endpoints))
        self.terminal = Terminal()
        return Server(Plan(plan.realm, plan.checkers, listen, plan.guest, plan.announced), self.reactor, self.terminal)

    def lines(self, events: Any) -> list[str]:
        """Return the log lines."""
        return [str(formatEvent(event)) for event in events]

    def test_startOpensAllListeners(self) -> None:
        """Each endpoint listens with the same factory, which logs nothing about it."""
        endpoints = Endpoint(), Endpoint()
        server = self.make(*endpoints)
        server.startService()
        self.assertEqual([one.factory for one in endpoints], [server.factory] * 2)
        self.assertFalse(server.factory.noisy)

    def test_privilegedStartOpensThemOnce(self) -> None:
        """Listeners that were opened with privileges are not opened again."""
        endpoint = Endpoint()
        server = self.make(endpoint)
        server.privilegedStartService()
        endpoint.answer = inUse()
        server.startService()
        self.assertTrue(endpoint.port.open)
        self.flushLoggedErrors()
        self.failureResultOf(endpoint.answer, CannotListenError)

    def test_logsItsStartOnOneLineEach(self) -> None:
        """One line has version, realm, parameters, avatar and profile; one line per listener has its address."""
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
        """User, password and a command to paste are shown on the terminal after the start, and never logged."""
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
        """With --auth nothing is announced."""
        server = self.make(Endpoint(), auth=("memory:alice:sesame",))
        with capturedLogs() as events:
            server.startService()
        self.assertEqual(self.terminal.said, [])
        self.assertNotIn("sesame", repr(events))

    def test_checkersWorkTogether(self) -> None:
        """Users of both checkers can log in. A plain portal would keep only the later checker."""
        endpoint = Endpoint()
        server = self.make(endpoint, auth=("memory:alice:a", "memory:bob:b"))
        server.startService()
        self.assertEqual(self.greet(endpoint, UsernamePassword(b"alice", b"a")), "<1>hello alice")
        self.assertEqual(self.greet(endpoint, UsernamePassword(b"bob", b"b")), "<1>hello bob")

    def test_anonymousRealmGreetsAnybody(self) -> None:
        """Without --auth the anonymous realm serves an anonymous client."""
        endpoint = Endpoint()
        server = self.make(endpoint, realm="anonymous")
        server.startService()
        self.assertIn("greet --anonymous", self.terminal.said[-1])
        self.assertEqual(self.greet(endpoint, Anonymous()), "<1>hello anonymous#1")

    def greet(self, endpoint: Endpoint, credentials: Any) -> Any:
        """Log in with a stock client, and return its greeting."""
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
        """If a listener fails, the start fails with one line, shown and logged, and the others are closed."""
        endpoints = Endpoint(), Endpoint(inUse()), Endpoint()
        server = self.make(*endpoints)
        with capturedLogs() as events:
            error = self.assertRaises(StartFailed, server.privilegedStartService)
        said = (
            "cannot listen on 127.0.0.1:8787: Address already in use; another process uses it: stop that process, or "
            "choose another port"
        )
        self.assertEqual(str(error), said)
        self.assertEqual(error.code, 1)
        self.assertEqual(self.lines(events)[-1], f"pbkit could not start: {said}")
        self.assertEqual(self.terminal.complaints, [f"pbkit could not start: {said}"])
        self.assertEqual(self.terminal.said, [])
        self.assertFalse(endpoints[0].port.open)
        self.assertIsNone(endpoints[2].factory)
        # Ports close in the next iteration, which a reactor that never runs would not do.
        self.assertEqual(self.reactor.turns, 1)

    def test_whatToDo(self) -> None:
        """The reason why a listener failed comes with what to do, for each common cause."""
        for error, expected in [
            (
                CannotListenError("", 80, OSError(13, "Permission denied")),
                "cannot listen on *:80: Permission denied; p",
            ),
            (CannotListenError(None, "/run/x", OSError(13, "Permission denied")), "/run/x: Permission denied; the dir"),
            (
                CannotListenError(None, "/run/x", OSError(98, "in use")),
                "has left it behind: stop",
            ),
            (CannotListenError("1.2.3.4", 1, OSError(99, "Cannot assign")), "must be an address of this machine"),
            (CannotListenError("x", 1, socket.gaierror(-2, "unknown")), "must be an address of this machine"),
            (CannotListenError("", 1, OSError(5, "I/O error")), "cannot listen on *:1: I/O error"),
            (ValueError("no"), "cannot listen: no"),
        ]:
            self.assertIn(expected, reasonOf(error))

    def test_oneThatCannotListenLaterStopsTheServer(self) -> None:
        """If a listener fails later, the server stops."""
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
        """A listener that opens later is announced then."""
        slow: Deferred[Any] = Deferred()
        server = self.make(Endpoint(), Endpoint(slow))
        server.startService()
        before = len(self.terminal.said)
        slow.callback(Port())
        self.assertGreater(len(self.terminal.said), before)
        self.assertTrue(self.terminal.closed)

    def test_stopBeforeItListensCancels(self) -> None:
        """Stopping the server cancels a listener that is not open yet."""
        cancelled: list[object] = []
        server = self.make(Endpoint(Deferred(cancelled.append)))
        server.startService()
        self.successResultOf(server.stopService())
        self.assertEqual(len(cancelled), 1)

    def test_stopEndsEverySession(self) -> None:
        """Stopping closes the ports, ends the sessions, waits for the hooks, and logs a summary."""
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
        """A hook that hangs delays the stop by 5 s at most."""

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
        """A server with a stock realm stops."""
        server = self.make(Endpoint(), realm=spell("StockRealm"))
        server.startService()
        self.successResultOf(server.stopService())


class AnnounceTests(SynchronousTestCase):
    """`pbkit.serving.announce`: the command to paste."""

    def test_clientReachesWhereTheServerListens(self) -> None:
        """The client endpoint is right for each type of address, and quoted."""
        for description, address, expected in [
            ("tcp:0:interface=127.0.0.1", IPv4Address("TCP", "127.0.0.1", 99), "tcp:127.0.0.1:99"),
            ("ssl:0:interface=127.0.0.1", IPv4Address("TCP", "127.0.0.1", 99), "ssl:127.0.0.1:99"),
            (r"tcp6:0:interface=\:\:1", IPv6Address("TCP", "::1", 99), r"tcp:\:\:1:99"),
            ("unix:/run/a:b", UNIXAddress("/run/a:b"), r"unix:/run/a\:b"),
        ]:
            self.assertEqual(announce.clientDescription(description, address), expected)

    def test_lineIsQuotedForTheShell(self) -> None:
        """Passwords and paths are quoted for the shell."""
        guest = announce.Guest("guest", "a b'$c")
        line = announce.announcement(guest, "greet", [("unix:x", UNIXAddress("/run/a b"))])[-1]
        words = shlex.split(line)
        self.assertEqual(words[0], "PBKIT_PASSWORD=a b'$c")
        self.assertEqual(words[-5:], ["call", "unix:/run/a b", "greet", "--user", "guest"])

    def test_avatarWithoutAGreetingIsNotGreeted(self) -> None:
        """If the avatar has no `greet`, the command has a placeholder for the method."""
        reactor = MemoryReactorClock()
        config = ServerConfig(realm=RealmSpec("caching"), avatar=spell("Player"))
        plan = prepare(config, reactor)
        terminal = Terminal()
        Server(
            Plan(plan.realm, plan.checkers, (("tcp:1", Endpoint()),), plan.guest, True), reactor, terminal
        ).startService()
        self.assertIn(" METHOD --user guest", terminal.said[-1])
