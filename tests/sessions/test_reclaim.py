"""A client takes the place of its own ghost, whatever the policy."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from pbkit import Admit, CachingRealm, ClientFactory, LimitedRealm, Refuse, SingleClientRealm, atMost, errors, total
from tests.sessions.case import RealmTestCase, SlowSingle
from tests.support import Recorder, Wire, serve, timers


class ReclaimTests(RealmTestCase):
    """Reclaim."""

    def wireOf(self, realm: Any, program: str = "p") -> Wire:
        """A connection of a client that says which program it is."""
        wire = self.wire(realm)
        wire.server.peer.hello = {"program": program}
        return wire

    def enter(self, realm: Any, program: str = "p", name: str = "alice") -> tuple[Wire, Any]:
        """Log in over a new connection. :return: that, and the reference."""
        wire = self.wireOf(realm, program)
        return wire, self.successResultOf(wire.login(name))

    def refused(self, realm: Any, program: str = "p") -> None:
        """Another is refused."""
        failure = self.failureResultOf(self.wireOf(realm, program).login())
        self.assertTrue(failure.check("pbkit.errors.TooManySessions"))

    def test_whateverTheConflictRule(self) -> None:
        """Under refuse, probe and kick, also within the five seconds, and as often as it takes: at once."""
        for conflict in ("refuse", "probe", "kick"):
            for handover in ("before", "after"):
                realm = SingleClientRealm(Recorder, conflict=conflict, handover=handover, clock=self.clock)
                kept = [self.enter(realm)]
                for _ in range(3):
                    (ghost,) = realm.roster
                    kept.append(self.enter(realm))
                    self.assertIsInstance(ghost.endedWith, errors.Replaced)
                self.assertEqual(len(realm.roster), 1)
                self.assertEqual(timers(self.clock), [])

    def test_strangersAreNotHelped(self) -> None:
        """Another program, one that says nothing, "" or no text, is met by the policy."""
        realm = SingleClientRealm(Recorder, clock=self.clock)
        kept = self.enter(realm, "p")
        for program in ("q", "", "P"):
            self.refused(realm, program)
        odd: Any
        for odd in ({}, {"program": None}, {"program": b"p"}, {"program": 1}):
            wire = self.wire(realm)
            wire.server.peer.hello = odd
            self.failureResultOf(wire.login())
        del kept

    def test_thoseWhoSayNothingAreNotOneProgram(self) -> None:
        """Two who both say "" are strangers."""
        realm = SingleClientRealm(Recorder, clock=self.clock)
        kept = self.enter(realm, "")
        self.refused(realm, "")
        del kept

    def test_onlyTheSameUser(self) -> None:
        """The same program as another user's session ends nobody of that user's."""
        realm = CachingRealm(Recorder, admission=total(atMost(1)), clock=self.clock)
        kept = self.enter(realm, "p", "alice")
        failure = self.failureResultOf(self.wireOf(realm, "p").login("bob"))
        self.assertTrue(failure.check("pbkit.errors.TooManySessions"))
        (alice,) = realm.roster
        self.assertIsNone(alice.endedWith)
        # The same user finds room, though it is the whole server that is full.
        kept = self.enter(realm, "p", "alice")
        self.assertIsInstance(alice.endedWith, errors.Replaced)
        del kept

    def test_withoutALoginNothingHappens(self) -> None:
        """What counts is the login: one with a wrong password ends nobody."""
        realm = SingleClientRealm(Recorder, clock=self.clock)
        kept = self.enter(realm)
        wire = self.wireOf(realm)
        login = wire.login(password=b"wrong")
        self.clock.advance(10)
        wire.flush()
        self.failureResultOf(login)
        (session,) = realm.roster
        self.assertIsNone(session.endedWith)
        del kept

    def test_whereThereIsRoomNobodyGoes(self) -> None:
        """A program may be in several times; only where there is no room its oldest session goes, and nobody else's."""
        realm = LimitedRealm(Recorder, max=3, conflict="kick", clock=self.clock)
        kept = [self.enter(realm, program) for program in ("q", "p", "p")]
        stranger, oldest, newer = realm.roster
        kept.append(self.enter(realm, "p"))
        self.assertEqual([session.endedWith for session in (stranger, newer)], [None, None])
        self.assertIsInstance(oldest.endedWith, errors.Replaced)

    def test_asManyAsItTakes(self) -> None:
        """After a limit was lowered more than one has to go: of the program's own, if these are enough."""
        realm = LimitedRealm(Recorder, max=3, clock=self.clock)
        kept = [self.enter(realm, program) for program in ("p", "q", "p")]
        realm.reconfigure(max=2)
        kept.append(self.enter(realm, "p"))
        self.assertEqual(realm.counters.ends, {"Replaced": 2})
        realm.reconfigure(max=1)
        # Without its own ghost, there still is the other one's.
        self.refused(realm, "p")
        self.assertEqual(len(realm.roster), 2)

    def test_manyGhosts(self) -> None:
        """Of a hundred the oldest goes, and neither this nor that none would help takes a hundred questions."""
        asked: list[Any] = []
        closed: list[bool] = []

        def policy(view: Any, candidate: Any) -> Any:
            asked.append(candidate)
            return Refuse(errors.LoginRefused("closed")) if closed else Admit()

        realm = LimitedRealm(Recorder, max=100, admission=policy, clock=self.clock)
        kept = [self.enter(realm) for _ in range(100)]
        oldest = next(iter(realm.roster))
        del asked[:]
        kept.append(self.enter(realm))
        self.assertIsInstance(oldest.endedWith, errors.Replaced)
        self.assertEqual(realm.counters.ends, {"Replaced": 1})
        self.assertLess(len(asked), 10)
        del asked[:]
        closed.append(True)
        self.failureResultOf(self.wireOf(realm).login())
        self.assertEqual((len(realm.roster), len(asked)), (100, 1))
        del kept

    def test_handoverHolds(self) -> None:
        """With handover after, the ghost is out before its successor is in, too."""
        gates: list[Deferred[Any]] = []

        def waits(session: Any) -> Deferred[Any]:
            gates.append(Deferred())
            return gates[-1]

        realm = SingleClientRealm(self.hooked(lambda s: None, waits), handover="after", clock=self.clock)
        kept = self.enter(realm)
        wire = self.wireOf(realm)
        login = wire.login()
        self.assertEqual(realm.counters.ends, {"Replaced": 1})
        self.assertNoResult(login)
        gates[0].callback(None)
        wire.flush()
        self.successResultOf(login)
        del kept

    def test_notOnesOwnConnection(self) -> None:
        """A second login on the same connection is met by the policy: the first is no ghost, its connection lives."""
        realm = SingleClientRealm(Recorder, clock=self.clock)
        wire, reference = self.enter(realm)
        self.failureResultOf(wire.login())
        self.assertEqual(self.successResultOf(wire.call(reference, "whoami")), "alice")

    def test_whatOtherReasonsThereAre(self) -> None:
        """A refusal that would be the same without the ghost stays one, and ends nobody."""
        closed: list[bool] = []

        def policy(view: Any, candidate: Any) -> Any:
            refusal = Refuse(errors.LoginRefused("closed"))
            return refusal if closed else atMost(1)(view.avatar("alice"), candidate, "", "")

        realm = CachingRealm(Recorder, admission=policy, clock=self.clock)
        kept = self.enter(realm)
        closed.append(True)
        self.assertEqual(self.failureResultOf(self.wireOf(realm).login()).getErrorMessage(), "closed")
        (session,) = realm.roster
        self.assertIsNone(session.endedWith)
        del kept

    def test_usersOwnPolicy(self) -> None:
        """A policy that counts for itself sees the ghost gone, too."""

        def policy(view: Any, candidate: Any) -> Any:
            if len(view.avatar(candidate.avatarId)) or list(view.everyone()):
                return Refuse(errors.LoginRefused("one at a time"))
            return atMost(1)(view.everyone(), candidate, "", "")

        realm = CachingRealm(Recorder, admission=policy, clock=self.clock)
        kept = [self.enter(realm), self.enter(realm)]
        self.assertEqual(len(realm.roster), 1)
        self.assertEqual(realm.counters.ends, {"Replaced": 1})
        del kept

    def test_whileTheHolderIsProbed(self) -> None:
        """It does not wait for the answer that others wait for; and these ask the new holder."""
        realm = SingleClientRealm(Recorder, conflict="probe", clock=self.clock)
        _ghost, reference = self.enter(realm)
        stranger = self.wireOf(realm, "q")
        waiting = stranger.login()
        self.assertNoResult(waiting)
        new, kept = self.enter(realm)
        self.clock.advance(10)
        new.flush()
        stranger.flush()
        self.failureResultOf(waiting)
        self.assertEqual(self.successResultOf(new.call(kept, "whoami")), "alice")
        del reference

    def test_whileOthersWaitForTheirTurn(self) -> None:
        """It goes past those who wait for the five seconds, and does not make them wait any longer."""
        realm = SingleClientRealm(Recorder, conflict="kick", clock=self.clock)
        kept = [self.enter(realm, "q"), self.enter(realm, "p")]
        stranger = self.wireOf(realm, "q2")
        waiting = stranger.login()
        self.clock.advance(3)
        kept.append(self.enter(realm, "p"))
        self.clock.advance(2)
        stranger.flush()
        self.successResultOf(waiting)

    def test_aGhostThatIsNotInYet(self) -> None:
        """A login that is under way on the old connection is waited for, and then replaced."""
        realm = SlowSingle(clock=self.clock)
        old, new = self.wireOf(realm), self.wireOf(realm)
        first, second = old.login(), new.login()
        self.assertNoResult(second)
        realm.builds[0].callback(Recorder("alice"))
        old.flush()
        new.flush()
        kept = self.successResultOf(second)
        self.assertTrue(self.failureResultOf(first).check("pbkit.errors.LoginInterrupted"))
        self.assertEqual(len(realm.roster), 1)
        del kept

    def test_aReclaimThatFailsEndsNobody(self) -> None:
        """Unless the handover says after, the ghost goes when the newcomer is in, as in any takeover."""
        hooks: list[Any] = [lambda s: None]
        realm = SingleClientRealm(self.hooked(lambda s: hooks[0](s)), clock=self.clock)
        kept = self.enter(realm)
        (ghost,) = realm.roster
        hooks[0] = lambda s: Deferred()
        wire = self.wireOf(realm)
        wire.login().addErrback(lambda _: None)
        wire.cut()
        self.assertIsNone(ghost.endedWith)
        self.assertEqual(len(realm.roster.view.avatar("alice")), 1)
        del kept


