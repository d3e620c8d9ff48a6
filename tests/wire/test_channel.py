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
    """Everything obtained through a session becomes invalid with it, and nothing else."""

    def reached(self, avatar: Any, wire: Wire | None = None) -> list[Any]:
        """Return references of each kind, four levels deep, obtained through one session."""
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

    def test_everythingObtainedIsInvalid(self) -> None:
        """
        On a shared connection, each reference of an ended session answers with the reason and executes nothing. The
        other session's references, even to the same objects, continue to work.
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
        """An object has one id per session, however often it is sent."""
        (alice, _), (bob, _) = self.login("alice"), self.login("bob")
        one, two, three = self.get(alice, "deep"), self.get(alice, "deep"), self.get(bob, "deep")
        self.assertEqual(one.luid, two.luid)
        self.assertNotEqual(one.luid, three.luid)

    def test_callsWithoutAnAnswerAreIgnored(self) -> None:
        """A call without an answer is not executed and not answered, and the connection stays."""
        alice, session = self.login()
        session.end()
        heard = Messages(self.wire.client)
        alice.callRemote("note", "too late", pbanswer=False)
        self.wire.flush()
        self.assertEqual((self.done, heard.all), ([], []))
        self.assertFalse(self.wire.server.disconnected)

    def test_otherConnectionsAreNotAffected(self) -> None:
        """The end of a session does not affect another connection's references to the same objects."""
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

    def test_noReferenceAfterTheEnd(self) -> None:
        """
        If a method ends its own session and then returns a reference, the call is answered with the reason, and no id
        that the client may guess reaches the object.
        """
        alice, _ = self.login()
        self.assertTrue(self.error(alice, "quit").check(Kicked))
        for luid in range(1, 12):
            guess = pb.RemoteReference(None, self.wire.client, luid, 0)
            self.failureResultOf(self.wire.call(guess, "note", "guessed"))
        self.assertEqual(self.done, [])
        self.assertEqual(self.wire.server.owners, {})

    def test_noReferenceDuringTheEnd(self) -> None:
        """If a session ends while its answer is being serialised, no reference is given out."""
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

    def test_stockClientsCatchIt(self) -> None:
        """The error of an invalid reference is a `pb.DeadReferenceError` for stock clients."""
        alice, session = self.login()
        session.end()
        self.assertTrue(self.error(alice, "note").check(pb.DeadReferenceError))

    def test_argumentsOfARefusedCallAreReleased(self) -> None:
        """References in the arguments of a refused call are released at the client."""
        alice, session = self.login()
        session.end()
        self.error(alice, "take", Client())
        gc.collect()
        self.wire.flush()
        self.assertEqual(self.wire.client.localObjects, {})

    def test_decimalsOfARefusedCall(self) -> None:
        """A Decimal, which looks like a Cacheable on the wire, is not released as one, and the connection stays."""
        alice, session = self.login()
        session.end()
        self.error(alice, "take", Decimal("15"), Client())
        gc.collect()
        self.wire.flush()
        self.assertEqual(self.wire.client.localObjects, {})
        self.assertLive(self.login()[0])


class InFlightTests(WireCase):
    """Calls in flight when a session ends or its connection is lost."""

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
        """An unexpected error of a call whose session has ended is logged."""
        alice, session = self.login()
        waiting = self.wire.call(alice, "wait")
        session.end(Kicked)
        self.wire.flush()
        self.assertTrue(self.failureResultOf(waiting).check(Kicked))
        session.avatar.waiting.pop().errback(ValueError("late"))
        self.wire.flush()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_lateKnownErrorIsNot(self) -> None:
        """A `pb.Error`, which is meant for the client, is not logged."""
        alice, session = self.login()
        self.wire.call(alice, "wait").addErrback(lambda _: None)
        session.end(Kicked)
        session.avatar.waiting.pop().errback(pb.Error("late"))
        self.wire.flush()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_noHookRunsForAnEndedSession(self) -> None:
        """The state of a late result is not requested."""
        alice, session = self.login()
        self.wire.call(alice, "wait").addErrback(lambda _: None)
        session.end(Kicked)
        session.avatar.waiting.pop().callback(self.board)
        self.wire.flush()
        self.assertEqual(self.board.observers, [])

    def test_callsOutFailOnce(self) -> None:
        """A call to a mind fails with the reason when its session ends; a late answer is ignored."""
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

    def test_referencesOfTheClientAreInvalid(self) -> None:
        """After the end, a call to a client's object fails with a typed error, and never raises."""
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
        """When the connection is lost, each waiting call of either end fires once."""
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
        """A hook that runs at the loss of a connection may call clients of other sessions on it."""
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
        """Calls to a mind that time out leave nothing in the tables; late answers are ignored."""
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
        """A call with arguments above PB's limits fails, and leaves nothing that waits."""
        _, session = self.login(mind=Client())
        channel = session.mind.reference.broker
        self.failureResultOf(session.mind.callRemote("tell", b"x" * 700_000))
        self.assertEqual((channel.waitingForAnswers, self.wire.server.callers), ({}, {}))


