"""`Session`: the client's reference points at it, and it ends once."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pbkit import Avatar, CachingRealm, Session, currentSession, errors
from pbkit.interfaces import IChannel, IPeer, ISession
from tests.support import Client, Recorder, Wire, enter, serve


class Player(Recorder):
    """An avatar that ends its own session, and returns the session of a call."""

    def perspective_quit(self) -> str:
        """End the session of this call."""
        currentSession().end(errors.LoggedOut, "as you wish")
        return "never seen"

    def perspective_session(self) -> str:
        """Return the session id of this call."""
        return str(currentSession().sessionId)

    async def perspective_sessionLater(self) -> str:
        """Return the session id of this call, after an await."""
        await self.perspective_wait()
        return str(currentSession().sessionId)


class SessionTests(SynchronousTestCase):
    """`Session`, without a connection."""

    def setUp(self) -> None:
        """Make a session that notes its end."""
        self.clock = Clock()
        self.clock.advance(100)
        self.ended: list[Session] = []
        self.session = Session("alice", Avatar("alice"), None, None, self.clock, self.ended.append)

    def test_whatItHas(self) -> None:
        """A session has the documented attributes."""
        session = self.session
        self.assertEqual((session.avatarId, session.avatar.avatarId), ("alice", "alice"))
        self.assertEqual((session.startedAt, session.lastActive), (100, 100))
        self.assertEqual((session.data, session.endedWith, session.peer, session.address), ({}, None, None, None))
        self.assertFalse(session.mind)
        self.assertIn("'alice', live", repr(session))

    def test_withoutAClock(self) -> None:
        """Without a clock it uses the time of the system."""
        session = Session("alice", Avatar("alice"), None, None, None, self.ended.append)
        self.assertGreater(session.startedAt, 10**9)

    def test_endsOnce(self) -> None:
        """A session ends once, and the first reason stays."""
        self.session.end(errors.Kicked, "spam")
        self.session.end(errors.Shutdown)
        self.session.end()
        self.assertEqual(self.ended, [self.session])
        self.assertIsInstance(self.session.endedWith, errors.Kicked)
        self.assertEqual(str(self.session.endedWith), "this session was ended by the server: spam")
        self.assertIn("Kicked", repr(self.session))

    def test_endedWhenTold(self) -> None:
        """A callback for the end finds the session ended, and may end it again."""
        session = Session("alice", Avatar("alice"), None, None, None, lambda s: s.end(errors.Shutdown))
        session.end(errors.Kicked)
        self.assertIsInstance(session.endedWith, errors.Kicked)

    def test_reasonIsAClass(self) -> None:
        """A reason that is not a subclass of `SessionEnded` is a TypeError, and the session lives on."""
        reason: Any
        for reason in (errors.Kicked(), "because", None, ValueError, errors.LoginRefused):
            self.assertRaises(TypeError, self.session.end, reason)
        self.assertIsNone(self.session.endedWith)
        self.assertEqual(self.ended, [])

    def test_endedExecutesNothing(self) -> None:
        """After the end each call raises a new exception with the same text, and nothing is executed."""
        self.session.end(errors.Kicked)
        broker: Any = None  # The arguments are not even read.
        raised = [
            self.assertRaises(errors.Kicked, self.session.perspectiveMessageReceived, broker, "whoami", [], {})
            for _ in range(2)
        ]
        self.assertIsNot(raised[0], raised[1])
        self.assertEqual(self.session.lastActive, 100)

    def test_badMind(self) -> None:
        """A value that is not a mind makes no session."""
        self.assertRaises(errors.BadMind, Session, "alice", Avatar("alice"), 5, None, None, self.ended.append)


class WiredSessionTests(SynchronousTestCase):
    """`Session`, over a connection."""

    def setUp(self) -> None:
        """Make a server, and log alice in."""
        self.clock = Clock()
        self.realm = CachingRealm(Player, clock=self.clock)
        self.server = serve(self.realm, clock=self.clock)
        self.wire = Wire(self.server)
        self.avatar = self.successResultOf(self.wire.login("alice", Client()))
        (self.session,) = self.realm.roster

    def test_interfaces(self) -> None:
        """The realm, the session and its connection provide what they claim."""
        verifyObject(ISession, self.session)
        verifyObject(pb.IPerspective, self.session)
        verifyObject(IPeer, self.session.peer)
        (channel,) = set(self.wire.server.owners.values())
        verifyObject(IChannel, channel)
        self.assertIs(channel.session, self.session)

    def test_address(self) -> None:
        """Its address is that of the client."""
        self.assertIs(self.session.address, self.wire.server.transport.getPeer())

    def test_lastActive(self) -> None:
        """A call of the client counts as activity; calls by the server and pings do not."""
        self.clock.advance(5)
        assert self.session.peer is not None
        ping = self.session.peer.ping(10)
        answer = self.session.mind.callRemote("ask")
        self.wire.flush()
        self.assertTrue(self.successResultOf(ping))
        self.successResultOf(answer)
        self.assertEqual((self.session.startedAt, self.session.lastActive), (0, 0))
        self.successResultOf(self.wire.call(self.avatar, "whoami"))
        self.assertEqual(self.session.lastActive, 5)

    def test_deadAtOnce(self) -> None:
        """
        After the end its reference, and what was obtained through it, answer with the reason; the avatar lives on.
        """
        part = self.successResultOf(self.wire.call(self.avatar, "part"))
        self.session.end(errors.Kicked, "spam")
        for reference, method in ((self.avatar, "whoami"), (part, "hi")):
            failure = self.failureResultOf(self.wire.call(reference, method))
            self.assertTrue(failure.check("pbkit.errors.Kicked"))
            self.assertEqual(failure.getErrorMessage(), "this session was ended by the server: spam")
        # Log in on the same connection, to the same avatar.
        again = self.successResultOf(self.wire.login())
        self.assertEqual(self.successResultOf(self.wire.call(again, "whoami")), "alice")
        self.assertIs(self.realm.roster.ofAvatar("alice")[0].avatar, self.session.avatar)

    def test_endsWithinItsOwnCall(self) -> None:
        """A method may end the session of its own call, which is answered with the reason."""
        failure = self.failureResultOf(self.wire.call(self.avatar, "quit"))
        self.assertTrue(failure.check("pbkit.errors.LoggedOut"))
        self.assertEqual(len(self.realm.roster), 0)

    def test_callInFlight(self) -> None:
        """A call that is being served when the session ends is answered with the reason, once."""
        answer = self.wire.call(self.avatar, "wait")
        self.session.end(errors.Kicked)
        self.wire.flush()
        self.assertTrue(self.failureResultOf(answer).check("pbkit.errors.Kicked"))
        self.session.avatar.waiting.pop().callback("late")
        self.wire.flush()
        self.assertFalse(self.wire.client.transport.disconnecting)

    def test_logoutAndDisconnectTogether(self) -> None:
        """A client that releases its reference and disconnects at once has logged out once."""
        self.avatar = None
        self.wire.lose()
        self.assertEqual(self.realm.counters.ends, {"LoggedOut": 1})
        self.assertEqual([what for what, _ in self.session.avatar.events], ["attached", "detached"])

    def test_kickAndDisconnectTogether(self) -> None:
        """A session that is ended after its connection was lost, or lost after its end, has ended once."""
        self.session.avatar.detached = lambda session: self.wire.cut()
        self.session.end(errors.Kicked)
        self.wire.cut()
        self.wire.flush()
        self.assertEqual((self.realm.counters.ends, len(self.realm.roster)), ({"Kicked": 1}, 0))

    def test_endsWithinTheLoss(self) -> None:
        """A listener for the loss that ends the session does so once, in any order of the listeners."""
        self.wire.server.peer.onLost(lambda: self.session.end(errors.Kicked))
        self.wire.cut()
        self.assertEqual(sum(self.realm.counters.ends.values()), 1)
        self.assertEqual([what for what, _ in self.session.avatar.events], ["attached", "detached"])

    def test_dataDiesWithIt(self) -> None:
        """What users put into `data` is there until `detached` has run, and not afterwards."""
        seen: list[Any] = []
        gate: Deferred[None] = Deferred()

        def detached(session: Session) -> Deferred[None]:
            seen.append(dict(session.data))
            return gate

        self.session.avatar.detached = detached
        self.session.data["basket"] = "full"
        self.session.end()
        self.assertEqual((seen, self.session.data), ([{"basket": "full"}], {"basket": "full"}))
        gate.callback(None)
        self.assertEqual(self.session.data, {})

    def test_currentSession(self) -> None:
        """`currentSession` is right for two sessions of one avatar on one connection, also after an await."""
        second = self.successResultOf(self.wire.login())
        other = self.realm.roster.ofAvatar("alice")[1]
        for reference, session in ((self.avatar, self.session), (second, other)):
            self.assertEqual(self.successResultOf(self.wire.call(reference, "session")), session.sessionId)
        answers = [self.wire.call(reference, "sessionLater") for reference in (self.avatar, second)]
        for waiting in reversed(self.session.avatar.waiting):
            waiting.callback(None)
        self.wire.flush()
        self.assertEqual([self.successResultOf(each) for each in answers], [self.session.sessionId, other.sessionId])
        self.assertIsNone(currentSession())

    def test_nothingHoldsItAfterTheEnd(self) -> None:
        """When a session has ended and its connection lives on, the realm holds no reference to it."""
        gone = weakref.ref(self.session)
        self.session.end()
        self.session.avatar.events.clear()
        del self.session
        self.wire.flush()
        gc.collect()
        self.assertIsNone(gone())


class EndTests(SynchronousTestCase):
    """`Session.end`, under a realm."""

    def test_fromWithinItsOwnHooks(self) -> None:
        """`detached` may end its session again; it runs once."""

        class Ending(Recorder):
            """An avatar that ends its session again."""

            def detached(self, session: Session) -> None:
                """End it again."""
                super().detached(session)
                session.end(errors.Shutdown)

        realm = CachingRealm(Ending)
        session = self.successResultOf(enter(realm))
        session.end()
        self.assertEqual(session.avatar.told("detached", session), 1)
        self.assertEqual(realm.counters.ends, {"Kicked": 1})

    def test_listenersMayEndIt(self) -> None:
        """A listener for the end may end the session and others again."""
        realm = CachingRealm(Recorder)
        sessions = [self.successResultOf(enter(realm)) for _ in range(5)]
        realm.roster.onEnd(lambda ended: [each.end(errors.Shutdown) for each in sessions])
        sessions[2].end()
        self.assertEqual(realm.counters.ends, {"Kicked": 1, "Shutdown": 4})
        for each in sessions:
            self.assertEqual((each.avatar.told("attached", each), each.avatar.told("detached", each)), (1, 1))
