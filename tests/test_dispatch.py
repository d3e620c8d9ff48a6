"""How a call reaches a method, for each kind of object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.logger import formatEvent, globalLogPublisher
from twisted.spread import pb

from pbkit import ClientFactory, MultiClientRealm, dropin
from pbkit.errors import BadArguments, InternalError, NoSuchMethod
from tests.support import Recorder, Wire, serve
from tests.wire.things import WireCase

SECRET = "s3same"


class View(pb.Viewable):
    """An object whose methods receive the caller's avatar."""

    def view_whose(self, perspective: Any, suffix: str = "") -> str:
        """Return the caller's avatar id."""
        return str(perspective.avatarId) + suffix

    async def view_later(self, perspective: Any) -> str:
        """Return the caller's avatar id, from a coroutine."""
        return str(perspective.avatarId)


class Thing(pb.Referenceable):
    """An object with a method."""

    def remote_one(self, x: Any) -> Any:
        """Take one argument."""
        return x


class Own(pb.Referenceable):
    """An object that serves its calls itself."""

    def remoteMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        """Return the name of the method."""
        return broker.serialize(message)


class Giver(Recorder):
    """An avatar that gives out these objects."""

    def perspective_things(self) -> Any:
        """Return one object of each kind."""
        return [Thing(), View(), Own()]

    def perspective_broken(self, x: str) -> Any:
        """Raise a TypeError."""
        return x + 1  # type: ignore[operator]


class OldAvatar(pb.Avatar):
    """An avatar of stock's class."""

    def __init__(self, avatarId: str) -> None:
        self.avatarId = avatarId

    def perspective_one(self, x: Any) -> Any:
        """Take one argument."""
        return x


class DispatchTests(WireCase):
    """Avatars, Referenceables and ViewPoints obtained through a session."""

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
        """Collect all fields of the log events."""
        failure = event.get("log_failure")
        self.lines.append(f"{formatEvent(event)} {event.get('log_text', '')} {failure and failure.getTraceback()}")

    def test_argumentsThatDoNotFitAreNotLogged(self) -> None:
        """Wrong arguments are an error for the caller, and are not logged as in stock."""
        for reference, method in [(self.thing, "one"), (self.view, "whose"), (self.avatar, "whoami")]:
            failure = self.error(reference, method, SECRET, SECRET)
            self.assertTrue(failure.check(BadArguments) and failure.check(TypeError))
            self.assertIn("too many positional arguments", failure.value)
        self.assertNotIn(SECRET, "".join(self.lines))

    def test_typeErrorsOfMethodsAreLogged(self) -> None:
        """A TypeError that the method raises is not the caller's error: it is logged, without the arguments."""
        failure = self.error(self.avatar, "broken", SECRET)
        self.assertTrue(failure.check(InternalError))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertNotIn(SECRET, "".join(self.lines))
        self.assertNotEqual(self.lines, [])

    def test_oldAvatarsArgumentsAreNotLoggedEither(self) -> None:
        """They are not logged for an avatar of stock's class either."""
        wire = Wire(serve(MultiClientRealm(OldAvatar, clock=self.clock), clock=self.clock))
        avatar = self.successResultOf(wire.login("bob"))
        self.assertEqual(self.get(avatar, "one", 5, wire=wire), 5)
        self.assertTrue(self.error(avatar, "one", SECRET, SECRET, wire=wire).check(BadArguments))
        self.assertNotIn(SECRET, "".join(self.lines))

    def test_eachKindIsServed(self) -> None:
        """A Referenceable receives its arguments, a view its perspective first; an object may serve calls itself."""
        self.assertEqual(self.get(self.thing, "one", 5), 5)
        self.assertEqual(self.get(self.view, "whose", "!"), "alice!")
        self.assertEqual(self.get(self.view, "later"), "alice")
        self.assertEqual(self.get(self.own, "anything"), "anything")

    def test_missingMethod(self) -> None:
        """A missing method is a `pb.NoSuchMethod` for the caller, and not logged."""
        for reference in (self.thing, self.view, self.avatar):
            failure = self.error(reference, "nonsense")
            self.assertTrue(failure.check(NoSuchMethod))
            self.assertTrue(failure.check(pb.NoSuchMethod))
            self.assertIn("nonsense", failure.value)
        self.assertEqual(self.flushLoggedErrors(), [])


