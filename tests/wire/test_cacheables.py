"""Cacheables: the observers, the state of each, and that observing ends exactly once."""

from __future__ import annotations

import gc
from typing import Any

from twisted.internet.defer import Deferred
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import Broker, dropin
from pbkit.errors import CannotSend, Disconnected, Kicked
from pbkit.wire.jelly.jellier import CacheObserver
from tests.support import Wire, collect, serve
from tests.test_stock_defects import Counting
from tests.wire.things import Board, BoardCopy, WireCase


class Strict(Board):
    """
    A Cacheable that records its observers, and raises if one stops twice.

    :ivar state: additional state of a copy. If it is callable, it is called.
    """

    state: Any = None

    def getStateToCacheAndObserveFor(self, perspective: Any, observer: Any) -> dict[str, Any]:
        """Return the state of one user's copy."""
        state = self.state() if callable(self.state) else self.state
        return {**super().getStateToCacheAndObserveFor(perspective, observer), "state": state}


pb.setUnjellyableForClass(Strict, BoardCopy)


class LeavingTests(WireCase):
    """`stoppedObserving` is called once for each observer, whatever happens."""

    def setUp(self) -> None:
        """Give alice a copy, and make another Cacheable whose state the test chooses."""
        super().setUp()
        self.alice, self.session = self.login()
        self.copy = self.get(self.alice, "board")
        self.mine = Strict()

    def assertLeft(self, board: Board, times: int = 1) -> None:
        """Assert how often `stoppedObserving` was called, and that there are no observers."""
        self.settle()
        self.assertEqual((len(board.stopped), board.observers), (times, []))
        self.assertEqual(self.flushLoggedErrors(), [])

    def settle(self) -> None:
        """Collect garbage, and deliver the releases."""
        gc.collect()
        self.wire.flush()

    def test_dropped(self) -> None:
        """The client drops its copy, and gets another one later."""
        del self.copy
        self.assertLeft(self.board)
        copy = self.get(self.alice, "board")
        self.assertEqual(len(self.board.observers), 1)
        del copy
        self.assertLeft(self.board, 2)

    def test_manyReferences(self) -> None:
        """A copy that was sent more than once ends when its last reference is dropped."""
        more = [self.get(self.alice, "board") for _ in range(3)]
        del self.copy
        self.settle()
        self.assertEqual(self.board.stopped, [])
        more.clear()
        self.assertLeft(self.board)

    def test_droppedTwice(self) -> None:
        """A client that drops a copy twice, or one that it never had, is ignored, and can continue."""
        (luid,) = self.luids()
        for _ in range(3):
            self.wire.client.decCacheRef(luid)
        self.wire.client.decCacheRef(12345)
        self.assertLeft(self.board)
        self.assertLive(self.alice)
        self.copy.broker = None

    def luids(self) -> list[int]:
        """Return the ids of the copies that the server has given out."""
        return [luid for channel in self.wire.server._channels for luid in channel.remotelyCachedObjects]

    def test_ended(self) -> None:
        """The session is kicked, and the client drops its copy afterwards."""
        self.session.end(Kicked)
        self.assertLeft(self.board)
        del self.copy
        self.assertLeft(self.board)

    def test_lost(self) -> None:
        """Either end loses the connection."""
        for server in (True, False):
            wire = Wire(self.server)
            avatar, _ = self.login("bob", wire)
            copy = self.get(avatar, "board", wire=wire)
            self.assertEqual(len(self.board.observers), 2)
            wire.lose(server=server)
            self.assertEqual(len(self.board.observers), 1)
            del copy, avatar
        self.assertEqual(len(self.board.stopped), 2)

    def test_closed(self) -> None:
        """The server stops."""
        self.realm.close()
        self.assertLeft(self.board)

    def test_jellyFails(self) -> None:
        """The rest of the answer, or of the state, cannot be sent."""
        for result in ([self.mine, object()], self.mine):
            self.mine.state = object() if result is self.mine else None
            self.session.avatar.result = result
            before = len(self.mine.stopped)
            self.assertTrue(self.error(self.alice, "give").check(CannotSend))
            self.assertLeft(self.mine, before + 1)
        self.mine.state = None
        self.session.avatar.result = self.mine
        self.assertEqual(self.get(self.alice, "give").seenBy, "alice")

    def test_stateFails(self) -> None:
        """If `getStateToCacheAndObserveFor` raises, `stoppedObserving` is not called."""

        def fail() -> None:
            raise pb.Error("not now")

        class Late(Strict):
            def getStateToCacheAndObserveFor(self, perspective: Any, observer: Any) -> Any:
                fail()

        late = self.session.avatar.result = Late()
        self.error(self.alice, "give")
        self.assertLeft(late, 0)
        self.assertEqual(len(self.luids()), 1)

    def test_endedMeanwhile(self) -> None:
        """The session ends during `getStateToCacheAndObserveFor`."""
        self.mine.state = lambda: self.session.end(Kicked)
        self.session.avatar.result = self.mine
        self.assertTrue(self.error(self.alice, "give").check(Kicked))
        self.assertLeft(self.mine)
        self.assertLeft(self.board)

    def test_tableFull(self) -> None:
        """If the table becomes full during a message, what was added is removed, and nothing else is added."""
        self.patch(pb, "MAX_BROKER_REFS", 2)
        boards = [Strict() for _ in range(6)]
        self.session.avatar.result = boards
        self.error(self.alice, "give")
        self.settle()
        self.assertEqual([(len(each.stopped), each.observers) for each in boards[3:]], [(0, [])] * 3)
        for each in boards[:2]:
            self.assertEqual((len(each.stopped), each.observers), (1, []))
        self.assertEqual(len(self.luids()), 1)
        self.assertEqual(set(self.wire.server.owners) - set(self.luids()), {self.alice.luid})

    def test_tooLarge(self) -> None:
        """The answer is too large to be sent."""
        self.session.avatar.result = [self.mine, 2**5000]
        self.error(self.alice, "give")
        self.flushLoggedErrors()
        self.assertLeft(self.mine)

    def test_lastCall(self) -> None:
        """`stoppedObserving` may still call the observer, as in stock."""
        called: list[Any] = []

        class Polite(Board):
            def stoppedObserving(self, perspective: Any, observer: Any) -> None:
                super().stoppedObserving(perspective, observer)
                called.append(observer.callRemote("change", "bye"))

        pb.setUnjellyableForClass(Polite, BoardCopy)
        self.session.avatar.result = Polite()
        copy = self.get(self.alice, "give")
        del copy
        self.settle()
        self.assertIsNone(self.successResultOf(called[0]))

    def test_sentAnewWhileItLeaves(self) -> None:
        """A Cacheable that is sent again from within `stoppedObserving` is a new copy."""
        sent: list[Any] = []
        take = self.session.avatar.taken
        self.get(self.alice, "take", Keeper())

        class Again(Strict):
            def stoppedObserving(self, perspective: Any, observer: Any) -> None:
                super().stoppedObserving(perspective, observer)
                if not sent:
                    sent.append(take[0].callRemote("keep", self))

        pb.setUnjellyableForClass(Again, BoardCopy)
        board = self.session.avatar.result = Again()
        Keeper.kept.clear()
        copy = self.get(self.alice, "give")
        del copy
        self.settle()
        self.successResultOf(sent[0])
        self.assertEqual((len(board.observers), len(board.stopped)), (1, 1))
        board.change("x")
        self.settle()
        self.assertEqual(Keeper.kept[0].changes, ["x"])
        Keeper.kept.clear()
        self.assertLeft(board, 2)


