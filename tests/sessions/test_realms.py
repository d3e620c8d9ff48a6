"""The named realms: for each, what the howto says a client sees."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import (
    AnonymousRealm,
    Avatar,
    CachingRealm,
    ClientlessRealm,
    LimitedRealm,
    MultiClientRealm,
    PerConnectionRealm,
    Realm,
    Session,
    SingleClientRealm,
    errors,
    kick,
)
from pbkit.sessions.parameters import parametersOf
from pbkit.sessions.realms import NAMED
from tests.support import Client, Recorder, Wire, enter, serve, timers


class Greeter(Avatar):
    """The howto's Greeter: an avatar for each client over a shared model."""

    def __init__(self, avatarId: str, model: Any) -> None:
        super().__init__(avatarId)
        self.model = model

    def perspective_greet(self) -> str:
        """Greet, and count."""
        self.model.greetings = getattr(self.model, "greetings", 0) + 1
        return f"<{self.model.greetings}>hello {self.avatarId}"


class RealmsTestCase(SynchronousTestCase):
    """The base of the tests below."""

    def setUp(self) -> None:
        """Make a clock."""
        self.clock = Clock()
        self._servers: dict[Realm, Any] = {}

    def login(self, realm: Realm, name: str | None = "alice", mind: Any = None) -> tuple[Wire, Deferred[Any]]:
        """Log in on a new connection, and return it with the Deferred of the reference."""
        server = self._servers.setdefault(realm, serve(realm, clock=self.clock))
        wire = Wire(server)
        return wire, wire.login(name, mind)

    def enter(self, realm: Realm, name: str | None = "alice", mind: Any = None) -> tuple[Wire, Any]:
        """Log in on a new connection, and return it with the reference."""
        wire, login = self.login(realm, name, mind)
        return wire, self.successResultOf(login)


class NamedTests(RealmsTestCase):
    """The table of names."""

    def test_names(self) -> None:
        """The names are those of the command line."""
        self.assertEqual(list(NAMED), "clientless caching per-connection limited single multi anonymous clock".split())

    def test_everyParameterSaysWhatItDoes(self) -> None:
        """Each parameter has a line of documentation, and a default that it accepts."""
        for realm in NAMED.values():
            for name, parameter in parametersOf(realm).items():
                self.assertEqual(name, parameter.name)
                self.assertTrue(parameter.doc)
                self.assertEqual(parameter.check(parameter.default), parameter.default)
                self.assertEqual(parameter.parse(str(parameter.default)), parameter.default)

    def test_everyRealmServes(self) -> None:
        """Each realm lets a stock client log in and out, and nothing is left of it."""
        for name, realmClass in NAMED.items():
            realm = (
                realmClass(clock=self.clock) if name == "clock" else realmClass(self.avatarOf(name), clock=self.clock)
            )
            wire, avatar = self.enter(realm)
            self.assertEqual(len(realm.roster), 1)
            self.failureResultOf(wire.call(avatar, "nothing"))
            del avatar
            wire.flush()
            self.assertEqual((len(realm.roster), realm.counters.ends), (0, {"LoggedOut": 1}))
            self.assertEqual((wire.server.owners, timers(self.clock)), ({}, []))

    def avatarOf(self, name: str) -> Any:
        """Return an avatar class for a realm."""
        return Greeter if name == "per-connection" else Recorder

    def test_onlyAnonymousTakesAnonymous(self) -> None:
        """Of the named realms only `anonymous` serves anonymous logins."""
        for name, realmClass in NAMED.items():
            realm = realmClass() if name == "clock" else realmClass(self.avatarOf(name))
            self.assertEqual(realm.takesAnonymous, name == "anonymous")


class ClientlessTests(RealmsTestCase):
    """`ClientlessRealm`."""

    def test_oblivious(self) -> None:
        """One avatar serves all sessions, no hook is called, and no mind is kept."""
        realm = ClientlessRealm(Recorder, clock=self.clock)
        first, _one = self.enter(realm, "alice", Client())
        second, two = self.enter(realm, "alice", Client())
        sessions = tuple(realm.roster)
        self.assertIs(sessions[0].avatar, sessions[1].avatar)
        self.assertEqual([bool(each.mind) for each in sessions], [False, False])
        self.assertEqual(self.successResultOf(second.call(two, "whoami")), "alice")
        first.lose()
        second.lose()
        self.assertEqual((sessions[0].avatar.events, len(realm.roster)), ([], 0))

    def test_badMindIsStillRefused(self) -> None:
        """A mind that is not a reference is refused."""
        _, login = self.login(ClientlessRealm(Recorder), "alice", 5)
        self.assertTrue(self.failureResultOf(login).check("pbkit.errors.BadMind"))


