"""`Realm.reconfigure`: new parameters for a running realm."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbkit import Admit, AnonymousRealm, ClockRealm, LimitedRealm, Refuse, SingleClientRealm, param
from pbkit.errors import ConfigError, LoginRefused, TooManySessions
from tests.sessions.case import Slow
from tests.support import Recorder, Wire, enter, serve


class FailingRealm(LimitedRealm):
    """A realm that cannot make a policy of some parameters."""

    motto: str = param("none", "what it is about")

    def makePolicy(self) -> Any:
        """Fail for some of them."""
        if self.motto == "chaos":
            raise ValueError("no policy for chaos")
        return super().makePolicy()


class ReconfigureTests(SynchronousTestCase):
    """`Realm.reconfigure`."""

    def enter(self, realm: Any, name: str = "alice") -> Wire:
        """Log in on a new connection."""
        wire = Wire(serve(realm))
        self.successResultOf(wire.login(name))
        return wire

    def refused(self, realm: Any) -> str:
        """Return the reason with which a login is refused."""
        return str(self.failureResultOf(Wire(serve(realm)).login("alice")).type)

    def test_newcomersMeetTheNewLimit(self) -> None:
        """A higher limit admits one more; a lower one refuses the next login and ends no session."""
        realm = LimitedRealm(Recorder, max=1, clock=Clock())
        self.enter(realm)
        self.assertIn(TooManySessions.__name__, self.refused(realm))
        realm.reconfigure(max=2)
        self.enter(realm)
        self.assertIn(TooManySessions.__name__, self.refused(realm))
        realm.reconfigure(max=1)
        self.assertIn(TooManySessions.__name__, self.refused(realm))
        self.assertEqual((len(realm.roster), realm.max), (2, 1))

    def test_newcomersMeetTheNewConflictRule(self) -> None:
        """The present rule decides about a second client."""
        realm = SingleClientRealm(Recorder, clock=Clock())
        self.enter(realm)
        self.refused(realm)
        realm.reconfigure(conflict="kick")
        self.enter(realm)
        self.assertEqual((len(realm.roster), realm.counters.ends["Replaced"]), (1, 1))

    def test_aLimitComesAndGoes(self) -> None:
        """A limit on guests can be set and removed."""
        realm = AnonymousRealm(Recorder, clock=Clock())
        self.enter(realm)
        realm.reconfigure(max=1)
        self.refused(realm)
        realm.reconfigure(max=0)
        self.enter(realm)

    def test_theUsersOwnPolicyStays(self) -> None:
        """A policy that was passed to the realm is asked after the new one."""

        def noBob(view: Any, candidate: Any) -> Any:
            return Refuse(LoginRefused("no bob")) if candidate.avatarId == "bob" else Admit()

        realm = LimitedRealm(Recorder, max=1, admission=noBob, clock=Clock())
        realm.reconfigure(max=2)
        self.enter(realm)
        self.enter(realm)
        self.assertEqual(self.failureResultOf(Wire(serve(realm)).login("bob")).getErrorMessage(), "no bob")

    def test_whatIsNotGivenStays(self) -> None:
        """A parameter that is not named keeps its value."""
        realm = LimitedRealm(Recorder, max=7, conflict="kick")
        realm.reconfigure(max=8)
        self.assertEqual((realm.max, realm.conflict), (8, "kick"))
        clock = ClockRealm(period=2.0)
        clock.reconfigure(period=3)
        self.assertEqual(clock.period, 3.0)

    def test_nothingIsChangedByWhatIsWrong(self) -> None:
        """An unknown name, an invalid value or a policy that cannot be made changes nothing."""
        realm = FailingRealm(Recorder, max=1, clock=Clock())
        cases: list[tuple[type[Exception], dict[str, Any]]] = [
            (ConfigError, {"max": 5, "maximum": 1}),
            (ConfigError, {"max": 5, "conflict": "fight"}),
            (ConfigError, {"max": 5, "linger": 3.0}),
            (ValueError, {"max": 5, "motto": "chaos"}),
        ]
        for error, wrong in cases:
            self.assertRaises(error, realm.reconfigure, **wrong)
            self.assertEqual((realm.max, realm.conflict, realm.linger, realm.motto), (1, "refuse", 0.0, "none"))
        self.enter(realm)
        self.assertIn(TooManySessions.__name__, self.refused(realm))

    def test_now(self) -> None:
        """With ``now=True``, the oldest sessions above the limit end at once, and no others."""
        realm = LimitedRealm(Recorder, max=3, clock=Clock())
        wires = [self.enter(realm, name) for name in ("alice", "alice", "bob", "alice")]
        alices = realm.roster.ofAvatar("alice")
        self.assertEqual(realm.reconfigure(max=2), ())
        self.assertEqual(len(realm.roster), 4)
        self.assertEqual(realm.reconfigure(max=1, now=True), tuple(each.sessionId for each in alices[:2]))
        self.assertEqual(realm.roster.ofAvatar("alice"), alices[2:])
        self.assertEqual(len(realm.roster.ofAvatar("bob")), 1)
        self.assertEqual(realm.counters.ends, {"Kicked": 2})
        self.assertIn("the limits on sessions were changed", str(alices[0].endedWith))
        self.assertEqual(realm.enforce(), ())
        del wires

    def test_nowByAnyPolicy(self) -> None:
        """A user's own policy is enforced too. A session for which it would probe or kick another ends."""
        closed: list[str] = []

        def policy(view: Any, candidate: Any) -> Any:
            return Refuse(LoginRefused("closed")) if candidate.avatarId in closed else Admit()

        for conflict in ("refuse", "kick", "probe"):
            realm = LimitedRealm(Recorder, admission=policy, conflict=conflict, clock=Clock())
            wires = [self.enter(realm, name) for name in ("alice", "alice", "bob")]
            self.assertEqual(realm.enforce(), ())
            closed.append("bob")
            bob = realm.roster.ofAvatar("bob")
            self.assertEqual(realm.enforce(), (bob[0].sessionId,))
            self.assertEqual(len(realm.reconfigure(max=1, now=True)), 1)
            self.assertEqual([session.avatarId for session in realm.roster], ["alice"])
            del wires, closed[:]

    def test_nowReachesThePending(self) -> None:
        """A pending login that does not pass any more is refused when it completes, and never begins."""

        class SlowLimited(Slow, LimitedRealm):
            """A slow realm with a limit."""

        realm = SlowLimited(clock=Clock())
        logins = [enter(realm) for _ in range(3)]
        self.assertEqual(realm.reconfigure(max=1, now=True), ())
        realm.builds[0].callback(Recorder("alice"))
        for each in logins[:2]:
            self.failureResultOf(each, TooManySessions)
        self.assertEqual(list(realm.roster), [self.successResultOf(logins[2])])
        self.assertEqual(realm.counters.logins, 1)

    def test_nowEndsNobodyIfThePolicyRaises(self) -> None:
        """All decisions are made before the first session ends."""
        broken: list[bool] = []

        def policy(view: Any, candidate: Any) -> Any:
            if broken and candidate.avatarId == "alice":
                raise ValueError("broken")
            return Refuse(LoginRefused("no")) if broken else Admit()

        realm = LimitedRealm(Recorder, admission=policy, clock=Clock())
        wires = [self.enter(realm, name) for name in ("alice", "bob")]
        broken.append(True)
        self.assertRaises(ValueError, realm.enforce)
        self.assertEqual(len(realm.roster), 2)
        del wires

    def test_whatIsFixedMayBeGivenAsItIs(self) -> None:
        """A parameter that cannot be changed may be passed with its present value."""
        realm = LimitedRealm(Recorder, linger=3.0)
        realm.reconfigure(linger=3.0, max=9)
        self.assertEqual(realm.max, 9)
