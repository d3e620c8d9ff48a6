"""The base class of avatars, and how a call reaches a method."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pbkit import Avatar, CachingRealm, Session
from tests.support import Recorder, Wire, enter, serve


class Player(Recorder):
    """An avatar with one method of each kind."""

    def perspective_plain(self, a: int, b: int = 2) -> list[int]:
        """Answer at once."""
        return [a, b]

    def perspective_later(self, a: int) -> Deferred[Any]:
        """Answer when the test says so."""
        d = self.perspective_wait()
        return d.addCallback(lambda b: [a, b])

    async def perspective_coroutine(self, a: int) -> list[int]:
        """Answer when the test says so."""
        return [a, await self.perspective_wait()]

    async def perspective_failing(self) -> None:
        """Fail after an await."""
        await self.perspective_wait()
        raise pb.Error("no, because")

    def perspective_secret(self, *, key: str) -> None:
        """Fail, with a secret among the arguments."""
        raise pb.Error("no")


class DispatchTests(SynchronousTestCase):
    """Calls on an avatar over a connection."""

    def setUp(self) -> None:
        """Log a client in."""
        realm = CachingRealm(Player, clock=Clock())
        self.wire = Wire(serve(realm, clock=Clock()))
        self.avatar = self.successResultOf(self.wire.login())
        self.player: Player = next(iter(realm.roster)).avatar
        self.logged: list[LogEvent] = []
        observer: Any = self.logged.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def call(self, method: str, *args: Any, **kw: Any) -> Deferred[Any]:
        """Call a method as the client."""
        return self.wire.call(self.avatar, method, *args, **kw)

    def test_plain(self) -> None:
        """A plain method is called with positional and keyword arguments."""
        self.assertEqual(self.successResultOf(self.call("plain", 1)), [1, 2])
        self.assertEqual(self.successResultOf(self.call("plain", 1, b=5)), [1, 5])

    def test_deferredAndCoroutine(self) -> None:
        """A method that returns a Deferred, and an ``async def`` one, answer when they are done."""
        for method in ("later", "coroutine"):
            answer = self.call(method, 1)
            self.assertNoResult(answer)
            self.player.waiting.pop().callback(7)
            self.wire.flush()
            self.assertEqual(self.successResultOf(answer), [1, 7])

    def test_errorOfACoroutine(self) -> None:
        """An exception in an ``async def`` method reaches the caller."""
        answer = self.call("failing")
        self.player.waiting.pop().callback(None)
        self.wire.flush()
        failure = self.failureResultOf(answer)
        self.assertTrue(failure.check(pb.Error))
        self.assertEqual(failure.getErrorMessage(), "no, because")

    def test_noSuchMethod(self) -> None:
        """For a method that does not exist, a stock client gets `pb.NoSuchMethod`, and no error is logged."""
        failure = self.failureResultOf(self.call("nothing"))
        self.assertTrue(failure.check("pbkit.errors.NoSuchMethod"))
        self.assertIn("perspective_nothing", failure.getErrorMessage())
        self.assertEqual([event for event in self.logged if "log_failure" in event], [])

    def test_onlyPerspectiveMethods(self) -> None:
        """A method whose name does not begin with ``perspective_`` cannot be called."""
        for method in ("told", "attached", "__init__", "sessionId", "_live"):
            self.assertTrue(self.failureResultOf(self.call(method)).check("pbkit.errors.NoSuchMethod"))

    def test_wrongArgumentsAreNotLogged(self) -> None:
        """For arguments that do not fit, the caller gets a TypeError. The arguments are not logged."""
        for args, kw in ((("swordfish", "swordfish", "swordfish"), {}), ((), {"colour": "swordfish"})):
            failure = self.failureResultOf(self.call("plain", *args, **kw))
            self.assertTrue(failure.check(TypeError))
        self.flushLoggedErrors(TypeError)
        told = [str({k: v for k, v in event.items() if k != "log_failure"}) for event in self.logged]
        self.assertEqual([text for text in told if "swordfish" in text], [])

    def test_ownMessageReceived(self) -> None:
        """
        An avatar with its own `perspectiveMessageReceived` is called with stock's arguments; a stock `pb.Avatar` is
        served.
        """

        class Own(Avatar):
            """An avatar that serves every message itself."""

            def perspectiveMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
                """Answer the name of the method."""
                return broker.serialize(f"own {message}")

        class Stock(pb.Avatar):
            """An avatar of stock's."""

            def __init__(self, avatarId: str) -> None:
                pass

            async def perspective_hi(self) -> str:
                """Answer."""
                return "hi"

        for avatarClass, method, answer in ((Own, "anything", "own anything"), (Stock, "hi", "hi")):
            wire = Wire(serve(CachingRealm(avatarClass), clock=Clock()))
            avatar = self.successResultOf(wire.login())
            self.assertEqual(self.successResultOf(wire.call(avatar, method)), answer)


class AvatarTests(SynchronousTestCase):
    """`Avatar` itself."""

    def test_interface(self) -> None:
        """It provides `pb.IPerspective`."""
        verifyObject(pb.IPerspective, Avatar("alice"))

    def test_sessions(self) -> None:
        """
        `sessions` is a tuple of the live sessions, oldest login first. A subclass need not call `Avatar.__init__`.
        """

        class Careless(Avatar):
            """An avatar with a constructor of its own."""

            def __init__(self, avatarId: str) -> None:
                pass

        for avatarClass in (Avatar, Careless):
            realm = CachingRealm(avatarClass)
            first, second = (self.successResultOf(enter(realm)) for _ in range(2))
            other = self.successResultOf(enter(realm, "bob"))
            avatar = first.avatar
            self.assertIs(avatar, second.avatar)
            self.assertEqual(avatar.sessions, (first, second))
            self.assertEqual(other.avatar.sessions, (other,))
            first.end()
            self.assertEqual(avatar.sessions, (second,))
            second.end()
            self.assertEqual(avatar.sessions, ())

    def test_sessionsAreTheOthersInTheHooks(self) -> None:
        """While a hook runs, its session is not in `sessions`."""
        seen: list[tuple[str, int]] = []

        class Watching(Avatar):
            """An avatar that counts its other sessions."""

            def attached(self, session: Session) -> None:
                """Count."""
                seen.append(("attached", len(self.sessions)))

            def detached(self, session: Session) -> None:
                """Count."""
                seen.append(("detached", len(self.sessions)))

        realm = CachingRealm(Watching)
        first, second = (self.successResultOf(enter(realm)) for _ in range(2))
        first.end()
        second.end()
        self.assertEqual(seen, [("attached", 0), ("attached", 1), ("detached", 1), ("detached", 0)])

    def test_sessionsMayEndWhileTheyAreIterated(self) -> None:
        """An avatar may end all its sessions in a loop."""
        realm = CachingRealm(Recorder)
        avatar = [self.successResultOf(enter(realm)) for _ in range(5)][0].avatar
        for session in avatar.sessions:
            session.end()
        self.assertEqual((avatar.sessions, len(realm.roster)), ((), 0))
