"""The table and the queue of unauthenticated connections."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbkit.wire.prelogin.queue import BATCH, PreloginQueue
from pbkit.wire.prelogin.seat import QueueActions, Seat, addressGroupOf
from pbkit.wire.prelogin.timing import ALL, FEW, NOBODY, SHY, SILENT, SWEEPS, YOUNG
from pbkit.wire.profile import Gate


def address(host: str) -> Any:
    """Return the address of a host."""
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, 4711)


class GroupTests(SynchronousTestCase):
    """Which connections count as one address."""

    def test_hosts(self) -> None:
        """The port does not count; 64 bits of an IPv6 address count; a mapped IPv4 address is that address."""
        for one, other, same in (
            (address("10.0.0.1"), IPv4Address("TCP", "10.0.0.1", 1), True),
            (address("10.0.0.1"), address("10.0.0.2"), False),
            (address("2001:db8::1"), address("2001:db8::2:1"), True),
            (address("2001:db8::1"), address("2001:db8:0:1::1"), False),
            (address("fe80::1%eth0"), address("fe80::1%eth1"), True),
            (address("::ffff:10.0.0.1"), address("10.0.0.1"), True),
            (address("::ffff:10.0.0.1"), address("::ffff:10.0.0.2"), False),
            (UNIXAddress(b"/run/pb"), UNIXAddress(None), True),
            (UNIXAddress(b"/run/pb"), None, False),
            (None, None, True),
            (None, address("10.0.0.1"), False),
        ):
            self.assertEqual(addressGroupOf(one) == addressGroupOf(other), same, (one, other))


class WaitingCase(SynchronousTestCase):
    """A table with room for four, and a queue of two."""

    gate = Gate(connections=4, line=2, timeout=30.0, again=600.0)

    def setUp(self) -> None:
        """Make the table."""
        self.clock = Clock()
        self.queue = PreloginQueue(self.gate, self.clock.seconds)

    def arrived(self, *names: str, host: str = "10.0.0.1") -> list[Seat]:
        """Let connections arrive, and assert that none is closed."""
        seats = []
        for name in names:
            seat, actions = self.queue.arrived(name, address(host))
            self.assertEqual(actions, QueueActions())
            seats.append(seat)
        return seats

    def sweep(self, seconds: float = YOUNG + 1) -> QueueActions:
        """Advance the time in sweeps, by default until the connections can be replaced."""
        made = QueueActions()
        for _ in range(round(seconds * 2)):
            self.clock.advance(0.5)
            actions = self.queue.sweep()
            made.closed += actions.closed
            made.letIn += actions.letIn
        return made

    def closed(self, actions: QueueActions) -> list[str]:
        """Return which connections were closed."""
        return [who for who, _ in actions.closed]


class RoomTests(WaitingCase):
    """Which connections are closed to make room."""

    def test_full(self) -> None:
        """Of the address with the most connections, the one that has sent the least is closed, oldest first."""
        (other,) = self.arrived("other", host="10.0.0.2")
        a, b, c = self.arrived("a", "b", "c")
        a.sent += 10
        self.sweep()
        seat, actions = self.queue.arrived("new", address("10.0.0.3"))
        self.assertEqual(self.closed(actions), ["b"])
        self.assertTrue(seat.waiting and other.waiting and a.waiting and c.waiting)
        self.assertFalse(b.waiting)
        self.assertEqual(len(self.queue), 4)
        self.assertIn("gate.connections", actions.closed[0][1])

    def test_whatHasBeenSentSince(self) -> None:
        """The bytes sent until now count, within an address and between addresses."""
        a, _, c, d = self.arrived("a", "b") + self.arrived("c", "d", host="10.0.0.2")
        self.assertEqual(self.sweep(), QueueActions())
        a.sent += 1
        _, actions = self.queue.arrived("e", address("10.0.0.3"))
        self.assertEqual(self.closed(actions), ["b"])
        for seat in (a, c, d):
            seat.sent += 1
        c.sent += 1
        _, actions = self.queue.arrived("f", address("10.0.0.3"))
        self.assertEqual(self.closed(actions), ["d"])

    def test_ofTwoAddresses(self) -> None:
        """Of two addresses with equally many connections, the one with the least bytes sent loses one."""
        a, b, _, _ = self.arrived("a", "b") + self.arrived("c", "d", host="10.0.0.2")
        self.sweep()
        a.sent = b.sent = 7
        _, actions = self.queue.arrived("e", address("10.0.0.3"))
        self.assertEqual(self.closed(actions), ["c"])

    def test_youngOnesStay(self) -> None:
        """A new connection is not closed; the next one waits in the queue until it has had time to send something."""
        self.arrived("a", "b", "c", "d")
        (e,) = self.arrived("e")
        self.assertTrue(e.held)
        self.assertEqual(self.sweep(SHY), QueueActions())
        actions = self.sweep(1.0)
        self.assertEqual((self.closed(actions), actions.letIn), (["a"], ["e"]))
        self.assertFalse(e.held)

    def test_thoseWithMany(self) -> None:
        """Silent connections are closed sooner for an address with much fewer connections."""
        self.arrived("a", "b", "c", "d")
        self.arrived("e")
        self.arrived("few", host="10.0.0.2")
        self.assertEqual(self.sweep(SILENT), QueueActions())
        actions = self.sweep(1.0)
        self.assertEqual((self.closed(actions), actions.letIn), (["a"], ["few"]))

    def test_speakersWithMany(self) -> None:
        """Connections that have sent something are closed as well, but later."""
        for seat in self.arrived("a", "b", "c", "d"):
            seat.sent += 1
        self.arrived("few", host="10.0.0.2")
        self.assertEqual(self.sweep(SHY), QueueActions())
        self.assertEqual(self.sweep(1.0).letIn, ["few"])

    def test_notMuchLess(self) -> None:
        """They are not closed for an address with half as many: of clients that arrive at once, none is preferred."""
        self.queue = PreloginQueue(Gate(connections=2, line=1), self.clock.seconds)
        self.arrived("a", "b")
        self.arrived("c", host="10.0.0.2")
        self.assertEqual(self.sweep(SHY), QueueActions())
        self.assertEqual(self.sweep(1.0).letIn, ["c"])

    def test_busyReactor(self) -> None:
        """If the reactor is busy and sweeps are seconds apart, connections get as many sweeps to send something."""
        seats = self.arrived("a", "b", "c", "d")
        self.arrived("e")
        for _ in range(SWEEPS):
            self.clock.advance(2)
            self.assertEqual(self.queue.sweep(), QueueActions())
        for seat in seats[1:]:
            seat.sent += 1
        self.clock.advance(1)
        self.assertEqual(self.closed(self.queue.sweep()), ["a"])

    def test_speakers(self) -> None:
        """A connection that has sent something is kept longer, but not forever."""
        for seat in self.arrived("a", "b", "c", "d"):
            seat.sent += 1
        self.arrived("e")
        self.assertEqual(self.sweep(YOUNG), QueueActions())
        self.assertEqual(self.closed(self.sweep(1.0)), ["a"])

    def test_loginMakesRoom(self) -> None:
        """The next in the queue gets the seat of a connection that has logged in or closed."""
        a, b, _, _ = self.arrived("a", "b", "c", "d")
        self.arrived("e", "f")
        self.assertEqual(self.queue.loggedIn(a).letIn, ["e"])
        self.assertEqual(self.queue.lost(b).letIn, ["f"])

    def test_fewestConnectionsFirst(self) -> None:
        """A connection from another address is admitted before earlier ones from the address that fills the table."""
        a, *_ = self.arrived("a", "b", "c", "d", "e")
        self.arrived("new", host="10.0.0.2")
        self.assertEqual(self.queue.loggedIn(a).letIn, ["new"])

    def test_addressWithMore(self) -> None:
        """A connection of an address with few is not closed for an address with many."""
        self.arrived("few")
        self.sweep()
        self.arrived("a", "b", "c", "d", host="10.0.0.2")
        self.assertEqual(self.queue.sweep(), QueueActions())
        self.assertEqual(self.queue.inLine, 1)

    def test_lineIsFull(self) -> None:
        """If the queue is full, the last one of the address with the most in it is closed, possibly the new one."""
        self.arrived("a", "b", "c", "d", "e", "f")
        seat, actions = self.queue.arrived("g", address("10.0.0.1"))
        self.assertEqual((seat.connection, seat.held, actions), (None, False, QueueActions()))
        seat, actions = self.queue.arrived("other", address("10.0.0.2"))
        self.assertEqual(self.closed(actions), ["f"])
        self.assertIn("gate.line", actions.closed[0][1])
        self.assertTrue(seat.held)
        self.assertEqual(self.queue.inLine, 2)

    def test_checkersAtWork(self) -> None:
        """A connection whose credentials are being checked is not closed."""
        for seat in self.arrived("a", "b", "c", "d"):
            self.queue.working(seat)
        self.sweep()
        self.arrived("e")
        self.assertEqual(self.queue.sweep(), QueueActions())
        self.assertEqual(self.queue.inLine, 1)

    def test_refusedMakesRoom(self) -> None:
        """After a refusal, the connection can be closed."""
        seats = self.arrived("a", "b", "c", "d")
        for seat in seats:
            self.queue.working(seat)
        self.sweep()
        self.arrived("e")
        actions = self.queue.rested(seats[2])
        self.assertEqual((self.closed(actions), actions.letIn), (["c"], ["e"]))

    def test_comesBack(self) -> None:
        """After its last session, a connection needs a seat again. If there is none, one is closed, perhaps itself."""
        a, *_ = self.arrived("a", "b")
        self.queue.loggedIn(a)
        self.arrived("c", "d", "e", host="10.0.0.2")
        self.assertEqual(self.closed(self.queue.loggedOut(a)), ["a"])
        self.assertIsNone(a.connection)
        self.assertEqual(self.queue.loggedOut(a), QueueActions())

    def test_comesBackAnew(self) -> None:
        """The bytes that it sent before do not count, and it counts as the youngest."""
        a, b = self.arrived("a", "b")
        a.sent += 10**6
        b.sent += 1
        self.queue.loggedIn(a)
        self.queue.loggedOut(a)
        self.arrived("c", "d")
        self.sweep()
        _, actions = self.queue.arrived("e", address("10.0.0.2"))
        self.assertEqual(self.closed(actions), ["a"])

    def test_withoutBound(self) -> None:
        """Without a limit, nothing is closed."""
        self.queue = PreloginQueue(Gate(connections=None, line=0), self.clock.seconds)
        self.arrived(*map(str, range(1000)))
        self.assertEqual(len(self.queue), 1000)

    def test_notAllAtOnce(self) -> None:
        """If many could be admitted, some are at once, and the others later."""
        n = 2 * BATCH + 1
        self.queue = PreloginQueue(Gate(connections=n, line=n, timeout=None), self.clock.seconds)
        self.arrived(*map(str, range(2 * n)))
        self.assertEqual(self.sweep(SHY), QueueActions())
        self.assertEqual([len(self.sweep(0.5).letIn) for _ in range(4)], [BATCH, BATCH, 1, 0])


class DeadlineTests(WaitingCase):
    """The time to log in."""

    def test_notAllAtOnce(self) -> None:
        """If the time of many is over, they are closed a few per sweep, so that other clients are served."""
        for n, expected in ((2 * BATCH + 1, [BATCH, BATCH, 1, 0]), (16 * BATCH, [2 * BATCH, 14 * BATCH // 8])):
            self.queue = PreloginQueue(Gate(connections=None, timeout=30.0), self.clock.seconds)
            self.arrived(*map(str, range(n)))
            self.clock.advance(30.0)
            self.assertEqual([len(self.queue.sweep().closed) for _ in expected], expected)

    def test_inTime(self) -> None:
        """A connection that has not logged in in time is closed, in the queue or not."""
        a, b, *_ = self.arrived("a", "b", "c", "d", "e")
        self.queue.loggedIn(a)
        self.clock.advance(29.9)
        self.assertEqual(self.queue.sweep(), QueueActions())
        self.queue.lost(b)
        self.clock.advance(0.1)
        actions = self.queue.sweep()
        self.assertEqual(self.closed(actions), ["c", "d", "e"])
        self.assertIn("gate.timeout", actions.closed[0][1])
        self.assertEqual((len(self.queue), self.queue.inLine), (0, 0))

    def test_inLine(self) -> None:
        """The time also runs in the queue."""
        for seat in self.arrived("a", "b", "c", "d"):
            self.queue.working(seat)
        (e,) = self.arrived("e")
        self.clock.advance(30)
        self.assertEqual(self.closed(self.queue.sweep()), ["e"])
        self.assertIsNone(e.connection)

    def test_checkersTimeDoesNotCount(self) -> None:
        """The time of checkers and builders does not count, however many run at the same time."""
        (a,) = self.arrived("a")
        self.clock.advance(10)
        self.queue.working(a)
        self.queue.working(a)
        self.clock.advance(100)
        self.queue.rested(a)
        self.clock.advance(100)
        self.assertEqual(self.queue.sweep(), QueueActions())
        self.queue.rested(a)
        self.clock.advance(19.9)
        self.assertEqual(self.queue.sweep(), QueueActions())
        self.clock.advance(0.2)
        self.assertEqual(self.closed(self.queue.sweep()), ["a"])

    def test_again(self) -> None:
        """After the last session there is another deadline; a running checker stops it as well."""
        a, b = self.arrived("a", "b")
        for seat in (a, b):
            self.queue.loggedIn(seat)
        self.clock.advance(1000)
        self.queue.working(b)
        for seat in (a, b):
            self.queue.loggedOut(seat)
        self.clock.advance(599.9)
        self.assertEqual(self.queue.sweep(), QueueActions())
        self.clock.advance(0.1)
        self.assertEqual(self.closed(self.queue.sweep()), ["a"])
        self.queue.rested(b)
        self.clock.advance(600)
        self.assertEqual(self.closed(self.queue.sweep()), ["b"])

    def test_none(self) -> None:
        """Without a deadline, nothing is closed."""
        self.queue = PreloginQueue(Gate(timeout=None, again=None), self.clock.seconds)
        (a,) = self.arrived("a")
        self.queue.working(a)
        self.queue.rested(a)
        self.clock.advance(10**6)
        self.assertEqual(self.queue.sweep(), QueueActions())

    def test_lostAtWork(self) -> None:
        """A checker may finish after the connection was lost, or after another login on it succeeded."""
        a, b = self.arrived("a", "b")
        for seat in (a, b):
            self.queue.working(seat)
        self.queue.lost(a)
        self.queue.loggedIn(b)
        for seat in (a, b):
            self.queue.rested(seat)
        self.clock.advance(1000)
        self.assertEqual(self.queue.sweep(), QueueActions())
        self.assertEqual(len(self.queue), 0)


class ManyClientsTests(SynchronousTestCase):
    """Many clients at once."""

    def logIn(
        self, hosts: Callable[[int], str], number: int, silent: int, after: float, cost: float = 0.0003
    ) -> tuple[list[int], int]:
        """
        Let clients connect at the same moment, and log in as fast as a server allows that reads each in turn. Each
        sends three messages.

        :param hosts: the address of each.
        :param silent: how many silent connections exist before.
        :param after: for how long these have existed.
        :param cost: the seconds that the server takes for each message.
        :return: the clients that are logged in, and how many of the silent connections are left.
        """
        clock = Clock()
        queue = PreloginQueue(Gate(), clock.seconds)
        for n in range(silent):
            queue.arrived(-1 - n, address("10.0.0.1"))
        for _ in range(round(after * 2)):
            clock.advance(0.5)
            queue.sweep()
        gone: set[int] = set()
        seats: dict[int, Seat] = {}
        said: dict[int, int] = {}
        speaking: list[int] = []
        inside: list[int] = []

        def act(actions: QueueActions) -> None:
            gone.update(who for who, _ in actions.closed)
            speaking.extend(who for who in actions.letIn if who >= 0)

        for n in range(number):
            seat, actions = queue.arrived(n, address(hosts(n)))
            seats[n] = seat
            self.assertLessEqual(len(queue), 500)
            if seat.connection is None:
                gone.add(n)
            elif not seat.held:
                speaking.append(n)
            act(actions)
        while (speaking or queue.inLine) and clock.seconds() < 60:
            turn, speaking[:] = [n for n in speaking if n not in gone], []
            for n in turn:
                seats[n].sent += 100
                said[n] = said.get(n, 0) + 1
                clock.advance(cost)
                if said[n] < 3:
                    speaking.append(n)
                else:
                    inside.append(n)
                    act(queue.loggedIn(seats[n]))
            act(queue.sweep())
            if not speaking:
                clock.advance(0.5)
                act(queue.sweep())
        self.assertEqual(queue.inLine, 0)
        return sorted(inside), sum(-1 - n not in gone for n in range(silent))

    def test_behindSilentOnes(self) -> None:
        """300 silent connections, old or new, block none of 2,000 clients that arrive at once from another address."""
        for after in (0.0, 1.0, 5.0, 20.0):
            inside, _ = self.logIn(lambda n: "10.0.0.2", 2000, 300, after)
            self.assertEqual(inside, list(range(2000)))

    def test_ofTheSameAddress(self) -> None:
        """They do not block clients from the same address either."""
        inside, _ = self.logIn(lambda n: "10.0.0.1", 2000, 300, 5.0)
        self.assertEqual(inside, list(range(2000)))

    def test_slowServer(self) -> None:
        """They do not with a slow server that takes 20 s for all of them, so that the first wait for 5 s."""
        inside, _ = self.logIn(lambda n: "10.0.0.2", 2000, 300, 5.0, 0.0033)
        self.assertEqual(inside, list(range(2000)))

    def test_fromEverywhere(self) -> None:
        """Clients from many addresses do not block each other, even if 500 silent connections occupy every seat."""
        for many in (20, 2000):
            inside, _ = self.logIn(lambda n, many=many: f"10.1.{n % many // 256}.{n % 256}", 2000, 500, 1.0)  # type: ignore[misc]
            self.assertEqual(inside, list(range(2000)))

    def test_cost(self) -> None:
        """Replacing a connection costs no more if there are ten times as many."""

        def calls(connections: int) -> float:
            """Return how many function calls each arrival causes."""
            clock, called = Clock(), 0
            queue = PreloginQueue(Gate(connections=connections, timeout=None), clock.seconds)

            def count(frame: Any, event: str, argument: Any) -> None:
                nonlocal called
                called += event in ("call", "c_call")

            seats = [queue.arrived(n, address(f"10.0.0.{n % 100}"))[0] for n in range(connections)]
            for _ in range(SWEEPS + 1):
                clock.advance(YOUNG)
                queue.sweep()
            before = sys.getprofile()
            sys.setprofile(count)
            try:
                for n in range(connections):
                    # Each connection has sent something since it was last examined.
                    seats[n].sent += 1
                    queue.arrived(n, address(f"10.0.1.{n % 100}"))
            finally:
                sys.setprofile(before)
            self.assertEqual(len(queue), connections)
            return called / connections

        self.assertLess(calls(5000), 1.5 * calls(500))


@attrs.define(eq=False)
class Naive:
    """A connection of the model."""

    who: int
    host: str
    number: int
    state: str = "held"
    sent: int = 0
    busy: int = 0
    due: float | None = None
    yields: int = NOBODY
    stage: int = 0
    came: tuple[float, int] | None = None


class Model:
    """The same rules, implemented by examining all connections each time."""

    def __init__(self, gate: Gate, clock: Clock) -> None:
        self.gate, self.clock = gate, clock
        self.all: list[Naive] = []
        self.numbers = self.sweeps = 0
        self.actions = QueueActions()

    def those(self, state: str, host: str | None = None) -> list[Naive]:
        """Return the connections with a state and host."""
        return [each for each in self.all if each.state == state and host in (None, each.host)]

    def close(self, each: Naive) -> None:
        """Close a connection."""
        each.state = "gone"
        self.actions.closed.append((each.who, ""))

    def makesRoom(self, holds: int) -> bool:
        """Close a connection to make room."""
        for level in (FEW, ALL):
            can = [each for each in self.those("in") if not each.busy and each.yields >= level]
            if can:
                best = min(can, key=lambda each: (-len(self.those("in", each.host)), each.sent, each.number))
                theirs = len(self.those("in", best.host))
                if theirs > 2 * (holds + 1) if level == FEW else theirs >= holds:
                    self.close(best)
                    return True
        return False

    def serve(self) -> None:
        """Admit the connections for which there is room."""
        most = self.gate.connections
        assert most is not None
        while len(self.those("in")) > most and self.makesRoom(0):
            pass
        while line := self.those("held"):
            first = min(line, key=lambda each: (len(self.those("in", each.host)), each.number))
            if len(self.those("in")) >= most and not self.makesRoom(len(self.those("in", first.host))):
                break
            first.state = "in"
            self.actions.letIn.append(first.who)

    def expect(self, each: Naive, timeout: float | None) -> None:
        """Return the deadline, or the remaining time while a checker runs."""
        each.due = timeout
        if timeout is not None and not each.busy:
            each.due = timeout + self.clock.seconds()

    def arrived(self, who: int, host: str) -> None:
        """A connection arrives."""
        self.numbers += 1
        new = Naive(who, host, self.numbers)
        self.all.append(new)
        self.expect(new, self.gate.timeout)
        self.serve()
        while len(line := self.those("held")) > self.gate.line:
            worst = min(line, key=lambda each: (-len(self.those("held", each.host)), each.number))
            self.close(max(self.those("held", worst.host), key=lambda each: each.number))
        self.actions.letIn = [each for each in self.actions.letIn if each != who]
        self.actions.closed = [each for each in self.actions.closed if each[0] != who]

    def loggedIn(self, each: Naive) -> None:
        """A connection logs in."""
        if each.state in ("in", "held"):
            each.state, each.due = "out", None
        self.serve()

    def loggedOut(self, each: Naive) -> None:
        """A connection logs out."""
        if each.state == "out":
            self.numbers += 1
            each.state, each.number, each.sent, each.yields = "in", self.numbers, 0, ALL
            self.expect(each, self.gate.again)
            self.serve()

    def lost(self, each: Naive) -> None:
        """A connection is lost."""
        each.state, each.due = "gone", None
        self.serve()

    def working(self, each: Naive) -> None:
        """A checker starts."""
        each.busy += 1
        if each.busy == 1 and each.due is not None:
            each.due -= self.clock.seconds()

    def rested(self, each: Naive) -> None:
        """A checker finishes."""
        each.busy -= 1
        if not each.busy and each.due is not None:
            each.due += self.clock.seconds()
        self.serve()

    def sweep(self) -> None:
        """Time passes."""
        waiting = [each for each in self.those("in") + self.those("held") if each.due is not None and not each.busy]
        for each in sorted(waiting, key=lambda each: (each.due, each.number)):
            if each.due is not None and each.due <= self.clock.seconds():
                self.close(each)
        now = self.clock.seconds()
        self.sweeps += 1
        for each in self.those("in"):
            if each.came is None:
                each.came = (now, self.sweeps)
            when, sweep = each.came
            if sweep > self.sweeps - SWEEPS:
                continue
            for stage, (seconds, silent, speaks) in enumerate(((SILENT, 1, 0), (SHY, 2, 1), (YOUNG, 2, 2))):
                if stage == each.stage and when <= now - seconds:
                    each.stage += 1
                    each.yields = max(each.yields, speaks if each.sent else silent)
        self.serve()


actions = st.one_of(
    st.tuples(st.just("arrived"), st.integers(1, 3)),
    st.tuples(st.sampled_from("loggedIn loggedOut lost working rested sent".split()), st.integers(0, 12)),
    st.tuples(st.just("advance"), st.sampled_from([1, 3, 5, 10])),
    st.tuples(st.just("sweep"), st.integers(1, 6)),
)


class ModelTests(SynchronousTestCase):
    """The table, compared with the model."""

    @settings(deadline=None, max_examples=500)
    @given(st.lists(actions, max_size=60), st.integers(1, 4), st.integers(0, 3))
    def test_sameAsTheModel(self, steps: list[tuple[str, int]], connections: int, line: int) -> None:
        """For any sequence of events, the same connections are closed and admitted."""
        clock = Clock()
        gate = Gate(connections=connections, line=line, timeout=12.0, again=20.0)
        table, model = PreloginQueue(gate, clock.seconds), Model(gate, clock)
        seats: list[Seat] = []
        for name, n in steps:
            model.actions, made = QueueActions(), QueueActions()
            if name == "advance":
                clock.advance(n)
            elif name == "arrived":
                seat, made = table.arrived(len(seats), address(f"10.0.0.{n}"))
                model.arrived(len(seats), f"10.0.0.{n}")
                seats.append(seat)
            elif name == "sweep":
                for _ in range(n):
                    clock.advance(0.5)
                    one = table.sweep()
                    made.letIn += one.letIn
                    made.closed += one.closed
                    model.sweep()
            elif seats:
                each, seat = model.all[n % len(seats)], seats[n % len(seats)]
                if name == "sent":
                    seat.sent += 1
                    each.sent += 1
                elif name != "rested" or each.busy:
                    made = getattr(table, name)(seat) or QueueActions()
                    getattr(model, name)(each)
            self.assertEqual(list(made.letIn), model.actions.letIn)
            self.assertEqual([who for who, _ in made.closed], [who for who, _ in model.actions.closed])
            for each, seat in zip(model.all, seats, strict=True):
                self.assertEqual((seat.waiting, seat.held), (each.state == "in", each.state == "held"))
                self.assertEqual(seat.connection is None, each.state == "gone")
            self.assertEqual((len(table), table.inLine), (len(model.those("in")), len(model.those("held"))))
        for seat in seats:
            table.lost(seat)
        self.assertEqual((table._groups, len(table._deadlines)), ({}, 0))
