"""One session's part of a connection, and its end."""

from __future__ import annotations

import gc
from decimal import Decimal
from typing import Any

import attrs
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from twisted.spread import pb
from twisted.spread.banana import BananaError
from twisted.spread.util import StringPager
from zope.interface import implementer

from pbkit import ServerFactory, dropin
from pbkit.errors import Disconnected, Kicked, LoggedOut, Replaced, SessionEnded, Shutdown, TooManyReferences
from pbkit.interfaces import current
from pbkit.wire import broker
from pbkit.wire.profile import STRICT
from tests.support import LENIENT, Client, Part, Wire, serve
from tests.wire.things import Board, Deep, Messages, Shy, WireCase, who

REASONS: list[type[SessionEnded]] = [SessionEnded, Kicked, Replaced, Shutdown, LoggedOut, Disconnected]


class RevocationTests(WireCase):
    """What was got through a session dies with it, and nothing else does."""

    def reached(self, avatar: Any, wire: Wire | None = None) -> list[Any]:
        """References of each kind, four levels deep, all got through one session."""
        found = [avatar]
        deep = avatar
        for method in ("deep", "deeper", "deeper", "self"):
            deep = self.get(deep, method, wire=wire)
            found.append(deep)
        seen = self.get(avatar, "seen", wire=wire)
        found.append(seen)
        for method in ("deeper", "deeper", "deep"):
            seen = self.get(seen, method, wire=wire)
            found.append(seen)
        found.append(self.get(self.get(deep, "seen", wire=wire), "deeper", wire=wire))
        return found

    def test_allThatWasGotThroughItIsDead(self) -> None:
        """
        On a shared connection each reference of an ended session answers why and executes nothing, however it
        was got, while the other session's references, to the same objects too, go on.
        """
        for reason in REASONS:
            (alice, hers), (bob, _) = self.login("alice"), self.login("bob")
            dead, live = self.reached(alice), self.reached(bob)
            self.assertEqual(len(dead), 10)
            hers.end(reason, "so it is")
            for reference in dead:
                self.assertEnded(reference, reason)
            self.assertIn("so it is", self.error(alice, "note", 1).getErrorMessage())
            for reference in live[:-1]:
                self.assertLive(reference)

    def test_onAConnectionOfItsOwn(self) -> None:
        """The connection of an ended session stays, and a new login on it works."""
        alice, hers = self.login()
        dead = self.reached(alice)
        hers.end(Kicked)
        for reference in dead:
            self.assertEnded(reference, Kicked)
        again, _ = self.login()
        self.assertLive(again)

    def test_theSameUserTwiceOnOneConnection(self) -> None:
        """Two logins of one user on one connection end separately, though they share an avatar."""
        (one, first), (two, second) = self.login(), self.login()
        self.assertIs(first.avatar, second.avatar)
        of = {1: self.get(one, "deep"), 2: self.get(two, "deep")}
        first.end(Replaced)
        self.assertEnded(of[1], Replaced)
        self.assertLive(of[2])
        second.end(Kicked)
        self.assertEnded(of[1], Replaced)
        self.assertEnded(of[2], Kicked)

    def test_oneIdForEachObjectAndSession(self) -> None:
        """An object has one id in a session however often it is got, and another in another session."""
        (alice, _), (bob, _) = self.login("alice"), self.login("bob")
        one, two, three = self.get(alice, "deep"), self.get(alice, "deep"), self.get(bob, "deep")
        self.assertEqual(one.luid, two.luid)
        self.assertNotEqual(one.luid, three.luid)

    def test_callsWithoutAnAnswerAreRefusedInSilence(self) -> None:
        """A call that wants no answer is not executed, gets none, and costs no connection."""
        alice, session = self.login()
        session.end()
        heard = Messages(self.wire.client)
        alice.callRemote("note", "too late", pbanswer=False)
        self.wire.flush()
        self.assertEqual((self.done, heard.all), ([], []))
        self.assertFalse(self.wire.server.disconnected)

    def test_thePeerOfAnotherConnectionIsNotTouched(self) -> None:
        """The end of a session leaves another connection's references to the same objects alone."""
        other = Wire(self.server)
        (alice, hers), (bob, _) = self.login("alice"), self.login("bob", other)
        deep = self.get(bob, "deep", wire=other)
        self.get(alice, "deep")
        hers.end()
        self.assertLive(deep, wire=other)

    def test_firstReasonStays(self) -> None:
        """Ending a channel a second time changes nothing."""
        alice, session = self.login()
        channel = next(iter(self.wire.server._channels))
        session.end(Kicked, "first")
        channel.end(Replaced("second"))
        self.assertEnded(alice, Kicked)

    def test_nothingIsGivenOutAfterTheEnd(self) -> None:
        """
        A method that ends its own session and then answers with a reference gives nothing away: the call
        is answered with the reason, and no id that the client may guess reaches the object.
        """
        alice, _ = self.login()
        self.assertTrue(self.error(alice, "quit").check(Kicked))
        for luid in range(1, 12):
            guess = pb.RemoteReference(None, self.wire.client, luid, 0)
            self.failureResultOf(self.wire.call(guess, "note", "guessed"))
        self.assertEqual(self.done, [])
        self.assertEqual(self.wire.server.owners, {})

    def test_nothingIsGivenOutWhileItEnds(self) -> None:
        """A session that is ended while its answer is being put together gives nothing away either."""
        alice, session = self.login()
        done = self.done

        class Ending(pb.Copyable):
            def getStateToCopy(self) -> dict[str, Any]:
                session.end(Kicked)
                return {"deep": Deep(done), "board": Board()}

        session.avatar.result = Ending()
        self.assertTrue(self.error(alice, "give").check(Kicked))
        for luid in range(1, 12):
            guess = pb.RemoteReference(None, self.wire.client, luid, 0)
            self.failureResultOf(self.wire.call(guess, "note", "guessed"))
        self.assertEqual(self.done, [])
        self.assertEqual(self.wire.server.owners, {})

    def test_clientsOfStockCatchIt(self) -> None:
        """What a dead reference answers is a `pb.DeadReferenceError` to a client that knows no pbkit."""
        alice, session = self.login()
        session.end()
        self.assertTrue(self.error(alice, "note").check(pb.DeadReferenceError))

    def test_argumentsOfARefusedCallAreGivenBack(self) -> None:
        """What a client sends with a call that is refused is not kept for it at the client for ever."""
        alice, session = self.login()
        session.end()
        self.error(alice, "take", Client())
        gc.collect()
        self.wire.flush()
        self.assertEqual(self.wire.client.localObjects, {})

    def test_decimalsOfARefusedCall(self) -> None:
        """A Decimal, which looks like a Cacheable on the wire, is not given back as one: it costs no connection."""
        alice, session = self.login()
        session.end()
        self.error(alice, "take", Decimal("15"), Client())
        gc.collect()
        self.wire.flush()
        self.assertEqual(self.wire.client.localObjects, {})
        self.assertLive(self.login()[0])


