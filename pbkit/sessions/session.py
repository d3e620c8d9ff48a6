"""
`Session`: the perspective handed out. It ends once, from anywhere.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.spread import pb
from zope.interface import implementer

from pbkit.dispatch import dispatch, takesValues
from pbkit.errors import Kicked, SessionEnded
from pbkit.interfaces import ISession, current
from pbkit.plain import checked
from pbkit.sessions.broadcast import Audience, Summary
from pbkit.sessions.hall import Hall
from pbkit.sessions.mind import Mind, checkReference
from pbkit.sessions.outbox import Backlog, Outbox


@implementer(ISession)
class Session:
    """
    One login. The client's reference points at this, not at the avatar: when it ends, that reference is dead,
    though the avatar and the connection may live on.

    :ivar sessionId: a str, unique in this process and not to be guessed.
    :ivar avatarId: a str.
    :ivar avatar: what `perspective_*` calls reach.
    :ivar mind: a `Mind`; false if the client sent none.
    :ivar peer: the `IPeer` that it rides on, or None under a stock factory without a mind.
    :ivar clock: an `IReactorTime`, or None.
    :ivar startedAt: when it was made, in seconds of its clock.
    :ivar lastActive: when the client last called, in seconds of its clock. Pings do not count.
    :ivar data: a dict for the user's own; emptied when the session has ended and `detached` has run.
    :ivar hall: what it has in common with the others of its realm; `telling`, its part for telling, stands here too.
    :ivar outbox: the `pbkit.sessions.outbox.Outbox` of what waits, or None while its client keeps up.
    :ivar topicNames: the names of the topics that it is in, or None.
    :ivar endedWith: None while it lives, then the `SessionEnded` that says why it ended.
    """

    __slots__ = (
        "__weakref__",
        "_onEnd",
        "_seconds",
        "_declared",
        "avatar",
        "avatarId",
        "clock",
        "data",
        "endedWith",
        "hall",
        "lastActive",
        "mind",
        "outbox",
        "peer",
        "sessionId",
        "startedAt",
        "telling",
        "topicNames",
    )

    def __init__(
        self,
        avatarId: str,
        avatar: Any,
        mind: object,
        peer: Any,
        clock: IReactorTime | None,
        onEnd: Callable[[Session], None],
        hall: Hall | None = None,
    ) -> None:
        """
        For realms.

        :param mind: a RemoteReference or None.
        :param hall: the realm's; without one, one of its own.
        :param onEnd: called once, when this session has just been marked as ended.
        :raises BadMind: the mind is neither.
        """
        self.sessionId = secrets.token_hex(8)
        self.avatarId = avatarId
        self.avatar = avatar
        self.mind = Mind(self, checkReference(mind))
        self.peer = peer
        self.clock = clock
        self._seconds: Callable[[], float] = time.time if clock is None else clock.seconds
        self.startedAt = self.lastActive = self._seconds()
        self.data: dict[Any, Any] = {}
        self.endedWith: SessionEnded | None = None
        self._onEnd = onEnd
        self.hall = Hall(clock) if hall is None else hall
        self.telling = self.hall.telling
        self.outbox: Outbox | None = None
        self.topicNames: set[str] | None = None
        self._declared: dict[str, Any] | None = None

    def __repr__(self) -> str:
        state = "live" if self.endedWith is None else type(self.endedWith).__name__
        return f"<Session {self.sessionId} of {self.avatarId!r}, {state}>"

    @property
    def address(self) -> Any:
        """The other end's `IAddress`, or None where it is not known."""
        return None if self.peer is None else self.peer.address

    def end(self, reason: type[SessionEnded] = Kicked, detail: str = "") -> None:
        """
        End this session: from now on its reference answers with the error, and `detached` runs. Synchronous
        and idempotent: the first reason stays.

        :param reason: `SessionEnded` or a subclass: what the client's later calls raise.
        :param detail: a sentence for people, which the client is told too.
        :raises TypeError: the reason is not such a class.
        """
        if not (isinstance(reason, type) and issubclass(reason, SessionEnded)):
            raise TypeError(f"a session ends with a subclass of pbkit.errors.SessionEnded, not {reason!r}")
        if self.endedWith is None:
            self.endedWith = reason(detail)
            self.hall.left(self)
            calls = [] if self.outbox is None else self.outbox.close()
            self.outbox = None
            self._onEnd(self)
            for call in calls:
                if not call.called:
                    call.errback(self.endedWith.again())

    # What its client is told.

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
            self.outbox = Outbox(self)
        return self.outbox

    def tell(self, method: str, *args: Any, **kw: Any) -> Deferred[Summary]:
        """
        Tell its client, as `Realm.tell`. `Mind.tell` says at once what became of it.
        """
        return self.telling.tell(Audience((self,)), method, args, kw)

    def ask(self, method: str, *args: Any, **kw: Any) -> Deferred[dict[str, Any]]:
        """
        Ask its client, as `Realm.ask`. `Mind.ask` gives the answer itself.
        """
        return self.telling.ask(Audience((self,)), method, args, kw)

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
        # The first word of each feature that pbkit's own peers declare of themselves.
        return {key: value for key, value in hello.items() if key.partition(".")[0] != "pbkit"}

    def declare(self, declared: dict[str, Any]) -> None:
        """
        From now on that is what its client says of itself; who watches the realm's presence is told. For an avatar's
        method, say ``perspective_status``, that lets its client change it.

        :param declared: a small dict of str to plain values: at most 32, of at most 256 characters.
        :raises Error: it is something else; nothing changes.
        """
        self._declared = dict(checked(declared, "declare"))
        if self.endedWith is None:
            self.hall.declared(self)

    def called(self) -> None:
        """`ISession`: the client has called."""
        self.lastActive = self._seconds()

    def perspectiveMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        """
        `pb.IPerspective`: serve one call of the client's.

        :raises SessionEnded: this session has ended; nothing is executed.
        """
        if self.endedWith is not None:
            raise self.endedWith.again()
        if current.get() is self:
            return self._serve(broker, message, args, kw)
        # Under a stock factory no channel has said whose call this is.
        self.called()
        before = current.set(self)
        try:
            return self._serve(broker, message, args, kw)
        finally:
            current.reset(before)

    def _serve(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        # Stock's own method logs the arguments of a call that does not fit. Whoever overrides it means it.
        own = getattr(type(self.avatar), "perspectiveMessageReceived", None)
        if own is pb.Avatar.perspectiveMessageReceived:
            return dispatch(self.avatar, f"perspective_{message}", broker, args, kw, self.avatar)
        if type(args) is tuple and not takesValues(own):
            args, kw = broker.inJelly()
        return self.avatar.perspectiveMessageReceived(broker, message, args, kw)

    perspectiveMessageReceived.takesValues = True  # type: ignore[attr-defined]
