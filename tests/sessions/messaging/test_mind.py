"""`Mind`: the client's own object, as the server calls it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.spread.banana import BananaError
from twisted.trial.unittest import SynchronousTestCase

from pbkit import CachingRealm, ClientFactory, Mind, Session, Told, errors
from pbkit.sessions.messaging.mind import CALL_TIMEOUT, checkReference
from tests.support import Client, Recorder, Wire, collect, serve, timers


class Broken(pb.Copyable):
    """An object that cannot be sent."""

    def getStateToCopy(self) -> Any:
        """Fail."""
        raise LookupError("no state")


class CheckReferenceTests(SynchronousTestCase):
    """Which values can be a mind."""

    def test_noneOrAReference(self) -> None:
        """None and a reference are accepted, and anything else is refused."""
        reference = pb.RemoteReference(None, None, 1, 0)
        self.addCleanup(setattr, reference, "broker", None)
        reference.doRefCount = 0
        self.assertIsNone(checkReference(None))
        self.assertIs(checkReference(reference), reference)
        for mind in (0, 1, "", b"", [], (), {}, object(), pb.Referenceable(), Recorder("alice")):
            self.assertRaises(errors.BadMind, checkReference, mind)


class MindTests(SynchronousTestCase):
    """`Mind`, over a connection."""

    def setUp(self) -> None:
        """Log in a client with a mind."""
        self.clock = Clock()
        self.realm = CachingRealm(Recorder, clock=self.clock)
        self.server = serve(self.realm, clock=self.clock)
        self.client = Client()
        self.wire, self.session, self.avatar = self.enter(self.client)
        self.mind: Mind = self.session.mind

    def enter(self, client: Client | None, factory: Any = None) -> tuple[Wire, Session, Any]:
        """Log in as alice again, and return the connection, her session and her reference."""
        wire = Wire(self.server, factory)
        avatar = self.successResultOf(wire.login("alice", client))
        return wire, self.realm.roster.ofAvatar("alice")[-1], avatar

    def test_answer(self) -> None:
        """A call reaches the client's object, and its answer comes back, from a stock client and from pbkit's."""
        for factory in (None, ClientFactory(clock=self.clock)):
            client = Client()
            client.answer = ["an", "answer"]
            wire, session, _ = self.enter(client, factory)
            answer = session.mind.callRemote("ask")
            wire.flush()
            self.assertEqual(self.successResultOf(answer), ["an", "answer"])
            self.assertEqual(client.told, [("ask",)])
        self.assertEqual(timers(self.clock), [])

    def test_truth(self) -> None:
        """A mind is true if the client sent one."""
        _, session, _ = self.enter(None)
        self.assertTrue(self.mind)
        self.assertFalse(session.mind)
        self.assertIn("no mind", repr(session.mind))

    def test_equalToItselfOnly(self) -> None:
        """
        Minds of different connections can be compared, put into sets and removed from lists; stock's references cannot.
        """
        _, other, _ = self.enter(Client())
        minds = [self.mind, other.mind]
        self.assertEqual(len({*minds}), 2)
        self.assertNotEqual(self.mind, other.mind)
        self.assertNotEqual(self.mind, None)
        minds.remove(other.mind)
        self.assertEqual(minds, [self.mind])

    def test_withoutAMind(self) -> None:
        """Without a mind, a call fails with `NoMind` and a message is `Told.GONE`."""
        _, session, _ = self.enter(None)
        self.failureResultOf(session.mind.callRemote("ask"), errors.NoMind)
        self.assertIs(session.mind.tell("tell", 1), Told.GONE)

    def test_clientRaises(self) -> None:
        """An exception of the client fails the call."""
        answer = self.mind.callRemote("fail")
        self.wire.flush()
        self.assertIn("the client's own affair", self.failureResultOf(answer).getErrorMessage())
        self.flushLoggedErrors(LookupError)

    def test_deadline(self) -> None:
        """Without an answer within 30 s, or within the time that was passed, a call fails with `CallTimedOut`."""
        self.client.answer = Deferred()
        usual, short = self.mind.callRemote("ask"), self.mind.callRemote("ask", pbtimeout=2)
        self.wire.flush()
        self.clock.advance(2)
        failure = self.failureResultOf(short, errors.CallTimedOut, TimeoutError)
        self.assertEqual(str(failure.value), "no answer within 2 s")
        self.clock.advance(CALL_TIMEOUT - 2.1)
        self.assertNoResult(usual)
        self.clock.advance(0.2)
        self.failureResultOf(usual, errors.CallTimedOut)
        # The late answer is ignored.
        self.client.answer.callback("late")
        self.wire.flush()
        self.client.answer = 5
        answer = self.mind.callRemote("ask")
        self.wire.flush()
        self.assertEqual(self.successResultOf(answer), 5)

    def test_connectionLostDuringACall(self) -> None:
        """A call in flight fails when the connection is lost."""
        self.client.answer = Deferred()
        answer = self.mind.callRemote("ask")
        self.wire.flush()
        self.wire.cut()
        self.failureResultOf(answer, pb.PBConnectionLost)
        self.assertEqual(timers(self.clock), [])

    def test_sessionEndedDuringACall(self) -> None:
        """A call in flight fails when the session ends, with the reason."""
        self.client.answer = Deferred()
        answer = self.mind.callRemote("ask")
        self.wire.flush()
        self.session.end(errors.Kicked, "spam")
        self.assertEqual(
            str(self.failureResultOf(answer, errors.Kicked).value), "this session was ended by the server: spam"
        )
        self.assertEqual(timers(self.clock), [])

    def test_afterTheEnd(self) -> None:
        """After the end of its session a call fails with the reason and is not sent, although the connection lives."""
        self.session.end(errors.Kicked)
        self.failureResultOf(self.mind.callRemote("ask"), errors.Kicked)
        self.assertIs(self.mind.tell("tell"), Told.GONE)
        self.wire.flush()
        self.assertEqual(self.client.told, [])

    def test_afterTheLoss(self) -> None:
        """After the loss of the connection a call fails."""
        self.wire.cut()
        self.failureResultOf(self.mind.callRemote("ask"), errors.Disconnected)
        self.assertIs(self.mind.tell("tell"), Told.GONE)

    def test_insideTheLoss(self) -> None:
        """In the moment of the loss, before the session knows of it, nothing raises."""
        got: list[Any] = []

        def lost() -> None:
            got.append(self.mind.callRemote("ask"))
            got.append(self.mind.tell("tell"))

        self.wire.server.peer.onLost(lost)
        self.wire.server.notifyOnDisconnect(lost)
        self.wire.cut()
        self.assertEqual(got[1::2], [Told.GONE, Told.GONE])
        for answer in got[::2]:
            self.failureResultOf(answer)

    def test_argumentsThatCannotBeSent(self) -> None:
        """
        Arguments that cannot be sent fail the Deferred of a call; `tell`, which has none, raises. The connection lives
        on.
        """
        self.failureResultOf(self.mind.callRemote("ask", Broken()), LookupError)
        self.assertRaises(LookupError, self.mind.tell, "tell", Broken())
        # This is too large for Banana.
        self.failureResultOf(self.mind.callRemote("ask", "x" * 700_000), BananaError)
        self.assertRaises(BananaError, self.mind.tell, "tell", "x" * 700_000)
        self.assertEqual((self.wire.server.callers, self.wire.server.waitingForAnswers), ({}, {}))
        self.client.answer = 5
        answer = self.mind.callRemote("ask")
        self.wire.flush()
        self.assertEqual(self.successResultOf(answer), 5)

    def test_withoutADeadline(self) -> None:
        """With ``pbtimeout=None`` a call has no deadline; the end of the session fires it all the same."""
        self.client.answer = Deferred()
        answer = self.mind.callRemote("ask", pbtimeout=None)
        self.wire.flush()
        self.assertEqual(timers(self.clock), [])
        self.session.end()
        self.failureResultOf(answer, errors.Kicked)

    def test_deadlineThatIsOver(self) -> None:
        """A deadline that has passed fails the call, and does not raise."""

        class ReactorsClock(Clock):
            """A clock that refuses negative delays, as a reactor does."""

            def callLater(self, delay: Any, callable: Any, *args: Any, **kw: Any) -> Any:
                """As `Clock.callLater`."""
                if delay < 0:
                    raise AssertionError(f"{delay} is not greater than or equal to 0 seconds")
                return super().callLater(delay, callable, *args, **kw)

        peer: Any = self.session.peer
        self.session.clock = peer._broker.factory.clock = ReactorsClock()
        for pbtimeout in (-1, -0.001):
            answer = self.mind.callRemote("ask", pbtimeout=pbtimeout)
            self.session.clock.advance(0)
            self.failureResultOf(answer)

    def test_withoutAnAnswer(self) -> None:
        """``pbanswer=False`` sends the call and answers None at once."""
        self.assertIsNone(self.successResultOf(self.mind.callRemote("tell", 1, pbanswer=False)))
        self.wire.flush()
        self.assertEqual(self.client.told, [("tell", 1)])

    def test_tell(self) -> None:
        """Messages arrive in order."""
        self.assertEqual([self.mind.tell("tell", n) for n in range(3)], [Told.SENT] * 3)
        self.wire.flush()
        self.assertEqual(self.client.told, [("tell", 0), ("tell", 1), ("tell", 2)])

    def assertNothingKept(self) -> None:
        """Assert that neither the tables of the connection nor the clock hold anything of a call."""
        self.assertEqual(len(self.wire.server.callers), 0)
        self.assertEqual(len(self.wire.server.waitingForAnswers), 0)
        self.assertEqual(timers(self.clock), [])

    def test_whatWasToldLeavesNothing(self) -> None:
        """Messages leave nothing behind, since they are never answered."""
        for _ in range(100):
            self.mind.tell("tell")
            self.successResultOf(self.mind.callRemote("tell", pbanswer=False))
        self.wire.flush()
        self.assertNothingKept()

    def test_whatTimedOutLeavesNothing(self) -> None:
        """Calls that were answered, or whose time was up, leave nothing behind."""
        answer: Any
        for answer in (5, Deferred()):
            self.client.answer = answer
            for _ in range(100):
                self.mind.callRemote("ask", pbtimeout=1).addErrback(lambda _: None)
            self.wire.flush()
            self.clock.advance(1)
            self.assertNothingKept()

    def test_mindIsGivenBack(self) -> None:
        """When a session has ended, the server releases its reference to the client's object."""
        del self.avatar
        self.wire.flush()
        self.assertEqual(len(self.realm.roster), 0)
        self.session.avatar.events.clear()
        del self.session, self.mind
        collect()
        self.wire.flush()
        self.assertEqual(self.wire.client.localObjects, {})
