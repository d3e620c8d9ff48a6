"""
Everything at once: random interleavings of all that clients, servers and time can do, against a model.

The model is small: who has begun and not ended, and whose hooks have run. It is told by listeners and hooks, as a
user's program would be; each step is checked against it, and not against anything that the realm itself counts.
"""

from __future__ import annotations

from typing import Any, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import LimitedRealm, Session, errors
from pbkit.sessions.lifecycle import Cached
from tests.support import USERS, Recorder, Stubborn, Wire, serve, timers

#: What a build or a hook does: at once, raise, wait, or wait and pay no heed to being cancelled.
MANNERS = ("atOnce", "raises", "waits", "stubborn")


#: What a call on a reference of an ended session is answered, while its connection lives.
ENDS = (b"pbkit.errors.Kicked", b"pbkit.errors.Replaced", b"pbkit.errors.Shutdown")
#: For its assertions: those of a machine, too, are to hold under ``python -O``.
check = SynchronousTestCase()


class Refusal(pb.Error):
    """What builds and hooks raise: meant for the client, so that nothing goes into the log."""


class Scripted(Recorder):
    """
    An avatar whose hooks do as the machine says.
    """

    def __init__(self, avatarId: str, machine: Sessions) -> None:
        super().__init__(avatarId)
        self._machine = machine
        #: How many hooks are running.
        self.busy = 0

    def attached(self, session: Session) -> Any:
        """Do as the machine says."""
        self._machine.attaching(session)
        return self._busy("attached", lambda: self._machine.attachedReturned(session))

    def detached(self, session: Session) -> Any:
        """Do as the machine says."""
        self._machine.detaching(session)
        return self._busy("detached", lambda: None)

    def _busy(self, what: str, result: Any) -> Any:
        self.busy += 1
        return maybeDeferred(self._machine.behave, self._machine.manners[what], result).addBoth(self._done)

    def _done(self, result: Any) -> Any:
        self.busy -= 1
        return result


class Machines(LimitedRealm):
    """A limit of two for each user, and builds as the machine says."""

    machine: Sessions

    def buildAvatar(self, avatarId: str) -> Any:
        """Do as the machine says."""
        avatar = Scripted(avatarId, self.machine)
        self.machine.avatars.append(avatar)
        return self.machine.behave(self.machine.manners["build"], lambda: avatar)


class Attempted:
    """A login as its client sees it."""

    def __init__(self, wire: Wire, name: str) -> None:
        self.wire = wire
        self.name = name
        #: None, "in" or "refused".
        self.outcome: str | None = None
        #: What the client got: this is the only thing that holds it.
        self.reference: Any = None

    def decided(self, result: Any) -> None:
        """The login's own callback."""
        if isinstance(result, pb.RemoteReference):
            self.outcome, self.reference = "in", result
        else:
            self.outcome = "refused"


