"""
What stock's jelly does that pbkit's does not: each test runs one scenario twice, as `tests.test_stock_defects` does.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.spread import jelly, pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import Broker, CachingRealm, ServerFactory, dropin
from pbkit.errors import BadValue, CannotSend, ClassRefused
from pbkit.wire.jelly.registry import STOCK
from tests.support import Recorder, Wire, serve
from tests.wire.copies import PLAIN, P, Plain, PlainCopy, state
from tests.wire.jelly.test_unjellier import doubled
from tests.wire.things import Board, BoardCopy


class Root(pb.Root):
    """A server as in the howto."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.result: Any = None

    def remote_take(self, *things: Any) -> int:
        """Keep them."""
        self.taken.extend(things)
        return len(self.taken)

    def remote_give(self) -> Any:
        """Return what a test has stored."""
        return self.result


class JellyTests(SynchronousTestCase):
    """What an unauthenticated client may send to stock, and what happens then."""

    def ask(self, server: Any, method: str, *args: Any) -> Any:
        """Return the answer of a server's root: a value, or a Failure."""
        wire = Wire(server)
        found: list[Any] = []
        wire.call(self.successResultOf(wire.factory.getRootObject()), method, *args).addBoth(found.append)
        wire.flush()
        self.assertFalse(wire.server.disconnected)
        return found[0]

    def test_registryOfEverybody(self) -> None:
        """Stock: a class that any module registers is open to every client, whatever the `SecurityOptions` say."""
        locked = jelly.SecurityOptions()
        locked.allowBasicTypes()
        locked.allowTypes("remote")
        ran: list[Any] = []

        class Library(pb.RemoteCache):
            def __init__(self) -> None:
                ran.append("a stranger's doing")

        self.addCleanup(pb.setUnjellyableForClass, Board, BoardCopy)
        pb.setUnjellyableForClass(Board, Library)
        self.ask(pb.PBServerFactory(Root(), security=locked), "take", Board())
        self.assertEqual(ran, ["a stranger's doing"])
        for factory in (ServerFactory, dropin.PBServerFactory):
            failure = self.ask(factory(Root(), security=locked, allow=()), "take", Board())
            self.assertTrue(failure.check(ClassRefused))
        self.assertEqual(len(ran), 1)

    def test_hiddenMethods(self) -> None:
        """Stock: an attribute that the sender names like a method replaces the method."""
        root = Root()
        self.ask(pb.PBServerFactory(root), "take", Plain(double=5))
        self.assertRaises(TypeError, root.taken[0].double)
        self.assertTrue(self.ask(ServerFactory(Root()), "take", Plain(double=5)).check(BadValue))

    def test_cycles(self) -> None:
        """Stock: a copy that holds itself is received with a placeholder in it."""
        plain: Any = Plain()
        plain.me = plain
        for factory, right in ((pb.PBServerFactory, False), (ServerFactory, True), (dropin.PBServerFactory, True)):
            root = Root()
            self.ask(factory(root), "take", plain)
            self.assertEqual(isinstance(root.taken[0].me, PlainCopy), right)

    def test_successThatIsNone(self) -> None:
        """Stock: the caller of a method whose result cannot be sent gets success."""
        root = Root()
        root.result = object()
        self.assertIsInstance(self.ask(pb.PBServerFactory(root), "give"), jelly.Unpersistable)
        self.assertTrue(self.ask(ServerFactory(root), "give").check(CannotSend))

    def test_collidingKeys(self) -> None:
        """Stock: a dict of keys that all have the same hash takes time with the square of their number."""
        expression = [b"dictionary", *([k * P, 0] for k in range(200))]
        found = jelly.unjelly(expression, jelly.globalSecurity, None, pb.Broker(0))
        self.assertEqual((len(found), set(map(hash, found))), (200, {0}))
        for broker in (Broker(0), dropin.Broker(0)):
            self.assertRaises(BadValue, broker.unserialize, expression)

    def test_doubledHash(self) -> None:
        """Stock: the hash of a tuple of tuples, sent by reference, takes 2**n steps."""
        counted: list[int] = []

        class Counting(pb.RemoteCopy):
            def __hash__(self) -> int:
                counted.append(1)
                return 1

        pb.setUnjellyableForClass("tests.Counting", Counting)
        self.addCleanup(lambda: STOCK.classes.pop(b"tests.Counting"))
        expression = doubled(12)
        expression[1][2] = [b"tuple", [b"tests.Counting", state()], 2]
        jelly.unjelly(expression, jelly.globalSecurity, None, pb.Broker(0))
        # From 3.14 on, Python keeps the hash of a tuple.
        self.assertEqual(len(counted), 2**11 if sys.version_info < (3, 14) else 1)
        expression = doubled(40)
        expression[1][2] = [b"tuple", [b"tests.Counting", state()], 2]
        counted.clear()
        self.assertRaises(BadValue, Broker(0).unserialize, expression)
        self.assertEqual(counted, [])

    def test_placeholders(self) -> None:
        """Stock: a reference to something that is not in the message reaches the method as a placeholder."""
        expression = [b"list", [b"dereference", 5]]
        (found,) = jelly.unjelly(expression, jelly.globalSecurity, None, pb.Broker(0))
        self.assertEqual(type(found).__name__, "_Dereference")
        self.assertRaises(BadValue, Broker(0).unserialize, expression)

    def test_observers(self) -> None:
        """Stock: of two observers on two connections, none can be removed from a list."""
        board = Board()
        realm = CachingRealm(type("Watcher", (Recorder,), {"perspective_board": lambda self: board}))
        for factory, left in ((pb.PBServerFactory, 2), (ServerFactory, 1)):
            board.observers.clear()
            server = serve(realm, factory)
            wires = [Wire(server), Wire(server)]
            kept = []
            for wire, name in zip(wires, ("alice", "bob"), strict=True):
                kept.append(self.successResultOf(wire.call(self.successResultOf(wire.login(name)), "board")))
            wires[1].lose()
            self.assertEqual(len(board.observers), left)
            self.assertEqual(len(self.flushLoggedErrors(TypeError)), left - 1)
            wires[0].lose()
            self.flushLoggedErrors()

    def test_stateOfAnInstance(self) -> None:
        """Stock: a state that is not a dict causes a traceback in the server."""
        expression = [PLAIN, [b"list", 1]]
        self.assertRaises(AttributeError, jelly.unjelly, expression, jelly.globalSecurity, None, pb.Broker(0))
        self.assertRaises(BadValue, Broker(0).unserialize, expression)
