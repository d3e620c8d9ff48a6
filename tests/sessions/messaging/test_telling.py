"""Messages to many clients, in order, without blocking the reactor."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import AnonymousRealm, CachingRealm, Realm, Session, Summary, Told, dropOldest, errors
from pbkit.sessions.messaging import telling as module
from pbkit.sessions.messaging.broadcast import GROUP
from pbkit.sessions.messaging.slowpolicy import Drop, Kick
from tests.sessions.messaging.slowness import MUCH, SlowWire
from tests.support import Client, Recorder, Wire, enter, serve, timers


class Broken(pb.Copyable):
    """An object that cannot be sent."""

    def getStateToCopy(self) -> Any:
        """Fail."""
        raise LookupError("no state")


class ToilingClock(Clock):
    """
    A clock on which each look takes as much time as a group of messages.

    :ivar turns: how often `callLater` was called with 0.
    """

    toil = 0.0
    turns = 0

    def seconds(self) -> float:
        """Return the time, which is later each time."""
        self.rightNow += self.toil
        return self.rightNow

    def callLater(self, delay: float, callable: Any, *args: Any, **kw: Any) -> Any:
        """As `Clock`."""
        self.turns += delay == 0
        return super().callLater(delay, callable, *args, **kw)


class Everybody(SynchronousTestCase):
    """A realm with several clients."""

    realm: Realm

    def setUp(self) -> None:
        """Make a realm without sessions."""
        self.clock = ToilingClock()
        self.begin(CachingRealm(Recorder, clock=self.clock))

    def begin(self, realm: Realm) -> None:
        """Serve another realm."""
        self.realm = realm
        self.server = serve(realm, clock=self.clock)
        self.clients: list[Client] = []
        self.wires: list[SlowWire] = []
        self.references: list[Any] = []

    def enter(self, name: str | None = "alice", mind: bool = True) -> Session:
        """Log in one more client."""
        wire, client = SlowWire(self.server), Client()
        before = {*self.realm.hub.everyone().sessions}
        self.references.append(self.successResultOf(wire.login(name, client if mind else None)))
        wire.flush()
        self.clients.append(client)
        self.wires.append(wire)
        (session,) = {*self.realm.hub.everyone().sessions} - before
        assert isinstance(session, Session)
        return session

    def heard(self) -> list[list[Any]]:
        """Return what each client has been told."""
        for wire in self.wires:
            wire.flush()
        return [[what[1] for what in client.told if what[0] == "tell" and what[1] != MUCH] for client in self.clients]


class TellTests(Everybody):
    """`Realm.tell` and its relatives."""

    def test_everybody(self) -> None:
        """All clients are told, guests included, and the summary says so; a client without a mind counts as gone."""
        self.begin(CachingRealm(Recorder, clock=self.clock, anonymous=AnonymousRealm(Recorder)))
        for name in ("alice", "bob", None):
            self.enter(name)
        self.enter("carol", mind=False)
        self.assertEqual(self.successResultOf(self.realm.tell("tell", 1)), Summary(sent=3, gone=1))
        self.assertEqual(self.heard(), [[1], [1], [1], []])

    def test_nobody(self) -> None:
        """Without sessions nobody is told, and that is not an error."""
        self.assertEqual(self.successResultOf(self.realm.tell("tell", 1)), Summary())
        self.assertEqual(self.successResultOf(self.realm.ask("ask")), {})
        avatar = Recorder("alice")
        self.assertEqual(self.successResultOf(avatar.tell("tell", 1)), Summary())
        self.assertEqual(self.successResultOf(avatar.ask("ask")), {})

    def test_avatarAndSession(self) -> None:
        """An avatar tells its own clients, and a session its own."""
        one, _, bob = self.enter(), self.enter(), self.enter("bob")
        self.assertEqual(self.successResultOf(one.avatar.tell("tell", 1)), Summary(sent=2))
        self.assertEqual(self.successResultOf(one.tell("tell", 2)), Summary(sent=1))
        bob.end()
        self.assertEqual(self.successResultOf(bob.tell("tell", 3)), Summary(gone=1))
        self.assertEqual(self.heard(), [[1, 2], [1], []])

    def test_except(self) -> None:
        """One session or any collection can be left out; these are not counted."""
        one, two, three = self.enter(), self.enter("bob"), self.enter("carol")
        for excepted in (one, [one], {one}, (one,), iter([one])):
            self.assertEqual(self.successResultOf(self.realm.tell("tell", 1, except_=excepted)), Summary(sent=2))
        self.assertEqual(self.successResultOf(self.realm.tell("tell", 2, except_=[one, two, three])), Summary())
        self.assertEqual(self.heard(), [[], [1] * 5, [1] * 5])
        for bad in (1, [1], one.mind, "alice"):
            self.assertRaises(TypeError, self.realm.tell, "tell", except_=bad)

    def test_slowOnes(self) -> None:
        """A slow consumer delays nobody. The summary says whether its message is queued or was dropped."""
        self.enter()
        slow = self.enter("bob")
        self.wires[1].fill(slow)
        self.assertEqual(self.successResultOf(self.realm.tell("tell", 1)), Summary(sent=1, queued=1))
        never = self.realm.tell("tell", 2, pbslow=lambda waiting, message: Drop())
        self.assertEqual(self.successResultOf(never), Summary(sent=1, dropped=1))
        never = self.realm.tell("tell", 3, pbslow=lambda waiting, message: Kick())
        self.assertEqual(self.successResultOf(never), Summary(sent=1, gone=1))
        self.assertIsInstance(slow.endedWith, errors.SlowConsumer)
        self.assertEqual(self.heard(), [[1, 2, 3], []])

    def test_whatCannotBeSent(self) -> None:
        """Arguments that cannot be sent fail the message for all clients; the next message is sent as usual."""
        self.enter()
        self.enter("bob")
        self.failureResultOf(self.realm.tell("tell", Broken()), LookupError)
        self.assertEqual(self.successResultOf(self.realm.tell("tell", 1)), Summary(sent=2))
        self.assertEqual(self.heard(), [[1], [1]])

    def test_underStock(self) -> None:
        """Under a stock factory, and without a clock, all clients are told at once."""
        self.realm = Realm(Recorder)
        self.server = serve(self.realm, pb.PBServerFactory)
        wire, client = Wire(self.server), Client()
        reference = self.successResultOf(wire.login("alice", client))
        wire.flush()
        self.assertEqual(self.successResultOf(self.realm.tell("tell", 1)), Summary(sent=1))
        answers = self.realm.ask("ask")
        wire.flush()
        self.assertEqual([*self.successResultOf(answers).values()], [None])
        self.assertEqual(client.told, [("tell", 1), ("ask",)])
        del reference

    def test_vanishedOnes(self) -> None:
        """A connection that breaks meanwhile affects no other client."""
        for name in ("alice", "bob", "carol"):
            self.enter(name)
        self.wires[1].vanish()
        self.assertEqual(self.successResultOf(self.realm.tell("tell", 1)), Summary(sent=3))
        self.wires[1].cut()
        self.assertEqual(self.successResultOf(self.realm.tell("tell", 2)), Summary(sent=2))
        self.assertEqual(self.heard(), [[1, 2], [], [1, 2]])


class SliceTests(Everybody):
    """Large audiences: told in slices, in order."""

    def crowd(self, number: int) -> list[Session]:
        """Begin many sessions without minds: only their turns matter here."""
        return [self.successResultOf(enter(self.realm, f"user{n}")) for n in range(number)]

    def order(self) -> list[str]:
        """Return a list of which session is told what, from now on."""
        order: list[str] = []

        def put(mind: Any, method: str, args: Any, kw: Any, policy: Any = None) -> Told:
            order.append(f"{mind.session.avatarId}:{args[0]}")
            return Told.SENT

        self.patch(type(self.realm.hub.everyone().sessions[0].mind), "put", put)
        return order

    def test_slices(self) -> None:
        """Any number of sessions is told for 5 ms at a time, and the Deferred fires when all have had their turn."""
        self.crowd(20 * GROUP)
        order = self.order()
        self.clock.advance(1)
        self.clock.toil = 0.002
        told = self.realm.tell("tell", 1)
        self.assertNoResult(told)
        first = len(order)
        self.assertLessEqual(first, 3 * GROUP)
        self.assertEqual(len(timers(self.clock)), 1)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(told), Summary(sent=20 * GROUP))
        self.assertEqual(order, [f"user{n}:1" for n in range(20 * GROUP)])
        self.assertGreaterEqual(self.clock.turns, 20 // 3)
        self.assertEqual(timers(self.clock), [])

    def test_manyInOneTurn(self) -> None:
        """Many small messages that are told in one turn of the reactor share its 5 ms."""
        self.crowd(1)
        order = self.order()
        self.clock.advance(1)
        self.clock.toil = 0.0005
        told = [self.realm.tell("tell", n) for n in range(100)]
        self.assertLess(len(order), 50)
        self.clock.advance(0)
        self.assertEqual([self.successResultOf(one).sent for one in told], [1] * 100)
        self.assertEqual(order, [f"user0:{n}" for n in range(100)])

    def test_whoIsToldMoreInBetween(self) -> None:
        """
        A client that is told something else before its turn gets the pending messages first, and not again afterwards.
        """
        sessions = self.crowd(10 * GROUP)
        order = self.order()
        self.clock.advance(1)
        self.clock.toil = 0.006
        first, second = self.realm.tell("tell", 1), self.realm.tell("tell", 2)
        last = sessions[-1]
        last.mind.tell("tell", 3)
        self.failureResultOf(last.mind.ask("tell", 4), errors.NoMind)
        self.clock.advance(0)
        self.assertEqual(
            [one for one in order if one.startswith(f"{last.avatarId}:")], [f"{last.avatarId}:{n}" for n in (1, 2, 3)]
        )
        for told in (first, second):
            self.assertEqual(self.successResultOf(told).sent, 10 * GROUP)
        self.assertEqual(Counter(order), Counter({*order}))

    def test_whoLeavesInBetween(self) -> None:
        """
        A session without a mind that ends before its turn is counted as gone; one that begins meanwhile is not told.
        """
        sessions = self.crowd(10 * GROUP)
        order = self.order()
        self.clock.advance(1)
        self.clock.toil = 0.006
        told = self.realm.tell("tell", 1)
        for session in sessions[5 * GROUP :]:
            session.end()
        self.successResultOf(enter(self.realm, "late"))
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(told), Summary(sent=5 * GROUP, gone=5 * GROUP))
        self.assertNotIn("late:1", order)

    def test_copiedWhenTold(self) -> None:
        """A later change of the caller's list is not sent to the sessions of later turns."""
        self.crowd(10 * GROUP)
        order = self.order()
        self.clock.toil = 0.006
        self.clock.advance(1)
        told: list[int] = [1]
        self.realm.tell("tell", told)
        told.append(2)
        self.clock.advance(0)
        self.assertEqual({one.partition(":")[2] for one in order}, {"[1]"})

    def test_tooMuchToTell(self) -> None:
        """Above the limit on pending messages, the rest is dropped, and the summary says so."""
        self.crowd(2)
        self.order()
        self.patch(module, "WAITING", 5)
        self.clock.advance(1)
        self.clock.toil = 0.006
        told = [self.realm.tell("tell", n) for n in range(8)]
        self.assertEqual([self.successResultOf(one) for one in told[-2:]], [Summary(dropped=2)] * 2)
        asked = self.realm.ask("ask")
        for result in self.successResultOf(asked).values():
            self.assertIsInstance(result.value, errors.CallDropped)
        self.clock.advance(0)
        self.assertEqual([self.successResultOf(one).sent for one in told[:5]], [2] * 5)
        self.patch(module, "WEIGHT", 1000)
        told = [self.realm.tell("tell", "x" * 900) for n in range(4)]
        self.clock.advance(0)
        self.assertIn(Summary(dropped=2), [self.successResultOf(one) for one in told])
        self.clock.toil = 0
        self.clock.advance(1)
        self.assertEqual(self.realm.hub.telling._waiting, 0)

    def test_tellingFromWithin(self) -> None:
        """What is told from a callback or from `lagging` comes after the message that is being told."""
        names = ("alice", "bob", "carol")
        for name in names:
            self.enter(name)
        sessions = tuple(self.realm.roster)

        def lagging(session: Session) -> None:
            self.realm.tell("tell", 2)
            sessions[2].mind.tell("tell", 3)

        sessions[0].avatar.lagging = lagging
        self.wires[0].fill(sessions[0])
        told = self.realm.tell("tell", 1)
        told.addCallback(lambda _: self.realm.tell("tell", 4))
        self.successResultOf(told)
        self.assertEqual(self.heard()[1:], [[1, 2, 4], [1, 2, 3, 4]])
        self.wires[0].drain()
        self.assertEqual(self.heard()[0], [1, 2, 4])

    @settings(deadline=None, max_examples=200)
    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("all"), st.just(0)),
                st.tuples(st.just("but"), st.integers(0, 2)),
                st.tuples(st.sampled_from(["one", "end", "topic", "fill", "drain"]), st.integers(0, 2)),
                st.tuples(st.just("turn"), st.just(0)),
            ),
            max_size=40,
        )
    )
    def test_eachOrderIsThatOfTelling(self, steps: list[tuple[str, int]]) -> None:
        """
        Whatever is told, and whichever sessions end or lag: each client hears what it was told, in order, once; also
        before the end of its session, if it has kept up. The summaries add up to what was sent.
        """
        self.clock = ToilingClock()
        self.begin(CachingRealm(Recorder, clock=self.clock, slow=dropOldest(10_000)))
        sessions = [self.enter(name) for name in ("alice", "bob", "carol")]
        expected: list[list[int]] = [[], [], []]
        topic = self.realm.topic("room")
        topic.join(sessions[0])
        topic.join(sessions[2])
        summaries: list[Deferred[Summary]] = []
        meant = 0
        whole = [True] * 3
        self.patch(module, "SLICE", 0.001)
        self.clock.toil = 0.002
        for number, (what, index) in enumerate(steps):
            session = sessions[index]
            live = [n for n in range(3) if sessions[n].endedWith is None]
            told: list[int] = []
            if what == "all":
                told = live
                summaries.append(self.realm.tell("tell", number))
            elif what == "but":
                told = [n for n in live if n != index]
                summaries.append(self.realm.tell("tell", number, except_=session))
            elif what == "topic":
                told = [n for n in live if n != 1]
                summaries.append(topic.tell("tell", number))
            elif what == "one" and index in live:
                told = [index]
                session.mind.tell("tell", number)
            elif what == "end":
                if index in live:
                    whole[index] = not self.wires[index].stalled
                session.end()
            elif what == "fill" and index in live and not self.wires[index].stalled:
                self.wires[index].fill(session)
            elif what == "drain":
                self.wires[index].drain()
            elif what == "turn":
                self.clock.advance(0)
            meant += len(told) * (what != "one")
            for n in told:
                expected[n].append(number)
        self.clock.advance(0)
        counted = [self.successResultOf(summary) for summary in summaries]
        self.assertEqual(sum(map(sum, counted)), meant)
        for wire in self.wires:
            wire.drain()
        for complete, heard, all_ in zip(whole, self.heard(), expected, strict=True):
            if complete:
                self.assertEqual(heard, all_)
            else:
                # It has heard the beginning of what it was told.
                self.assertEqual(heard, all_[: len(heard)])


