"""Mistakes in an avatar class, and how they are found."""

from __future__ import annotations

import copy
import pickle
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import (
    AnonymousRealm,
    Avatar,
    CachingRealm,
    ClientlessRealm,
    ClockRealm,
    LimitedRealm,
    PerConnectionRealm,
    Realm,
    Refuse,
    errors,
    kickAfter,
)
from pbkit.demo import DemoAvatar
from pbkit.sessions.avatarclass import misspelled
from pbkit.sessions.clock import ClockAvatar
from tests.support import Client, Recorder, Wire, enter, serve


class Stored(Avatar):
    """An avatar with something of its own."""

    def __init__(self, avatarId: str) -> None:
        super().__init__(avatarId)
        self.coins = 7


class Slotted(Avatar):
    """An avatar with slots."""

    __slots__ = ("coins",)

    def __init__(self, avatarId: str) -> None:
        super().__init__(avatarId)
        self.coins = 7


class Keeping(Avatar):
    """An avatar that keeps its session itself."""

    def attached(self, session: Any) -> None:
        """Keep it."""
        self.session = session


class FactoryTests(SynchronousTestCase):
    """What is passed as ``avatarClass=``."""

    def error(self, realm: Any, *args: Any, **kw: Any) -> str:
        """Return why a realm cannot be made."""
        return str(self.assertRaises(errors.ConfigError, realm, *args, **kw))

    def test_anInstance(self) -> None:
        """An avatar in place of its class is refused when the realm is made, with what is right."""
        for avatar, kind in ((Stored("a"), "Stored"), (pb.Avatar(), "Avatar")):
            self.assertEqual(
                self.error(CachingRealm, avatar),
                f"invalid avatarClass: got an instance of {kind}, expected the class itself, "
                f"for example CachingRealm({kind})",
            )

        class Attribute(CachingRealm):
            """It stands in the class."""

            avatarClass = Stored("a")

        self.assertIn("got an instance of Stored, expected the class itself", self.error(Attribute))
        self.assertIn("invalid modelClass: got an instance of", self.error(PerConnectionRealm, DemoAvatar, Stored("a")))

    def test_noClass(self) -> None:
        """Anything else that cannot be called is refused as well."""
        self.assertIn("invalid avatarClass: got 'game.Player' (string)", self.error(CachingRealm, "game.Player"))
        self.assertIn("expected a class or a function", self.error(CachingRealm, 7))

    def test_argumentsThatDoNotFit(self) -> None:
        """A class that cannot be called with what the realm passes is refused when the realm is made."""

        class Nothing(Avatar):
            def __init__(self) -> None:
                super().__init__("nobody")

        class More(Avatar):
            def __init__(self, avatarId: str, game: object) -> None:
                super().__init__(avatarId)

        error = self.error(CachingRealm, Nothing)
        self.assertIn("CachingRealm calls", error)
        self.assertIn("Nothing(avatarId), which does not fit: too many positional arguments", error)
        self.assertIn("override buildAvatar", error)
        self.assertIn("missing a required argument: 'game'", self.error(CachingRealm, More))
        PerConnectionRealm(More)
        self.assertIn("(avatarId, model)", self.error(PerConnectionRealm, Stored))
        self.assertIn("(avatarId, period)", self.error(ClockRealm, Stored))
        self.assertIn("invalid modelClass", self.error(PerConnectionRealm, More, Nothing))

        class Own(CachingRealm):
            """It calls the class itself."""

            def buildAvatar(self, avatarId: str) -> Any:
                return More(avatarId, object())

        Own(More)
        for right in (Stored, lambda name: Stored(name), lambda *args, **kw: Stored(*args)):
            CachingRealm(right)

    def test_valueOfAParameter(self) -> None:
        """A number that is a text is shown with its quotes."""
        error = self.error(LimitedRealm, Recorder, max="2")
        self.assertIn("invalid max: got '2' (string), expected an integer of at least 1", error)
        self.assertIn("for example max = 3", error)


