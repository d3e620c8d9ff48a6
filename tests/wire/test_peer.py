"""A connection, as the sessions on it see it."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.spread import pb
from zope.interface.verify import verifyObject

import pbkit
from pbkit import dropin
from pbkit.interfaces import IPeer
from pbkit.wire.peer import peerOf
from pbkit.wire.wellknown import PING
from tests.support import LENIENT, Client, Wire, serve, timers
from tests.wire.things import Messages, WireCase


class PeerTests(WireCase):
    """`IPeer` on brokers of each kind."""

    def brokers(self) -> list[tuple[Any, Any]]:
        """A wire for each kind of server: ours, drop-in, stock."""
        kinds = (pbkit.ServerFactory, dropin.PBServerFactory, pb.PBServerFactory)
        return [(wire, peerOf(wire.server)) for wire in (Wire(serve(self.realm, kind)) for kind in kinds)]

    def test_provides(self) -> None:
        """A peer provides `IPeer`, over brokers of pbkit and of stock."""
        for wire, peer in self.brokers():
            verifyObject(IPeer, peer)
            self.assertIs(IPeer(wire.server), peer)

    def test_oneForEachConnection(self) -> None:
        """Each connection has one peer with its own id, and each session on the connection has that peer."""
        (_, hers), (_, his), (_, other) = self.login("alice"), self.login("bob"), self.login("carol", Wire(self.server))
        self.assertIs(hers.peer, his.peer)
        self.assertIs(hers.peer, self.wire.server.peer)
        self.assertNotEqual(hers.peer.peerId, other.peer.peerId)
        self.assertEqual(self.realm.roster.ofPeer(hers.peer.peerId), (hers, his))

    def test_ofAReference(self) -> None:
        """The peer of a mind's broker, which is a channel, is that of its connection."""
        _, session = self.login(mind=Client())
        self.assertIs(IPeer(session.mind.reference.broker), session.peer)

    def test_alive(self) -> None:
        """A peer is alive until its connection is lost."""
        for wire, peer in self.brokers():
            self.assertTrue(peer.alive)
            wire.lose()
            self.assertFalse(peer.alive)

    def test_onLost(self) -> None:
        """Each callback is called once at the loss, and never if it was taken off before, also by another callback."""
        for wire, peer in self.brokers():
            told: list[str] = []
            peer.onLost(lambda told=told: told.append("one"))
            stop = peer.onLost(lambda told=told: told.append("two"))
            stops: list[Any] = []
            peer.onLost(lambda stops=stops: stops[0]())
            stops.append(peer.onLost(lambda told=told: told.append("three")))
            stop()
            stop()
            wire.lose()
            stop()
            self.assertEqual(told, ["one"])
            peer.onLost(lambda told=told: told.append("late"))()
            self.assertEqual(told, ["one", "late"])

    def test_raisingCallback(self) -> None:
        """A callback that raises is logged and does not affect the others, before the loss and after it."""
        for wire, peer in self.brokers():
            told: list[int] = []

            def fail() -> None:
                raise ValueError("broken")

            peer.onLost(fail)
            peer.onLost(lambda told=told: told.append(1))
            wire.lose()
            peer.onLost(fail)
            self.assertEqual(told, [1])
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_onLostKeepsNothing(self) -> None:
        """Thousands of callbacks that are registered and taken off leave one notifier with the broker."""
        for wire, peer in self.brokers():
            before = len(wire.server.disconnects)
            for _ in range(2000):
                peer.onLost(print)()
            self.assertLessEqual(len(wire.server.disconnects), before + 1)
            self.assertFalse(peer._onLost)

    def test_address(self) -> None:
        """The address is the transport's."""
        broker = self.server.buildProtocol(None)
        address = IPv4Address("TCP", "192.0.2.1", 5)
        broker.makeConnection(StringTransport(peerAddress=address))
        self.assertEqual(broker.peer.address, address)

    def test_clock(self) -> None:
        """The clock is that of the factory, else the reactor of the transport, else None."""
        self.assertIs(self.wire.server.peer.clock, self.clock)
        for kind in (pbkit.ServerFactory, pb.PBServerFactory):
            broker = serve(self.realm, kind).buildProtocol(None)
            transport: Any = StringTransport()
            broker.makeConnection(transport)
            self.assertIsNone(peerOf(broker).clock)
            transport.reactor = Clock()
            self.assertIs(peerOf(broker).clock, transport.reactor)
            transport.reactor = object()
            self.assertIsNone(peerOf(broker).clock)