class ReleaseTests(WireCase):
    """Releases of references by the client."""

    def settle(self) -> None:
        """Collect garbage, and deliver the releases."""
        gc.collect()
        self.wire.flush()
        gc.collect()
        self.wire.flush()

    def release(self, reference: Any) -> None:
        """Release a reference now, even if a logged traceback still refers to it."""
        reference.doRefCount = 0
        self.wire.client.sendDecRef(reference.luid)
        self.settle()

    def test_sessionEndsAtItsLimit(self) -> None:
        """A session that exceeds its limit on references ends; its connection and other sessions continue."""
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

    def test_sessionLastsUntilTheLastReference(self) -> None:
        """A client that drops its avatar but keeps another reference is logged in until it drops the last one."""
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
        """The copy of a Cacheable keeps a session alive, like a reference."""
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

    def test_callInFlightHoldsTheSession(self) -> None:
        """``login().addCallback(lambda avatar: avatar.callRemote(...))`` receives a late answer."""
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
        """An object that was sent twice is released twice."""
        alice, session = self.login()
        one, two = self.get(alice, "deep"), self.get(alice, "deep")
        self.assertEqual(one.luid, two.luid)
        del one
        self.settle()
        self.assertLive(two)
        del two
        self.settle()
        self.assertEqual(list(self.wire.server.owners), [alice.luid])

    def test_releaseAfterTheEnd(self) -> None:
        """References and caches of an ended session can be released; then nothing is left at either end."""
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
        """Of two references to one object, the second still answers with the reason after the first was released."""
        alice, session = self.login()
        one, two = self.get(alice, "deep"), self.get(alice, "deep")
        session.end(Kicked)
        del one
        self.settle()
        self.assertEnded(two, Kicked)

    def test_endedReferencesAreLimited(self) -> None:
        """The number of remembered references of ended sessions is limited."""
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
        """A lost connection remembers none."""
        alice, session = self.login()
        session.end()
        self.login("bob")
        self.wire.lose()
        for table in ("owners", "callers", "cachers", "_channels", "_tombstones"):
            self.assertEqual(getattr(self.wire.server, table), {}, table)

    def test_answerThatCannotBeMadeLeavesNothing(self) -> None:
        """
        If serialising an answer fails after a reference in it was registered, the entry is removed. Otherwise it would
        keep the session alive until the connection is lost.
        """
        alice, session = self.login()
        session.avatar.result = lambda: [Part(), Shy()]
        self.error(alice, "give")
        self.flushLoggedErrors(ValueError)
        self.assertEqual(list(self.wire.server.owners), [alice.luid])
        self.release(alice)
        self.assertIs(type(session.endedWith), LoggedOut)

    def test_cacheOfAnAnswerThatCannotBeMade(self) -> None:
        """The same holds for a Cacheable in such an answer."""
        alice, session = self.login()
        session.avatar.result = lambda: [self.board, Shy()]
        self.error(alice, "give")
        self.flushLoggedErrors(ValueError)
        self.release(alice)
        self.assertIs(type(session.endedWith), LoggedOut)
        self.assertEqual(self.board.observers, [])

    def test_answerThatCannotBeSentIsToldOf(self) -> None:
        """An answer above PB's limits is an error for the caller, and its references are not kept."""
        alice, session = self.login()
        session.avatar.result = lambda: [Part(), self.board, b"x" * 700_000]
        self.error(alice, "give")
        self.assertEqual(len(self.flushLoggedErrors(BananaError)), 1)
        self.assertLive(alice)
        self.release(alice)
        self.assertIs(type(session.endedWith), LoggedOut)

    def test_lateAnswersAreGivenBack(self) -> None:
        """References in a late answer are released at the client."""
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
        """Arguments for a mind that cannot be serialised leave no entry."""
        alice, session = self.login(mind=Client())
        self.assertTrue(self.failureResultOf(session.mind.callRemote("tell", Part(), Shy())).check(ValueError))
        self.assertEqual(list(self.wire.server.owners), [alice.luid])

    def test_lateAnswerTooBigStillLogsOut(self) -> None:
        """
        A client that keeps nothing is logged out, although the answer that it waits for cannot be sent. It receives an
        error; with stock it would wait forever.
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
        """Thousands of calls that give out and drop objects of each kind leave the tables unchanged."""
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
    """Cacheables, which in stock belong to the connection instead of the user."""

    def test_eachUserSeesTheirOwnState(self) -> None:
        """An object sent to two users of one connection has a state for each, and both receive its changes."""
        (alice, _), (bob, _) = self.login("alice"), self.login("bob")
        hers, his = self.get(alice, "board"), self.get(bob, "board")
        self.assertEqual((hers.seenBy, his.seenBy), ("alice", "bob"))
        self.board.change("x")
        self.wire.flush()
        self.assertEqual((hers.changes, his.changes), (["x"], ["x"]))

    def test_endStopsTheCopyOfOneOnly(self) -> None:
        """The end of one session stops its copy; the other one continues."""
        (alice, session), (bob, _) = self.login("alice"), self.login("bob")
        hers, his = self.get(alice, "board"), self.get(bob, "board")
        session.end()
        self.assertEqual([perspective.avatarId for perspective in self.board.stopped], ["alice"])
        self.board.change("x")
        self.wire.flush()
        self.assertEqual((hers.changes, his.changes), ([], ["x"]))

    def test_observersCanBeRemoved(self) -> None:
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
        """A change in flight fails with the reason when the session ends."""
        alice, session = self.login()
        copy = self.get(alice, "board")
        (sent,) = self.board.change("x")
        session.end(Kicked)
        self.assertIs(self.failureResultOf(sent).type, Kicked)
        self.wire.flush()
        self.assertFalse(self.wire.server.disconnected)
        del copy

    def test_raisingStoppedObservingEndsAllTheSame(self) -> None:
        """A `stoppedObserving` that raises is logged, and the session ends completely."""

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
        """A copy of a client's Cacheable is released when the server drops it, during a session or after its end."""
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


