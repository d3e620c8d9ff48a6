"""Who is logged in, as a state and as changes."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import AnonymousRealm, CachingRealm, ClientFactory, Session, Told, errors
from pbkit.sessions.messaging import presence as module
from pbkit.sessions.messaging import watchers
from pbkit.wire import codec
from pbkit.wire.peer import FanOut
from tests.sessions.messaging.slowness import SlowWire
from tests.support import USERS, Client, Recorder, enter, serve, timers

#: For the assertions of the state machine.
check = SynchronousTestCase()


class Watch(pb.Referenceable):
    """
    A client's program that watches, and checks that what it is told makes sense.

    :ivar here: by number, the avatar id and what the client declared.
    :ivar log: every change that is not part of a state, in order.
    """

    def __init__(self) -> None:
        self.version = ""
        self.here: dict[int, tuple[str, dict[str, Any]]] = {}
        self.log: list[tuple[Any, ...]] = []
        self.messages: list[tuple[str, int, bool]] = []

    def remote_tell(self, text: str) -> None:
        """Accept what fills the connection."""

    def remote_presence(self, version: str, changes: list[Any], fresh: bool) -> None:
        """Note the changes. Nothing may come twice, and nothing may be unknown."""
        self.messages.append((version, len(changes), fresh))
        self.version = version
        if fresh:
            self.here = {}
        for kind, who, avatarId, *rest in changes:
            if kind == "began":
                check.assertNotIn(who, self.here)
                self.here[who] = (avatarId, rest[0])
            elif kind == "ended":
                del self.here[who]
            else:
                check.assertEqual(kind, "changed")
                check.assertIn(who, self.here)
                self.here[who] = (avatarId, rest[0])
            self.log.append((kind, who, avatarId, *rest))


class PresenceTestCase(SynchronousTestCase):
    """A realm whose presence can be watched."""

    def setUp(self) -> None:
        """Make a realm without sessions."""
        self.clock = Clock()
        self.realm = CachingRealm(Recorder, clock=self.clock)
        self.server = serve(self.realm, clock=self.clock)
        self.kept: list[Any] = []

    def come(self, name: str = "alice") -> Session:
        """Begin a session without a client."""
        session: Session = self.successResultOf(enter(self.realm, name))
        return session

    def watcher(
        self, version: str = "", watch: Watch | None = None, name: str = "carol"
    ) -> tuple[SlowWire, Watch, Session]:
        """Log in a client that watches."""
        wire, watch = SlowWire(self.server), watch or Watch()
        before = {*self.realm.roster}
        self.kept.append(self.successResultOf(wire.login(name, watch)))
        (session,) = {*self.realm.roster} - before
        self.realm.presence.watch(session.mind, version)
        wire.flush()
        return wire, watch, session

    def soon(self, *wires: SlowWire) -> None:
        """Let the changes be told."""
        self.clock.advance(watchers.BATCH)
        for wire in wires:
            wire.flush()

    def truth(self) -> list[tuple[str, dict[str, Any]]]:
        """Return who is logged in by the roster, oldest first."""
        return [(session.avatarId, session.declared) for session in self.realm.roster]


class EventTests(PresenceTestCase):
    """Events for the server itself."""

    seen: list[module.Change]

    def changes(self) -> list[tuple[Any, ...]]:
        """Return what has changed since the last time."""
        seen, self.seen = self.seen, []
        return [(change.kind, change.avatarId, change.detail, change.edge) for change in seen]

    def test_events(self) -> None:
        """Each begin and end is an event, with the reason, and whether it is a user's first or last session."""
        self.seen = []
        stop = self.realm.presence.onChange(lambda change: self.seen.append(change))
        one, two = self.come(), self.come()
        self.assertEqual(self.changes(), [("began", "alice", {}, True), ("began", "alice", {}, False)])
        two.declare({"status": "away"})
        two.declare({"status": "away"})
        self.assertEqual(self.changes(), [("changed", "alice", {"status": "away"}, False)])
        one.end(errors.Kicked)
        two.end(errors.LoggedOut)
        self.assertEqual(self.changes(), [("ended", "alice", "Kicked", False), ("ended", "alice", "LoggedOut", True)])
        stop()
        stop()
        self.come()
        self.assertEqual((self.changes(), self.realm.presence.avatarIds), ([], ("alice",)))

    def test_whoWasHereBefore(self) -> None:
        """Presence costs nothing until its first use; sessions that are live by then are known."""
        self.come("alice")
        self.come("bob")
        self.assertIsNone(self.realm.hub._presence)
        self.assertEqual(self.realm.presence.avatarIds, ("alice", "bob"))

    def test_listenerRaises(self) -> None:
        """An exception in a listener is logged, and the others are called."""
        self.seen = []

        def fail(change: Any) -> None:
            raise LookupError("its own affair")

        self.realm.presence.onChange(fail)
        self.realm.presence.onChange(self.seen.append)
        self.come()
        self.assertEqual((len(self.seen), len(self.flushLoggedErrors(LookupError))), (1, 1))

    def test_declared(self) -> None:
        """What a client declares in its hello is there at its beginning, except for what only pbkit itself uses."""
        wire = SlowWire(
            self.server, ClientFactory(clock=self.clock, hello={"name": "Al", "pbkit": 1, "pbkit.x": 2, "program": "x"})
        )
        self.kept.append(self.successResultOf(wire.login("alice", Client())))
        (session,) = self.realm.roster
        self.assertEqual(session.declared, {"name": "Al"})
        session.declared["name"] = "Bo"
        self.assertEqual(session.declared, {"name": "Al"})
        bad: Any
        for bad in (None, [], {1: 2}, {"a": []}, {"a": "x" * 257}, {str(n): n for n in range(33)}):
            self.assertRaises(errors.Error, session.declare, bad)
        self.assertEqual(session.declared, {"name": "Al"})
        mine = {"name": "Bo"}
        session.declare(mine)
        mine["name"] = "Cy"
        self.assertEqual(session.declared, {"name": "Bo"})

    def test_guests(self) -> None:
        """Guests are included."""
        self.realm = CachingRealm(Recorder, clock=self.clock, anonymous=AnonymousRealm(Recorder, clock=self.clock))
        presence = self.realm.presence
        guest = self.successResultOf(enter(self.realm, ()))
        self.assertEqual(presence.avatarIds, (guest.avatarId,))
        guest.end()
        self.assertEqual(presence.avatarIds, ())