class CachingTests(RealmsTestCase):
    """`CachingRealm`."""

    def test_samePlayerSameAvatar(self) -> None:
        """A second login of a user, concurrent or later, gets the same avatar; another user gets another."""
        realm = CachingRealm(Recorder, clock=self.clock)
        wire, _one = self.enter(realm)
        _, _two = self.enter(realm)
        _, _three = self.enter(realm, "bob")
        avatars = [session.avatar for session in realm.roster]
        self.assertIs(avatars[0], avatars[1])
        self.assertIsNot(avatars[0], avatars[2])
        wire.lose()
        self.clock.advance(10**6)
        self.enter(realm)
        self.assertIs(realm.roster.ofAvatar("alice")[-1].avatar, avatars[0])

    def test_linger(self) -> None:
        """With ``linger`` an avatar is dropped that long after its last session."""
        realm = CachingRealm(Recorder, linger=5, clock=self.clock)
        wire, _one = self.enter(realm)
        avatar = next(iter(realm.roster)).avatar
        wire.lose()
        self.clock.advance(4)
        wire, _two = self.enter(realm)
        self.assertIs(next(iter(realm.roster)).avatar, avatar)
        wire.lose()
        self.clock.advance(5)
        self.enter(realm)
        self.assertIsNot(next(iter(realm.roster)).avatar, avatar)


class PerConnectionTests(RealmsTestCase):
    """`PerConnectionRealm`."""

    def test_sharedModel(self) -> None:
        """Each login has an avatar of its own over the user's one model."""
        realm = PerConnectionRealm(Greeter, clock=self.clock)
        clients = [self.enter(realm) for _ in range(2)]
        clients.append(self.enter(realm, "bob"))
        greetings = [self.successResultOf(wire.call(avatar, "greet")) for wire, avatar in clients]
        self.assertEqual(greetings, ["<1>hello alice", "<2>hello alice", "<1>hello bob"])
        self.assertEqual(len({session.avatar for session in realm.roster}), 3)

    def test_ownModel(self) -> None:
        """The model is made by `modelClass` or `buildModel`, which may be async and is shared while it runs."""
        gate: Deferred[None] = Deferred()
        models: list[str] = []

        class Own(PerConnectionRealm):
            """A realm that builds both in its own way."""

            async def buildModel(self, avatarId: str) -> list[str]:
                """Wait."""
                await gate
                models.append(avatarId)
                return models

            async def buildAvatar(self, avatarId: str, model: Any = None) -> Greeter:
                """Build."""
                return Greeter(avatarId, model)

        realm = Own(clock=self.clock)
        logins = [enter(realm) for _ in range(5)]
        gate.callback(None)
        sessions = [self.successResultOf(each) for each in logins]
        self.assertEqual((models, len({session.avatar for session in sessions})), (["alice"], 5))
        self.assertIs(sessions[0].avatar.model, models)

        class Model:
            """A model class."""

            def __init__(self, avatarId: str) -> None:
                self.avatarId = avatarId

        session = self.successResultOf(enter(PerConnectionRealm(Greeter, Model)))
        self.assertIsInstance(session.avatar.model, Model)

    def test_failuresOfEither(self) -> None:
        """A model that fails is built again; an avatar that fails, hangs or is given up releases its model."""
        avatars: list[Any] = []

        class Failing(PerConnectionRealm):
            """A realm that does what the test says."""

            def buildModel(self, avatarId: str) -> Any:
                """Build."""
                if not models:
                    raise pb.Error("no model")
                return models[0]

            def buildAvatar(self, avatarId: str, model: Any = None) -> Any:
                """Build."""
                return avatars.pop()

        models: list[object] = []
        realm = Failing(linger=5, clock=self.clock)
        self.failureResultOf(enter(realm), errors.LoginRefused)
        models.append(object())
        failed: Deferred[Any] = Deferred()
        failed.errback(pb.Error("no"))
        avatars.append(failed)
        self.failureResultOf(enter(realm), errors.LoginRefused)
        avatars.append(Deferred())
        hung = enter(realm)
        self.clock.advance(30)
        self.failureResultOf(hung, errors.LoginTimedOut)
        avatars.append(Deferred())
        wire = Wire(serve(realm, clock=self.clock))
        wire.login().addErrback(lambda _: None)
        wire.cut()
        self.assertEqual(len(realm.models), 1)
        self.clock.advance(5)
        self.assertEqual((len(realm.models), timers(self.clock)), (0, []))

    def test_linger(self) -> None:
        """With ``linger`` a model is dropped that long after its last session, and not before."""
        realm = PerConnectionRealm(Greeter, linger=5, clock=self.clock)
        first, second = (self.successResultOf(enter(realm)) for _ in range(2))
        first.end()
        self.clock.advance(100)
        self.assertEqual(len(realm.models), 1)
        second.end()
        self.clock.advance(4)
        third = self.successResultOf(enter(realm))
        self.assertIs(third.avatar.model, first.avatar.model)
        third.end()
        self.clock.advance(5)
        self.assertEqual(len(realm.models), 0)

    def test_closeLeavesNoTimers(self) -> None:
        """When the realm is closed no model's timer is left."""
        realm = PerConnectionRealm(Greeter, linger=300, clock=self.clock)
        for name in ("alice", "bob"):
            self.successResultOf(enter(realm, name))
        self.successResultOf(realm.close())
        self.assertEqual((len(realm.models), timers(self.clock)), (0, []))


