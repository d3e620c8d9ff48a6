"""The server's memory for an idle connection and its session, measured so that it does not grow unnoticed."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable
from typing import Any

from twisted.internet.task import Clock
from twisted.spread import banana, pb
from twisted.trial.unittest import SynchronousTestCase

import pbkit
from pbkit import CachingRealm, ServerFactory
from pbkit.wire.broker import Broker
from tests.support import Client, Recorder, Wire, serve


def reachable(root: object, known: dict[int, object]) -> list[Any]:
    """
    Return all objects that can be reached from an object, but not through known ones.

    :param known: the known objects, by id; the found ones are added.
    """
    found, left = [], [root]
    while left:
        each = left.pop()
        if id(each) not in known:
            known[id(each)] = each
            found.append(each)
            left += gc.get_referents(each)
    return found


def ours(things: Iterable[Any]) -> list[Any]:
    """Return some objects without numbers and short texts, which Python shares."""
    return [each for each in things if gc.is_tracked(each) or isinstance(each, dict | list | set | tuple)]


class IdleTests(SynchronousTestCase):
    """Everything that the server keeps for one more connection, except its transport."""

    def own(self, server: ServerFactory, login: bool) -> list[Any]:
        """Return what a second connection adds after its login."""
        wires: list[Wire] = []
        kept: list[Any] = []
        known: dict[int, object] = {}
        for name in ("alice", "bob"):
            wire = Wire(server)
            wires.append(wire)
            # The client's end does not count, and what both connections share existed before.
            known[id(wire.server.transport)] = wire.server.transport
            if login:
                kept.append(self.successResultOf(wire.login(name, Client())))
            else:
                kept.append(self.successResultOf(wire.factory.getRootObject()))
            gc.collect()
            wire.flush()
            found = reachable(wire.server, known)
        for wire in wires:
            self.addCleanup(wire.lose)
        del kept
        return found

    def size(self, things: list[Any]) -> int:
        """Return the size of some objects in bytes."""
        return sum(map(sys.getsizeof, things))

    def test_connection(self) -> None:
        """A connection with a root object: 1.1 KB and 0.9 for the transport; the limit is 3.0 KB."""

        class Root(pb.Root):
            """A root object without methods."""

        found = self.own(ServerFactory(Root(), clock=Clock()), login=False)
        self.assertLess(len(ours(found)), 20, found)
        self.assertLess(self.size(found), 1600, found)

    def test_session(self) -> None:
        """A connection with a session: 3 KB and 0.9 for the transport; the limit is 4.5 KB."""
        found = self.own(serve(CachingRealm(Recorder, clock=Clock())), login=True)
        self.assertLess(len(ours(found)), 55, found)
        self.assertLess(self.size(found), 4000, found)

    def test_nothingOfALogin(self) -> None:
        """What only a login needs is released after the login."""
        found = self.own(serve(CachingRealm(Recorder, clock=Clock())), login=True)
        kinds = {type(each).__name__ for each in found}
        login = {"LoginRoot", "Entry", "Tries", "Try", "Challenges", "Challenger", "Login", "Attempt", "Deferred"}
        self.assertEqual(kinds & (login | {"Framer", "coroutine", "function", "cell", "deque"}), set())

    def test_noDictOfAttributes(self) -> None:
        """
        A connection has no large `__dict__`: one with 30 attributes takes a kilobyte. On Python 3.13, where it always
        exists beside slots, it is small.
        """
        found = self.own(serve(CachingRealm(Recorder, clock=Clock())), login=True)
        broker = next(each for each in found if isinstance(each, Broker))
        tables = [each for each in gc.get_referents(broker) if isinstance(each, dict) and "factory" in each]
        self.assertLess(sum(map(sys.getsizeof, tables)), 400, tables)

    def test_keepaliveLeavesNothing(self) -> None:
        """An answered ping leaves no table behind."""
        server = serve(CachingRealm(Recorder, clock=Clock()))
        wire = Wire(server)
        kept = self.successResultOf(wire.login())
        asked = wire.server.peer.ping(1.0)
        wire.flush()
        self.assertTrue(self.successResultOf(asked))
        wire.server.tidy()
        tables = [wire.server.callers, wire.server.waitingForAnswers]
        self.assertEqual(tables, [{}, {}])
        self.assertLess(sum(map(sys.getsizeof, tables)), 128)
        del kept
        wire.lose()

    def test_asManyAttributesAsStocks(self) -> None:
        """A broker has all attributes that stock's ``__init__`` sets, with the same values."""
        stock, broker = pb.Broker(False), pbkit.Broker(False)
        for name, value in vars(stock).items():
            mine = getattr(broker, name)
            self.assertEqual(list(mine) if isinstance(value, list) else mine, value, name)
        self.assertEqual(broker.outgoingSymbols, banana.Banana.outgoingVocabulary)