class ClientTests(RealmTestCase):
    """The same, with pbkit's own client, which says it unasked."""

    def test_lockedOutByNobody(self) -> None:
        """A client whose connection is gone, unknown to the server, is in at once when it comes back."""
        realm = SingleClientRealm(Recorder, clock=self.clock)
        server = serve(realm, clock=self.clock)
        first = Wire(server, ClientFactory())
        self.successResultOf(first.login())
        # As when the machine has changed its network: the client knows, the server does not.
        first.vanish()
        second = Wire(server, ClientFactory())
        avatar = self.successResultOf(second.login())
        self.assertEqual(self.successResultOf(second.call(avatar, "whoami")), "alice")
        self.assertEqual(realm.counters.ends, {"Replaced": 1})

    def test_twoThatLiveAreNoGhosts(self) -> None:
        """Two connections of one program that both live are two clients: under refuse the second is refused."""
        realm = SingleClientRealm(Recorder, clock=self.clock)
        server = serve(realm, clock=self.clock)
        first = Wire(server, ClientFactory())
        avatar = self.successResultOf(first.login())
        self.failureResultOf(Wire(server, ClientFactory()).login())
        self.assertEqual(self.successResultOf(first.call(avatar, "whoami")), "alice")

    def test_noWarWithOneself(self) -> None:
        """Nor can they make war: the second takes over, and the first waits for its turn."""
        realm = SingleClientRealm(Recorder, conflict="kick", clock=self.clock)
        server = serve(realm, clock=self.clock)
        wires = [Wire(server, ClientFactory()) for _ in range(3)]
        kept = [self.successResultOf(wire.login()) for wire in wires[:2]]
        third = wires[2].login()
        self.assertNoResult(third)
        wires[2].lose()
        self.failureResultOf(third)
        del kept
