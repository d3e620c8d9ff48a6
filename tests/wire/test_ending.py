"""What a goodbye requires of the wire: channels that drain, connections that close, and the count of their users."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.spread import pb

import pbkit
from pbkit import dropin
from pbkit.errors import Draining, Kicked, LoginBanned
from pbkit.interfaces import IPeer
from pbkit.wire.peer import peerOf
from tests.support import Client, Part, Wire, serve, timers
from tests.wire.things import Messages, WireCase


class DrainTests(WireCase):
    """`IChannel.drain`."""

    def drained(self, channel: Any) -> list[str]:
        """Return a list that gets an entry when a channel is idle."""
        told: list[str] = []
        channel.drain(Draining("soon"), lambda: told.append("idle"))
        return told

    def test_idle(self) -> None:
        """A channel without calls is idle at once; new calls to any of its objects are answered with the error."""
        avatar, session = self.login()
        deep = self.get(avatar, "deep")
        self.assertFalse(session.channel.busy)
        self.assertEqual(self.drained(session.channel), ["idle"])
        for reference in (avatar, deep):
            self.assertEnded(reference, Draining)
        self.assertIsNone(session.endedWith)

    def test_busy(self) -> None:
        """A channel with calls is idle when the last one is answered or fails, and reports it once."""
        avatar, session = self.login()
        deep = self.get(avatar, "deep")
        calls = [self.wire.call(avatar, "wait") for _ in range(2)]
        self.assertTrue(session.channel.busy)
        told = self.drained(session.channel)
        self.assertEnded(avatar, Draining)
        session.avatar.waiting[0].callback("done")
        self.assertEqual(told, [])
        session.avatar.waiting[1].errback(pb.Error("no"))
        self.assertEqual(told, ["idle"])
        self.wire.flush()
        self.assertEqual(self.successResultOf(calls[0]), "done")
        self.failureResultOf(calls[1], pb.Error)
        self.assertEnded(avatar, Draining)
        del deep
        self.wire.flush()
        self.assertEqual((told, session.channel.busy), (["idle"], False))

    def test_argumentsAreGivenBack(self) -> None:
        """The arguments of a call that is not served are released, and no answer is sent if none is wanted."""
        avatar, session = self.login()
        self.drained(session.channel)
        heard = Messages(self.wire.client)
        avatar.callRemote("take", Part(), pbanswer=False)
        self.wire.flush()
        self.assertEqual([command for command, _ in heard.all], [b"decref"])
        self.assertEqual(self.wire.client.localObjects, {})

    def test_endedBefore(self) -> None:
        """A channel that ends first never reports that it is idle; one that has ended does not change."""
        avatar, session = self.login()
        self.wire.call(avatar, "wait").addErrback(lambda _: None)
        told = self.drained(session.channel)
        session.end(Kicked)
        session.avatar.waiting[0].callback("done")
        self.assertEqual((told, self.drained(session.channel)), ([], []))
        self.assertEnded(avatar, Kicked)

    def test_endsWhenIdle(self) -> None:
        """The callback may end the channel while the last answer is being sent."""
        avatar, session = self.login()
        waiting = self.wire.call(avatar, "wait")
        session.channel.drain(Draining(), lambda: session.end(Draining))
        session.avatar.waiting[0].callback(Part())
        self.wire.flush()
        part = self.successResultOf(waiting)
        failure = self.error(part, "hi")
        self.assertTrue(failure.check(Draining))


class RidersTests(WireCase):
    """`IPeer.riders`."""

    def test_counted(self) -> None:
        """Sessions count; failed logins and ended sessions do not."""
        peer = self.wire.server.peer
        self.assertEqual(peer.riders, 0)
        hers, session = self.login("alice")
        his, _ = self.login("bob")
        self.assertEqual(peer.riders, 2)
        refused = self.wire.login("alice", password=b"wrong")
        self.assertEqual(peer.riders, 2)
        self.clock.advance(10)
        self.wire.flush()
        self.failureResultOf(refused)
        self.assertEqual(peer.riders, 2)
        session.end()
        self.assertEqual(peer.riders, 1)
        del hers, his
        self.wire.flush()
        self.assertEqual(peer.riders, 0)

    def test_pendingLogin(self) -> None:
        """A login counts while its avatar is being built."""
        gate: Deferred[Any] = Deferred()
        self.patch(self.realm, "buildAvatar", lambda avatarId: gate)
        login = self.wire.login("alice")
        self.assertEqual(self.wire.server.peer.riders, 1)
        gate.errback(pb.Error("no"))
        self.wire.flush()
        self.failureResultOf(login)
        self.assertEqual(self.wire.server.peer.riders, 0)

    def test_loginThatWaitsItsTurn(self) -> None:
        """A login counts while it is being checked, and while it waits for other logins."""
        portal = self.server.root.portal
        for checker in set(portal.checkers.values()):
            self.patch(checker, "requestAvatarId", lambda credentials: Deferred())
        for number in range(1, 6):
            self.wire.login("alice").addErrback(lambda _: None)
            self.assertEqual(self.wire.server.peer.riders, number)
        self.assertLess(len(self.wire.server._channels), 5)

    def test_board(self) -> None:
        """`board` counts until the returned function is called; calling it twice is harmless."""
        peer = self.wire.server.peer
        leave, other = peer.board(), peer.board()
        self.assertEqual(peer.riders, 2)
        leave()
        leave()
        self.assertEqual(peer.riders, 1)
        other()
        self.assertEqual(peer.riders, 0)

    def test_stock(self) -> None:
        """With a stock broker, the sessions with a mind count."""
        wire = Wire(serve(self.realm, pb.PBServerFactory))
        hers, session = self.login("alice", wire, Client())
        his, _ = self.login("bob", wire)
        peer = IPeer(wire.server)
        self.assertEqual((peer.riders, session.peer), (1, peer))
        self.realm.ban(60, avatarId="carol")
        self.failureResultOf(wire.login("carol", Client()), LoginBanned)
        self.assertEqual(peer.riders, 1)
        session.end()
        self.assertEqual(peer.riders, 0)
        self.assertEqual(self.get(his, "whoami", wire=wire), "bob")
        self.assertTrue(self.error(hers, "whoami", wire=wire).check(Kicked))


class CloseTests(WireCase):
    """`IPeer.close`."""

    def wires(self) -> list[tuple[Wire, Any]]:
        """Return a connection to a server of each kind: strict, drop-in and stock."""
        found = []
        for kind in (pbkit.ServerFactory, dropin.PBServerFactory, pb.PBServerFactory):
            factory = serve(self.realm, kind)
            factory.clock = self.clock
            wire = Wire(factory)
            found.append((wire, peerOf(wire.server)))
        return found

    def test_inGoodOrder(self) -> None:
        """The connection is closed after all output is sent; this is reported once, and no timer is left."""
        for wire, peer in self.wires():
            self.assertFalse(peer.closing)
            pinged = peer.ping(5)
            closing = [peer.close(5), peer.close(5)]
            self.assertTrue(peer.closing and peer.alive)
            self.assertNoResult(closing[0])
            wire.flush()
            for each in closing:
                self.assertIsNone(self.successResultOf(each))
            self.assertTrue(pinged.called)
            self.assertIsNone(self.successResultOf(peer.close(5)))
            self.assertEqual(timers(self.clock), [])

    def test_aborted(self) -> None:
        """A connection that does not close is aborted in time; the earliest deadline counts."""
        for seconds, soonest in (([5], 5), ([5, 1], 1), ([1, 5], 1), ([5, 0], 0), ([0], 0)):
            for wire, peer in self.wires():
                wire.stall()
                wire.server.transport.write(b"x" * 200_000)
                for each in seconds:
                    closed = peer.close(each)
                if soonest:
                    self.clock.advance(soonest - 0.1)
                    wire.flush()
                    self.assertNoResult(closed)
                    self.clock.advance(0.2)
                wire.flush()
                self.successResultOf(closed)
                self.assertEqual(timers(self.clock), [])

    def test_lostMeanwhile(self) -> None:
        """A connection that is lost while it closes is closed, and no timer is left."""
        for wire, peer in self.wires():
            wire.stall()
            closed = peer.close(5)
            wire.cut()
            self.successResultOf(closed)
            self.assertEqual(timers(self.clock), [])

    def test_withoutClock(self) -> None:
        """Without a clock a connection is closed in order, or aborted at once, without a deadline."""
        broker = serve(self.realm).buildProtocol(None)
        broker.makeConnection(StringTransport())
        peer = peerOf(broker)
        self.assertIsNone(peer.clock)
        closed = peer.close(5)
        self.assertTrue(broker.transport.disconnecting)
        self.assertFalse(broker.transport.disconnected)
        peer.close(0)
        self.assertTrue(broker.transport.disconnected)
        self.assertNoResult(closed)


class GoodbyeTests(WireCase):
    """`IPeer.goodbye`, without sessions."""

    def said(self, client: Any, reference: bool, hello: Any = None) -> Any:
        """Say goodbye to a client, and return the result."""
        wire = Wire(self.server, client)
        _, session = self.login("alice", wire, Client() if reference else None)
        if hello is not None:
            session.peer.hello = hello
        session.end(Kicked)
        told = session.peer.goodbye(session.mind.reference, "Kicked", "why", 2)
        wire.flush()
        self.flushLoggedErrors(pb.NoSuchMethod)
        return self.successResultOf(told)

    def test_answered(self) -> None:
        """Any answer counts, also an error. The goodbye is sent although the channel of the mind has ended."""
        for client in (pb.PBClientFactory(), pbkit.ClientFactory()):
            self.assertIs(self.said(client, True), True)

    def test_withoutMind(self) -> None:
        """Without a mind, only a client that declared support is told."""
        for hello, told in (({}, False), ({"goodbye": True}, True), ({"goodbye": "yes"}, False), ({"other": 1}, False)):
            self.assertIs(self.said(pbkit.ClientFactory(), False, hello), told, hello)

    def test_withoutClock(self) -> None:
        """Without a clock the goodbye is sent, and its answer is not waited for."""
        self.server.clock = None
        _, session = self.login(mind=Client())
        heard = Messages(self.wire.client)
        told = session.peer.goodbye(session.mind.reference, "Kicked", "why", 2)
        self.assertIs(self.successResultOf(told), False)
        self.wire.flush()
        self.assertEqual([command for command, _ in heard.all], [b"message"])
        self.flushLoggedErrors(pb.NoSuchMethod)

    def test_unsendable(self) -> None:
        """If the detail cannot be sent, the goodbye fails with that error, and nothing else does."""
        _, session = self.login(mind=Client())
        told = session.peer.goodbye(session.mind.reference, "Kicked", "x" * 1_000_000, 2)
        self.wire.flush()
        self.clock.advance(2)
        self.assertTrue(told.called)
        self.assertTrue(session.peer.alive)