class Keeper(pb.Referenceable):
    """A client's object that keeps its arguments."""

    kept: list[Any] = []

    def remote_keep(self, thing: Any) -> None:
        """Keep the argument."""
        self.kept.append(thing)


class ObserverTests(WireCase):
    """The observers of a Cacheable."""

    def observers(self) -> list[Any]:
        """Return three observers: of two users on one connection, and of one of them on another connection."""
        other = Wire(self.server)
        self.kept = [self.get(self.login("alice")[0], "board"), self.get(self.login("bob")[0], "board")]
        self.kept.append(self.get(self.login("alice", other)[0], "board", wire=other))
        return self.board.observers

    def test_compared(self) -> None:
        """An observer equals itself and other objects for the same copy, of stock or pbkit, and nothing else."""
        observers = list(self.observers())
        for place, one in enumerate(observers):
            for cls in (CacheObserver, pb.RemoteCacheObserver):
                same = cls(one.broker, one.cached, one.perspective)
                self.assertTrue(one == same)
                self.assertFalse(one != same)
                self.assertEqual(observers.index(same), place)
            self.assertEqual(hash(one), hash(CacheObserver(one.broker, one.cached, one.perspective)))
            self.assertFalse(one == None or one == 5)  # noqa: E711
            self.assertTrue(one != "x")
        self.assertEqual(len(set(observers)), 3)

    def test_containers(self) -> None:
        """Observers can be removed from lists, sets and dictionaries, in any order."""
        observers = self.observers()
        kept, keyed = set(observers), dict.fromkeys(observers)
        for place in (1, 1, 0):
            one = CacheObserver(observers[place].broker, self.board, observers[place].perspective)
            observers.remove(one)
            kept.remove(one)
            del keyed[one]
        self.assertEqual((observers, kept, keyed), ([], set(), {}))

    def test_whateverTheyThink(self) -> None:
        """Cacheables that compare equal and cannot be hashed are distinguished."""

        class Same(pb.Cacheable):
            def __eq__(self, other: object) -> bool:
                return True

            __hash__ = None  # type: ignore[assignment]

        first, second = (CacheObserver(None, Same(), None) for _ in range(2))
        self.assertNotEqual(first, second)
        self.assertEqual(len({first, second}), 2)

    def test_gone(self) -> None:
        """A call to a copy that no longer exists fails without raising. In drop-in use it raises, as in stock."""
        alice, session = self.login()
        copy = self.get(alice, "board")
        (observer,) = self.board.observers
        self.assertIsNone(self.successResultOf(self.flushed(observer.remoteMethod("change")("x"))))
        del copy
        collect()
        self.wire.flush()
        self.failureResultOf(observer.callRemote("change", "y"), pb.ProtocolError)
        self.assertIsNone(observer.callRemote("change", "y", pbanswer=False))
        session.end(Kicked)
        self.failureResultOf(observer.callRemote("change", "y"), Kicked)
        self.wire.lose()
        self.failureResultOf(observer.callRemote("change", "y"), Kicked)
        broker = dropin.Broker(0)
        self.assertRaises(pb.ProtocolError, CacheObserver(broker, self.board, None).callRemote, "change")

    def flushed(self, d: Deferred[Any]) -> Deferred[Any]:
        """Deliver everything, and return the result of a Deferred."""
        self.wire.flush()
        return d

    def test_lost(self) -> None:
        """After the loss of the connection, a call fails with the reason of the session's end."""
        alice, _ = self.login()
        copy = self.get(alice, "board")
        (observer,) = self.board.observers
        self.wire.lose()
        self.failureResultOf(observer.callRemote("change", "y"), Disconnected)
        del copy