class InFlightTests(WireCase):
    """Calls that are under way when a session ends or its connection is lost."""

    def test_answeredOnce(self) -> None:
        """A call in flight is answered with the reason at the end, and never again."""
        alice, session = self.login()
        heard = Messages(self.wire.client)
        waiting = alice.callRemote("wait")
        self.wire.flush()
        session.end(Kicked)
        self.wire.flush()
        self.assertTrue(self.failureResultOf(waiting).check(Kicked))
        session.avatar.waiting.pop().callback(Part())
        self.wire.flush()
        self.assertEqual([command for command, _ in heard.all], [b"error"])
        self.assertEqual(self.wire.server.owners, {})

    def test_lateErrorIsLogged(self) -> None:
        """An unexpected error of a call whose session has ended goes into the log and not to the client."""
        alice, session = self.login()
        waiting = self.wire.call(alice, "wait")
        session.end(Kicked)
        self.wire.flush()
        self.assertTrue(self.failureResultOf(waiting).check(Kicked))
        session.avatar.waiting.pop().errback(ValueError("late"))
        self.wire.flush()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_lateKnownErrorIsNot(self) -> None:
        """A `pb.Error` is meant for the client: nobody hears of it when that is gone."""
        alice, session = self.login()
        self.wire.call(alice, "wait").addErrback(lambda _: None)
        session.end(Kicked)
        session.avatar.waiting.pop().errback(pb.Error("late"))
        self.wire.flush()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_noHookRunsForAnEndedSession(self) -> None:
        """The state of a late result is not asked for: it would be shown to nobody."""
        alice, session = self.login()
        self.wire.call(alice, "wait").addErrback(lambda _: None)
        session.end(Kicked)
        session.avatar.waiting.pop().callback(self.board)
        self.wire.flush()
        self.assertEqual(self.board.observers, [])

    def test_callsOutFailOnce(self) -> None:
        """A call on a mind that waits when its session ends fails with the reason; a late answer costs nothing."""
        mind = Client()
        mind.answer = Deferred()
        _, session = self.login(mind=mind)
        fired: list[Any] = []
        session.mind.callRemote("ask").addBoth(fired.append)
        self.wire.flush()
        session.end(Kicked)
        self.assertEqual([failure.type for failure in fired], [Kicked])
        mind.answer.callback("late")
        self.wire.flush()
        self.assertEqual(len(fired), 1)
        self.assertFalse(self.wire.server.disconnected)
        self.assertEqual(self.wire.server.callers, {})

    def test_referencesOfTheClientAreDead(self) -> None:
        """A call on what the client gave fails after the end: typed, and never raised synchronously."""
        mind = Client()
        alice, session = self.login(mind=mind)
        self.get(alice, "take", Client())
        session.end(Kicked)
        for reference in (session.mind, session.mind.reference, session.avatar.taken[0]):
            self.assertIs(self.failureResultOf(reference.callRemote("tell")).type, Kicked)
        self.assertIsNone(session.mind.reference.callRemote("tell", pbanswer=False))
        self.wire.flush()
        self.assertEqual(mind.told, [])

    def test_lossWithCallsBothWays(self) -> None:
        """When the connection is lost each waiting call of either end fires once."""
        mind = Client()
        mind.answer = Deferred()
        alice, session = self.login(mind=mind)
        fired: list[Any] = []
        session.mind.callRemote("ask").addBoth(lambda failure: fired.append(("server", failure.type)))
        alice.callRemote("wait").addBoth(lambda failure: fired.append(("client", failure.type)))
        self.wire.flush()
        self.wire.lose()
        self.assertEqual(sorted(fired), [("client", pb.PBConnectionLost), ("server", pb.PBConnectionLost)])
        session.avatar.waiting.pop().callback(Part())
        mind.answer.callback("late")
        self.assertEqual(len(fired), 2)
        self.assertIs(type(session.endedWith), Disconnected)

    def test_userCodeAtALossMayCallOthers(self) -> None:
        """Code that runs because one session's connection is lost may call the clients of the others on it."""
        (alice, hers), (bob, his) = self.login("alice", mind=Client()), self.login("bob", mind=Client())
        fired: list[Any] = []

        def tellTheOther(session: Any) -> None:
            other = his if session is hers else hers
            other.mind.callRemote("tell", "gone").addBoth(lambda failure: fired.append(failure.value))

        self.realm.roster.onEnd(tellTheOther)
        self.wire.lose()
        self.assertEqual(len(fired), 2)
        self.assertEqual(self.flushLoggedErrors(), [])
        del alice, bob

    def test_timedOutCallsLeaveNothing(self) -> None:
        """Calls on a mind that run into their deadline leave nothing in the tables; late answers cost nothing."""
        mind = Client()
        mind.answer = Deferred()
        alice, session = self.login(mind=mind)
        calls = [session.mind.callRemote("ask", pbtimeout=3) for _ in range(50)]
        self.wire.flush()
        channel = session.mind.reference.broker
        self.assertEqual((len(channel.waitingForAnswers), len(self.wire.server.callers)), (50, 50))
        self.clock.advance(3)
        for call in calls:
            self.assertTrue(self.failureResultOf(call).check(TimeoutError))
        self.assertEqual((channel.waitingForAnswers, self.wire.server.callers), ({}, {}))
        mind.answer.callback("late")
        self.wire.flush()
        self.assertLive(alice)

    def test_argumentsThatCannotBeSentLeaveNothing(self) -> None:
        """A call with arguments beyond PB's bounds fails and leaves nothing that would wait for ever."""
        _, session = self.login(mind=Client())
        channel = session.mind.reference.broker
        self.failureResultOf(session.mind.callRemote("tell", b"x" * 700_000))
        self.assertEqual((channel.waitingForAnswers, self.wire.server.callers), ({}, {}))


