"""
Random interleavings again, with all the ways in which a server ends sessions: kicks, bans, time limits, draining.
"""

from __future__ import annotations

from typing import Any, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import errors
from pbkit.sessions.goodbye import ABORT, GRACE
from pbkit.sessions.operations import CUT
from tests.sessions import test_stateful
from tests.sessions.test_stateful import Attempted, Refusal, Sessions, check
from tests.support import USERS


class Told(pb.Referenceable):
    """A mind, of one login."""

    def __init__(self) -> None:
        self.goodbyes: list[Any] = []

    def remote_goodbye(self, reason: str, detail: str) -> None:
        """Write it down."""
        self.goodbyes.append(reason)


class Endings(Sessions):
    """The machine, with an operator."""

    def __init__(self) -> None:
        super().__init__()
        self.minds: list[Told] = []
        #: What the operator waits for: until when it has to be over, and its result.
        self.waiting: list[tuple[float, list[Any]]] = []
        self.bans: dict[str, float] = {}
        self.draining: float | None = None

    @initialize(
        limit=st.sampled_from([1, 2, 1000]),
        conflict=st.sampled_from(["refuse", "kick", "probe"]),
        handover=st.sampled_from(["before", "after"]),
        linger=st.sampled_from([0.0, 40.0]),
        idle=st.sampled_from([0.0, 20.0]),
        age=st.sampled_from([0.0, 50.0]),
        goodbye=st.sampled_from(["always", "never"]),
    )
    def start(
        self, limit: int, conflict: str, handover: str, linger: float, idle: float, age: float, goodbye: str
    ) -> None:
        """A server, with limits of time."""
        Sessions.start(cast(Any, self), limit=limit, conflict=conflict, handover=handover, linger=linger)
        self.realm.reconfigure(idleTimeout=idle, maxSessionAge=age, goodbye=goodbye)
        self.idle, self.age, self.goodbye = idle, age, goodbye

    def awaited(self, seconds: float, d: Any) -> None:
        """Something that has to be over within so many seconds."""
        results: list[Any] = []
        d.addBoth(results.append)
        self.waiting.append((self.clock.seconds() + seconds, results))
        self.settle()

    @precondition(lambda self: self.wires)
    @rule(which=st.integers(0, 3), name=st.sampled_from(USERS[:2]))
    def loginWithMind(self, which: int, name: str) -> None:
        """A client logs in with a mind."""
        wire = self.wires[which % len(self.wires)]
        if wire in self.frozen:
            return
        login = Attempted(wire, name)
        self.logins.append(login)
        self.minds.append(Told())
        wire.login(name, self.minds[-1]).addBoth(login.decided)
        self.settle()

    @precondition(lambda self: self.alive)
    @rule(which=st.integers(0, 5), again=st.booleans())
    def kickOut(self, which: int, again: bool) -> None:
        """The server kicks a session, which may be pending, or ended, or kicked already."""
        session = list(self.alive.values())[which % len(self.alive)]
        self.awaited(GRACE + ABORT, session.kick(errors.Kicked))
        if again:
            self.awaited(GRACE + ABORT, session.kick(errors.Banned))

    @rule(name=st.sampled_from(USERS[:2]), seconds=st.sampled_from([5, 40]))
    def ban(self, name: str, seconds: int) -> None:
        """The operator bans a user."""
        self.bans[name] = self.clock.seconds() + seconds
        self.awaited(GRACE + ABORT, self.realm.ban(seconds, avatarId=name))

    @precondition(lambda self: self.bans)
    @rule(which=st.integers(0, 1))
    def unban(self, which: int) -> None:
        """The operator takes a ban back."""
        name = list(self.bans)[which % len(self.bans)]
        check.assertEqual(self.realm.unban(avatarId=name), self.bans.pop(name) > self.clock.seconds())

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 5))
    def callThatWaits(self, which: int) -> None:
        """A client makes a call that is answered when the gate is opened."""
        holders = [login for login in self.logins if login.reference is not None and login.wire in self.wires]
        if not holders:
            return
        login = holders[which % len(holders)]
        if login.wire not in self.frozen:
            before = {avatar: len(avatar.waiting) for avatar in self.avatars}
            login.wire.call(login.reference, "wait").addBoth(lambda _: None)
            for avatar, number in before.items():
                for waiting in avatar.waiting[number:]:
                    self.gates.append((waiting, lambda: "done"))
            self.settle()

    @precondition(lambda self: self.steps > 15)
    @rule(seconds=st.sampled_from([0, 4, 20]))
    def drain(self, seconds: int) -> None:
        """The server is drained; clients may still try."""
        until = self.clock.seconds() + seconds
        self.draining = until if self.draining is None else min(until, self.draining)
        self.awaited(seconds + CUT, self.realm.drain(seconds))

    def settle(self) -> None:
        """Move bytes; a client that has fallen silent reads nothing. The server may have closed some by now."""
        for _ in range(3):
            self.clock.advance(0)
            super().settle()
            for wire in self.frozen:
                wire.stall()
                wire.flush()
                if wire.stalled:
                    wire.resume()
            for wire in [wire for wire in self.wires if wire.server.disconnected]:
                wire.flush()
                self.wires.remove(wire)
                self.frozen.discard(wire)
                self.gone.append(wire.server.peer)

    @invariant()
    def clientsAndServerAgree(self) -> None:
        """As before; but a client that has dropped everything stays logged in while a call of its is served."""
        for wire in self.wires:
            holding = sum(1 for login in self.logins if login.wire is wire and login.reference is not None)
            if wire not in self.frozen:
                sessions = [each for each in self.realm.roster.ofPeer(wire.server.peer.peerId) if not each.busy]
                check.assertLessEqual(len(sessions), holding)

    @invariant()
    def kicksAreBounded(self) -> None:
        """A kicked session is out in time; each waiter is told, and never that it failed."""
        for until, results in self.waiting:
            check.assertTrue(results or self.clock.seconds() < until, (until, self.clock.seconds()))
            check.assertFalse(results and hasattr(results[0], "raiseException"), results)

    @invariant()
    def whoIsBannedIsNotIn(self) -> None:
        """No banned user has a session."""
        for name, until in self.bans.items():
            check.assertFalse(until > self.clock.seconds() and name in self.live.values())

    @invariant()
    def toldOnce(self) -> None:
        """No client gets two goodbyes, or one that it must not get, or one without an end of its session."""
        for mind in self.minds:
            check.assertLessEqual(len(mind.goodbyes), 1 if self.goodbye == "always" else 0)

    @invariant()
    def drainedIsEmpty(self) -> None:
        """When the time for draining is up no session is left."""
        if self.draining is not None and self.clock.seconds() >= self.draining:
            check.assertEqual(self.live, {})

    @invariant()
    def timeLimitsHold(self) -> None:
        """No session lasts longer than the limits allow, except while its client waits for an answer."""
        slack = 1.01
        for session in getattr(self, "realm", ()) and self.realm.roster:
            now = self.clock.seconds()
            if self.age:
                check.assertLess(now - session.startedAt, self.age + slack)
            if self.idle and not session.busy:
                check.assertLess(now - session.lastActive, 2 * self.idle + slack)

    @rule(seconds=st.sampled_from([1, 3, 10, 31]))
    def wait(self, seconds: int) -> None:
        """Time passes, and bytes move in between."""
        for _ in range(seconds):
            self.clock.advance(1)
            self.settle()

    def teardown(self) -> None:
        """As before."""
        super().teardown()
        for _, results in self.waiting:
            check.assertTrue(results)


class StatefulEndingTests(SynchronousTestCase):
    """The machine, run by trial and pytest alike."""

    def test_interleavings(self) -> None:
        """In every interleaving kicked sessions are out in time, banned users have none, and nothing is left."""
        ends = ("Kicked", "Replaced", "Shutdown", "Banned", "Idle", "TooOld", "Draining")
        self.patch(test_stateful, "ENDS", tuple(f"pbkit.errors.{name}".encode() for name in ends))
        run_state_machine_as_test(
            Endings,
            settings=settings(
                max_examples=300,
                stateful_step_count=40,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        # Hooks that raise when no login waits for them any more are logged.
        self.flushLoggedErrors(Refusal)