class Inner:
    """An object of the program's own, which is wrapped to be sent."""

    def remoteMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        """Answer with what was called."""
        return broker.serialize((message, broker.unserialize(args)))


class Wrapper(Recorder):
    """Wraps objects in stock's AsReferenceable."""

    def perspective_thing(self) -> Any:
        """A Referenceable."""
        return pb.AsReferenceable(Thing())

    def perspective_view(self) -> Any:
        """A ViewPoint, for this avatar."""
        return pb.AsReferenceable(pb.ViewPoint(self, View()))

    def perspective_avatar(self) -> Any:
        """An avatar of stock's."""
        return pb.AsReferenceable(OldAvatar("old"), "perspective")

    def perspective_inner(self) -> Any:
        """An object that serves its calls itself."""
        return pb.AsReferenceable(Inner())


class AsReferenceableTests(WireCase):
    """Stock's AsReferenceable, which serves calls with the method of another object."""

    def wires(self) -> Iterator[Wire]:
        """A strict server and a drop-in one, each with a stock client and one of pbkit's."""
        for server in (None, dropin.PBServerFactory):
            for client in (pb.PBClientFactory, ClientFactory, dropin.PBClientFactory):
                realm = MultiClientRealm(Wrapper, clock=self.clock)
                wire = Wire(serve(realm, server) if server else serve(realm, clock=self.clock), client())
                self.addCleanup(wire.lose)
                yield wire

    def test_returned(self) -> None:
        """Calls reach the methods of the object within, whatever it is."""
        for wire in self.wires():
            alice = self.successResultOf(wire.login("alice"))
            thing, view, avatar, inner = (
                self.get(alice, kind, wire=wire) for kind in ("thing", "view", "avatar", "inner")
            )
            self.assertEqual(self.get(thing, "one", 5, wire=wire), 5)
            self.assertEqual(self.get(thing, "one", [(5,)], wire=wire), [(5,)])
            self.assertEqual(self.get(view, "whose", "!", wire=wire), "alice!")
            self.assertEqual(self.get(view, "later", wire=wire), "alice")
            self.assertEqual(self.get(avatar, "one", 5, wire=wire), 5)
            self.assertEqual(self.get(inner, "what", 5, wire=wire), ("what", (5,)))

    def test_mind(self) -> None:
        """A client may send one as its mind."""
        for wire in self.wires():
            mind = pb.AsReferenceable(Thing())
            kept = self.successResultOf(wire.login("alice", mind))
            (channel,) = wire.server.owners.values()
            answer = channel.session.mind.reference.callRemote("one", "hello")
            wire.flush()
            self.assertEqual(self.successResultOf(answer), "hello")
            del kept

    def test_missing(self) -> None:
        """A method that does not exist is answered as if the object within had been sent itself."""
        for wire in self.wires():
            alice = self.successResultOf(wire.login("alice"))
            thing = self.get(alice, "thing", wire=wire)
            self.assertTrue(self.error(thing, "two", wire=wire).check(pb.NoSuchMethod))
            self.flushLoggedErrors(pb.NoSuchMethod)


class MissingMethodTests(WireCase):
    """A missing method of a ViewPoint, in drop-in use."""

    def test_viewPoint(self) -> None:
        """It is an AttributeError, as with stock."""
        for server in (pb.PBServerFactory, dropin.PBServerFactory):
            wire = Wire(serve(MultiClientRealm(Giver, clock=self.clock), server))
            alice = self.successResultOf(wire.login("alice"))
            _, view, _ = self.get(alice, "things", wire=wire)
            self.assertTrue(self.error(view, "nonsense", wire=wire).check(AttributeError))
            self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
            wire.lose()