class LettingGoTests(WireCase):
    """The client's side of the bargain: what it gives back, and when."""

    def settle(self) -> None:
        """Let what went out of use be given back."""
        gc.collect()
        self.wire.flush()
        gc.collect()
        self.wire.flush()

    def giveBack(self, reference: Any) -> None:
        """Let go of a reference now, though a traceback that was logged still holds it."""
        reference.doRefCount = 0
        self.wire.client.sendDecRef(reference.luid)
        self.settle()

    def test_sessionEndsAtItsBound(self) -> None:
        """A client that is given more than it may have loses that session, and neither its connection nor another's."""
        profile = attrs.evolve(STRICT, calls=attrs.evolve(STRICT.calls, references=10))
        self.wire = Wire(serve(self.realm, clock=self.clock, profile=profile))
        bob, other = self.login("bob")
        alice, session = self.login("alice")
        session.avatar.result = [Part() for _ in range(9)]
        kept = self.get(alice, "give")
        self.assertEqual(len(kept), 9)
        session.avatar.result = Part()
        self.assertTrue(self.error(alice, "give").check(TooManyReferences))
        self.assertEqual(type(session.endedWith), TooManyReferences)
        self.assertTrue(self.error(kept[0], "whatever").check(TooManyReferences))
        self.assertIsNone(other.endedWith)
        self.assertLive(bob)
        self.assertFalse(self.wire.server.disconnected)

    def test_sessionLastsAsLongAsAnythingOfIt(self) -> None:
        """A client that drops its avatar but keeps another reference is still logged in, and out with the last."""
        alice, session = self.login()
        deep, seen = self.get(alice, "deep"), self.get(alice, "seen")
        del alice
        self.settle()
        self.assertIsNone(session.endedWith)
        del deep
        self.settle()
        self.assertIsNone(session.endedWith)
        self.assertLive(seen)
        del seen
        self.settle()
        self.assertIs(type(session.endedWith), LoggedOut)
        self.assertEmpty(self.wire.server)

    def test_cacheHoldsTheSession(self) -> None:
        """A copy of a Cacheable that is kept in step holds a session as a reference does."""
        alice, session = self.login()
        copy = self.get(alice, "board")
        del alice
        self.settle()
        self.assertIsNone(session.endedWith)
        self.assertEqual(len(self.board.observers), 1)
        del copy
        self.settle()
        self.assertIs(type(session.endedWith), LoggedOut)
        self.assertEqual(self.board.observers, [])
        self.assertEmpty(self.wire.server)
        self.assertEqual(self.wire.client.locallyCachedObjects, {})

    def test_callUnderWayHoldsTheSession(self) -> None:
        """``login().addCallback(lambda avatar: avatar.callRemote(...))`` gets an answer that comes later."""
        answer = self.wire.factory.login(*_credentials()).addCallback(lambda avatar: avatar.callRemote("wait"))
        self.settle()
        (session,) = self.realm.roster
        self.assertNoResult(answer)
        session.avatar.waiting.pop().callback(Part())
        self.settle()
        part = self.successResultOf(answer)
        self.assertIsNone(session.endedWith)
        self.assertEqual(self.get(part, "hi"), "hi")
        answer = answer = part = None
        self.settle()
        self.assertIs(type(session.endedWith), LoggedOut)
        self.assertEmpty(self.wire.server)

    def test_referencesAreCounted(self) -> None:
        """An object that was got twice is given back twice."""
        alice, session = self.login()
        one, two = self.get(alice, "deep"), self.get(alice, "deep")
        self.assertEqual(one.luid, two.luid)
        del one
        self.settle()
        self.assertLive(two)
        del two
        self.settle()
        self.assertEqual(list(self.wire.server.owners), [alice.luid])

    def testgiveBackAfterTheEnd(self) -> None:
        """References and caches of an ended session may be given back; then nothing is left of it at either end."""
        alice, session = self.login()
        held = [self.get(alice, "deep"), self.get(alice, "deep"), self.get(alice, "board"), self.get(alice, "seen")]
        session.end()
        self.assertEqual(sorted(count for _, count in self.wire.server._tombstones.values()), [1, 1, 1, 2])
        self.assertEqual(self.board.observers, [])
        del alice
        held.clear()
        self.settle()
        self.assertFalse(self.wire.server.disconnected)
        self.assertEmpty(self.wire.server)
        self.assertEqual(self.wire.client.locallyCachedObjects, {})

    def test_sayWhyUntilTheLastIsGivenBack(self) -> None:
        """Of two references to one object, the second says why its session ended when the first was given back."""
        alice, session = self.login()
        one, two = self.get(alice, "deep"), self.get(alice, "deep")
        session.end(Kicked)
        del one
        self.settle()
        self.assertEnded(two, Kicked)

    def test_tombstonesAreBounded(self) -> None:
        """A client that never gives back what ended sessions gave it costs no more than so many entries."""
        self.patch(broker, "TOMBSTONES", 5)
        kept = []
        for _ in range(4):
            alice, session = self.login()
            kept += [alice, self.get(alice, "deep"), self.get(alice, "seen")]
            session.end(Kicked)
        self.assertEqual(len(self.wire.server._tombstones), 5)
        self.assertTrue(self.error(kept[-1], "note").check(Kicked))
        self.assertIn("Invalid Object ID", self.error(kept[0], "note").getErrorMessage())
        kept.clear()
        del alice
        self.settle()
        self.assertFalse(self.wire.server.disconnected)
        self.assertEmpty(self.wire.server)

    def test_tombstonesGoWithTheConnection(self) -> None:
        """A lost connection keeps nothing."""
        alice, session = self.login()
        session.end()
        self.login("bob")
        self.wire.lose()
        for table in ("owners", "callers", "cachers", "_channels", "_tombstones"):
            self.assertEqual(getattr(self.wire.server, table), {}, table)

    def test_answerThatCannotBeMadeLeavesNothing(self) -> None:
        """
        An answer that fails half way, when a reference in it has been registered already, leaves no entry that
        the client knows nothing of: it would hold the session until the connection is lost.
        """
        alice, session = self.login()
        session.avatar.result = lambda: [Part(), Shy()]
        self.error(alice, "give")
        self.flushLoggedErrors(ValueError)
        self.assertEqual(list(self.wire.server.owners), [alice.luid])
        self.giveBack(alice)
        self.assertIs(type(session.endedWith), LoggedOut)

    def test_cacheOfAnAnswerThatCannotBeMade(self) -> None:
        """So it is with a Cacheable in such an answer."""
        alice, session = self.login()
        session.avatar.result = lambda: [self.board, Shy()]
        self.error(alice, "give")
        self.flushLoggedErrors(ValueError)
        self.giveBack(alice)
        self.assertIs(type(session.endedWith), LoggedOut)
        self.assertEqual(self.board.observers, [])

    def test_answerThatCannotBeSentIsToldOf(self) -> None:
        """An answer beyond PB's bounds is an error to the caller, and what was in it is not kept."""
        alice, session = self.login()
        session.avatar.result = lambda: [Part(), self.board, b"x" * 700_000]
        self.error(alice, "give")
        self.assertEqual(len(self.flushLoggedErrors(BananaError)), 1)
        self.assertLive(alice)
        self.giveBack(alice)
        self.assertIs(type(session.endedWith), LoggedOut)

    def test_lateAnswersAreGivenBack(self) -> None:
        """What a client sends with an answer that comes too late is not kept for it at the client for ever."""
        mind = Client()
        alice, session = self.login(mind=mind)
        for end in (False, True):
            mind.answer = Deferred()
            late = session.mind.callRemote("ask", pbtimeout=3)
            self.wire.flush()
            if end:
                session.end()
            self.clock.advance(3)
            self.failureResultOf(late)
            mind.answer.callback(Client())
            mind.answer = None
            self.settle()
            self.assertEqual([local.object for local in self.wire.client.localObjects.values()], [mind])
        del alice

    def test_argumentsThatCannotBeMadeLeaveNothing(self) -> None:
        """Arguments for a mind that fail half way leave no entry either."""
        alice, session = self.login(mind=Client())
        self.assertTrue(self.failureResultOf(session.mind.callRemote("tell", Part(), Shy())).check(ValueError))
        self.assertEqual(list(self.wire.server.owners), [alice.luid])

    def test_lateAnswerTooBigStillLogsOut(self) -> None:
        """
        A client that keeps nothing is logged out though the answer that it waited for could not be sent; it is
        told that, where with stock it waits for ever.
        """
        answer = self.wire.factory.login(*_credentials()).addCallback(lambda avatar: avatar.callRemote("wait"))
        self.settle()
        (session,) = self.realm.roster
        session.avatar.waiting.pop().callback(b"x" * 700_000)
        self.settle()
        self.assertIn("too long to send", self.failureResultOf(answer).getErrorMessage())
        self.assertEqual(len(self.flushLoggedErrors(BananaError)), 1)
        self.assertIs(type(session.endedWith), LoggedOut)

    def test_nothingGrows(self) -> None:
        """Thousands of calls that hand out and drop things of each kind leave the tables as they were."""
        mind = Client()
        alice, session = self.login(mind=mind)
        channel = session.mind.reference.broker

        def sizes() -> list[int]:
            owner = ("localObjects", "luids", "remotelyCachedObjects", "waitingForAnswers", "_serving", "disconnects")
            shared: tuple[str, ...] = (
                "owners",
                "callers",
                "cachers",
                "_channels",
                "_tombstones",
                "localObjects",
                "waitingForAnswers",
            )
            shared += ("locallyCachedObjects",)
            return [
                *(len(getattr(channel, table)) for table in (*owner, "_localCleanup")),
                *(len(getattr(self.wire.server, table)) for table in shared),
                *(len(getattr(self.wire.client, table)) for table in ("localObjects", "locallyCachedObjects")),
            ]

        self.settle()
        before = sizes()
        for _ in range(1000):
            self.get(self.get(self.get(alice, "deep"), "deeper"), "note", 1)
            self.get(alice, "seen")
            self.get(alice, "board")
            self.get(alice, "drop", Client(), Board())
            session.mind.callRemote("tell", Part(), Board())
            self.wire.flush()
            mind.told.clear()
        self.settle()
        self.assertEqual(sizes(), before)

    def test_refusedLoginsLeaveNothing(self) -> None:
        """A thousand refused logins on one connection, with minds, leave nothing at either end."""
        self.wire = Wire(serve(self.realm, clock=self.clock, profile=LENIENT))
        for _ in range(1000):
            self.failureResultOf(self.wire.login("alice", Client(), b"wrong"))
        self.settle()
        self.assertEmpty(self.wire.server)
        self.assertEqual(self.wire.client.localObjects, {})
        peer = self.wire.server.peer
        self.assertFalse(peer._onLost)


