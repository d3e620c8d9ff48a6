"""
What the tests of the wire send: objects of each kind that PB knows, and an avatar that returns them.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import MultiClientRealm, currentSession
from tests.support import Client, Recorder, Wire, serve


def who() -> str | None:
    """Return the id of the current session."""
    session = currentSession()
    return None if session is None else str(session.sessionId)


class Deep(pb.Referenceable):
    """
    An object that returns others, and records what is executed.

    :ivar done: what was executed, on all objects that share it.
    """

    def __init__(self, done: list[Any]) -> None:
        self.done = done

    def remote_note(self, what: Any) -> str | None:
        """Write it down; answer with the current session's id."""
        self.done.append(what)
        return who()

    def remote_deeper(self) -> Deep:
        """Another one."""
        return Deep(self.done)

    def remote_self(self) -> Deep:
        """This one."""
        return self

    def remote_seen(self) -> Seen:
        """One with a view."""
        return Seen(self.done)

    async def remote_later(self, d: Any = None) -> tuple[str | None, str | None]:
        """The current session's id before and after an await."""
        before = who()
        waiting: Deferred[Any] = Deferred()
        self.done.append(waiting)
        await waiting
        return before, who()


class Seen(pb.Viewable):
    """Seen through an avatar."""

    def __init__(self, done: list[Any]) -> None:
        self.done = done

    def view_note(self, avatar: Guide, what: Any) -> tuple[str, str | None]:
        """Write it down; answer with who sees, and the current session's id."""
        self.done.append(what)
        return avatar.avatarId, who()

    def view_deeper(self, avatar: Guide) -> Seen:
        """Another one."""
        return Seen(self.done)

    def view_deep(self, avatar: Guide) -> Deep:
        """One without a view."""
        return Deep(self.done)


class Board(pb.Cacheable):
    """A Cacheable that updates its copies."""

    def __init__(self) -> None:
        self.observers: list[Any] = []
        self.stopped: list[Any] = []

    def getStateToCacheAndObserveFor(self, perspective: Any, observer: Any) -> dict[str, Any]:
        """Return what one user sees."""
        self.observers.append(observer)
        return {"seenBy": getattr(perspective, "avatarId", None), "changes": []}

    def stoppedObserving(self, perspective: Any, observer: Any) -> None:
        """One copy less."""
        self.stopped.append(perspective)
        self.observers.remove(observer)

    def change(self, what: Any) -> list[Any]:
        """Tell all copies."""
        return [observer.callRemote("change", what) for observer in list(self.observers)]


class BoardCopy(pb.RemoteCache):
    """A copy of a `Board`."""

    changes: list[Any]
    seenBy: str | None

    def observe_change(self, what: Any) -> str | None:
        """Write it down."""
        self.changes.append(what)
        return who()


pb.setUnjellyableForClass(Board, BoardCopy)


class Shy(pb.Copyable):
    """Cannot be copied."""

    def getStateToCopy(self) -> Any:
        """No."""
        raise ValueError("not to be copied")


class Guide(Recorder):
    """An avatar that returns objects; `done` is what was executed."""

    def __init__(self, avatarId: str) -> None:
        super().__init__(avatarId)
        self.done: list[Any] = []
        self.deep = Deep(self.done)
        self.board = Board()
        self.taken: list[Any] = []
        self.result: Any = None

    def perspective_note(self, what: Any = None) -> str | None:
        """Write it down; answer with the current session's id."""
        self.done.append(what)
        return who()

    def perspective_deep(self) -> Deep:
        """The same one each time."""
        return self.deep

    def perspective_seen(self) -> Seen:
        """One with a view."""
        return Seen(self.done)

    def perspective_board(self) -> Board:
        """The board."""
        return self.board

    def perspective_take(self, *things: Any, **named: Any) -> int:
        """Keep them."""
        self.taken.extend([*things, *named.values()])
        return len(self.taken)

    def perspective_drop(self, *things: Any) -> None:
        """Look at them and let go."""

    def perspective_give(self) -> Any:
        """Return what a test has stored."""
        return self.result() if callable(self.result) else self.result

    def perspective_quit(self) -> Any:
        """End the session that this call came in, and answer with a reference."""
        currentSession().end()
        return self.deep

    async def perspective_later(self) -> tuple[str | None, str | None]:
        """The current session's id before and after an await."""
        before = who()
        waiting: Deferred[Any] = Deferred()
        self.waiting.append(waiting)
        await waiting
        return before, who()