class LimitedTests(RealmsTestCase):
    """`LimitedRealm`."""

    def test_refusesOneTooMany(self) -> None:
        """
        A login above the limit is refused with a complete sentence; another user's is not; when a session ends there is
        room.
        """
        realm = LimitedRealm(Recorder, max=2, clock=self.clock)
        wire, _one = self.enter(realm)
        _, _two = self.enter(realm)
        _, login = self.login(realm)
        failure = self.failureResultOf(login)
        self.assertTrue(failure.check("pbkit.errors.TooManySessions"))
        self.assertEqual(failure.getErrorMessage(), "alice has 2 of 2 connections")
        self.enter(realm, "bob")
        wire.lose()
        self.enter(realm)
        self.assertEqual(realm.counters.refusals, {"TooManySessions": 1})

    def test_kicksTheOldest(self) -> None:
        """With ``kick`` the oldest session ends."""
        realm = LimitedRealm(Recorder, max=2, conflict="kick", clock=self.clock)
        clients = [self.enter(realm) for _ in range(3)]
        answers = [wire.call(avatar, "whoami") for wire, avatar in clients]
        self.assertTrue(self.failureResultOf(answers[0]).check("pbkit.errors.Replaced"))
        self.assertEqual([self.successResultOf(each) for each in answers[1:]], ["alice", "alice"])

    def test_dropsOfSubObjectsDoNotCheat(self) -> None:
        """A client that drops its avatar but keeps another object of the session still counts."""
        realm = LimitedRealm(Recorder, max=1, clock=self.clock)
        wire, avatar = self.enter(realm)
        part = self.successResultOf(wire.call(avatar, "part"))
        del avatar
        wire.flush()
        self.failureResultOf(self.login(realm)[1])
        self.assertEqual(self.successResultOf(wire.call(part, "hi")), "hi")
        del part
        wire.flush()
        self.enter(realm)

    def test_badParameters(self) -> None:
        """A limit below 1 and an unknown conflict rule are refused when the realm is made."""
        self.assertRaises(errors.ConfigError, LimitedRealm, Recorder, max=0)
        error = self.assertRaises(errors.ConfigError, LimitedRealm, Recorder, conflict="push")
        self.assertIn("refuse, kick, probe", str(error))

    def test_byUser(self) -> None:
        """The limit, and what happens above it, may depend on the user."""
        staff = {"alice"}
        realms = [
            LimitedRealm(Recorder, max={"default": 1, "alice": 2}, conflict={"alice": "kick"}, clock=self.clock),
            LimitedRealm(Recorder, max=lambda name: (2, "kick") if name in staff else 1, clock=self.clock),
            LimitedRealm(
                Recorder,
                max=lambda name: 2 if name in staff else 1,
                conflict=lambda name: kick() if name in staff else "refuse",
                clock=self.clock,
            ),
        ]
        for realm in realms:
            kept = [self.enter(realm, name) for name in ("alice", "alice", "alice", "bob")]
            failure = self.failureResultOf(self.login(realm, "bob")[1])
            self.assertEqual(failure.getErrorMessage(), "bob has 1 of 1 connections")
            self.assertEqual([session.avatarId for session in realm.roster], ["alice", "alice", "bob"])
            del kept

    def test_byUserThatCannotBe(self) -> None:
        """A function that returns no limit is a mistake of the server: the login is refused, and it is logged."""
        realm = LimitedRealm(Recorder, max=lambda name: "many", clock=self.clock)
        failure = self.failureResultOf(self.login(realm)[1])
        self.assertTrue(failure.check("pbkit.errors.LoginUnavailable"))
        self.assertEqual(len(self.flushLoggedErrors(errors.ConfigError)), 1)


