"""Takeovers, and races between logins."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.spread import pb

from pbkit import LimitedRealm, Realm, Session, SingleClientRealm, errors
from tests.sessions.case import RealmTestCase, Slow, SlowSingle
from tests.support import Recorder, Stubborn, enter


class TakeoverTests(RealmTestCase):
    """A new login that replaces a session."""

    def test_inOrder(self) -> None:
        """The new session is attached first, then the old one ends; on the roster both happen in one step."""
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

    def test_avatarHasOnlyTheNewSession(self) -> None:
        """With a limit of one, the avatar has one session when the new session's beginning is announced."""
        realm = SingleClientRealm(Recorder, conflict="kick", clock=self.clock)
        self.successResultOf(enter(realm))
        seen: list[Any] = []
        realm.roster.onBegin(lambda s: seen.append(s.avatar.sessions))
        new = self.successResultOf(enter(realm))
        self.assertEqual(seen, [(new,)])

    def test_failedBuildEndsNobody(self) -> None:
        """A takeover whose build fails, hangs or is cancelled does not affect the old session."""
        for fate in ("fails", "hangs", "leaves"):
            building: list[Deferred[Any]] = []

            class Fresh(Realm):
                """A new avatar for each login; all but the first are slow to build."""

                def makePolicy(self) -> Any:
                    """Limit to one session."""
                    return SingleClientRealm(Recorder, conflict="kick").makePolicy()

                def buildAvatar(self, avatarId: str, building: list[Deferred[Any]] = building) -> Any:
                    """Build an avatar."""
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
        """A takeover whose `attached` fails, hangs, ends itself or is cancelled does not affect the old session."""

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
        """The old session may end while the new avatar is being built: it ends once, with its own reason."""
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
        """If `detached` of the old session ends the new one, each has ended once, and the login is refused."""
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
        """With refuse, one of two simultaneous logins is admitted, and the other is refused."""
        realm = SlowSingle(clock=self.clock)
        first, second = enter(realm), enter(realm)
        failure = self.failureResultOf(second, errors.TooManySessions)
        self.assertEqual(str(failure.value), "alice has 1 of 1 connections")
        realm.builds[0].callback(Recorder("alice"))
        self.assertEqual(list(realm.roster), [self.successResultOf(first)])

    def test_twoRaceUnderKick(self) -> None:
        """With kick, two logins are admitted 5 s apart; each replaces the one before, and one session remains."""
        realm = SlowSingle(conflict="kick", clock=self.clock)
        logins = [enter(realm) for _ in range(3)]
        avatar = Recorder("alice")
        realm.builds[0].callback(avatar)
        self.assertNoResult(logins[2])
        self.clock.advance(5)
        for each in logins[:2]:
            # The first may be replaced before or after it has its answer.
            each.addErrback(lambda failure: failure.trap(errors.LoginInterrupted))
            self.successResultOf(each)
        last = self.successResultOf(logins[2])
        self.assertEqual(list(realm.roster), [last])
        self.assertEqual([what for what, _ in avatar.events].count("detached"), 2)
        self.assertEqual(realm.counters.ends, {"Replaced": 2})

    def test_twoRaceUnderKickWhenTheFirstFails(self) -> None:
        """If the first of two logins fails, the second replaces the original session."""
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
        """With probe, one of two logins replaces a dead session, and the other is refused."""
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
        """Pending logins count: of ten simultaneous logins with a limit of three, three are admitted."""

        class SlowLimited(Slow, LimitedRealm):
            """At most three sessions, with avatars that are slow to build."""

        realm = SlowLimited(clock=self.clock)
        logins = [enter(realm) for _ in range(10)]
        for each in logins[3:]:
            failure = self.failureResultOf(each, errors.TooManySessions)
            self.assertEqual(str(failure.value), "alice has 3 of 3 connections")
        realm.builds[0].callback(Recorder("alice"))
        for each in logins[:3]:
            self.successResultOf(each)
        self.assertEqual(realm.counters.refusals, {"TooManySessions": 7})
