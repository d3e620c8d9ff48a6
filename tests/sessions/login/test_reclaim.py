"""Reclaim: a client replaces its own stale session, with any policy."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from pbkit import Admit, CachingRealm, ClientFactory, LimitedRealm, Refuse, SingleClientRealm, atMost, errors, total
from tests.sessions.case import RealmTestCase, SlowSingle
from tests.support import Recorder, Wire, serve, timers


class ReclaimTests(RealmTestCase):
    """Reclaims with a client instance id."""

    def wireOf(self, realm: Any, program: str = "p") -> Wire:
        """Return a connection of a client with an instance id."""
        wire = self.wire(realm)
        wire.server.peer.hello = {"program": program}
        return wire

    def enter(self, realm: Any, program: str = "p", name: str = "alice") -> tuple[Wire, Any]:
        """Log in over a new connection. Return the connection and the reference."""
        wire = self.wireOf(realm, program)
        return wire, self.successResultOf(wire.login(name))

    def refused(self, realm: Any, program: str = "p") -> None:
        """Check that a login is refused."""
        failure = self.failureResultOf(self.wireOf(realm, program).login())
        self.assertTrue(failure.check("pbkit.errors.TooManySessions"))

    def test_whateverTheConflictRule(self) -> None:
        """With refuse, probe and kick, a reclaim is immediate, also within five seconds and repeatedly."""
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

    def test_otherProgramsDoNotReclaim(self) -> None:
        """Another instance id, none, "", or an id that is not text is handled by the policy."""
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

    def test_emptyIdsAreDifferent(self) -> None:
        """Two clients with the id "" are different programs."""
        realm = SingleClientRealm(Recorder, clock=self.clock)
        kept = self.enter(realm, "")
        self.refused(realm, "")
        del kept

    def test_onlyTheSameUser(self) -> None:
        """A reclaim does not end sessions of another user with the same id."""
        realm = CachingRealm(Recorder, admission=total(atMost(1)), clock=self.clock)
        kept = self.enter(realm, "p", "alice")
        failure = self.failureResultOf(self.wireOf(realm, "p").login("bob"))
        self.assertTrue(failure.check("pbkit.errors.TooManySessions"))
        (alice,) = realm.roster
        self.assertIsNone(alice.endedWith)
        # The same user is admitted, although the whole server is full.
        kept = self.enter(realm, "p", "alice")
        self.assertIsInstance(alice.endedWith, errors.Replaced)
        del kept

    def test_failedLoginReclaimsNothing(self) -> None:
        """A login with a wrong password ends no session."""
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

    def test_noReclaimIfThereIsRoom(self) -> None:
        """A program can be logged in several times. Only if there is no room does its oldest session end."""
        realm = LimitedRealm(Recorder, max=3, conflict="kick", clock=self.clock)
        kept = [self.enter(realm, program) for program in ("q", "p", "p")]
        stranger, oldest, newer = realm.roster
        kept.append(self.enter(realm, "p"))
        self.assertEqual([session.endedWith for session in (stranger, newer)], [None, None])
        self.assertIsInstance(oldest.endedWith, errors.Replaced)

    def test_asManyAsItTakes(self) -> None:
        """After a limit was lowered, several sessions have to end: those of the program, if they are enough."""
        realm = LimitedRealm(Recorder, max=3, clock=self.clock)
        kept = [self.enter(realm, program) for program in ("p", "q", "p")]
        realm.reconfigure(max=2)
        kept.append(self.enter(realm, "p"))
        self.assertEqual(realm.counters.ends, {"Replaced": 2})
        realm.reconfigure(max=1)
        # Without its own stale session, there is still the other session.
        self.refused(realm, "p")
        self.assertEqual(len(realm.roster), 2)

    def test_manyStaleSessions(self) -> None:
        """Of a hundred stale sessions the oldest ends. The policy is asked only a few times, even if none helps."""
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
        """With ``handover="after"``, the stale session ends before the new one begins."""
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

    def test_sameConnection(self) -> None:
        """A second login on the same connection is handled by the policy: the first session is not stale."""
        realm = SingleClientRealm(Recorder, clock=self.clock)
        wire, reference = self.enter(realm)
        self.failureResultOf(wire.login())
        self.assertEqual(self.successResultOf(wire.call(reference, "whoami")), "alice")

    def test_otherReasons(self) -> None:
        """If a login would be refused even without the stale session, it is refused and ends no session."""
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
        """A user's own policy is asked as if the stale session did not exist."""

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
        """A reclaim does not wait for the probe that other logins wait for; these probe the new session."""
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

    def test_whileOthersWait(self) -> None:
        """A reclaim overtakes logins that wait for the five seconds, and does not delay them."""
        realm = SingleClientRealm(Recorder, conflict="kick", clock=self.clock)
        kept = [self.enter(realm, "q"), self.enter(realm, "p")]
        stranger = self.wireOf(realm, "q2")
        waiting = stranger.login()
        self.clock.advance(3)
        kept.append(self.enter(realm, "p"))
        self.clock.advance(2)
        stranger.flush()
        self.successResultOf(waiting)

    def test_pendingLoginOnTheOldConnection(self) -> None:
        """A pending login on the old connection is waited for, and then replaced."""
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

    def test_failedReclaimEndsNobody(self) -> None:
        """As in any takeover, the stale session ends after the new login has succeeded, except with handover after."""
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
    """Reclaims by pbkit's client, which sends an instance id by default."""

    def test_reconnect(self) -> None:
        """A client whose connection was lost without the server noticing is admitted at once when it reconnects."""
        realm = SingleClientRealm(Recorder, clock=self.clock)
        server = serve(realm, clock=self.clock)
        first = Wire(server, ClientFactory())
        self.successResultOf(first.login())
        # As after a change of network: the client knows about the loss, and the server does not.
        first.vanish()
        second = Wire(server, ClientFactory())
        avatar = self.successResultOf(second.login())
        self.assertEqual(self.successResultOf(second.call(avatar, "whoami")), "alice")
        self.assertEqual(realm.counters.ends, {"Replaced": 1})

    def test_liveConnectionsAreDifferentClients(self) -> None:
        """Two live connections of one program are two clients: with refuse, the second is refused."""
        realm = SingleClientRealm(Recorder, clock=self.clock)
        server = serve(realm, clock=self.clock)
        first = Wire(server, ClientFactory())
        avatar = self.successResultOf(first.login())
        self.failureResultOf(Wire(server, ClientFactory()).login())
        self.assertEqual(self.successResultOf(first.call(avatar, "whoami")), "alice")

    def test_noReconnectLoop(self) -> None:
        """With kick, the second connection takes over, and the first waits for five seconds."""
        realm = SingleClientRealm(Recorder, conflict="kick", clock=self.clock)
        server = serve(realm, clock=self.clock)
        wires = [Wire(server, ClientFactory()) for _ in range(3)]
        kept = [self.successResultOf(wire.login()) for wire in wires[:2]]
        third = wires[2].login()
        self.assertNoResult(third)
        wires[2].lose()
        self.failureResultOf(third)
        del kept