class CacheTests(WireCase):
    """Cacheables, whose identity stock ties to the connection and not to the user."""

    def test_eachUserSeesTheirOwnState(self) -> None:
        """One object sent to two users of one connection shows each their own state, and tells both of changes."""
        (alice, _), (bob, _) = self.login("alice"), self.login("bob")
        hers, his = self.get(alice, "board"), self.get(bob, "board")
        self.assertEqual((hers.seenBy, his.seenBy), ("alice", "bob"))
        self.board.change("x")
        self.wire.flush()
        self.assertEqual((hers.changes, his.changes), (["x"], ["x"]))

    def test_endStopsTheCopyOfOneOnly(self) -> None:
        """The end of one session stops its copy; the other's goes on."""
        (alice, session), (bob, _) = self.login("alice"), self.login("bob")
        hers, his = self.get(alice, "board"), self.get(bob, "board")
        session.end()
        self.assertEqual([perspective.avatarId for perspective in self.board.stopped], ["alice"])
        self.board.change("x")
        self.wire.flush()
        self.assertEqual((hers.changes, his.changes), ([], ["x"]))

    def test_observersCanBeTakenOut(self) -> None:
        """``observers.remove(observer)`` works with several, on one connection and on others."""
        other = Wire(self.server)
        logins = [self.login("alice"), self.login("bob"), self.login("carol", other)]
        wires = [self.wire, self.wire, other]
        copies = [self.get(avatar, "board", wire=wire) for (avatar, _), wire in zip(logins, wires, strict=True)]
        logins[2][1].end()
        logins[0][1].end()
        self.assertEqual(len(self.board.observers), 1)
        self.board.change("x")
        self.wire.flush()
        self.assertEqual([copy.changes for copy in copies], [[], ["x"], []])

    def test_changesInFlightAreAnsweredAtTheEnd(self) -> None:
        """A change that was sent to a copy and not answered fails with the reason when the session ends."""
        alice, session = self.login()
        copy = self.get(alice, "board")
        (sent,) = self.board.change("x")
        session.end(Kicked)
        self.assertIs(self.failureResultOf(sent).type, Kicked)
        self.wire.flush()
        self.assertFalse(self.wire.server.disconnected)
        del copy

    def test_raisingStoppedObservingEndsAllTheSame(self) -> None:
        """A `stoppedObserving` that raises is logged, and the session ends for the others."""

        class Stuck(Board):
            def stoppedObserving(self, perspective: Any, observer: Any) -> None:
                raise ValueError("stuck")

        pb.setUnjellyableForClass(Stuck, pb.RemoteCache)
        alice, session = self.login()
        session.avatar.result = Stuck()
        kept = [self.get(alice, "give"), self.get(alice, "board")]
        session.end()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.board.observers, [])
        self.assertEqual(session.avatar.told("detached", session), 1)
        kept.clear()

    def test_aClientsOwnThroughTwoSessions(self) -> None:
        """A client may send one Cacheable of its own through two sessions of its connection, as with stock."""
        (alice, hers), (bob, his) = self.login("alice"), self.login("bob")
        board = Board()
        self.get(alice, "take", board)
        self.get(bob, "take", board)
        board.change("x")
        self.wire.flush()
        for session in (hers, his):
            self.assertEqual(session.avatar.taken[0].changes, ["x"])

    def test_aClientsOwnAfterAnEnd(self) -> None:
        """A Cacheable that a client sent through a session that has ended can be sent through the next."""
        board = Board()
        alice, hers = self.login("alice")
        self.get(alice, "take", board)
        hers.end()
        bob, his = self.login("bob")
        self.get(bob, "take", board)
        board.change("x")
        self.wire.flush()
        self.assertEqual(his.avatar.taken[0].changes, ["x"])

    def test_aClientsOwnIsGivenBack(self) -> None:
        """A copy of a client's Cacheable goes when the server drops it, in a session or after its end."""
        board = Board()
        alice, session = self.login()
        self.get(alice, "take", board)
        self.assertEqual(len(self.wire.server.cachers), 1)
        session.avatar.taken.clear()
        gc.collect()
        self.wire.flush()
        self.assertEqual((self.wire.server.cachers, board.observers), ({}, []))
        self.get(alice, "take", board)
        session.end()
        session.avatar.taken.clear()
        gc.collect()
        self.wire.flush()
        self.assertEqual((self.wire.server.cachers, board.observers), ({}, []))
        self.assertFalse(self.wire.server.disconnected)