class WatchTests(PresenceTestCase):
    """What a client is told."""

    def test_stateThenChanges(self) -> None:
        """A watcher is told the whole state at once, and from then on the changes, ten times a second."""
        one = self.come("alice")
        wire, watch, carol = self.watcher()
        self.assertEqual(watch.log, [("began", 1, "alice", {}, True), ("began", 2, "carol", {}, True)])
        two = self.come("alice")
        two.declare({"status": "away"})
        one.end()
        wire.flush()
        self.assertEqual(len(watch.messages), 1)
        self.soon(wire)
        self.assertEqual(
            watch.log[2:],
            [
                ("began", 3, "alice", {}, False),
                ("changed", 3, "alice", {"status": "away"}),
                ("ended", 1, "alice", "Kicked", False),
            ],
        )
        self.assertEqual([message[1:] for message in watch.messages], [(2, True), (3, False)])
        two.end(errors.LoggedOut)
        self.soon(wire)
        self.assertEqual(watch.log[-1], ("ended", 3, "alice", "LoggedOut", True))
        carol.end()
        self.assertEqual(timers(self.clock), [])

    def test_comesBack(self) -> None:
        """A watcher that comes back with its version is told what has changed since, and nothing twice."""
        self.come("alice")
        wire, watch, session = self.watcher()
        wire.lose()
        self.come("bob")
        wire, watch, session = self.watcher(watch.version, watch)
        self.assertEqual(watch.messages[-1][1:], (3, False))
        self.assertEqual([*watch.here.values()], self.truth())
        self.realm.presence.watch(session, watch.version)
        wire.flush()
        self.assertEqual(watch.messages[-1], (watch.messages[-2][0], 0, False))

    def test_tooLongAway(self) -> None:
        """A watcher that missed more than 1,000 changes is told the whole state."""
        wire, watch, session = self.watcher()
        old = watch.version
        for more in (watchers.SOON, module.RING - watchers.SOON, 1):
            for n in range(more):
                self.come("alice") if n % 2 else next(iter(self.realm.roster)).end()
        self.assertLessEqual(len(self.realm.presence._feed), module.RING)
        wire.lose()
        wire, watch, _ = self.watcher(old, watch)
        self.assertTrue(watch.messages[-1][2])
        self.assertEqual([*watch.here.values()], self.truth())

    def test_otherVersions(self) -> None:
        """With a version of another run of the server, of the future, or an invalid one, the whole state is told."""
        wire, watch, session = self.watcher()
        epoch = watch.version.partition(".")[0]
        bad: Any
        many = f"{epoch}.{'9' * 5000}"
        for bad in (
            "deadbeef.1",
            many,
            f"{epoch}.99",
            f"{epoch}.-1",
            f"{epoch}.x",
            f"{epoch}.²",
            epoch,
            "",
            None,
            7,
            b"1",
            ["1"],
        ):
            self.realm.presence.watch(session, bad)
            wire.flush()
            self.assertEqual(watch.messages[-1][1:], (1, True), bad)

    def test_unwatch(self) -> None:
        """After `unwatch` nothing is told. An ended session and one without a mind cannot watch. Nothing is kept."""
        wire, watch, session = self.watcher()
        self.come("alice")
        unwatch = self.realm.presence.unwatch
        self.assertEqual([unwatch(session), unwatch(session.mind)], [True, False])
        self.assertEqual(timers(self.clock), [])
        self.soon(wire)
        self.assertEqual(len(watch.messages), 1)
        self.realm.presence.watch(session)
        session.end()
        self.assertIs(self.realm.presence.watch(session), Told.GONE)
        self.assertIs(self.realm.presence.watch(self.come()), Told.GONE)
        self.assertEqual(len(self.realm.presence._watchers), 0)

    def test_whatCannotBeTold(self) -> None:
        """A change that cannot be sent is logged, and the client that would miss it does not watch any more."""
        wire, watch, session = self.watcher()
        cast = self.patch(FanOut, "to", self.broken)
        broken = self.come("bob")
        self.soon(wire)
        self.assertEqual((len(watch.messages), self.realm.presence.unwatch(session)), (1, False))
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        cast.restore()
        broken.end()
        self.assertIs(self.realm.presence.watch(session), Told.SENT)
        wire.flush()
        self.assertEqual([*watch.here.values()], self.truth())

    @staticmethod
    def broken(*args: Any) -> Told:
        """Fail."""
        raise LookupError("cannot be sent")

    def test_encodedOnce(self) -> None:
        """Watchers that know the same share one encoding of what has changed; one that knows less has another."""
        watching = [self.watcher(name=name) for name in USERS]
        late, lateWatch, session = watching[-1]
        late.fill(session)
        self.come("bob")
        self.soon(*(wire for wire, _, _ in watching[:-1]))
        encoded: list[Any] = []
        whole = codec.encodeTail

        def encodeTail(method: Any, answer: Any, args: tuple[Any, ...], *rest: Any) -> Any:
            encoded.append(args)
            return whole(method, answer, args, *rest)

        self.patch(codec, "encodeTail", encodeTail)
        self.come("alice")
        self.soon(*(wire for wire, _, _ in watching[:-1]))
        late.drain()
        self.assertEqual(
            [[who for _, _, who, *_ in changes] for _, changes, _ in encoded], [["alice"], ["bob", "alice"]]
        )
        for _, watch, _ in watching:
            self.assertEqual([*watch.here.values()], self.truth())
        self.assertEqual(lateWatch.version, watching[0][1].version)

    def test_sharedMessagesAreFew(self) -> None:
        """What is kept for watchers that know the same is limited, however many know something different."""
        known = [self.watcher()[1].version for _ in range(2 * watchers.SHARED)]
        session = self.watcher()[-1]
        for version in known:
            self.realm.presence.watch(session.mind, version)
            self.assertLessEqual(len(self.realm.presence._watchers._messages), watchers.SHARED)

    def test_avatarIdsThatCannotBeSent(self) -> None:
        """An avatar id that UTF-8 cannot express is told escaped, in a change and in the state."""
        wire, watch, session = self.watcher()
        self.come("half of a pair: \ud800")
        self.soon(wire)
        escaped = "half of a pair: \\ud800"
        self.assertIn(escaped, [who for who, *_ in watch.here.values()])
        self.realm.presence.watch(session)
        wire.flush()
        self.assertIn(escaped, [who for who, *_ in watch.here.values()])

    def test_largeState(self) -> None:
        """
        A large state comes in messages of limited size, of which only the last has a version; changes meanwhile come in
        order.
        """
        sessions = [self.come(f"user{n}") for n in range(450)]
        for session in sessions[:20]:
            session.declare({f"key{n}": "x" * 256 for n in range(32)})
        wire, watch, _ = self.watcher()
        self.assertEqual([*watch.here.values()], self.truth())
        self.assertTrue(all(number <= watchers.CHANGES for _, number, _ in watch.messages))
        self.assertGreater(len(watch.messages), 5)
        self.assertEqual([version for version, *_ in watch.messages[:-1]], [""] * (len(watch.messages) - 1))
        self.assertNotEqual(watch.version, "")

    def test_slowWatcher(self) -> None:
        """
        A slow consumer is sent nothing, and nothing is kept for it; then it is told what has changed, or if that is too
        much the whole state.
        """
        wire, watch, session = self.watcher()
        for number in (10, 2000):
            wire.fill(session)
            for n in range(number):
                self.come(f"user{n}").end()
                self.clock.advance(0.001)
            self.come("alice")
            self.soon()
            self.assertEqual((session.backlog.messages, wire.waiters), (0, 1))
            wire.drain()
            self.soon(wire)
            self.assertEqual([*watch.here.values()], self.truth())
        self.assertEqual([message[2] for message in watch.messages if message[2]], [True, True])

    def test_slowInTheMiddle(self) -> None:
        """A client that becomes slow in the middle of a large state is told the rest when it catches up."""
        sessions = [self.come(f"user{n}") for n in range(500)]
        wire, watch = SlowWire(self.server), Watch()
        self.kept.append(self.successResultOf(wire.login("carol", watch)))
        session = self.realm.roster.ofAvatar("carol")[0]
        wire.server.outbound.window = 3000
        wire.stall()
        self.realm.presence.watch(session)
        for n in range(0, 500, 3):
            sessions[n].end()
            sessions[n + 1].declare({"n": n})
            self.come(f"late{n}")
        while len(watch.here) < len(self.truth()) or watch.version == "":
            wire.read()
            self.come("one more")
            self.soon()
            if len(watch.messages) > 30:
                break
        wire.drain()
        self.soon(wire)
        self.assertEqual([*watch.here.values()], self.truth())
        self.assertEqual(sum(fresh for *_, fresh in watch.messages), 1)

    def test_manyWatch(self) -> None:
        """
        Changes are collected for any number of watchers, with one timer for all; a realm that is closed leaves none.
        """
        watchers = [self.watcher(name=name) for name in USERS for _ in range(10)]
        wires = [wire for wire, *_ in watchers]
        self.soon(*wires)
        for _, watch, _ in watchers:
            self.assertEqual([*watch.here.values()], self.truth())
            watch.messages.clear()
        for n in range(300):
            self.come(f"user{n}")
        self.assertEqual(len(timers(self.clock)), 1)
        self.soon(*wires)
        for _, watch, _ in watchers:
            self.assertEqual([number for _, number, _ in watch.messages], [100, 100, 100])
        self.realm.close()
        self.assertEqual((timers(self.clock), len(self.realm.presence._watchers)), ([], 0))


