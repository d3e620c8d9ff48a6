"""The registry of live sessions and of the places that pending logins hold."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from pbkit import Avatar, Roster, Session
from pbkit.errors import Kicked
from pbkit.sessions.roster import Place


def session(avatarId: str = "alice") -> Session:
    """Return a live session that is in no realm."""
    return Session(avatarId, Avatar(avatarId), None, None, None, lambda _: None)


class RosterTests(SynchronousTestCase):
    """`Roster`."""

    def setUp(self) -> None:
        """Make an empty roster."""
        self.roster: Roster[Session] = Roster()

    def begin(
        self, avatarId: str = "alice", peerId: str = "p1", ending: tuple[Place, ...] = ()
    ) -> tuple[Place, Session]:
        """Begin a session at once."""
        place = self.roster.reserve(avatarId, peerId, ending)
        live = session(avatarId)
        self.roster.begin(place, live)
        place.settle()
        return place, live

    def assertEmpty(self) -> None:
        """Assert that no table holds anything."""
        self.assertEqual((len(self.roster), self.roster.pending, len(self.roster.view.everyone())), (0, 0, 0))
        self.assertEqual((self.roster._byAvatar, self.roster._byPeer, self.roster._sessions), ({}, {}, {}))
        self.assertEqual(self.roster._all._places, {})

    def test_everyLookUp(self) -> None:
        """A live session is found by its id, its avatar id and its peer, in the order of login."""
        (_, one), (_, two), (_, three) = self.begin(), self.begin("bob", "p2"), self.begin("alice", "p2")
        self.assertEqual(list(self.roster), [one, two, three])
        self.assertEqual(len(self.roster), 3)
        self.assertIs(self.roster.get(two.sessionId), two)
        self.assertEqual(self.roster.ofAvatar("alice"), (one, three))
        self.assertEqual(self.roster.ofPeer("p2"), (two, three))
        self.assertEqual(len(self.roster.view.avatar("alice")), 2)

    def test_unknownIsNothing(self) -> None:
        """An unknown key gives None or an empty tuple, and the look-up leaves no trace."""
        self.assertIsNone(self.roster.get("x"))
        self.assertEqual((self.roster.ofAvatar("x"), self.roster.ofPeer("x"), self.roster.ofPeer("")), ((), (), ()))
        self.assertEmpty()

    def test_pendingHoldsAPlace(self) -> None:
        """A pending login counts for every limit, but is not a session."""
        place = self.roster.reserve("alice", "p1")
        self.assertTrue(place.pending)
        view = self.roster.view
        self.assertEqual([len(each) for each in (view.everyone(), view.avatar("alice"), view.peer("p1"))], [1, 1, 1])
        self.assertEqual((len(self.roster), self.roster.pending, self.roster.ofAvatar("alice")), (0, 1, ()))
        self.roster.release(place)
        self.assertEmpty()

    def test_releaseIsIdempotent(self) -> None:
        """A place that is released again changes nothing."""
        place, _ = self.begin()
        _, other = self.begin()
        self.roster.release(place)
        self.roster.release(place)
        self.assertEqual(list(self.roster), [other])
        self.assertEqual(len(self.roster.view.avatar("alice")), 1)

    def test_nothingIsLeft(self) -> None:
        """When all sessions have ended nothing is left in any table."""
        places = [self.begin(f"user{n % 3}", f"p{n % 2}")[0] for n in range(10)]
        places.append(self.roster.reserve("late", "p9"))
        for place in places:
            self.roster.release(place)
        self.assertEmpty()

    def test_withoutAPeer(self) -> None:
        """A login without a known connection is in no peer's group."""
        place, one = self.begin(peerId="")
        self.assertEqual(self.roster.ofPeer(""), ())
        self.assertEqual(list(self.roster), [one])
        self.roster.release(place)
        self.assertEmpty()

    def test_takenOverDoesNotCount(self) -> None:
        """A session that a pending login will replace lives on, but is not counted or listed for policies."""
        old, one = self.begin()
        self.roster.reserve("alice", "p2", (old,))
        group = self.roster.view.avatar("alice")
        self.assertEqual((len(group), list(group), old in group), (1, [p for p in group if p.pending], False))
        self.assertEqual(self.roster.ofAvatar("alice"), (one,))

    def test_failedTakeoverCountsAgain(self) -> None:
        """When the new login fails, the session that it would have replaced counts again."""
        old, one = self.begin()
        place = self.roster.reserve("alice", "p2", (old,))
        self.roster.release(place)
        group = self.roster.view.avatar("alice")
        self.assertEqual((len(group), list(group)), (1, [old]))
        self.assertEqual(list(self.roster), [one])

    def test_takeover(self) -> None:
        """When the new login succeeds, the replaced session is out in the same step."""
        old, _ = self.begin()
        _, new = self.begin("alice", "p2", (old,))
        self.assertEqual(list(self.roster), [new])
        self.assertEqual((len(self.roster.view.avatar("alice")), self.roster.ofPeer("p1")), (1, ()))
        self.roster.release(old)
        self.assertEqual(len(self.roster.view.everyone()), 1)

    def test_takenOverThatEndsByItself(self) -> None:
        """A session that ends while a new login is about to replace it is removed once, whatever that login does."""
        for succeeds in (True, False):
            old, _ = self.begin()
            place = self.roster.reserve("alice", "p2", (old,))
            self.roster.release(old)
            if succeeds:
                self.roster.begin(place, session())
            self.assertEqual(len(self.roster.view.avatar("alice")), 1)
            self.roster.release(place)
            self.assertEmpty()

    def test_iteratingWhileItChanges(self) -> None:
        """Sessions may end while the roster is iterated over."""
        places = [self.begin()[0] for _ in range(3)]
        for _ in self.roster:
            self.roster.release(places.pop())
        self.assertEmpty()

    def test_settled(self) -> None:
        """`settled` fires when a pending login is decided; afterwards it has fired already."""
        place = self.roster.reserve("alice", "p1")
        waiting = place.settled()
        self.assertNoResult(waiting)
        place.settle()
        self.assertFalse(place.pending)
        self.successResultOf(waiting)
        self.successResultOf(place.settled())

    def test_settledGivenUp(self) -> None:
        """A caller may cancel its Deferred, also because of what an earlier callback does."""
        place = self.roster.reserve("alice", "p1")
        first, second, third = place.settled(), place.settled(), place.settled()
        third.cancel()
        self.failureResultOf(third, CancelledError)
        first.addCallback(lambda _: second.cancel())
        place.settle()
        self.failureResultOf(second, CancelledError)
        self.successResultOf(first)

    def test_listeners(self) -> None:
        """Listeners are called for their event, in the order of registration, until they are removed."""
        heard: list[tuple[str, Session]] = []
        stop = self.roster.onBegin(lambda s: heard.append(("begin", s)))
        self.roster.onEnd(lambda s: heard.append(("end", s)))
        self.roster.onEnd(lambda s: heard.append(("end too", s)))
        one = session()
        self.roster.tell("begin", one)
        self.roster.tell("end", one)
        stop()
        stop()
        self.roster.tell("begin", one)
        self.assertEqual(heard, [("begin", one), ("end", one), ("end too", one)])

    def test_listenerThatRaises(self) -> None:
        """An exception in a listener is logged, and reaches neither the other listeners nor the session."""
        heard: list[Session] = []
        self.roster.onEnd(lambda s: 1 / 0)
        self.roster.onEnd(heard.append)
        one = session()
        self.roster.tell("end", one)
        self.assertEqual(heard, [one])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_sameIdIsNeverUsedAgain(self) -> None:
        """Session ids are distinct texts, and no id of an ended session is used again."""
        ids = set()
        for _ in range(100):
            one = session()
            one.end(Kicked)
            ids.add(one.sessionId)
        self.assertEqual(len(ids), 100)
        self.assertEqual({type(each) for each in ids}, {str})