class PingTests(WireCase):
    """Pings."""

    def setUp(self) -> None:
        """Use a server that pings clients before login, which a strict server does not."""
        super().setUp()
        self.server = serve(self.realm, clock=self.clock, profile=LENIENT)
        self.wire = Wire(self.server)

    def test_works(self) -> None:
        """Each client answers, stock or pbkit's. A ping costs no reference, and nothing is logged."""
        for client in (pb.PBClientFactory(), pbkit.ClientFactory(), dropin.PBClientFactory()):
            wire = Wire(self.server, client)
            pinged = wire.server.peer.ping(5)
            wire.flush()
            self.assertIs(self.successResultOf(pinged), True)
            self.assertEqual(wire.client.localObjects, {})
            wire.lose()
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(timers(self.clock), [])

    def test_whateverIsThere(self) -> None:
        """A client that has an object of that name is alive as well."""
        self.wire.client.setNameForLocal(PING, Client())
        pinged = self.wire.server.peer.ping(5)
        self.wire.flush()
        self.assertIs(self.successResultOf(pinged), True)
        self.flushLoggedErrors(pb.NoSuchMethod)

    def test_silence(self) -> None:
        """A client that does not answer in time is not alive. A late answer is dropped."""
        pinged = self.wire.server.peer.ping(5)
        self.clock.advance(4.9)
        self.assertNoResult(pinged)
        self.clock.advance(0.1)
        self.assertIs(self.successResultOf(pinged), False)
        self.wire.flush()
        self.assertFalse(self.wire.server.disconnected)
        avatar, _ = self.login()
        self.assertLive(avatar)

    def test_silenceKeepsNothing(self) -> None:
        """Pings that are never answered leave nothing in the tables."""
        for _ in range(100):
            pinged = self.wire.server.peer.ping(5)
            self.clock.advance(5)
            self.assertIs(self.successResultOf(pinged), False)
        self.assertEqual(self.wire.server.waitingForAnswers, {})

    def test_loss(self) -> None:
        """A connection that is lost before or during the ping is not alive."""
        pinged = self.wire.server.peer.ping(5)
        self.wire.cut()
        self.assertIs(self.successResultOf(pinged), False)
        self.assertIs(self.successResultOf(self.wire.server.peer.ping(5)), False)
        self.assertEqual(timers(self.clock), [])

    def test_costsNoActivity(self) -> None:
        """The server answers a ping of a client, which does not count as activity of the session."""
        _, session = self.login()
        self.clock.advance(100)
        heard = Messages(self.wire.client)
        pinged = peerOf(self.wire.client).ping(5)
        self.wire.flush()
        self.assertIs(self.successResultOf(pinged), True)
        self.assertEqual([command for command, _ in heard.all], [b"error"])
        self.assertEqual(session.lastActive, 0)

    def test_overStock(self) -> None:
        """Pings work over a stock broker. An answer does not end the connection, also if it is late."""
        wire = Wire(serve(self.realm, pb.PBServerFactory))
        wire.server.factory.clock = self.clock
        peer = peerOf(wire.server)
        pinged = peer.ping(5)
        wire.flush()
        self.assertIs(self.successResultOf(pinged), True)
        late = peer.ping(5)
        self.clock.advance(5)
        self.assertIs(self.successResultOf(late), False)
        wire.flush()
        self.assertTrue(peer.alive)
