"""The drop-in classes: which of stock's behaviour they keep."""

from __future__ import annotations

import gc
from typing import Any

from twisted.cred.credentials import IUsernameHashedPassword
from twisted.cred.error import LoginDenied
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pbkit import CachingRealm, dropin
from tests.support import Client, Part, Recorder, Wire, serve
from tests.wire.things import Board


@implementer(IRealm)
class Realm:
    """A realm of a stock program."""

    def __init__(self) -> None:
        self.minds: list[Any] = []
        self.avatars: list[Any] = []
        self.out: list[Any] = []

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """As `IRealm.requestAvatar`."""
        avatar = Avatar(avatarId, mind)
        self.minds.append(mind)
        self.avatars.append(avatar)
        return pb.IPerspective, avatar, lambda: self.out.append(avatarId)


class Avatar(pb.Avatar):
    """The avatar of a stock program."""

    part = Part()

    def __init__(self, avatarId: Any, mind: Any) -> None:
        self.avatarId, self.mind = avatarId, mind

    def perspective_part(self) -> Part:
        """Return an object that all users share."""
        return self.part

    def perspective_same(self, part: Any) -> bool:
        """Return True if the argument is that object."""
        return part is self.part

    def perspective_fail(self) -> Any:
        """Fail."""
        raise ValueError("the text of it")

    def perspective_later(self) -> Any:
        """Fail later."""
        return fail(ValueError("the text of it"))

    async def perspective_coroutine(self) -> str:
        """Return a coroutine, which stock cannot send."""
        return "done"


class SwappedTests(SynchronousTestCase):
    """A drop-in server with a stock realm."""

    def setUp(self) -> None:
        """Make a server and a connection to it."""
        self.realm = Realm()
        self.wire = Wire(serve(self.realm, dropin.PBServerFactory))

    def test_names(self) -> None:
        """The three classes are subclasses of those that they replace."""
        for name in ("Broker", "PBServerFactory", "PBClientFactory"):
            self.assertTrue(issubclass(getattr(dropin, name), getattr(pb, name)), name)
        self.assertTrue(issubclass(dropin.PBServerFactory.protocol, dropin.Broker))

    def test_proxiesCompareEqual(self) -> None:
        """An object obtained through two logins of one connection is one object for the client, as in stock."""
        avatars = [self.successResultOf(self.wire.login(name)) for name in ("alice", "bob")]
        parts = [self.successResultOf(self.wire.call(avatar, "part")) for avatar in avatars]
        self.assertEqual(parts[0], parts[1])
        self.assertTrue(self.successResultOf(self.wire.call(avatars[0], "same", parts[1])))

    def test_deadReferencesRaise(self) -> None:
        """A call to a reference of a lost connection raises, as in stock."""
        avatar = self.successResultOf(self.wire.login("alice", Client()))
        self.wire.lose()
        self.assertRaises(pb.DeadReferenceError, self.realm.minds[0].callRemote, "tell")
        self.assertRaises(pb.DeadReferenceError, avatar.callRemote, "part")

    def test_textOfErrors(self) -> None:
        """The text of an exception is sent, and a traceback is logged, as in stock."""
        avatar = self.successResultOf(self.wire.login())
        for method in ("fail", "later"):
            failure = self.failureResultOf(self.wire.call(avatar, method))
            self.assertEqual((failure.type, failure.value), (b"builtins.ValueError", "the text of it"))
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_unsafeTracebacks(self) -> None:
        """Tracebacks are sent exactly when stock sends them."""
        for unsafe in (False, True):
            seen = []
            for cls in (dropin.PBServerFactory, pb.PBServerFactory):
                factory = serve(Realm(), cls, unsafeTracebacks=unsafe)
                wire = Wire(factory)
                avatar = self.successResultOf(wire.login())
                failures = [self.failureResultOf(wire.call(avatar, method)) for method in ("fail", "later")]
                seen.append(["perspective_" in failure.traceback for failure in failures])
                self.flushLoggedErrors(ValueError)
            self.assertEqual(seen[0], seen[1])
            self.assertEqual(seen[0][0], unsafe)

    def test_coroutines(self) -> None:
        """An ``async def`` method works; stock's answer would be unusable."""
        avatar = self.successResultOf(self.wire.login())
        self.assertEqual(self.successResultOf(self.wire.call(avatar, "coroutine")), "done")

    def test_logsOutWhenTheAvatarIsGivenBack(self) -> None:
        """A stock realm's logout is called when the avatar is dropped, as in stock."""
        avatar = self.successResultOf(self.wire.login())
        part = self.successResultOf(self.wire.call(avatar, "part"))
        del avatar
        gc.collect()
        self.wire.flush()
        self.assertEqual(self.realm.out, [b"alice"])
        self.assertEqual(self.successResultOf(self.wire.call(part, "hi")), "hi")
        self.wire.lose()
        self.assertEqual(self.realm.out, [b"alice"])

    def test_loginsLeaveNothing(self) -> None:
        """A thousand logins and logouts on one connection leave nothing behind, unlike in stock."""
        for cls, expected in ((pb.PBServerFactory, 1000), (dropin.PBServerFactory, 0)):
            wire = Wire(serve(Realm(), cls))
            for _ in range(1000):
                self.successResultOf(wire.login())
                gc.collect(0)
                wire.flush()
            self.assertEqual(len(wire.server.localObjects), 1)
            self.assertEqual((wire.server._localCleanup, wire.server.luids), ({}, {}))
            self.assertEqual(len(wire.server.disconnects), expected)

    def test_namesAsSent(self) -> None:
        """A checker receives the name as the client sent it."""
        seen: list[Any] = []

        class Checker:
            credentialInterfaces = (IUsernameHashedPassword,)

            def requestAvatarId(self, credentials: Any) -> Any:
                seen.append(credentials.username)
                raise LoginDenied("no")

        for cls in (dropin.PBServerFactory, pb.PBServerFactory):
            checker: Any = Checker()
            wire = Wire(cls(Portal(Realm(), [checker])))
            root = self.successResultOf(wire.factory.getRootObject())
            for name in (b"alice", "alice", 5):
                d = root.callRemote("login", name)
                d.addCallback(lambda answer: answer[1].callRemote("respond", b"", None))
                wire.flush()
                self.failureResultOf(d)
        self.assertEqual(seen, [b"alice", "alice", 5] * 2)
        self.flushLoggedErrors(LoginDenied)

    def test_limitOnReferences(self) -> None:
        """A ``pb.MAX_BROKER_REFS`` that the program sets is respected."""
        self.patch(pb, "MAX_BROKER_REFS", 2)
        avatar = self.successResultOf(self.wire.login())
        kept = [self.successResultOf(self.wire.call(avatar, "part"))]
        self.realm.avatars[0].part = Part()
        failure = self.failureResultOf(self.wire.call(avatar, "part"))
        self.assertIn("Maximum PB reference count exceeded", failure.getErrorMessage())
        kept.clear()
        gc.collect()
        self.wire.flush()
        self.successResultOf(self.wire.call(avatar, "part"))


