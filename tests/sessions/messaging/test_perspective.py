"""What a client is sent is made for its session's avatar, whether it is an answer or a message to its mind."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import CachingRealm, ServerFactory, dropin
from tests.support import Client, Recorder, Wire, serve

#: For whom states were made, and whose views were called.
asked: list[Any] = []


class Letter(pb.Copyable, pb.RemoteCopy):
    """Sent by value."""

    def getStateToCopyFor(self, perspective: Any) -> Any:
        """Note for whom."""
        asked.append(perspective)
        return {"to": getattr(perspective, "avatarId", None)}


class Board(pb.Cacheable):
    """Sent once, and kept in step."""

    def getStateToCacheAndObserveFor(self, perspective: Any, observer: Any) -> Any:
        """Note for whom."""
        asked.append(perspective)
        return {"to": getattr(perspective, "avatarId", None)}

    def stoppedObserving(self, perspective: Any, observer: Any) -> None:
        """Nothing is kept."""


class BoardCopy(pb.RemoteCache):
    """The client's copy."""


pb.setUnjellyableForClass(Letter, Letter)
pb.setUnjellyableForClass(Board, BoardCopy)


class Window(pb.Viewable):
    """Called for an avatar."""

    def view_look(self, perspective: Any) -> str | None:
        """Note for whom."""
        asked.append(perspective)
        return getattr(perspective, "avatarId", None)


class Keeper(Client):
    """Keeps what it is told, and lends its own objects."""

    def remote_take(self, what: Any) -> None:
        """Keep it."""
        self.taken = what

    def remote_lend(self) -> Any:
        """Lend an object."""
        self.lent = Keeper()
        return self.lent


class Post(Recorder):
    """Sends things."""

    board = Board()
    early: Any = None

    def attached(self, session: Any) -> None:
        """Send something before the login is through."""
        if self.early is not None:
            session.mind.tell("take", self.early)

    def perspective_board(self) -> Board:
        """Answer with the board."""
        return self.board


class PerspectiveTests(SynchronousTestCase):
    """Over a wire, with each kind of factory."""

    def setUp(self) -> None:
        """Nobody was asked yet."""
        asked.clear()
        self.patch(Post, "early", None)

    def enter(self, factory: Any, name: str = "alice") -> None:
        """Log in."""
        self.clock = Clock()
        self.realm = CachingRealm(Post, clock=self.clock)
        kw = {} if factory is pb.PBServerFactory else {"clock": self.clock}
        self.wire = Wire(serve(self.realm, factory, **kw))
        self.client = Keeper()
        self.reference = self.successResultOf(self.wire.login(name, self.client))
        self.wire.flush()
        (self.session,) = self.realm.roster

    def test_told(self) -> None:
        """A Copyable, a Viewable and a Cacheable that the mind is told or asked with are made for the avatar."""
        for factory in (ServerFactory, dropin.PBServerFactory, pb.PBServerFactory):
            self.enter(factory)
            avatar: Post = self.session.avatar
            asked.clear()
            for send in (
                lambda what: self.session.mind.tell("take", what),
                lambda what: self.session.mind.ask("take", what),
                lambda what: self.realm.tell("take", what),
                lambda what: self.session.avatar.ask("take", what),
            ):
                send(Letter())
                self.wire.flush()
                self.assertEqual(self.client.taken.to, "alice")
                send(Window())
                self.wire.flush()
                self.assertEqual(self.successResultOf(self.wire.call(self.client.taken, "look")), "alice")
            self.session.mind.tell("take", avatar.board)
            self.wire.flush()
            self.assertEqual(self.client.taken.to, "alice")
            self.assertEqual(self.successResultOf(self.wire.call(self.reference, "board")).to, "alice")
            self.assertEqual({*asked}, {avatar}, factory)

    def test_queued(self) -> None:
        """So is a message that is sent later."""
        self.enter(ServerFactory)
        self.session.enqueue("take", (Letter(),), {}, None)
        self.session.flush()
        self.wire.flush()
        self.assertEqual(self.client.taken.to, "alice")

    def test_beforeTheLoginIsThrough(self) -> None:
        """And what `attached` sends."""
        self.patch(Post, "early", Letter())
        for factory in (ServerFactory, pb.PBServerFactory):
            self.enter(factory)
            self.assertEqual(self.client.taken.to, "alice")

    def test_objectsOfTheClient(self) -> None:
        """And what the server sends to other objects of the client, which the mind has answered with."""
        self.enter(ServerFactory)
        answer = self.session.mind.ask("lend")
        self.wire.flush()
        lent = self.successResultOf(answer)
        lent.callRemote("take", Letter())
        self.wire.flush()
        self.assertEqual(self.client.lent.taken.to, "alice")
