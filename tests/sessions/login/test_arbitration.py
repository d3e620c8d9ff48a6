"""Arbitration: the policy is asked, its decision is carried out, and it is asked again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbkit import Admit, Avatar, CachingRealm, Probe, Refuse, Roster, Session, atMost, perAvatar
from pbkit.errors import LoginRefused, LoginTimedOut, ServerStopping, TooManySessions
from pbkit.sessions.login.arbitration import ARBITRATION_TIMEOUT, Arbitration
from pbkit.sessions.roster import Candidate, Place
from pbkit.sessions.stocklogin import StockLogin
from tests.support import LENIENT, Recorder, Wire, serve, timers


class ArbitrationTests(SynchronousTestCase):
    """`Arbitration`, with real connections that can be probed."""

    def setUp(self) -> None:
        """Make an empty roster."""
        self.clock = Clock()
        self.roster: Roster[Session] = Roster()
        self.factory = serve(CachingRealm(Recorder), clock=self.clock, profile=LENIENT)

    def reserve(
        self, arbitration: Arbitration, wire: Wire | None = None, check: Callable[[], None] = lambda: None
    ) -> Deferred[Place]:
        """Ask for a reservation for alice."""
        login = StockLogin(None, None if wire is None else wire.server.peer)
        reserve: Callable[..., Any] = arbitration.reserve
        place: Deferred[Place] = maybeDeferred(reserve, Candidate.of("alice", login), self.clock, check)
        return place

    def live(self, arbitration: Arbitration, wire: Wire | None = None) -> Place:
        """Return a session of alice on a connection."""
        place = self.successResultOf(self.reserve(arbitration, wire))
        peer = None if wire is None else wire.server.peer
        self.roster.begin(place, Session("alice", Avatar("alice"), None, peer, self.clock, lambda _: None))
        place.settle()
        return place

    def limited(self, conflict: str, limit: int = 1) -> Arbitration:
        """Return a policy with a limit per user."""
        return Arbitration(self.roster, perAvatar(atMost(limit, conflict)))

    def test_refused(self) -> None:
        """A refusal raises its error and makes no reservation."""
        arbitration = self.limited("refuse")
        self.live(arbitration)
        self.failureResultOf(self.reserve(arbitration), TooManySessions)
        self.assertEqual((self.roster.pending, len(self.roster)), (0, 1))

    def test_candidate(self) -> None:
        """The policy receives the avatar id, the address, and what the client declared."""
        seen: list[Any] = []

        def policy(view: Any, candidate: Any) -> Admit:
            seen.append(candidate)
            return Admit()

        wire = Wire(self.factory)
        wire.server.peer.hello = {"app": "x"}
        login = StockLogin(None, wire.server.peer, hello={"app": "x"})
        arbitration = Arbitration(self.roster, policy)
        self.assertIsInstance(arbitration.reserve(Candidate.of("alice", login), None, lambda: None), Place)
        peer = wire.server.peer
        self.assertEqual(
            [(c.avatarId, c.peerId, c.address, c.hello) for c in seen],
            [("alice", peer.peerId, peer.address, {"app": "x"})],
        )

    def test_policyThatRaises(self) -> None:
        """An exception of a policy reaches the login, and no reservation is made."""
        broken: Any = lambda view, candidate: 1 / 0  # noqa: E731
        self.failureResultOf(self.reserve(Arbitration(self.roster, broken)), ZeroDivisionError)
        self.assertEqual(len(self.roster.view.everyone()), 0)

    def test_takeoverOfAPendingOneWaits(self) -> None:
        """A login that would replace a pending one waits for its result; then the policy is asked again."""
        arbitration = self.limited("kick")
        first = self.successResultOf(self.reserve(arbitration))
        second = self.reserve(arbitration)
        self.assertNoResult(second)
        self.roster.begin(first, Session("alice", Avatar("alice"), None, None, None, lambda _: None))
        first.settle()
        self.assertEqual(self.successResultOf(second).ending, (first,))
        self.assertEqual(timers(self.clock), [])

    def test_takeoverOfAPendingOneThatFails(self) -> None:
        """If the pending login fails, the waiting login gets its place."""
        arbitration = self.limited("kick")
        first = self.successResultOf(self.reserve(arbitration))
        second = self.reserve(arbitration)
        self.roster.release(first)
        first.settle()
        self.assertEqual(self.successResultOf(second).ending, ())

    def test_waitsForThirtySeconds(self) -> None:
        """The wait for a pending login is limited to 30 s."""
        arbitration = self.limited("kick")
        self.successResultOf(self.reserve(arbitration))
        second = self.reserve(arbitration)
        self.clock.advance(ARBITRATION_TIMEOUT - 0.1)
        self.assertNoResult(second)
        self.clock.advance(0.2)
        self.failureResultOf(second, LoginTimedOut)
        self.assertEqual((len(self.roster.view.everyone()), timers(self.clock)), (1, []))

    def test_waitsForThirtySecondsInAll(self) -> None:
        """The 30 s are for everything that a login waits for, not for each login before it."""
        arbitration = self.limited("kick")
        first = self.successResultOf(self.reserve(arbitration))
        second, third = self.reserve(arbitration), self.reserve(arbitration)
        self.clock.advance(ARBITRATION_TIMEOUT - 1)
        self.roster.release(first)
        first.settle()
        self.assertTrue(self.successResultOf(second).pending)
        self.assertNoResult(third)
        self.clock.advance(1.1)
        self.failureResultOf(third, LoginTimedOut)

    def test_waiterThatGivesUp(self) -> None:
        """A waiting login whose connection is lost does not affect the logins behind it."""
        arbitration = self.limited("kick")
        first = self.successResultOf(self.reserve(arbitration))
        second, third = self.reserve(arbitration), self.reserve(arbitration)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.roster.release(first)
        first.settle()
        self.successResultOf(third)
        self.assertEqual(timers(self.clock), [])

    def test_checkedAfterEachWait(self) -> None:
        """After each wait, everything is checked again before the reservation is made."""
        arbitration = self.limited("kick")
        first = self.successResultOf(self.reserve(arbitration))
        stopping: list[bool] = []

        def check() -> None:
            if stopping:
                raise ServerStopping()

        second = self.reserve(arbitration, check=check)
        stopping.append(True)
        self.roster.release(first)
        first.settle()
        self.failureResultOf(second, ServerStopping)
        self.assertEqual(len(self.roster.view.everyone()), 0)

    def test_probedHolderThatLives(self) -> None:
        """A session whose client answers the probe stays, and the new login is refused."""
        arbitration = self.limited("probe")
        wire = Wire(self.factory)
        self.live(arbitration, wire)
        second = self.reserve(arbitration)
        self.assertNoResult(second)
        wire.flush()
        self.failureResultOf(second, TooManySessions)
        self.assertEqual((arbitration._probes, timers(self.clock)), ({}, []))

    def test_probedHolderThatIsSilent(self) -> None:
        """A session whose client does not answer within 10 s is replaced."""
        arbitration = self.limited("probe")
        holder = self.live(arbitration, Wire(self.factory))
        second = self.reserve(arbitration)
        self.clock.advance(9.9)
        self.assertNoResult(second)
        self.clock.advance(0.2)
        self.assertEqual(self.successResultOf(second).ending, (holder,))
        self.assertEqual((arbitration._probes, timers(self.clock)), ({}, []))

    def test_probedHolderThatIsLost(self) -> None:
        """A session whose connection is lost during the probe is replaced at once."""
        arbitration = self.limited("probe")
        wire = Wire(self.factory)
        holder = self.live(arbitration, wire)
        second = self.reserve(arbitration)
        wire.cut()
        self.assertEqual(self.successResultOf(second).ending, (holder,))

    def test_unreachableHolderIsNotGuessedDead(self) -> None:
        """A session that cannot be probed stays."""
        arbitration = self.limited("probe")
        self.live(arbitration)
        self.failureResultOf(self.reserve(arbitration), TooManySessions)
        self.assertEqual(arbitration._probes, {})

    def test_newcomersShareAProbe(self) -> None:
        """Ten simultaneous logins share one probe; one of them gets the place, and the others are refused."""
        arbitration = self.limited("probe")
        wire = Wire(self.factory)
        self.live(arbitration, wire)
        newcomers = [self.reserve(arbitration) for _ in range(10)]
        self.assertEqual(len(wire.server.waitingForAnswers), 1)
        self.clock.advance(10)
        self.successResultOf(newcomers[0])
        for each in newcomers[1:]:
            self.failureResultOf(each, TooManySessions)

    def test_newcomerThatLeavesWhileProbing(self) -> None:
        """A login that disconnects does not cancel the probe of the others, and the last one leaves nothing behind."""
        arbitration = self.limited("probe")
        self.live(arbitration, Wire(self.factory))
        first, second = self.reserve(arbitration), self.reserve(arbitration)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertNoResult(second)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertEqual((arbitration._probes, timers(self.clock)), ({}, []))

    def test_allHoldersAreAskedAtOnce(self) -> None:
        """Several sessions are probed at the same time."""
        arbitration = self.limited("probe", 3)
        holders = [self.live(arbitration, Wire(self.factory)) for _ in range(3)]
        newcomer = self.reserve(arbitration)
        self.clock.advance(10)
        self.assertEqual(self.successResultOf(newcomer).ending, (holders[0],))

    def test_policyThatNeverDecides(self) -> None:
        """
        A policy that asks for a probe again and again is an error, and does not block the server. Here the session
        cannot be probed, and the other place is pending, so no wait gives the reactor a turn.
        """
        plain = Arbitration(self.roster, lambda view, candidate: Admit())
        self.live(plain)
        self.successResultOf(self.reserve(plain))
        asked: list[Probe] = []

        def undecided(view: Any, candidate: Any) -> Probe | Refuse:
            asked.append(Probe(tuple(view.avatar("alice"))))
            return asked[-1] if len(asked) < 1000 else Refuse(LoginRefused("enough of the test"))

        newcomer = self.reserve(Arbitration(self.roster, undecided))
        self.failureResultOf(newcomer)
        self.assertLess(len(asked), 1000)