class LocalReferenceTests(WireCase):
    """``["local", id]``: a client sends back the server's objects."""

    def test_ownIsResolved(self) -> None:
        """An object that a session was given arrives as itself."""
        alice, session = self.login()
        self.get(alice, "take", self.get(alice, "deep"))
        self.assertIs(session.avatar.taken[0], session.avatar.deep)

    def test_anothersIsNot(self) -> None:
        """An object that another session was given does not resolve, even between two sessions of one user."""
        (alice, hers), (bob, _), (again, _) = self.login("alice"), self.login("bob"), self.login("alice")
        for other in (bob, again):
            for reference in (self.get(other, "deep"), other):
                self.wire.call(alice, "take", reference).addErrback(lambda _: None)
        self.flushLoggedErrors()
        self.assertEqual([thing for thing in hers.avatar.taken if thing is not None], [])

    def test_anothersCacheIsNot(self) -> None:
        """A Cacheable that another session was given does not resolve."""
        (alice, hers), (bob, _) = self.login("alice"), self.login("bob")
        copy = self.get(bob, "board")
        self.wire.call(alice, "take", copy).addErrback(lambda _: None)
        self.flushLoggedErrors()
        self.assertEqual([thing for thing in hers.avatar.taken if thing is not None], [])

    def test_wellKnownAreNot(self) -> None:
        """The login root, challengers and the object for hellos do not resolve."""
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
        """The copy of a Cacheable arrives as the original."""
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
        """In `async def` methods it is also correct after an await, in any order, whoever fires the Deferred."""
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
        """A call that resumes another user's waiting method changes the current session of neither."""
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
        """Outside of calls, in hooks and in timers there is none."""
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

    def test_contextOfTheCaller(self) -> None:
        """
        In whatever context bytes or a loss arrive (under asyncio it is the one that started a timer or opened a
        connection), no session is current in the code that they cause.
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
        """It is correct when a Cacheable is asked for its state because a Deferred has fired."""
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
        """References of different sessions compare unequal, without an error."""
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
        """`notifyOnDisconnect` of a reference reports the session's end once, immediately if it has ended."""
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

    def test_canBeUnregistered(self) -> None:
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
        """A client's object that is sent back to it arrives as itself."""
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
        """Record a page."""
        self.pages.append(page)

    def remote_endedPaging(self) -> None:
        """Record the end."""
        self.ended += 1


class PagerTests(WireCase):
    """Stock's pagers, which take the transport's only producer slot."""

    def setUp(self) -> None:
        """Log in clients that keep their avatars."""
        super().setUp()
        self.held: list[Any] = []

    def ready(self) -> tuple[Any, Any, Any]:
        """Return a session, a collector of its client, and the server's reference to it."""
        alice, session = self.login()
        self.held.append(alice)
        collector = Collector()
        self.get(alice, "take", collector)
        return session, collector, session.avatar.taken[-1]

    def start(self) -> tuple[Any, Any, list[bytes]]:
        """Start sending many pages to a session."""
        session, collector, reference = self.ready()
        StringPager(reference, b"x" * 1000, 10)
        return session, collector, collector.pages

    def test_pages(self) -> None:
        """Without an end all pages arrive."""
        _, collector, pages = self.start()
        self.wire.flush()
        self.assertEqual((len(pages), collector.ended), (100, 1))

    def test_endStopsPagers(self) -> None:
        """The pagers of an ended session stop and release the transport; another session can page."""
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
        """The end of one session does not affect another's pagers."""
        (session, first, one), (_, second, two) = self.ready(), self.ready()
        StringPager(one, b"x" * 1000, 10)
        StringPager(two, b"y" * 1000, 10)
        self.wire.pump()
        session.end()
        self.wire.flush()
        self.assertEqual((len(second.pages), second.ended), (100, 1))
        self.assertLess(len(first.pages), 100)
        self.assertEqual(first.ended, 0)

    def test_otherPagers(self) -> None:
        """A page producer that is not stock's, and has no collector, does not prevent a session from ending."""

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
    """Channels with a stock realm."""

    def test_logsOutWithTheLastReference(self) -> None:
        """The realm's logout runs once, when the client has dropped everything."""
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