class Sessions(RuleBasedStateMachine):
    """The machine. Users, connections and manners are drawn; so is the limit, and what happens to one too many."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.manners = {"build": "atOnce", "attached": "atOnce", "detached": "atOnce"}
        self.gates: list[tuple[Deferred[Any], Any]] = []
        self.wires: list[Wire] = []
        self.frozen: set[Wire] = set()
        self.gone: list[Any] = []
        self.steps = 0
        self.logins: list[Attempted] = []
        self.avatars: list[Scripted] = []
        # Kept by session id, not by session: nothing here may keep a session, or a client's reference, alive.
        self.attachedBegun: dict[str, int] = {}
        self.attachedDone: dict[str, int] = {}
        self.detachedRun: dict[str, int] = {}
        self.live: dict[str, str] = {}
        self.ended: set[str] = set()
        self.alive: dict[str, Session] = {}
        self.closing: list[Any] = []
        #: By avatar id, when a session of a client that does not say which program it is was last replaced.
        self.replacedAt: dict[str, float] = {}
        self.failures: list[LogEvent] = []
        self._observer = cast(ILogObserver, self._logged)
        globalLogPublisher.addObserver(self._observer)

    def _logged(self, event: LogEvent) -> None:
        if "log_failure" in event:
            self.failures.append(event)

    # What the machine's avatars do.

    def behave(self, manner: str, result: Any) -> Any:
        """Do what a manner says, with this result in the end."""
        if manner == "atOnce":
            return result()
        if manner == "raises":
            raise Refusal("as told")
        gate: Deferred[Any] = Stubborn() if manner == "stubborn" else Deferred()
        self.gates.append((gate, result))
        return gate

    def attaching(self, session: Session) -> None:
        """An `attached` begins."""
        self.attachedBegun[session.sessionId] = self.attachedBegun.get(session.sessionId, 0) + 1
        self.alive[session.sessionId] = session

    def attachedReturned(self, session: Session) -> None:
        """An `attached` returns."""
        self.attachedDone[session.sessionId] = self.attachedDone.get(session.sessionId, 0) + 1

    def detaching(self, session: Session) -> None:
        """A `detached` begins."""
        check.assertEqual(self.attachedDone.get(session.sessionId), 1, "detached without attached having returned")
        check.assertIsNotNone(session.endedWith, "detached of a session that lives")
        check.assertNotIn(session, self.realm.roster.ofAvatar(session.avatarId))
        self.detachedRun[session.sessionId] = self.detachedRun.get(session.sessionId, 0) + 1

    # The rules.

    @initialize(
        limit=st.sampled_from([1, 2, 1000]),
        conflict=st.sampled_from(["refuse", "kick", "kick", "probe"]),
        handover=st.sampled_from(["before", "after"]),
        linger=st.sampled_from([0.0, 40.0]),
    )
    def start(self, limit: int, conflict: str, handover: str, linger: float) -> None:
        """A server."""
        self.limit = limit
        self.handover = handover
        self.linger = linger
        self.realm = Machines(
            Recorder, max=limit, conflict=conflict, handover=handover, linger=linger, clock=self.clock
        )
        self.realm.machine = self
        self.realm.roster.onBegin(self.begun)
        self.realm.roster.onEnd(self.over)
        self.server = serve(self.realm, clock=self.clock)
        self.connect("")

    def begun(self, session: Session) -> None:
        """A session begins."""
        check.assertNotIn(session.sessionId, {*self.live, *self.ended}, "begun twice")
        if self.handover == "after" and self.limit == 1:
            # No session begins beside one that is not out.
            busy = [avatar for avatar in self.avatars if avatar.avatarId == session.avatarId and avatar.busy]
            check.assertEqual(busy, [])
        self.live[session.sessionId] = session.avatarId

    def over(self, session: Session) -> None:
        """A session ends."""
        check.assertIn(session.sessionId, self.live, "ended twice, or without having begun")
        del self.live[session.sessionId]
        self.ended.add(session.sessionId)
        if isinstance(session.endedWith, errors.Replaced):
            if self.handover == "before":
                # By a session that lives by now: a login that fails ends no session.
                check.assertIn(session.avatarId, self.live.values())
            if session.peer is not None and not session.peer.hello:
                last = self.replacedAt.get(session.avatarId)
                check.assertTrue(last is None or self.clock.seconds() >= last + 5, "a war")
                self.replacedAt[session.avatarId] = self.clock.seconds()

    @precondition(lambda self: len(self.wires) < 4)
    @rule(program=st.sampled_from(["", "", "p", "q"]))
    def connect(self, program: str) -> None:
        """A new connection, of a client that says which running program it is, or does not."""
        wire = Wire(self.server)
        wire.server.peer.hello = {"program": program} if program else {}
        self.wires.append(wire)

    @rule(what=st.sampled_from(["build", "attached", "detached"]), manner=st.sampled_from(MANNERS))
    def behaveLike(self, what: str, manner: str) -> None:
        """From now on builds, or hooks, are like that."""
        self.manners[what] = manner

    @precondition(lambda self: self.wires)
    @rule(
        which=st.integers(0, 3),
        name=st.sampled_from(USERS[:2]),
        count=st.integers(1, 3),
        attached=st.sampled_from([None, None, *MANNERS]),
    )
    def login(self, which: int, name: str, count: int, attached: str | None) -> None:
        """Some logins of one user at once, on one connection, perhaps with another manner of being attached."""
        wire = self.wires[which % len(self.wires)]
        if wire in self.frozen:
            return
        usual = self.manners["attached"]
        self.manners["attached"] = attached or usual
        for _ in range(count):
            login = Attempted(wire, name)
            self.logins.append(login)
            wire.login(name).addBoth(login.decided)
        self.settle()
        self.manners["attached"] = usual

    @precondition(lambda self: self.gates)
    @rule(which=st.integers(0, 5), fails=st.booleans())
    def open(self, which: int, fails: bool) -> None:
        """Something that was waited for comes about, or fails."""
        gate, result = self.gates.pop(which % len(self.gates))
        if not gate.called:
            if fails:
                gate.errback(Refusal("as told"))
            else:
                gate.callback(result())
        self.settle()

    @precondition(lambda self: self.wires)
    @rule(which=st.integers(0, 3), how=st.sampled_from(["client", "server", "cut"]))
    def disconnect(self, which: int, how: str) -> None:
        """A connection is lost, perhaps with logins pending."""
        wire = self.wires.pop(which % len(self.wires))
        self.frozen.discard(wire)
        self.gone.append(wire.server.peer)
        if how == "cut":
            wire.cut()
        else:
            wire.lose(server=how == "server")
        wire.flush()
        self.settle()

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 5))
    def kick(self, which: int) -> None:
        """The server ends a session."""
        sessionId = list(self.live)[which % len(self.live)]
        cast(Session, self.realm.roster.get(sessionId)).end(errors.Kicked)
        self.settle()

    @precondition(lambda self: self.alive)
    @rule(which=st.integers(0, 5))
    def kickWhileAttaching(self, which: int) -> None:
        """The server ends a session that has perhaps not begun."""
        session = list(self.alive.values())[which % len(self.alive)]
        session.end(errors.Kicked)
        self.settle()

    @precondition(lambda self: any(login.reference for login in self.logins))
    @rule(which=st.integers(0, 5))
    def logout(self, which: int) -> None:
        """A client drops its reference."""
        holders = [login for login in self.logins if login.reference is not None]
        login = holders[which % len(holders)]
        login.reference = None
        self.settle()

    @precondition(lambda self: any(login.reference for login in self.logins))
    @rule(which=st.integers(0, 5))
    def call(self, which: int) -> None:
        """A client calls: it is answered if its session lives, and told why not if it has ended."""
        holders = [login for login in self.logins if login.reference is not None]
        login = holders[which % len(holders)]
        if login.wire not in self.wires or login.wire in self.frozen:
            return
        answers: list[Any] = []
        login.wire.call(login.reference, "whoami").addBoth(answers.append)
        if isinstance(answers[0], str):
            check.assertEqual(answers, [login.name])
        else:
            check.assertIn(answers[0].type, ENDS)

    @precondition(lambda self: self.wires)
    @rule(which=st.integers(0, 3))
    def fallSilent(self, which: int) -> None:
        """A client falls silent, as one whose cable was cut, or speaks again."""
        self.frozen ^= {self.wires[which % len(self.wires)]}
        self.settle()

    @rule(seconds=st.sampled_from([1, 5, 10, 31, 100]))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.clock.advance(seconds)
        self.settle()

    @precondition(lambda self: self.steps > 25)
    @rule()
    def close(self) -> None:
        """The server stops; clients may still try."""
        closed: list[Any] = []
        self.realm.close().addBoth(closed.append)
        self.closing.append((self.clock.seconds() + 5, closed))
        self.settle()

    def settle(self) -> None:
        """Move all bytes that are to be moved, but for the clients that have fallen silent."""
        for wire in self.wires:
            if wire not in self.frozen:
                wire.flush()

    # What holds after each step.

    @invariant()
    def counted(self) -> None:
        """A server is not stopped before something has happened."""
        self.steps += 1

    @invariant()
    def theRosterIsTheModel(self) -> None:
        """The sessions that have begun and not ended are in the roster, by every index."""
        roster = self.realm.roster
        check.assertEqual(sorted(session.sessionId for session in roster), sorted(self.live))
        check.assertEqual(len(roster), len(self.live))
        for name in USERS[:2]:
            mine = {sessionId for sessionId, avatarId in self.live.items() if avatarId == name}
            check.assertEqual({session.sessionId for session in roster.ofAvatar(name)}, mine)
            # No avatar that was dropped or replaced has one; together they have them all.
            ofAvatars = [s.sessionId for a in self.avatars if a.avatarId == name for s in a.sessions]
            check.assertEqual(sorted(ofAvatars), sorted(mine))
        for session in roster:
            check.assertIsNone(session.endedWith)
            assert session.peer is not None
            check.assertIn(session, roster.ofPeer(session.peer.peerId))
            check.assertTrue(session.peer.alive)
        counters = self.realm.counters
        check.assertEqual(counters.logins, len(self.live) + len(self.ended))
        check.assertEqual(sum(counters.ends.values()), len(self.ended))

    @invariant()
    def theLimitHolds(self) -> None:
        """No user has more sessions than the limit, nor more places, without those that are leaving."""
        for name in USERS[:2]:
            check.assertLessEqual(list(self.live.values()).count(name), self.limit)
            group = self.realm.roster.view.avatar(name)
            check.assertLessEqual(len(group), self.limit)
            check.assertEqual(len(list(group)), len(group))
        places = [*self.realm.roster._all._places]
        # Only those that a pending login would replace do not count.
        leaving = {old for place in places if place.session is None for old in place.ending if old in places}
        check.assertEqual({place for place in places if place.leaving}, leaving)

    @invariant()
    def oneAvatarForEach(self) -> None:
        """A user has one avatar: not two of them have live sessions, or are being told of one."""
        for name in USERS[:2]:
            used = [each for each in self.avatars if each.avatarId == name and (each.sessions or each.busy)]
            check.assertLessEqual(len(used), 1)
            check.assertLessEqual({session.avatar for session in self.realm.roster.ofAvatar(name)}, {*used})

    @invariant()
    def whoIsGoneHoldsNothing(self) -> None:
        """A lost connection holds no place, be its logins pending or not; nor does a login that was decided."""
        for peer in self.gone:
            check.assertEqual(len(self.realm.roster.view.peer(peer.peerId)), 0)
        undecided = sum(login.outcome is None for login in self.logins)
        check.assertLessEqual(self.realm.roster.pending, undecided)

    @invariant()
    def hooksRanAsPromised(self) -> None:
        """`attached` once for each session; `detached` once for each `attached` that returned, when it has ended."""
        for counted in (self.attachedBegun, self.attachedDone, self.detachedRun):
            check.assertLessEqual(set(counted.values()), {1})
        for sessionId, session in tuple(self.alive.items()):
            returned = sessionId in self.attachedDone
            if session.endedWith is not None:
                check.assertEqual(sessionId in self.detachedRun, returned, session)
                if returned:
                    del self.alive[sessionId]
            else:
                check.assertNotIn(sessionId, self.detachedRun)
        for sessionId in self.live:
            check.assertIn(sessionId, self.attachedDone)

    @invariant()
    def clientsAndServerAgree(self) -> None:
        """A client on a live connection whose login was refused has nothing; one that is in has a reference."""
        # On each live connection there are as many live sessions as clients that are in and have heard of no end.
        for wire in self.wires:
            holding = sum(1 for login in self.logins if login.wire is wire and login.reference is not None)
            if wire not in self.frozen:
                check.assertLessEqual(len(self.realm.roster.ofPeer(wire.server.peer.peerId)), holding)

    @invariant()
    def closingIsBounded(self) -> None:
        """A close that began 5 s ago is done, and no session is left after it."""
        for deadline, closed in self.closing:
            check.assertTrue(closed or self.clock.seconds() < deadline)
            check.assertEqual(self.live, {})

    # And in the end.

    def teardown(self) -> None:
        """Everything is closed: nothing is left in any table."""
        globalLogPublisher.removeObserver(self._observer)
        self.manners = dict.fromkeys(self.manners, "atOnce")
        self.frozen.clear()
        # First the clients let go of all they have: on a connection that lives on, that leaves nothing.
        for login in self.logins:
            login.reference = None
        self.settle()
        while self.gates:
            self.open(0, False)
            for login in self.logins:
                login.reference = None
        # All waits for a decision, a probe or a handover are over.
        for _ in range(6):
            self.clock.advance(31)
            self.settle()
            for login in self.logins:
                login.reference = None
        self.settle()
        self.theRosterIsTheModel()
        check.assertEqual(self.live, {})
        for wire in self.wires:
            server = wire.server
            check.assertEqual((server.owners, server.callers, server._channels, server._tombstones), ({}, {}, {}, {}))
            wire.lose()
        if self.linger:
            # All have been gone for longer than that.
            check.assertEqual(len(cast(Cached, self.realm.lifecycle)), 0)
        closed: list[Any] = []
        self.realm.close().addBoth(closed.append)
        check.assertEqual(closed, [None])
        self.hooksRanAsPromised()
        check.assertEqual(self.alive.keys() & self.attachedDone.keys(), set())
        realm, roster = self.realm, self.realm.roster
        check.assertEqual((len(roster), roster.pending, len(roster.view.everyone())), (0, 0, 0))
        arbitration = realm._entrance.arbitration
        check.assertEqual((arbitration.cooldown._pending, arbitration.cooldown._queues), ({}, {}))
        check.assertEqual(realm._entrance.departures._byAvatar, {})
        check.assertEqual((roster._byAvatar, roster._byPeer, roster._all._places), ({}, {}, {}))
        entrance = realm._entrance
        check.assertEqual((entrance._logins, entrance._leaving, entrance.arbitration._probes), (set(), set(), {}))
        check.assertEqual(len(cast(Cached, realm.lifecycle)), 0)
        check.assertEqual(timers(self.clock), [])
        # Only `Refusal` was raised, also in hooks that no login waited for.
        check.assertEqual([e["log_failure"] for e in self.failures if not e["log_failure"].check(Refusal)], [])


class StatefulTests(SynchronousTestCase):
    """The machine, run by trial and pytest alike."""

    def test_interleavings(self) -> None:
        """In every interleaving the roster is the model, limits hold, hooks run as promised, and nothing is left."""
        run_state_machine_as_test(
            Sessions,
            settings=settings(
                max_examples=600,
                stateful_step_count=40,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        self.flushLoggedErrors(Refusal)