class Sharing(Guide):
    """A guide that shares its objects with all others of one realm."""

    common: dict[str, Any]

    def __init__(self, avatarId: str) -> None:
        super().__init__(avatarId)
        self.done = self.common["done"]
        self.deep = self.common["deep"]
        self.board = self.common["board"]


class Messages:
    """
    Records what a broker receives, and passes it on.

    :param broker: the broker.
    :param answers: whether answers and errors are passed on: stock gives up on one that it did not ask for.
    :ivar all: (command, first argument) of each message, in order.
    """

    def __init__(self, broker: Any, answers: bool = True) -> None:
        self.all: list[tuple[bytes, Any]] = []
        receive = broker.expressionReceived

        def received(expression: Any) -> None:
            self.all.append((expression[0], expression[1]))
            if answers or expression[0] not in (b"answer", b"error"):
                receive(expression)

        broker.expressionReceived = received

    def count(self, command: bytes, first: Any) -> int:
        """Return how many there were of one."""
        return self.all.count((command, first))


class WireCase(SynchronousTestCase):
    """
    A server whose users share a board and an object; `wire` is a connection on which alice and bob can log in.
    """

    def setUp(self) -> None:
        """A realm, a server, a connection."""
        self.clock = Clock()
        done: list[Any] = []
        self.done = done
        self.board = Board()
        common = {"done": done, "deep": Deep(done), "board": self.board}
        avatarClass = type("Guide", (Sharing,), {"common": common})
        self.realm = MultiClientRealm(avatarClass, clock=self.clock)
        self.server = serve(self.realm, clock=self.clock)
        self.wire = Wire(self.server)

    def login(self, name: str = "alice", wire: Wire | None = None, mind: Any = None) -> Any:
        """Log in; return a reference to the avatar, and its session."""
        avatar = self.successResultOf((wire or self.wire).login(name, mind))
        return avatar, self.realm.roster.ofAvatar(name)[-1]

    def get(self, reference: Any, method: str, *args: Any, wire: Wire | None = None) -> Any:
        """Return the answer to a call."""
        return self.successResultOf((wire or self.wire).call(reference, method, *args))

    def error(self, reference: Any, method: str, *args: Any, wire: Wire | None = None) -> Any:
        """Return the failure of a call."""
        return self.failureResultOf((wire or self.wire).call(reference, method, *args))

    def assertEnded(self, reference: Any, reason: type[Exception], wire: Wire | None = None) -> None:
        """Assert that a call fails with this reason and executes nothing."""
        before = list(self.done)
        failure = self.error(reference, "note", "too late", wire=wire)
        self.assertEqual(failure.type, f"{reason.__module__}.{reason.__name__}".encode())
        self.assertTrue(failure.check(reason))
        self.assertEqual(self.done, before)

    def assertLive(self, reference: Any, wire: Wire | None = None) -> None:
        """Assert that a call is executed."""
        self.get(reference, "note", "in time", wire=wire)
        self.assertEqual(self.done.pop(), "in time")

    def assertEmpty(self, broker: Any) -> None:
        """Assert that nothing but the login root is left in a broker's tables."""
        self.assertEqual(set(broker.localObjects) - {b"root"}, set())
        for table in ("owners", "callers", "cachers", "_channels", "_tombstones"):
            self.assertEqual(getattr(broker, table), {}, table)
        for table in ("luids", "remotelyCachedObjects", "remotelyCachedLUIDs", "locallyCachedObjects"):
            self.assertEqual(getattr(broker, table), {}, table)
        self.assertEqual(broker.waitingForAnswers, {})


__all__ = [
    "Board",
    "BoardCopy",
    "Client",
    "Deep",
    "Guide",
    "Messages",
    "Seen",
    "Sharing",
    "Shy",
    "WireCase",
    "who",
]