class LaunderingTests(WireCase):
    """``["local", id]``: a client sends back what it was given."""

    def test_ownIsResolved(self) -> None:
        """What a session was given comes back as the object itself."""
        alice, session = self.login()
        self.get(alice, "take", self.get(alice, "deep"))
        self.assertIs(session.avatar.taken[0], session.avatar.deep)

    def test_anothersIsNot(self) -> None:
        """What another live session was given does not resolve, also for one user's two sessions."""
        (alice, hers), (bob, _), (again, _) = self.login("alice"), self.login("bob"), self.login("alice")
        for other in (bob, again):
            for reference in (self.get(other, "deep"), other):
                self.wire.call(alice, "take", reference).addErrback(lambda _: None)
        self.flushLoggedErrors()
        self.assertEqual([thing for thing in hers.avatar.taken if thing is not None], [])

    def test_anothersCacheIsNot(self) -> None:
        """Nor does the copy of a Cacheable that another session was given."""
        (alice, hers), (bob, _) = self.login("alice"), self.login("bob")
        copy = self.get(bob, "board")
        self.wire.call(alice, "take", copy).addErrback(lambda _: None)
        self.flushLoggedErrors()
        self.assertEqual([thing for thing in hers.avatar.taken if thing is not None], [])

    def test_wellKnownAreNot(self) -> None:
        """Nor do the login root, a challenger, and the object for hellos: these are no arguments for an avatar."""
        for server in (ServerFactory, dropin.PBServerFactory):
            wire = Wire(serve(self.realm, server))
            alice, session = self.login("alice", wire)
            root = self.successResultOf(wire.factory.getRootObject())
            _, challenger = self.get(root, "login", b"bob", wire=wire)
            hello = wire.client.remoteForName("pbkit")
            for reference in (root, challenger, hello):
                for way in (reference, [reference], {"it": reference}):
                    failure = self.error(alice, "take", way, wire=wire)
                    self.assertIn("was not given to this session", str(failure.value))
            self.assertEqual(session.avatar.taken, [])
            wire.lose()

    def test_cacheComesBackAsItself(self) -> None:
        """The copy of a Cacheable that a session was given comes back as the original."""
        alice, session = self.login()
        self.get(alice, "take", self.get(alice, "board"))
        self.assertIs(session.avatar.taken[0], self.board)


