"""
Tests for what a connection keeps while nothing happens on it: a server has thousands of these.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from types import CellType, CoroutineType, FunctionType, ModuleType
from typing import Any

import attrs
from twisted.cred.credentials import IUsernameHashedPassword
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import Avatar, CachingRealm, ClientFactory, ServerFactory
from pbkit.wire.prelogin.seat import Seat
from pbkit.wire.profile import STRICT
from tests.support import Client, Wire, serve


def keeps(broker: Any, *shared: Any) -> dict[int, Any]:
    """Return what can be reached from a connection, by id, but not through its transport, shared objects or classes."""
    found: dict[int, Any] = {}
    ahead = [broker]
    ends = {id(each) for each in (broker.transport, *shared)}
    while ahead:
        each = ahead.pop()
        if id(each) in found or id(each) in ends or isinstance(each, type | ModuleType):
            continue
        found[id(each)] = each
        # Do not follow the globals of a function: they lead everywhere.
        ahead += each.__closure__ or () if isinstance(each, FunctionType) else gc.get_referents(each)
    return found


class Root(pb.Root):
    """A root that is served without a login."""

    def remote_echo(self, value: Any) -> Any:
        """Return the argument."""
        return value


class Quiet(Avatar):
    """An avatar that keeps nothing."""

    def perspective_whoami(self) -> str:
        """Return the avatar id."""
        return self.avatarId


class RestTests(SynchronousTestCase):
    """A connection that is logged in and idle."""

    def setUp(self) -> None:
        self.clock = Clock()
        profile = attrs.evolve(STRICT, gate=attrs.evolve(STRICT.gate, again=20.0))
        self.realm = CachingRealm(Quiet, clock=self.clock)
        self.factory = serve(self.realm, clock=self.clock, profile=profile)

    def wire(self, client: Any = None) -> Wire:
        """Return another connection, which is closed after the test."""
        wire = Wire(self.factory, client)
        self.addCleanup(wire.lose)
        return wire

    def test_session(self) -> None:
        """It keeps no table that has had an entry, no queue, closure or Deferred, with a client of either kind."""
        for kind in (pb.PBClientFactory, ClientFactory):
            wires = [self.wire(kind()) for _ in range(3)]
            avatars = [
                self.successResultOf(wire.login(name, Client()))
                for wire, name in zip(wires, ("alice", "bob", "carol"), strict=True)
            ]
            # Each client has called, was called, and was pinged.
            for wire, avatar in zip(wires, avatars, strict=True):
                self.successResultOf(wire.call(avatar, "whoami"))
                (session,) = self.realm.roster.ofPeer(wire.server.peer.peerId)
                asked = session.mind.ask("ask")
                wire.flush()
                self.successResultOf(asked)
            for _ in range(30):
                self.clock.advance(1.0)
                for wire in wires:
                    wire.flush()
            ends: tuple[Any, ...] = (
                self.factory,
                self.factory.monitorOf(self.clock),
                self.clock,
                *vars(self.realm).values(),
            )
            # What the client declared, and the sessions of an avatar, are a dict each.
            ends += tuple(wire.server.peer.hello for wire in wires)
            ends += tuple(session.avatar._live for session in self.realm.roster)
            shared = keeps(wires[0].server, *ends) | keeps(wires[1].server, *ends)
            own = [each for number, each in keeps(wires[2].server, *ends).items() if number not in shared]
            self.assertIn(wires[2].server, own)
            large = (dict, set, deque, FunctionType, CellType, CoroutineType, Deferred, Seat)
            # Where an object's attributes are is Python's affair.
            attributes = [id(vars(each)) for each in own if hasattr(each, "__dict__")]
            # A dict that never had an entry takes 64 bytes, and one that has had some 232.
            attributes += [id(each) for each in own if isinstance(each, dict) and sys.getsizeof(each) <= 64]
            self.assertEqual([each for each in own if isinstance(each, large) and id(each) not in attributes], [])
            for wire in wires:
                wire.lose()

    def test_seat(self) -> None:
        """It has no seat in the pre-login queue until its last session has ended."""
        wire = self.wire()
        self.assertEqual(len(self.factory.monitorOf(self.clock).queue), 1)
        avatar = self.successResultOf(wire.login("alice"))
        self.assertIsNone(wire.server.prelogin.seat)
        self.assertEqual(len(self.factory.monitorOf(self.clock).queue), 0)
        second = self.successResultOf(wire.login("bob"))
        del avatar
        gc.collect()
        wire.flush()
        self.assertIsNone(wire.server.prelogin.seat)
        del second
        gc.collect()
        wire.flush()
        self.assertEqual(len(self.factory.monitorOf(self.clock).queue), 1)
        self.clock.advance(30.0)
        self.assertTrue(wire.server.closed)

    def test_atWork(self) -> None:
        """Its deadline does not run while a checker works on a login, even if its last session ends meanwhile."""
        wire = self.wire()
        avatar = self.successResultOf(wire.login("alice"))
        checked: Deferred[Any] = Deferred()
        checker = self.factory.root.portal.checkers[IUsernameHashedPassword]
        self.patch(checker, "requestAvatarId", lambda credentials: checked)
        login = wire.login("bob")
        del avatar
        gc.collect()
        wire.flush()
        for _ in range(25):
            self.clock.advance(1.0)
        self.assertFalse(wire.server.closed)
        checked.callback(b"bob")
        wire.flush()
        second = self.successResultOf(login)
        self.assertIsNone(wire.server.prelogin.seat)
        for _ in range(40):
            self.clock.advance(1.0)
        self.assertFalse(wire.server.closed)
        self.assertEqual(self.successResultOf(wire.call(second, "whoami")), "bob")

    def test_withoutALogin(self) -> None:
        """A connection to a server without a login has no `Peer` and no deadline."""
        self.factory = ServerFactory(Root(), clock=self.clock)
        wire = self.wire()
        root = self.successResultOf(wire._moved(wire.factory.getRootObject()))
        self.assertEqual(self.successResultOf(wire.call(root, "echo", 5)), 5)
        # It is pinged, and answers.
        for _ in range(100):
            self.clock.advance(1.0)
            wire.flush()
        self.assertFalse(wire.server.closed)
        self.assertFalse(hasattr(wire.server, "_pbkitPeer"))
        self.assertIsNone(wire.server.prelogin.seat)
        self.assertEqual(len(self.factory.monitorOf(self.clock).queue), 0)