class HookTests(SynchronousTestCase):
    """Methods that look like hooks."""

    def warnings(self, make: Any) -> list[str]:
        """Return the warnings that are logged meanwhile."""
        logged: list[LogEvent] = []
        observer: Any = logged.append
        globalLogPublisher.addObserver(observer)
        try:
            make()
        finally:
            globalLogPublisher.removeObserver(observer)
        return [formatEvent(event) for event in logged if event["log_level"].name == "warn"]

    def avatar(self, *names: str) -> type[Avatar]:
        """Return a class with these methods."""
        return type("Player", (Avatar,), {name: lambda self, session: None for name in names})

    def test_foundAtTheStart(self) -> None:
        """A misspelled hook is warned about when the realm is made, once, with the right name."""
        made = self.avatar("detatched")
        (warning,) = self.warnings(lambda: CachingRealm(made))
        self.assertIn("Player.detatched is never called as a hook: did you mean detached?", warning)
        self.assertIn("attached, detached, lagging", warning)
        self.assertEqual(self.warnings(lambda: CachingRealm(made)), [])

    def test_foundAtTheFirstLogin(self) -> None:
        """If the realm does not know the class, the first avatar shows it."""
        made = self.avatar("laging")
        realm = CachingRealm(lambda name: made(name))
        (warning,) = self.warnings(lambda: [self.successResultOf(enter(realm, name)) for name in ("alice", "bob")])
        self.assertIn("did you mean lagging?", warning)

    def test_names(self) -> None:
        """Misspelled names are found, and other methods are not."""
        for hook, names in {
            "attached": ["atached", "attatched", "attach", "onAttached", "on_attached", "Attached", "_attached"],
            "detached": ["detatched", "dettached", "deatched", "detach", "onDetach", "on_detached"],
            "lagging": ["laging", "laggging", "onLagging"],
        }.items():
            for name in names:
                self.assertEqual([*misspelled(self.avatar(name))], [(name, hook)])
        others = ["attacked", "attack", "logging", "tagging", "detect", "perspective_attach", "told", "lag", "logout"]
        self.assertEqual([*misspelled(self.avatar(*others))], [])
        # With the hook itself, a name like it is a method of the program.
        self.assertEqual([*misspelled(self.avatar("attach", "attached"))], [])
        for known in (Avatar, Recorder, ClockAvatar, pb.Avatar):
            self.assertEqual([*misspelled(known)], [])

    def test_withoutHooks(self) -> None:
        """A realm that calls no hooks does not warn."""
        self.assertEqual(self.warnings(lambda: ClientlessRealm(self.avatar("detatched"))), [])


class ClassAttributeTests(SynchronousTestCase):
    """What may be passed to a realm may be an attribute of its class."""

    def test_anonymous(self) -> None:
        """The realm of guests."""

        class Game(CachingRealm):
            """Guests are welcome."""

            anonymous = AnonymousRealm(Recorder)

        realm = Game(Recorder, clock=Clock())
        wire = Wire(serve(realm, clock=Clock()))
        guest = self.successResultOf(wire.login(None))
        self.assertEqual(self.successResultOf(wire.call(guest, "whoami")), "anonymous#1")
        self.assertIs(Game.anonymous.hub, realm.hub)
        other = AnonymousRealm(Recorder)
        self.assertIs(Game(Recorder, anonymous=other).anonymous, other)

        class Wrong(CachingRealm):
            """Guests are in no such realm."""

            anonymous = CachingRealm(Recorder)

        self.assertRaises(errors.ConfigError, Wrong, Recorder)

    def test_others(self) -> None:
        """The clock, the policy for admission and that for slow consumers."""
        ticking = Clock()

        class Game(CachingRealm):
            """Nobody may come in."""

            clock = ticking
            slow = kickAfter(7)

            def admission(view: Any, candidate: Any) -> Refuse:
                """Refuse."""
                return Refuse(errors.LoginRefused(f"not you, {candidate.avatarId}"))

        realm = Game(Recorder)
        self.assertIs(realm.clock, ticking)
        self.assertEqual(realm.hub.telling.slow, kickAfter(7))
        self.assertIn("not you, alice", str(self.failureResultOf(enter(realm), errors.LoginRefused).value))


class PickleTests(SynchronousTestCase):
    """Avatars that are stored while clients are logged in."""

    def enter(self, make: Any, realm: Any = CachingRealm) -> tuple[Realm, Any]:
        """Return a realm with one client, and the avatar."""
        made: Realm = realm(make, clock=Clock())
        wire = Wire(serve(made, clock=made.clock))
        self.kept = self.successResultOf(wire.login("alice", Client()))
        (session,) = made.roster
        return made, session.avatar

    def test_avatar(self) -> None:
        """An avatar is pickled and copied without its sessions, and keeps these itself."""
        for make in (Stored, Slotted):
            for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
                _, avatar = self.enter(make)
                loaded = pickle.loads(pickle.dumps(avatar, protocol))
                for again in (loaded, copy.copy(avatar), copy.deepcopy(avatar)):
                    self.assertEqual((again.avatarId, again.coins, again.sessions), ("alice", 7, ()))
                self.assertEqual(len(avatar.sessions), 1)

    def test_clock(self) -> None:
        """A clock is pickled without its timers, and ticks again for a new session."""
        realm, avatar = self.enter(lambda name: ClockAvatar(name, 2.0))
        loaded = pickle.loads(pickle.dumps(avatar))
        self.assertEqual((loaded.period, loaded.sessions), (2.0, ()))
        self.assertEqual(len(avatar.sessions), 1)
        client = Client()
        wire = Wire(serve(CachingRealm(lambda name: loaded, clock=realm.clock), clock=realm.clock))
        kept = self.successResultOf(wire.login("alice", client))
        loaded.perspective_setperiod(1)
        wire.flush()
        self.assertEqual(client.told, [("notifyTime", 0.0)])
        del kept

    def test_sessions(self) -> None:
        """What belongs to a connection says so, and what to do."""
        realm, avatar = self.enter(Keeping)
        session = avatar.session
        for what, name in (
            (avatar, "Session"),
            (session, "Session"),
            (session.mind, "Mind"),
            (realm.topic("x"), "Topic"),
            (realm, "Realm"),
        ):
            for attempt in (pickle.dumps, copy.deepcopy):
                error = self.assertRaises(TypeError, attempt, what)
                self.assertIn(f"a {name} cannot be pickled or copied, because it belongs to live conn", str(error))
                self.assertIn("__getstate__", str(error))
