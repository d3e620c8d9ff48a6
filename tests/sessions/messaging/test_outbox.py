"""The queue of a session whose client is a slow consumer."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import CachingRealm, Session, Told, coalesce, dropOldest, errors, kickAfter
from pbkit.plain import weighed
from pbkit.sessions.messaging.delivery import Backlog
from pbkit.sessions.messaging.slowpolicy import Wait
from tests.sessions.messaging.slowness import SlowWire
from tests.support import Client, Recorder, serve, timers


class Careful(Recorder):
    """An avatar that notes which sessions lag."""

    def lagging(self, session: Session) -> Any:
        """Note it."""
        self.events.append(("lagging", session))


class SlowTestCase(SynchronousTestCase):
    """A client that can become a slow consumer."""

    def setUp(self) -> None:
        """Log alice in, with a mind."""
        self.clock = Clock()
        self.begin()

    def begin(self, **kw: Any) -> None:
        """Make a realm, and log alice in."""
        self.realm = CachingRealm(Careful, clock=self.clock, **kw)
        self.client = Client()
        self.wire = SlowWire(serve(self.realm, clock=self.clock))
        self.avatar = self.successResultOf(self.wire.login("alice", self.client))
        self.wire.flush()
        (self.session,) = self.realm.roster
        self.mind = self.session.mind

    def heard(self) -> list[Any]:
        """Return what the client was told."""
        return [told[1] if told[0] == "tell" else told[0] for told in self.client.told if "x" * 999 not in str(told)]


class OutboxTests(SlowTestCase):
    """`Outbox`, over a connection."""

    def test_noneForWhoKeepsUp(self) -> None:
        """A client that keeps up has no outbox, and every message is sent at once."""
        for n in range(100):
            self.assertIs(self.mind.tell("tell", n), Told.SENT)
            self.wire.flush()
        self.assertIsNone(self.session.outbox)
        self.assertEqual((self.heard(), self.session.backlog), (list(range(100)), Backlog(0, 0, 0)))

    def test_waitsInOrder(self) -> None:
        """Messages to a slow consumer are queued, and arrive in order; then there is no outbox."""
        self.wire.fill(self.session)
        self.assertEqual([self.mind.tell("tell", n) for n in range(10)], [Told.QUEUED] * 10)
        self.assertEqual(self.session.backlog.messages, 10)
        self.wire.drain()
        self.assertEqual(self.heard(), list(range(10)))
        self.assertIsNone(self.session.outbox)
        self.assertIs(self.mind.tell("tell", 10), Told.SENT)

    def test_roomButOthersWait(self) -> None:
        """While a message is queued no other is sent before it, even if the connection is writable."""
        self.wire.fill(self.session)
        self.mind.tell("tell", 1)
        self.wire.read()
        self.assertTrue(self.wire.peer.writable)
        self.assertIs(self.mind.tell("tell", 2), Told.QUEUED)
        self.wire.drain()
        self.assertEqual(self.heard(), [1, 2])

    def test_bounded(self) -> None:
        """
        400 MiB are told to a client that does not read: what is queued, and what was sent, stays within the limits.
        """
        self.wire.fill(self.session)
        text = "x" * 100_000
        told = [self.mind.tell("tell", text) for _ in range(4194)]
        self.assertEqual(set(told), {Told.QUEUED})
        backlog = self.session.backlog
        self.assertLessEqual(backlog.bytes, 1024 * 1024)
        self.assertEqual(backlog.messages + backlog.dropped, 4194)
        self.assertLess(self.wire.unread, 200_000)
        for n in range(2000):
            self.mind.tell("tell", n)
        self.assertEqual(self.session.backlog.messages, 1000)
        self.wire.drain()
        self.assertEqual(self.heard(), list(range(1000, 2000)))

    def test_tooLargeToWait(self) -> None:
        """A message that is larger than the limit is dropped at once, and `tell` says so."""
        self.wire.fill(self.session)
        self.assertIs(self.mind.tell("tell", 1, pbslow=dropOldest(5, 1000)), Told.QUEUED)
        self.assertIs(self.mind.tell("tell", "x" * 1000, pbslow=dropOldest(5, 1000)), Told.DROPPED)
        self.assertEqual((self.session.backlog.messages, self.session.backlog.dropped), (1, 1))

    def test_coalesce(self) -> None:
        """The latest message of each key arrives, in the order of telling."""
        self.wire.fill(self.session)
        for n in range(3):
            self.mind.tell("tell", f"a{n}", pbslow=coalesce("a"))
            self.mind.tell("tell", f"b{n}", pbslow=coalesce("b"))
            self.mind.tell("tell", n)
        self.wire.drain()
        self.assertEqual(self.heard(), [0, 1, "a2", "b2", 2])

    def test_policyOfTheRealm(self) -> None:
        """A realm has a policy of its own, passed to it or set in its class."""
        self.begin(slow=dropOldest(2))
        self.wire.fill(self.session)
        for n in range(5):
            self.mind.tell("tell", n)
        self.wire.drain()
        self.assertEqual(self.heard(), [3, 4])

    def test_kickedInTime(self) -> None:
        """A session that has not caught up in time ends with `SlowConsumer`, and what was queued is dropped."""
        self.begin(slow=kickAfter(30))
        self.wire.fill(self.session)
        self.assertIs(self.mind.tell("tell", 1), Told.QUEUED)
        self.clock.advance(20)
        self.mind.tell("tell", 2)
        self.clock.advance(9)
        self.assertIsNone(self.session.endedWith)
        self.clock.advance(1)
        self.assertIsInstance(self.session.endedWith, errors.SlowConsumer)
        self.assertIs(self.mind.tell("tell", 3), Told.GONE)
        self.assertEqual((len(self.realm.roster), timers(self.clock)), (0, []))
        self.assertEqual((self.wire.waiters, self.session.backlog[:2]), (0, (0, 0)))
        self.wire.drain()
        self.assertEqual(self.heard(), [])

    def test_caughtUpInTime(self) -> None:
        """A session that has caught up lives on, and the time starts again the next time."""
        self.begin(slow=kickAfter(30))
        self.wire.fill(self.session)
        self.mind.tell("tell", 1)
        self.clock.advance(29)
        self.wire.drain()
        self.assertEqual(timers(self.clock), [])
        self.wire.fill(self.session)
        self.mind.tell("tell", 2)
        self.clock.advance(29)
        self.assertIsNone(self.session.endedWith)
        self.wire.drain()
        self.assertEqual(self.heard(), [1, 2])

    def test_theShortestPatienceCounts(self) -> None:
        """The shortest time of all queued messages counts."""
        self.wire.fill(self.session)
        self.mind.tell("tell", 1, pbslow=kickAfter(30))
        self.clock.advance(5)
        self.mind.tell("tell", 2, pbslow=kickAfter(10))
        self.mind.tell("tell", 3, pbslow=kickAfter(20))
        self.clock.advance(5)
        self.assertIsInstance(self.session.endedWith, errors.SlowConsumer)

    def test_kickedForTooMuch(self) -> None:
        """If nothing may be dropped and there is no room, the session ends; telling it does not raise."""
        self.begin(slow=kickAfter(30, messages=3))
        self.wire.fill(self.session)
        self.assertEqual([self.mind.tell("tell", n) for n in range(4)], [Told.QUEUED] * 3 + [Told.GONE])
        self.assertIsInstance(self.session.endedWith, errors.SlowConsumer)
        self.assertEqual(timers(self.clock), [])

    def test_keptOnesAreNotDropped(self) -> None:
        """What is queued by `kickAfter` is not dropped for other messages."""
        self.wire.fill(self.session)
        policy = dropOldest(3)
        self.mind.tell("tell", "kept", pbslow=kickAfter(30))
        told = [self.mind.tell("tell", n, pbslow=policy) for n in range(5)]
        self.assertEqual(told, [Told.QUEUED] * 5)
        self.wire.drain()
        self.assertEqual(self.heard(), ["kept", 3, 4])

    def test_askKeepsItsPlace(self) -> None:
        """A call that wants an answer is queued among the messages, and is not dropped for them."""
        self.wire.fill(self.session)
        self.client.answer = 7
        self.mind.tell("tell", 1)
        answer = self.mind.ask("ask")
        old = self.mind.callRemote("ask")
        for n in range(2, 5):
            self.mind.tell("tell", n, pbslow=dropOldest(4))
        self.assertNoResult(answer)
        self.wire.drain()
        self.assertEqual(self.heard(), ["ask", "ask", 3, 4])
        self.assertEqual((self.successResultOf(answer), self.successResultOf(old)), (7, 7))
        self.assertEqual(timers(self.clock), [])

    def test_askInTime(self) -> None:
        """The deadline of a call counts from when it was made; then it is forgotten, and not sent any more."""
        self.wire.fill(self.session)
        answer = self.mind.ask("ask", pbtimeout=5)
        self.mind.tell("tell", 1)
        self.clock.advance(5)
        self.failureResultOf(answer, errors.CallTimedOut)
        self.assertEqual(self.session.backlog.messages, 1)
        self.wire.drain()
        self.assertEqual(self.heard(), [1])

    def test_askedForEver(self) -> None:
        """A client that never reads and is asked over and over leaves nothing behind."""
        self.wire.fill(self.session)
        for _ in range(100):
            answer = self.mind.ask("ask", pbtimeout=1)
            self.clock.advance(1)
            self.failureResultOf(answer, errors.CallTimedOut)
        self.assertEqual((self.session.backlog.messages, self.wire.waiters), (0, 1))
        self.session.end()
        self.assertEqual((self.wire.waiters, timers(self.clock)), (0, []))

    def test_askIsCancelledOnItsWay(self) -> None:
        """A call that was queued and then sent is forgotten when its time is up."""
        self.client.answer = Deferred()
        self.wire.fill(self.session)
        answer = self.mind.ask("ask", pbtimeout=5)
        self.wire.drain()
        self.assertEqual(len(self.wire.server.callers), 1)
        self.clock.advance(5)
        self.failureResultOf(answer, errors.CallTimedOut)
        self.assertEqual(len(self.wire.server.callers), 0)

    def test_askDropped(self) -> None:
        """A call for which there is no room fails at once, as the policy decides."""
        self.wire.fill(self.session)
        keep = [self.mind.ask("ask", pbslow=dropOldest(2)) for _ in range(2)]
        self.failureResultOf(self.mind.ask("ask", pbslow=dropOldest(2)), errors.CallDropped)
        self.failureResultOf(self.mind.ask("ask", pbslow=kickAfter(1, messages=2)), errors.SlowConsumer)
        for answer in keep:
            self.failureResultOf(answer, errors.SlowConsumer)
        self.assertEqual(timers(self.clock), [])

    def test_askedWhenItEnds(self) -> None:
        """Queued calls fail with the reason when the session ends or the connection is lost."""
        self.wire.fill(self.session)
        answer = self.mind.ask("ask")
        self.session.end(errors.Kicked, "spam")
        self.failureResultOf(answer, errors.Kicked)
        self.begin()
        self.wire.fill(self.session)
        answer = self.mind.ask("ask")
        self.mind.tell("tell", 1)
        self.wire.cut()
        self.failureResultOf(answer, errors.Disconnected)
        self.assertEqual((self.wire.waiters, timers(self.clock)), (0, []))

    def test_lagging(self) -> None:
        """The avatar is told once each time that a client falls behind, when `backlog` already shows it."""
        for _ in range(2):
            self.wire.fill(self.session)
            self.mind.tell("tell", 1)
            self.mind.tell("tell", 2)
            self.wire.drain()
        avatar = self.session.avatar
        self.assertEqual(avatar.told("lagging", self.session), 2)

    def test_laggingRaises(self) -> None:
        """An exception in the hook is logged, and the message is queued all the same; so is what the hook tells."""

        def lagging(session: Session) -> None:
            seen.append(session.backlog.messages)
            session.mind.tell("tell", "you lag")
            raise LookupError("its own affair")

        seen: list[int] = []
        self.session.avatar.lagging = lagging
        self.wire.fill(self.session)
        self.assertIs(self.mind.tell("tell", 1), Told.QUEUED)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.wire.drain()
        self.assertEqual((seen, self.heard()), ([1], [1, "you lag"]))

    def test_policyRaises(self) -> None:
        """A policy that raises or returns something else is logged, and the default policy is used."""

        def fail(waiting: Any, message: Any) -> Any:
            raise LookupError("its own affair")

        self.wire.fill(self.session)
        unhashable: Any = []
        policies: list[Any] = [fail, lambda waiting, message: None, lambda waiting, message: Wait(0, unhashable)]
        for policy in policies:
            self.assertIs(self.mind.tell("tell", 1, pbslow=policy), Told.QUEUED)
        self.assertEqual(len(self.flushLoggedErrors(LookupError, TypeError)), 3)
        self.assertEqual(self.session.backlog.messages, 3)

    def test_copiedWhenTold(self) -> None:
        """A later change of the caller's list is not sent."""
        self.wire.fill(self.session)
        moves: list[Any] = [1, {"a": [2]}]
        self.mind.tell("tell", moves)
        moves[1]["a"].append(3)
        moves.append(4)
        self.wire.drain()
        self.assertEqual(self.heard(), [[1, {"a": [2]}]])

    def test_whatCannotBeSentLater(self) -> None:
        """A queued message that cannot be sent is logged; those behind it are sent."""

        class Broken(pb.Copyable):
            """An object that cannot be sent."""

            def getStateToCopy(self) -> Any:
                """Fail."""
                raise LookupError("no state")

        self.wire.fill(self.session)
        self.mind.tell("tell", Broken())
        answer = self.mind.ask("ask", Broken())
        self.mind.tell("tell", 1)
        self.wire.drain()
        self.assertEqual(self.heard(), [1])
        self.failureResultOf(answer, LookupError)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def test_twoOfOneConnection(self) -> None:
        """Two sessions of one connection have separate outboxes, and the end of one does not affect the other."""
        other = Client()
        reference = self.successResultOf(self.wire.login("bob", other))
        (bob,) = self.realm.roster.ofAvatar("bob")
        self.wire.fill(self.session)
        self.mind.tell("tell", 1)
        bob.mind.tell("tell", 2)
        self.session.end()
        self.wire.drain()
        self.assertEqual((self.heard(), other.told), ([], [("tell", 2)]))
        del reference