class CurrentSessionTests(WireCase):
    """`pbkit.currentSession`."""

    def test_eachKindOfMethod(self) -> None:
        """In `perspective_*`, `remote_*` and `view_*` methods it is the session of the reference that was called."""
        (alice, hers), (bob, his) = self.login("alice"), self.login("bob")
        deeps = [(self.get(avatar, "deep"), session) for avatar, session in ((alice, hers), (bob, his))]
        for avatar, session in ((alice, hers), (bob, his), (alice, hers)):
            self.assertEqual(self.get(avatar, "note"), session.sessionId)
            seen = self.get(avatar, "seen")
            self.assertEqual(self.get(seen, "note", 1), (session.avatarId, session.sessionId))
        for deep, session in deeps:
            self.assertEqual(self.get(deep, "note", 1), session.sessionId)
            self.assertEqual(self.get(self.get(deep, "deeper"), "note", 1), session.sessionId)

    def test_afterAwait(self) -> None:
        """In `async def` methods it is right after an await too, whoever fires what was awaited, and in any order."""
        (alice, hers), (bob, his) = self.login("alice"), self.login("bob")
        answers = [(avatar.callRemote("later"), session) for avatar, session in ((alice, hers), (bob, his))]
        answers += [
            (self.get(avatar, "deep").callRemote("later"), session) for avatar, session in ((alice, hers), (bob, his))
        ]
        self.wire.flush()
        waiting = [*hers.avatar.waiting, *his.avatar.waiting, *(d for d in self.done if isinstance(d, Deferred))]
        self.assertEqual(len(waiting), 4)
        for d in reversed(waiting):
            d.callback(None)
        self.wire.flush()
        for answer, session in answers:
            self.assertEqual(self.successResultOf(answer), (session.sessionId, session.sessionId))

    def test_firedFromWithinAnothersCall(self) -> None:
        """One user's call that sets another's waiting method going changes neither's current session."""
        (alice, hers), (bob, his) = self.login("alice"), self.login("bob")
        answer = self.wire.call(alice, "later")
        seen: list[Any] = []

        def fire() -> Any:
            hers.avatar.waiting.pop().callback(None)
            seen.append(who())
            return seen[0]

        his.avatar.result = fire
        self.assertEqual(self.get(bob, "give"), his.sessionId)
        self.assertEqual(self.successResultOf(answer), (hers.sessionId, hers.sessionId))

    def test_noneBetweenMessages(self) -> None:
        """Outside of a call, in hooks of logins and in what a timer runs there is none."""
        alice, session = self.login()
        self.get(alice, "note")
        self.assertIsNone(who())
        seen: list[Any] = []
        self.realm.roster.onBegin(lambda _: seen.append(who()))
        self.login("bob")
        session.avatar.result = lambda: self.clock.callLater(1, lambda: seen.append(who())) and None
        self.get(alice, "give")
        self.clock.advance(1)
        self.assertEqual(seen, [None, None])

    def test_notCarriedIntoStrangersMessages(self) -> None:
        """
        Whatever the context that bytes, or the news of a loss, arrive in (under asyncio it is that of whoever armed
        a timer or opened a connection), nobody's session is current in what they bring about.
        """
        alice, session = self.login()
        seen: list[Any] = []
        self.realm.roster.onBegin(lambda _: seen.append(("begin", who())))
        self.realm.roster.onEnd(lambda _: seen.append(("end", who())))
        before = current.set(session)
        self.addCleanup(current.reset, before)
        bob, _ = self.login("bob", other := Wire(self.server))
        other.cut()
        self.assertEqual(seen, [("begin", None), ("end", None)])
        self.assertEqual(who(), session.sessionId)
        del alice, bob

    def test_whileStateIsAskedFor(self) -> None:
        """It is right when a Cacheable is asked for its state because a Deferred has fired."""
        seen: list[Any] = []

        class Asking(pb.Copyable):
            def getStateToCopy(self) -> dict[str, Any]:
                seen.append(who())
                return {}

        pb.setUnjellyableForClass(Asking, pb.RemoteCopy)
        alice, session = self.login()
        waiting = self.wire.call(alice, "wait")
        session.avatar.waiting.pop().callback(Asking())
        self.wire.flush()
        self.successResultOf(waiting)
        self.assertEqual(seen, [session.sessionId])

    def test_afterAnErrorToo(self) -> None:
        """A method that raises leaves no current session behind."""
        alice, session = self.login()

        def fail() -> None:
            raise ValueError("broken")

        session.avatar.result = fail
        self.error(alice, "give")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertIsNone(who())

    def test_changesOfAClientsCache(self) -> None:
        """A client's change to a copy that the server keeps is served in its session."""
        alice, session = self.login()
        board = Board()
        self.get(alice, "take", board)
        (changed,) = board.change("x")
        self.wire.flush()
        self.assertEqual(self.successResultOf(changed), session.sessionId)