class WithOurRealmTests(SynchronousTestCase):
    """A drop-in server with a pbkit realm."""

    def test_sessions(self) -> None:
        """Everything obtained through a session becomes invalid with it, as in a strict server."""
        realm = CachingRealm(Recorder, clock=Clock())
        wire = Wire(serve(realm, dropin.PBServerFactory), dropin.PBClientFactory())
        avatar = self.successResultOf(wire.login("alice", Client()))
        part = self.successResultOf(wire.call(avatar, "part"))
        (session,) = realm.roster
        waiting = wire.call(avatar, "wait")
        session.end()
        wire.flush()
        for d in (waiting, wire.call(avatar, "whoami"), wire.call(part, "hi")):
            self.assertTrue(self.failureResultOf(d).check(pb.DeadReferenceError))
        late: Deferred[Any] = session.avatar.waiting.pop()
        late.callback(Part())
        self.assertEqual(wire.server.owners, {})


class LateTests(SynchronousTestCase):
    """Answers that come after the connection is lost."""

    def logged(self, server: Any, result: Any) -> int:
        """How many lines an answer leaves in the log."""
        waiting: list[Deferred[Any]] = []

        class Late(pb.Avatar):
            def perspective_late(self) -> Deferred[Any]:
                waiting.append(Deferred())
                return waiting[0]

        @implementer(IRealm)
        class LateRealm:
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                return pb.IPerspective, Late(), lambda: None

        wire = Wire(serve(LateRealm(), server))
        avatar = self.successResultOf(wire.login("alice"))
        answer = wire.call(avatar, "late")
        wire.lose()
        self.failureResultOf(answer, pb.PBConnectionLost)
        events: list[Any] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        try:
            waiting.pop().callback(result)
            gc.collect()
        finally:
            globalLogPublisher.removeObserver(observer)
        self.flushLoggedErrors()
        return len(events)

    def test_logged(self) -> None:
        """The log has no more of them than with stock, whatever they are."""
        for make in (Part, Board, lambda: [Part()], lambda: "x" * 700_000, object, lambda: 5):
            stock = self.logged(pb.PBServerFactory, make())
            self.assertLessEqual(self.logged(dropin.PBServerFactory, make()), stock, make)