#: The messages of the model: the name of the policy, the key, and the length of the text.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["oldest", "kept", "ask"]), st.none(), st.integers(0, 300)),
        st.tuples(st.just("latest"), st.sampled_from("ab"), st.integers(0, 300)),
        st.just(("read", None, 0)),
    ),
    max_size=60,
)
MESSAGES, BYTES = 4, 1000


class Model:
    """What is queued and what arrives, as the documentation says, in the simplest form."""

    def __init__(self) -> None:
        self.waits: list[tuple[str, Any, int, Any]] = []
        self.sent: list[Any] = []

    def put(self, kind: str, key: Any, size: int, what: Any) -> bool:
        """Queue a message, or not."""
        waits = [one for one in self.waits if key is None or one[1] != key]
        while len(waits) >= MESSAGES or sum(one[2] for one in waits) + size > BYTES:
            droppable = [one for one in waits if one[0] in ("oldest", "latest")]
            if size > BYTES or not droppable:
                return False
            waits.remove(droppable[0])
        self.waits = [*waits, (kind, key, size, what)]
        return True


class ModelTests(SlowTestCase):
    """The policies together, compared with a model."""

    @settings(deadline=None, max_examples=300)
    @given(STEPS)
    def test_asTheModelHasIt(self, steps: list[tuple[str, Any, int]]) -> None:
        """Order and limits are kept, the result of `tell` is true, and exactly what the model says arrives."""
        self.begin()
        self.wire.server.outbound.window = 300
        self.wire.stall()
        model = Model()
        answers: list[Any] = []
        for number, (kind, key, length) in enumerate(steps):
            waited = len(model.waits)
            if kind == "read":
                self.wire.read()
                left = self.session.backlog.messages
                model.sent += [one[3] for one in model.waits[: waited - left]]
                del model.waits[: waited - left]
            else:
                self.tellOne(model, kind, key, (number, "y" * length), answers)
            self.assertEqual(self.session.backlog[:2], (len(model.waits), sum(one[2] for one in model.waits)))
            self.assertLessEqual(self.session.backlog.messages, MESSAGES)
            self.assertLessEqual(self.session.backlog.bytes, BYTES)
        self.assertIsNone(self.session.endedWith)
        self.wire.drain()
        model.sent += [one[3] for one in model.waits]
        self.assertEqual([tuple(told[1]) for told in self.client.told], model.sent)
        self.assertIsNone(self.session.outbox)
        for answer in answers:
            self.successResultOf(answer)
        self.wire.lose()
        self.assertEqual(timers(self.clock), [])

    def tellOne(self, model: Model, kind: str, key: Any, what: Any, answers: list[Any]) -> None:
        """Tell a message, and the model."""
        ready = self.session.ready
        size = weighed(((what,), {}))[1] + len("tell") + 32
        if kind == "ask":
            answer = self.mind.ask("tell", what, pbslow=dropOldest(MESSAGES, BYTES), pbtimeout=None)
            waits = not ready and model.put(kind, key, size, what)
            if ready or waits:
                answers.append(answer)
            else:
                self.failureResultOf(answer, errors.CallDropped)
        else:
            policy: Any = {
                "oldest": dropOldest(MESSAGES, BYTES),
                "latest": coalesce(key, MESSAGES, BYTES),
                "kept": lambda waiting, message: keep(waiting, message),
            }[kind]
            told = self.mind.tell("tell", what, pbslow=policy)
            waits = not ready and model.put(kind, key, size, what)
            self.assertIs(told, Told.SENT if ready else Told.QUEUED if waits else Told.DROPPED)
        if ready:
            model.sent.append(what)


def keep(waiting: Any, message: Any) -> Any:
    """A policy like `dropOldest`, whose messages are not dropped for others."""
    verdict = dropOldest(MESSAGES, BYTES)(waiting, message)
    return Wait(verdict.oldest, None, True) if isinstance(verdict, Wait) else verdict
