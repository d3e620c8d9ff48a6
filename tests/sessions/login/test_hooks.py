"""`attached` and `detached` under a realm, and all that can happen while they run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.spread import pb

from pbkit import CachingRealm, Realm, Session, SingleClientRealm, errors
from tests.sessions.case import RealmTestCase, Slow
from tests.support import Client, Recorder, Stubborn, Wire, collect, enter


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
        """It does not run if `attached` raises; no login waits for that any more, so it is logged."""
        login, realm = self.kickedWhileAttaching(lambda: self.gate.errback(pb.Error("no")))
        self.failureResultOf(login, errors.LoginInterrupted)
        self.assertEqual(len(self.flushLoggedErrors(pb.Error)), 1)
        self.assertEqual(self.events(), ["attached"])
        self.assertNothingLeft(realm)

    def test_kickedWhileAttachingWhichHangs(self) -> None:
        """Nor if it never returns; the login was refused, and the place was free, at once."""
        login, realm = self.kickedWhileAttaching(lambda: None)
        self.assertEqual(len(realm.roster.view.everyone()), 0)
        self.assertIn("was ended by the server", str(self.failureResultOf(login, errors.LoginInterrupted).value))
        self.clock.advance(30)
        self.assertEqual(self.events(), ["attached"])
        self.assertNothingLeft(realm)

    def lostWhileAttaching(self) -> tuple[Realm, Wire]:
        """A connection that is lost while `attached` waits."""
        realm = SingleClientRealm(self.hooked(lambda session: self.gate), clock=self.clock)
        wire = self.wire(realm)
        wire.login().addErrback(lambda _: None)
        wire.cut()
        # The place is free at once: the user may come back before the hook is done.
        self.assertEqual((len(realm.roster.view.everyone()), realm._entrance._logins), (0, set()))
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
        """If it raises instead, `detached` does not run; the error is logged, because no login waits for it."""
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

    def test_lostWithin(self) -> None:
        """The connection may be lost in any of the user's code that a login runs: nothing is left of the session."""
        for where in ("build", "attached", "begin"):
            wires: list[Wire] = []

            def lose(here: str, where: str = where, wires: list[Wire] = wires) -> None:
                if here == where:
                    wires[0].cut()

            def begun(session: Session, lose: Any = lose) -> None:
                lose("begin")

            class Losing(CachingRealm):
                def buildAvatar(self, avatarId: str, lose: Any = lose) -> Any:
                    lose("build")
                    return Recorder(avatarId)

            class Told(Recorder):
                def attached(self, session: Session, lose: Any = lose) -> None:
                    super().attached(session)
                    lose("attached")

            realm = CachingRealm(Told, clock=self.clock) if where != "build" else Losing(clock=self.clock)
            realm.roster.onBegin(begun)
            wires.append(self.wire(realm))
            login = wires[0].login()
            self.failureResultOf(login)
            ends = {"Disconnected": 1} if where == "begin" else {}
            self.assertEqual((realm.counters.logins, realm.counters.ends), (len(ends), ends))
            self.assertNothingLeft(realm, (wires[0],))
            avatar = self.successResultOf(enter(realm)).avatar
            events = [what for what, _ in avatar.events]
            self.assertEqual(events[:-1], [] if where == "build" else ["attached", "detached"], where)

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
        """An avatar is not dropped, and so no second one is built beside it, while its `detached` runs."""
        realm = CachingRealm(self.hooked(lambda s: None, lambda s: self.gate), linger=1, clock=self.clock)
        session = self.successResultOf(enter(realm))
        session.end()
        self.clock.advance(10)
        self.assertIs(self.successResultOf(enter(realm)).avatar, session.avatar)
        self.gate.callback(None)
        self.assertEqual(len(self.made), 1)