class ReferenceTests(WireCase):
    """References to a client's objects, which stock cannot compare across connections."""

    def test_canBeCompared(self) -> None:
        """References of different sessions compare unequal, and equal to nothing else, without an error."""
        mind = Client()
        sessions = [self.login("alice", mind=mind)[1], self.login("bob", mind=mind)[1]]
        sessions.append(self.login("carol", Wire(self.server), mind)[1])
        references = [session.mind.reference for session in sessions]
        for reference in references:
            self.assertEqual([other == reference for other in references].count(True), 1)
            self.assertFalse(reference == None)  # noqa: E711
            self.assertTrue(reference != None)  # noqa: E711
        self.assertEqual(len(set(references)), 3)
        for reference in list(references):
            references.remove(reference)
        self.assertEqual(references, [])

    def test_lossIsToldOnce(self) -> None:
        """`notifyOnDisconnect` of a reference tells of the session's end once, at once if it has ended."""
        _, session = self.login(mind=Client())
        told: list[Any] = []
        reference = session.mind.reference
        reference.notifyOnDisconnect(told.append)
        session.end()
        self.assertEqual(told, [reference])
        self.wire.lose()
        self.assertEqual(told, [reference])
        _, other = self.login("bob", Wire(self.server), Client())
        other.end()
        other.mind.reference.notifyOnDisconnect(told.append)
        self.assertEqual(told, [reference, other.mind.reference])

    def test_canBeTakenOff(self) -> None:
        """`dontNotifyOnDisconnect` is harmless at any time."""
        _, session = self.login(mind=Client())
        told: list[Any] = []
        reference = session.mind.reference
        reference.notifyOnDisconnect(told.append)
        reference.dontNotifyOnDisconnect(told.append)
        session.end()
        reference.broker.dontNotifyOnDisconnect(told.append)
        self.assertEqual(told, [])

    def test_comesBackToItsOwner(self) -> None:
        """What the client gave can be given back to it in a call, as the object itself."""
        mind = Client()
        _, session = self.login(mind=mind)
        self.successResultOf(self._told(session.mind.callRemote("tell", session.mind.reference)))
        self.assertEqual(mind.told, [("tell", mind)])

    def _told(self, d: Any) -> Any:
        self.wire.flush()
        return d