class Coming(RuleBasedStateMachine):
    """
    Sessions begin, change what they declare, and end; watchers come, are slow, lose their connection, and come back
    with what they had. In the end each knows what the roster knows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.case = PresenceTestCase()
        self.case.setUp()
        self.realm = self.case.realm
        self.watches = [Watch(), Watch()]
        self.wires: list[tuple[SlowWire, Session] | None] = [None, None]
        self.others: list[Session] = []
        self.patched = watchers.CHANGES, module.RING, watchers.SOON
        # With these limits a few dozen steps are a long time. The presence is made at first access.
        watchers.CHANGES, module.RING, watchers.SOON = 3, 10, 5
        assert self.realm.presence.version == 0

    def teardown(self) -> None:
        """Let all watchers come back and be told."""
        try:
            for index in range(2):
                if self.wires[index] is None:
                    self.watch(index)
                wire = self.wires[index]
                assert wire is not None
                wire[0].drain()
            for _ in range(20):
                self.turn()
            for index in range(2):
                self.knows(index)
        finally:
            watchers.CHANGES, module.RING, watchers.SOON = self.patched

    def knows(self, index: int) -> None:
        """Assert that a watcher knows what the roster knows."""
        check.assertEqual([*self.watches[index].here.values()], self.case.truth())

    @rule(name=st.sampled_from(["alice", "bob"]))
    def come(self, name: str) -> None:
        """Begin a session."""
        self.others.append(self.case.come(name))

    @precondition(lambda self: self.others)
    @rule(index=st.integers(0, 99), reason=st.sampled_from([errors.Kicked, errors.LoggedOut]))
    def go(self, index: int, reason: Any) -> None:
        """End a session."""
        self.others.pop(index % len(self.others)).end(reason)

    @precondition(lambda self: self.others)
    @rule(index=st.integers(0, 99), n=st.integers(0, 3))
    def declare(self, index: int, n: int) -> None:
        """Change what a session declares."""
        self.others[index % len(self.others)].declare({"n": n})

    @rule(index=st.integers(0, 1))
    def watch(self, index: int) -> None:
        """Let a watcher come back with what it has, or start again."""
        watch, wire = self.watches[index], self.wires[index]
        if wire is None:
            link, _, session = self.case.watcher(watch.version, watch)
            self.wires[index] = (link, session)
        elif not wire[0].stalled:
            wire[0].flush()
            self.realm.presence.watch(wire[1], watch.version)

    @rule(index=st.integers(0, 1))
    def lose(self, index: int) -> None:
        """Lose a watcher's connection, with everything that was on its way."""
        wire = self.wires[index]
        if wire is not None:
            wire[0].cut()
            wire[0].flush()
            self.wires[index] = None

    @rule(index=st.integers(0, 1))
    def stop(self, index: int) -> None:
        """Stop a watcher's program, until its connection is full."""
        wire = self.wires[index]
        if wire is not None and not wire[0].stalled:
            wire[0].fill(wire[1])

    @rule(index=st.integers(0, 1))
    def goOn(self, index: int) -> None:
        """Let it continue."""
        wire = self.wires[index]
        if wire is not None:
            wire[0].drain()

    @rule()
    def turn(self) -> None:
        """Let a tenth of a second pass."""
        self.case.soon(*(wire[0] for wire in self.wires if wire is not None))

    @invariant()
    def nothingIsKept(self) -> None:
        """Nothing is kept of watchers that are not there, and there is one timer at most."""
        check.assertEqual(len(self.realm.presence._watchers), sum(wire is not None for wire in self.wires))
        check.assertLessEqual(len(timers(self.case.clock)), 1)


class StatefulTests(SynchronousTestCase):
    """All of it together."""

    def test_noGapNoDouble(self) -> None:
        """In any order of events, no watcher misses a change or is told it twice."""
        run_state_machine_as_test(
            Coming,
            settings=settings(
                deadline=None,
                max_examples=100,
                stateful_step_count=40,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
            ),
        )