class Watcher(pb.Avatar):
    """An avatar as in Twisted's documentation, with a Cacheable that all share."""

    def __init__(self, avatarId: str, board: Board) -> None:
        self.avatarId = avatarId
        self.board = board

    def perspective_board(self) -> Board:
        """Return the Cacheable."""
        return self.board


class WithoutSessionsTests(SynchronousTestCase):
    """A drop-in server with a stock realm: logins share the connection's tables."""

    def test_perspectives(self) -> None:
        """Two users of one connection each have a copy with their own state."""
        board = Board()
        names = iter(("alice", "bob"))
        realm = Counting(lambda: Watcher(next(names), board))
        wire = Wire(serve(realm, dropin.PBServerFactory))
        alice, bob = (self.successResultOf(wire.login(name)) for name in ("alice", "bob"))
        hers, again = (self.successResultOf(wire.call(alice, "board")) for _ in range(2))
        his = self.successResultOf(wire.call(bob, "board"))
        self.assertEqual((hers.seenBy, again.seenBy, his.seenBy), ("alice", "alice", "bob"))
        self.assertEqual(len(board.observers), 2)
        board.observers[0].callRemote("change", "x")
        wire.flush()
        self.assertEqual((hers.changes, again.changes, his.changes), (["x"], ["x"], []))
        del hers, again
        collect()
        wire.flush()
        self.assertEqual([each.avatarId for each in board.stopped], ["alice"])
        wire.lose()
        self.assertEqual([each.avatarId for each in board.stopped], ["alice", "bob"])
        self.assertEqual(board.observers, [])
        self.assertEqual(wire.server.remotelyCachedLUIDs, None)
        self.assertEqual(his.seenBy, "bob")

    def test_jellyFails(self) -> None:
        """With the connection's own tables too, what was not sent has no observer."""
        broker = Broker(0)
        board = Board()
        self.assertRaises(CannotSend, broker.serialize, [board, pb.Referenceable(), object()])
        self.assertEqual((board.stopped, board.observers), ([None], []))
        for table in ("localObjects", "luids", "remotelyCachedObjects", "remotelyCachedLUIDs"):
            self.assertEqual(getattr(broker, table), {}, table)


class KeptTests(WireCase):
    """Copies of a client's Cacheables."""

    def test_bound(self) -> None:
        """A server keeps at most as many copies for a client as the limit on references."""
        alice, session = self.login()
        boards = [Board() for _ in range(1025)]
        self.assertEqual(self.get(alice, "take", *boards[:1000]), 1000)
        failure = self.error(alice, "take", *boards[1000:])
        self.assertIn("more than 1024 copies", failure.value)
        self.assertEqual(self.get(alice, "take", *boards[1000:1020]), 1020)
        self.assertEqual(len(session.avatar.taken), 1020)
        # The copies of the refused call are gone, and the other ones were released.
        collect()
        self.wire.flush()
        self.assertEqual([len(board.observers) for board in boards], [1] * 1020 + [0] * 5)