class SingleTests(RealmsTestCase):
    """`SingleClientRealm`."""

    def test_refuse(self) -> None:
        """A second client is refused; the first is not affected."""
        realm = SingleClientRealm(Recorder, clock=self.clock)
        wire, avatar = self.enter(realm)
        failure = self.failureResultOf(self.login(realm)[1])
        self.assertEqual(failure.getErrorMessage(), "alice has 1 of 1 connections")
        self.assertEqual(self.successResultOf(wire.call(avatar, "whoami")), "alice")

    def test_kick(self) -> None:
        """A second client is admitted, the next call of the first fails, and the avatar is the same."""
        realm = SingleClientRealm(Recorder, conflict="kick", clock=self.clock)
        wire, avatar = self.enter(realm)
        (old,) = realm.roster
        wire2, avatar2 = self.enter(realm)
        failure = self.failureResultOf(wire.call(avatar, "whoami"))
        self.assertTrue(failure.check("pbkit.errors.Replaced"))
        self.assertEqual(failure.getErrorMessage(), "this session was replaced by a newer login")
        self.assertEqual(self.successResultOf(wire2.call(avatar2, "whoami")), "alice")
        (new,) = realm.roster
        self.assertIs(new.avatar, old.avatar)
        self.assertEqual([what for what, _ in new.avatar.events], ["attached", "attached", "detached"])

    def test_kickOnOneConnection(self) -> None:
        """This holds for two logins on one connection."""
        realm = SingleClientRealm(Recorder, conflict="kick", clock=self.clock)
        wire, avatar = self.enter(realm)
        avatar2 = self.successResultOf(wire.login())
        self.assertTrue(self.failureResultOf(wire.call(avatar, "whoami")).check("pbkit.errors.Replaced"))
        self.assertEqual(self.successResultOf(wire.call(avatar2, "whoami")), "alice")
        del avatar
        wire.flush()
        self.assertEqual(len(realm.roster), 1)

    def test_probe(self) -> None:
        """A first client that answers keeps the second out; one that does not is replaced."""
        realm = SingleClientRealm(Recorder, conflict="probe", clock=self.clock)
        wire, avatar = self.enter(realm)
        second, login = self.login(realm)
        wire.flush()
        second.flush()
        self.assertTrue(self.failureResultOf(login).check("pbkit.errors.TooManySessions"))
        third, login = self.login(realm)
        self.clock.advance(10)
        third.flush()
        kept = self.successResultOf(login)
        self.assertEqual(realm.counters.ends, {"Replaced": 1})
        self.assertTrue(self.failureResultOf(wire.call(avatar, "whoami")).check("pbkit.errors.Replaced"))
        del kept


class MultiTests(RealmsTestCase):
    """`MultiClientRealm`."""

    def test_allAreTold(self) -> None:
        """An avatar tells all its clients that sent a mind, and none whose session has ended."""
        realm = MultiClientRealm(Recorder, clock=self.clock)
        minds = [Client(), Client(), None]
        clients = [self.enter(realm, "alice", mind) for mind in minds]
        avatar = next(iter(realm.roster)).avatar

        def tellAll(text: str) -> None:
            for session in avatar.sessions:
                session.mind.tell("tell", text)
            for wire, _ in clients:
                wire.flush()

        tellAll("one")
        clients[0][0].lose()
        tellAll("two")
        self.assertEqual([mind.told for mind in minds if mind], [[("tell", "one")], [("tell", "one"), ("tell", "two")]])
        self.assertEqual(len(avatar.sessions), 2)


