"""Between a login and a place: the policy is asked, what it wants is done, and it is asked again."""

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
    """`Arbitration`, with real connections that are asked whether they live."""

    def setUp(self) -> None:
        """An empty roster."""
        self.clock = Clock()
        self.roster: Roster[Session] = Roster()
        self.factory = serve(CachingRealm(Recorder), clock=self.clock, profile=LENIENT)

    def reserve(
        self, arbitration: Arbitration, wire: Wire | None = None, check: Callable[[], None] = lambda: None
    ) -> Deferred[Place]:
        """Ask for a place for alice."""
        login = StockLogin(None, None if wire is None else wire.server.peer)
        reserve: Callable[..., Any] = arbitration.reserve
        place: Deferred[Place] = maybeDeferred(reserve, Candidate.of("alice", login), self.clock, check)
        return place

    def live(self, arbitration: Arbitration, wire: Wire | None = None) -> Place:
        """A session of alice's, which rides on a connection."""
        place = self.successResultOf(self.reserve(arbitration, wire))
        peer = None if wire is None else wire.server.peer
        self.roster.begin(place, Session("alice", Avatar("alice"), None, peer, self.clock, lambda _: None))
        place.settle()
        return place

    def limited(self, conflict: str, limit: int = 1) -> Arbitration:
        """So many for each user."""
        return Arbitration(self.roster, perAvatar(atMost(limit, conflict)))

    def test_refused(self) -> None:
        """A refusal raises its error and holds no place."""
        arbitration = self.limited("refuse")
        self.live(arbitration)
        self.failureResultOf(self.reserve(arbitration), TooManySessions)
        self.assertEqual((self.roster.pending, len(self.roster)), (0, 1))

    def test_candidate(self) -> None:
        """The policy sees who wants to come in, from where, and what his client declared."""
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
        """What a policy raises reaches the login, and no place is held."""
        broken: Any = lambda view, candidate: 1 / 0  # noqa: E731
        self.failureResultOf(self.reserve(Arbitration(self.roster, broken)), ZeroDivisionError)
        self.assertEqual(len(self.roster.view.everyone()), 0)

    def test_takeoverOfAPendingOneWaits(self) -> None:
        """Whoever would replace a pending login waits until that is decided, and is then decided upon anew."""
        arbitration = self.limited("kick")
        first = self.successResultOf(self.reserve(arbitration))
        second = self.reserve(arbitration)
        self.assertNoResult(second)
        self.roster.begin(first, Session("alice", Avatar("alice"), None, None, None, lambda _: None))
        first.settle()
        self.assertEqual(self.successResultOf(second).ending, (first,))
        self.assertEqual(timers(self.clock), [])

    def test_takeoverOfAPendingOneThatFails(self) -> None:
        """If the pending login fails, the newcomer has its place."""
        arbitration = self.limited("kick")
        first = self.successResultOf(self.reserve(arbitration))
        second = self.reserve(arbitration)
        self.roster.release(first)
        first.settle()
        self.assertEqual(self.successResultOf(second).ending, ())

    def test_waitsForThirtySeconds(self) -> None:
        """A newcomer does not wait for a pending login for ever."""
        arbitration = self.limited("kick")
        self.successResultOf(self.reserve(arbitration))
        second = self.reserve(arbitration)
        self.clock.advance(ARBITRATION_TIMEOUT - 0.1)
        self.assertNoResult(second)
        self.clock.advance(0.2)
        self.failureResultOf(second, LoginTimedOut)
        self.assertEqual((len(self.roster.view.everyone()), timers(self.clock)), (1, []))

    def test_waitsForThirtySecondsInAll(self) -> None:
        """A newcomer's 30 s are for all that he waits for, not for each of those before him anew."""
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
        """A newcomer whose connection is lost while he waits takes nothing from those behind him."""
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
        """What may have changed while the newcomer waited is checked before he holds a place."""
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
        """A holder that answers stays, and the newcomer is refused."""
        arbitration = self.limited("probe")
        wire = Wire(self.factory)
        self.live(arbitration, wire)
        second = self.reserve(arbitration)
        self.assertNoResult(second)
        wire.flush()
        self.failureResultOf(second, TooManySessions)
        self.assertEqual((arbitration._probes, timers(self.clock)), ({}, []))

    def test_probedHolderThatIsSilent(self) -> None:
        """A holder that does not answer within 10 s makes way."""
        arbitration = self.limited("probe")
        holder = self.live(arbitration, Wire(self.factory))
        second = self.reserve(arbitration)
        self.clock.advance(9.9)
        self.assertNoResult(second)
        self.clock.advance(0.2)
        self.assertEqual(self.successResultOf(second).ending, (holder,))
        self.assertEqual((arbitration._probes, timers(self.clock)), ({}, []))

    def test_probedHolderThatIsLost(self) -> None:
        """A holder whose connection is lost while it is probed makes way at once."""
        arbitration = self.limited("probe")
        wire = Wire(self.factory)
        holder = self.live(arbitration, wire)
        second = self.reserve(arbitration)
        wire.cut()
        self.assertEqual(self.successResultOf(second).ending, (holder,))

    def test_unreachableHolderIsNotGuessedDead(self) -> None:
        """Where there is nobody to ask the holder stays."""
        arbitration = self.limited("probe")
        self.live(arbitration)
        self.failureResultOf(self.reserve(arbitration), TooManySessions)
        self.assertEqual(arbitration._probes, {})

    def test_newcomersShareAProbe(self) -> None:
        """Ten newcomers at once ask the holder once; one of them gets its place, the others are refused."""
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
        """A newcomer that is gone takes the probe from nobody, and the last one leaves nothing behind."""
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
        """Several holders have the same ten seconds, not ten each."""
        arbitration = self.limited("probe", 3)
        holders = [self.live(arbitration, Wire(self.factory)) for _ in range(3)]
        newcomer = self.reserve(arbitration)
        self.clock.advance(10)
        self.assertEqual(self.successResultOf(newcomer).ending, (holders[0],))

    def test_policyThatNeverDecides(self) -> None:
        """
        A policy that wants a probe again and again is an error, not a server that stands still. Here the session has
        nobody to ask, and the other place is pending, so that no wait ever lets the reactor do anything else.
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