class AskTests(Everybody):
    """`Realm.ask` and its relatives."""

    def answers(self, asked: Deferred[Any]) -> dict[str, Any]:
        """Return, by avatar id, the answer or the class of the error."""
        names = {session.sessionId: session.avatarId for session in self.sessions}
        return {
            names[sessionId]: result.type if isinstance(result, Failure) else result
            for sessionId, result in self.successResultOf(asked).items()
        }

    def test_answers(self) -> None:
        """The answers of all clients are collected, with one that raises and one without a mind among them."""
        self.sessions = [self.enter("alice"), self.enter("bob"), self.enter("carol", mind=False)]
        self.clients[0].answer = 1
        self.clients[1].answer = Deferred()
        asked = self.realm.ask("ask")
        self.heard()
        self.assertNoResult(asked)
        self.clients[1].answer.errback(pb.Error("no"))
        self.heard()
        answers = self.answers(asked)
        self.assertEqual((answers["alice"], answers["carol"]), (1, errors.NoMind))
        self.assertIn("bob", answers)
        self.assertEqual(timers(self.clock), [])

    def test_oneDeadline(self) -> None:
        """
        A client that has not answered by the deadline has failed. One timer serves all, and a late answer is ignored.
        """
        self.sessions = [self.enter("alice"), self.enter("bob"), self.enter("carol")]
        self.clients[0].answer = 1
        late: Deferred[Any] = Deferred()
        self.clients[1].answer = late
        self.wires[2].fill(self.sessions[2])
        asked = self.realm.ask("ask", pbtimeout=5)
        self.assertEqual(len(timers(self.clock)), 1)
        self.heard()
        self.clock.advance(4.9)
        self.assertNoResult(asked)
        self.clock.advance(0.2)
        timedOut = errors.CallTimedOut
        self.assertEqual(self.answers(asked), {"alice": 1, "bob": timedOut, "carol": timedOut})
        late.callback(2)
        self.wires[2].drain()
        self.assertEqual({told[0] for told in self.clients[2].told}, {"tell"})
        for wire in self.wires:
            wire.flush()
            self.assertEqual(len(wire.server.callers), 0)

    def test_endsAndTopics(self) -> None:
        """A session that ends has failed with the reason; ``except_`` and topics choose the sessions."""
        self.sessions = [self.enter("alice"), self.enter("bob"), self.enter("carol")]
        for client in self.clients:
            client.answer = Deferred()
        topic = self.realm.topic("room")
        topic.join(self.sessions[0])
        topic.join(self.sessions[1])
        asked, of, own = topic.ask("ask"), self.realm.ask("ask", except_=self.sessions[:2]), self.sessions[2].ask("ask")
        avatar = self.sessions[0].avatar.ask("ask")
        for session in self.sessions:
            session.end(errors.Kicked)
        self.assertEqual(self.answers(asked), {"alice": errors.Kicked, "bob": errors.Kicked})
        for one in (of, own):
            self.assertEqual(self.answers(one), {"carol": errors.Kicked})
        self.assertEqual(self.answers(avatar), {"alice": errors.Kicked})
        self.assertEqual(timers(self.clock), [])

    def test_notYetAsked(self) -> None:
        """The deadline also counts for sessions before their turn, and a session that ends before it has failed."""
        self.sessions = [self.enter("alice"), self.enter("bob"), self.enter("carol")]
        topic = self.realm.topic("room")
        for session in self.sessions:
            topic.join(session)
        self.clock.advance(1)
        self.patch(module, "SLICE", -1)
        asked, left = self.realm.ask("ask", pbtimeout=0), topic.ask("ask", pbtimeout=None)
        topic.leave(self.sessions[0])
        self.sessions[1].end(errors.Kicked)
        self.assertEqual(len(timers(self.clock)), 2)
        self.patch(module, "SLICE", 1)
        self.clock.advance(0)
        self.heard()
        self.assertEqual({*self.answers(asked)}, {"alice", "bob", "carol"})
        self.assertEqual(self.answers(left), {"alice": errors.CallDropped, "bob": errors.Kicked, "carol": None})

    def test_givenUp(self) -> None:
        """Cancelling the Deferred forgets all calls."""
        self.sessions = [self.enter("alice"), self.enter("bob")]
        for client in self.clients:
            client.answer = Deferred()
        asked = self.realm.ask("ask")
        self.heard()
        asked.cancel()
        self.assertEqual(self.answers(asked), dict.fromkeys(["alice", "bob"], errors.CallTimedOut))
        self.assertEqual(timers(self.clock), [])
        self.assertEqual([len(wire.server.callers) for wire in self.wires], [0, 0])
