"""How a call reaches a method, whatever kind of object it is on."""

from __future__ import annotations

from typing import Any

from twisted.logger import formatEvent, globalLogPublisher
from twisted.spread import pb

from pbkit import MultiClientRealm
from pbkit.errors import BadArguments, InternalError, NoSuchMethod
from tests.support import Recorder, Wire, serve
from tests.wire.things import WireCase

SECRET = "s3same"


class View(pb.Viewable):
    """Has methods that know who calls."""

    def view_whose(self, perspective: Any, suffix: str = "") -> str:
        """Who."""
        return str(perspective.avatarId) + suffix

    async def view_later(self, perspective: Any) -> str:
        """Who, as a coroutine."""
        return str(perspective.avatarId)


class Thing(pb.Referenceable):
    """Has methods."""

    def remote_one(self, x: Any) -> Any:
        """Take one argument."""
        return x


class Own(pb.Referenceable):
    """Serves its calls itself."""

    def remoteMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        """Answer with what was called."""
        return broker.serialize(message)


class Giver(Recorder):
    """Hands them out."""

    def perspective_things(self) -> Any:
        """One of each."""
        return [Thing(), View(), Own()]

    def perspective_broken(self, x: str) -> Any:
        """Do what cannot be done."""
        return x + 1  # type: ignore[operator]


class OldAvatar(pb.Avatar):
    """Stock's."""

    def __init__(self, avatarId: str) -> None:
        self.avatarId = avatarId

    def perspective_one(self, x: Any) -> Any:
        """Take one argument."""
        return x


class DispatchTests(WireCase):
    """Avatars, Referenceables and ViewPoints got through a session."""

    def setUp(self) -> None:
        """Log in."""
        super().setUp()
        self.wire = Wire(serve(MultiClientRealm(Giver, clock=self.clock), clock=self.clock))
        self.avatar = self.successResultOf(self.wire.login("alice"))
        self.thing, self.view, self.own = self.get(self.avatar, "things")
        self.lines: list[str] = []
        observer: Any = self.observe
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def observe(self, event: Any) -> None:
        """All of an event, whatever its format shows."""
        failure = event.get("log_failure")
        self.lines.append(f"{formatEvent(event)} {event.get('log_text', '')} {failure and failure.getTraceback()}")

    def test_argumentsThatDoNotFitAreNotLogged(self) -> None:
        """Stock logs the arguments of a call that does not fit; here the caller is told why, and that is all."""
        for reference, method in [(self.thing, "one"), (self.view, "whose"), (self.avatar, "whoami")]:
            failure = self.error(reference, method, SECRET, SECRET)
            self.assertTrue(failure.check(BadArguments) and failure.check(TypeError))
            self.assertIn("too many positional arguments", failure.value)
        self.assertNotIn(SECRET, "".join(self.lines))

    def test_typeErrorsOfMethodsAreLogged(self) -> None:
        """One that a method raises itself is no mistake of the caller's: the log has it, without the arguments."""
        failure = self.error(self.avatar, "broken", SECRET)
        self.assertTrue(failure.check(InternalError))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertNotIn(SECRET, "".join(self.lines))
        self.assertNotEqual(self.lines, [])

    def test_oldAvatarsArgumentsAreNotLoggedEither(self) -> None:
        """Nor are they for an avatar that is stock's own class."""
        wire = Wire(serve(MultiClientRealm(OldAvatar, clock=self.clock), clock=self.clock))
        avatar = self.successResultOf(wire.login("bob"))
        self.assertEqual(self.get(avatar, "one", 5, wire=wire), 5)
        self.assertTrue(self.error(avatar, "one", SECRET, SECRET, wire=wire).check(BadArguments))
        self.assertNotIn(SECRET, "".join(self.lines))

    def test_eachKindIsServed(self) -> None:
        """A Referenceable gets its arguments, a view its perspective first, and who serves himself does."""
        self.assertEqual(self.get(self.thing, "one", 5), 5)
        self.assertEqual(self.get(self.view, "whose", "!"), "alice!")
        self.assertEqual(self.get(self.view, "later"), "alice")
        self.assertEqual(self.get(self.own, "anything"), "anything")

    def test_missingMethod(self) -> None:
        """A method that there is not is a `pb.NoSuchMethod` to the caller, and no error in the log."""
        for reference in (self.thing, self.view, self.avatar):
            failure = self.error(reference, "nonsense")
            self.assertTrue(failure.check(NoSuchMethod))
            self.assertTrue(failure.check(pb.NoSuchMethod))
            self.assertIn("nonsense", failure.value)
        self.assertEqual(self.flushLoggedErrors(), [])