class Collector(pb.Referenceable):
    """Collects pages."""

    def __init__(self) -> None:
        self.pages: list[bytes] = []
        self.ended = 0

    def remote_gotPage(self, page: bytes) -> None:
        """One more."""
        self.pages.append(page)

    def remote_endedPaging(self) -> None:
        """The last was that."""
        self.ended += 1


class PagerTests(WireCase):
    """Stock's pagers, which take the transport's only producer slot."""

    def setUp(self) -> None:
        """Clients that hold on to their avatars."""
        super().setUp()
        self.held: list[Any] = []

    def ready(self) -> tuple[Any, Any, Any]:
        """A session, a collector of its client's, and the server's reference to that."""
        alice, session = self.login()
        self.held.append(alice)
        collector = Collector()
        self.get(alice, "take", collector)
        return session, collector, session.avatar.taken[-1]

    def start(self) -> tuple[Any, Any, list[bytes]]:
        """A session to which much is paged, page by page."""
        session, collector, reference = self.ready()
        StringPager(reference, b"x" * 1000, 10)
        return session, collector, collector.pages

    def test_pages(self) -> None:
        """Without an end all pages arrive."""
        _, collector, pages = self.start()
        self.wire.flush()
        self.assertEqual((len(pages), collector.ended), (100, 1))

    def test_endTakesThemOff(self) -> None:
        """The pagers of an ended session stop, and give up the transport; another session can page."""
        session, collector, pages = self.start()
        self.wire.pump()
        session.end()
        sent = len(pages)
        self.assertLess(sent, 100)
        self.assertEqual(self.wire.server.pageProducers, [])
        self.wire.flush()
        self.assertLess(len(pages), 100)
        self.assertEqual(collector.ended, 0)
        _, other, more = self.start()
        self.wire.flush()
        self.assertEqual((len(more), other.ended), (100, 1))

    def test_otherSessionsGoOn(self) -> None:
        """The end of one session leaves another's pagers at work."""
        (session, first, one), (_, second, two) = self.ready(), self.ready()
        StringPager(one, b"x" * 1000, 10)
        StringPager(two, b"y" * 1000, 10)
        self.wire.pump()
        session.end()
        self.wire.flush()
        self.assertEqual((len(second.pages), second.ended), (100, 1))
        self.assertLess(len(first.pages), 100)
        self.assertEqual(first.ended, 0)

    def test_onesOwnPagers(self) -> None:
        """A page producer that is not stock's, and has no collector, does not keep a session from ending."""

        class Endless:
            def sendNextPage(self) -> None:
                pass

            def stillPaging(self) -> bool:
                return True

        alice, session = self.login()
        session.avatar.board = self.board
        kept = self.get(alice, "board")
        channel = next(iter(self.wire.server._channels))
        channel.registerPageProducer(Endless())
        session.end()
        self.assertEqual(self.board.observers, [])
        self.assertEqual(session.avatar.told("detached", session), 1)
        del kept


class StockRealmTests(WireCase):
    """A realm that is not pbkit's has channels too."""

    def test_logsOutWithTheLastReference(self) -> None:
        """Its logout runs once, when the client has let go of everything."""
        out: list[str] = []

        class Avatar(pb.Avatar):
            def perspective_part(self) -> Part:
                return Part()

        @implementer(IRealm)
        class StockRealm:
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                return pb.IPerspective, Avatar(), lambda: out.append(avatarId)

        wire = Wire(serve(StockRealm()))
        avatar = self.successResultOf(wire.login())
        part = self.successResultOf(wire.call(avatar, "part"))
        del avatar
        gc.collect()
        wire.flush()
        self.assertEqual(out, [])
        del part
        gc.collect()
        wire.flush()
        self.assertEqual(out, [b"alice"])
        self.assertEmpty(wire.server)
        wire.lose()
        self.assertEqual(out, [b"alice"])


def _credentials() -> Any:
    return UsernamePassword(b"alice", b"sesame"), None
