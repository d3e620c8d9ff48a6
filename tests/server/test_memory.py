"""What an idle connection takes of the server's memory, and its session: counted, so that it does not creep back."""

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
    All that can be reached from an object, but by way of what is known already.

    :param known: by id; what is found is added to it.
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
    """These, but for the one process's numbers and short texts, which are each other's as often as not."""
    return [each for each in things if gc.is_tracked(each) or isinstance(each, dict | list | set | tuple)]


class IdleTests(SynchronousTestCase):
    """Everything that the server keeps for one connection more, without its transport."""

    def own(self, server: ServerFactory, login: bool) -> list[Any]:
        """What a second connection adds to the first, once all that a login needs is over."""
        wires: list[Wire] = []
        kept: list[Any] = []
        known: dict[int, object] = {}
        for name in ("alice", "bob"):
            wire = Wire(server)
            wires.append(wire)
            # The other end is not the server's; what both share is, and was there before.
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
        """In bytes."""
        return sum(map(sys.getsizeof, things))

    def test_connection(self) -> None:
        """A connection with a root of one's own: 1.1 KB and its transport's 0.9, of the 3.0 that it may take."""

        class Root(pb.Root):
            """Nothing."""

        found = self.own(ServerFactory(Root(), clock=Clock()), login=False)
        self.assertLess(len(ours(found)), 20, found)
        self.assertLess(self.size(found), 1600, found)

    def test_session(self) -> None:
        """A connection with a session: 3 KB and its transport's 0.9, of the 4.5 that they may take."""
        found = self.own(serve(CachingRealm(Recorder, clock=Clock())), login=True)
        self.assertLess(len(ours(found)), 55, found)
        self.assertLess(self.size(found), 4000, found)

    def test_nothingOfALogin(self) -> None:
        """What only a login needs is gone when it is through."""
        found = self.own(serve(CachingRealm(Recorder, clock=Clock())), login=True)
        kinds = {type(each).__name__ for each in found}
        login = {"LoginRoot", "Entry", "Tries", "Try", "Challenges", "Challenger", "Login", "Attempt", "Deferred"}
        self.assertEqual(kinds & (login | {"Framer", "coroutine", "function", "cell", "deque"}), set())

    def test_noDictOfAttributes(self) -> None:
        """
        A connection has no `__dict__` of many attributes: one of 30 takes a kilobyte. On Python 3.13, where it always
        has one if there are slots beside, that is small.
        """
        found = self.own(serve(CachingRealm(Recorder, clock=Clock())), login=True)
        broker = next(each for each in found if isinstance(each, Broker))
        tables = [each for each in gc.get_referents(broker) if isinstance(each, dict) and "factory" in each]
        self.assertLess(sum(map(sys.getsizeof, tables)), 400, tables)

    def test_keepaliveLeavesNothing(self) -> None:
        """A ping that has been answered leaves no table that is as large as what was in it."""
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
        """What stock's ``__init__`` gives a broker, ours has too, and it begins with the same."""
        stock, broker = pb.Broker(False), pbkit.Broker(False)
        for name, value in vars(stock).items():
            mine = getattr(broker, name)
            self.assertEqual(list(mine) if isinstance(value, list) else mine, value, name)
        self.assertEqual(broker.outgoingSymbols, banana.Banana.outgoingVocabulary)