class AnonymousTests(RealmsTestCase):
    """`AnonymousRealm`."""

    def test_numbered(self) -> None:
        """Each login has a new avatar with a number that is never used again; no avatar is kept."""
        realm = AnonymousRealm(Recorder, clock=self.clock)
        for n in (1, 2):
            wire, avatar = self.enter(realm, None)
            self.assertEqual(self.successResultOf(wire.call(avatar, "whoami")), f"anonymous#{n}")
            wire.lose()
        self.enter(realm, None)
        self.assertEqual([session.avatarId for session in realm.roster], ["anonymous#3"])

    def test_wholeService(self) -> None:
        """As the realm of a whole service it serves named logins too, with disposable avatars."""
        realm = AnonymousRealm(Recorder, clock=self.clock)
        wire, avatar = self.enter(realm, "alice")
        wire2, avatar2 = self.enter(realm, "alice")
        self.assertEqual(self.successResultOf(wire.call(avatar, "whoami")), "anonymous#1")
        self.assertEqual(self.successResultOf(wire2.call(avatar2, "whoami")), "anonymous#2")

    def test_nobodyAffectsAnother(self) -> None:
        """The end of one guest's session does not affect another."""
        realm = AnonymousRealm(Recorder, clock=self.clock)
        (wire, _one), (wire2, two) = self.enter(realm, None), self.enter(realm, None)
        wire.lose()
        self.assertEqual(self.successResultOf(wire2.call(two, "whoami")), "anonymous#2")

    def test_cap(self) -> None:
        """With ``max`` there is a limit on the number of guests, and pending logins count."""
        realm = AnonymousRealm(Recorder, max=2, clock=self.clock)
        for _ in range(2):
            self.enter(realm, None)
        failure = self.failureResultOf(self.login(realm, None)[1])
        self.assertEqual(failure.getErrorMessage(), "the server has 2 of 2 connections")

    def test_onlySomeLogins(self) -> None:
        """Passed to another realm, it serves anonymous logins; that realm serves the others."""
        guests = AnonymousRealm(Recorder, max=1, clock=self.clock)
        realm = SingleClientRealm(Recorder, anonymous=guests, clock=self.clock)
        wire, avatar = self.enter(realm, None)
        wire2, avatar2 = self.enter(realm, "alice")
        self.assertEqual(self.successResultOf(wire.call(avatar, "whoami")), "anonymous#1")
        self.assertEqual(self.successResultOf(wire2.call(avatar2, "whoami")), "alice")
        self.failureResultOf(self.login(realm, None)[1])
        self.assertEqual((len(guests.roster), len(realm.roster)), (1, 1))

    def test_refusedElsewhere(self) -> None:
        """Any other realm refuses anonymous logins, with a text that says what to do."""
        failure = self.failureResultOf(self.login(CachingRealm(Recorder), None)[1])
        self.assertTrue(failure.check("pbkit.errors.AnonymousRefused"))
        self.assertIn("log in with a user name and password", failure.getErrorMessage())


class SubclassTests(RealmsTestCase):
    """A user's own realm."""

    def test_ofFiveLines(self) -> None:
        """A user's own realm is a few lines: a default, a class, a hook."""

        class GameRealm(LimitedRealm):
            """A realm with two sessions for each player."""

            max = 2
            avatarClass = Recorder

        realm = GameRealm(clock=self.clock)
        for _ in range(2):
            self.enter(realm)
        self.assertEqual(self.failureResultOf(self.login(realm)[1]).getErrorMessage(), "alice has 2 of 2 connections")
        self.assertEqual(GameRealm(max=5).max, 5)

    def test_sessionsAreCounted(self) -> None:
        """The number of connections in the howto is the length of ``avatar.sessions``."""

        class Counting(Avatar):
            """An avatar that returns the number of its sessions."""

            def perspective_count(self) -> int:
                """Count."""
                return len(self.sessions)

            def attached(self, session: Session) -> None:
                """Do nothing."""

        realm = CachingRealm(Counting, clock=self.clock)
        wire, avatar = self.enter(realm)
        wire2, _two = self.enter(realm)
        self.assertEqual(self.successResultOf(wire.call(avatar, "count")), 2)
        wire2.lose()
        self.assertEqual(self.successResultOf(wire.call(avatar, "count")), 1)
