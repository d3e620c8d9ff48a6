"""
How a session's client is reached: what it is told, what waits for it, and what it says of itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pbkit.plain import checked
from pbkit.sessions.messaging.broadcast import Audience, Summary
from pbkit.sessions.messaging.hub import Hall
from pbkit.sessions.messaging.outbox import Backlog, Outbox

if TYPE_CHECKING:
    from pbkit.sessions.session import Session

#: What pbkit's own clients say in their hello, by the first word: by "program" one may take the place of its own dead
#: connection, so others must not learn it.
PRIVATE = frozenset({"pbkit", "program"})


class Reached:
    """
    What a `Session` has for telling its client.

    :ivar hall: what it has in common with the others of its realm; `telling`, its part for telling, stands here too.
    :ivar outbox: the `pbkit.sessions.messaging.outbox.Outbox` of what waits, or None while its client keeps up.
    :ivar topicNames: the names of the topics that it is in, or None.
    """

    __slots__ = ("_declared", "hall", "outbox", "telling", "topicNames")

    peer: Any
    endedWith: Any

    @property
    def _me(self) -> Session:
        return cast("Session", self)

    def _reachedBy(self, clock: IReactorTime | None, hall: Hall | None) -> None:
        self.hall = Hall(clock) if hall is None else hall
        self.telling = self.hall.telling
        self.outbox: Outbox | None = None
        self.topicNames: set[str] | None = None
        self._declared: dict[str, Any] | None = None

    def _unreached(self) -> list[Deferred[Any]]:
        """
        It has ended, and is in no topic any more.

        :return: those of calls that waited, and that nobody will send.
        """
        self.hall.left(self._me)
        calls = [] if self.outbox is None else self.outbox.close()
        self.outbox = None
        return calls

    @property
    def backlog(self) -> Backlog:
        """How far behind its client is; all of it zero for one that keeps up."""
        box = self.outbox
        return Backlog() if box is None else Backlog(box.messages, box.bytes, box.dropped)

    @property
    def ready(self) -> bool:
        """Whether what is told now goes to the wire at once: nothing waits, and there is room."""
        return self.outbox is None and (self.peer is None or self.peer.writable)

    def lag(self) -> Outbox:
        """The outbox; made if there is none, because the client does not keep up."""
        if self.outbox is None:
            self.outbox = Outbox(self._me)
        return self.outbox

    def tell(self, method: str, *args: Any, **kw: Any) -> Deferred[Summary]:
        """
        Tell its client, as `Realm.tell`. `Mind.tell` says at once what became of it.
        """
        return self.telling.tell(Audience((self._me,)), method, args, kw)

    def ask(self, method: str, *args: Any, **kw: Any) -> Deferred[dict[str, Any]]:
        """
        Ask its client, as `Realm.ask`. `Mind.ask` gives the answer itself.
        """
        return self.telling.ask(Audience((self._me,)), method, args, kw)

    @property
    def topics(self) -> tuple[str, ...]:
        """The names of the topics that it is in, sorted."""
        return tuple(sorted(self.topicNames or ()))

    @property
    def declared(self) -> dict[str, Any]:
        """
        What its client says of itself: in its hello, when it connected, and later by way of `declare`. A copy.
        """
        if self._declared is not None:
            return dict(self._declared)
        hello = {} if self.peer is None else self.peer.hello
        return {key: value for key, value in hello.items() if key.partition(".")[0] not in PRIVATE}

    def declare(self, declared: dict[str, Any]) -> None:
        """
        From now on that is what its client says of itself; who watches the realm's presence is told. For an avatar's
        method, say ``perspective_status``, that lets its client change it.

        :param declared: a small dict of str to plain values: at most 32, of at most 256 characters.
        :raises Error: it is something else; nothing changes.
        """
        self._declared = dict(checked(declared, "declare"))
        if self.endedWith is None:
            self.hall.declared(self._me)
