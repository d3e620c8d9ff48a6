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
from zope.interface import implementer

from pbkit.dispatch import serve, takesValues
from pbkit.errors import Kicked, SessionEnded
from pbkit.interfaces import ISession, current
from pbkit.sessions.goodbye import ALWAYS, GRACE, Goodbye
from pbkit.sessions.messaging.hub import Hall
from pbkit.sessions.messaging.mind import Mind, checkReference
from pbkit.sessions.reached import Reached
from pbkit.sessions.running import Running
from pbkit.sessions.stocklogin import StockChannel


@implementer(ISession)
class Session(Reached):
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
    :ivar endedWith: None while it lives, then the `SessionEnded` that says why it ended.
    :ivar begun: whether its login has succeeded.
    :ivar channel: the `IChannel` of its own.
    :ivar goodbye: for realms, how it is left.
    :ivar running: for realms, calls that are cancelled when it ends.
    """

    __slots__ = (
        "__weakref__",
        "_data",
        "_goodbye",
        "_goodbyes",
        "_onEnd",
        "_running",
        "avatar",
        "avatarId",
        "begun",
        "channel",
        "clock",
        "endedWith",
        "lastActive",
        "mind",
        "peer",
        "sessionId",
        "startedAt",
    )

    def __init__(
        self,
        avatarId: str,
        avatar: Any,
        mind: object,
        peer: Any,
        clock: IReactorTime | None,
        onEnd: Callable[[Session], None],
        goodbye: str = ALWAYS,
        channel: Any = None,
        hall: Hall | None = None,
    ) -> None:
        """
        For realms.

        :param mind: a RemoteReference or None.
        :param hall: the realm's; without one, one of its own.
        :param onEnd: called once, when this session has just been marked as ended.
        :param goodbye: which clients are told why their session ends, see `Realm`.
        :param channel: the `IChannel` of this session; or None for one that no connection leads to.
        :raises BadMind: the mind is neither.
        """
        self.sessionId = secrets.token_hex(8)
        self.avatarId = avatarId
        self.avatar = avatar
        self.mind = Mind(self, checkReference(mind))
        self.peer = peer
        self.clock = clock
        self.startedAt = self.lastActive = self._seconds()
        self._data: dict[Any, Any] | None = None
        self.endedWith: SessionEnded | None = None
        self.begun = False
        self._onEnd = onEnd
        self._goodbyes = goodbye
        self._goodbye: Goodbye | None = None
        self._running: Running | None = None
        self.channel = channel
        self._reachedBy(clock, hall)

    def __repr__(self) -> str:
        state = "live" if self.endedWith is None else type(self.endedWith).__name__
        return f"<Session {self.sessionId} of {self.avatarId!r}, {state}>"

    # Most sessions need none of these while they live.

    @property
    def data(self) -> dict[Any, Any]:
        """A dict for the user's own."""
        if self._data is None:
            self._data = {}
        return self._data

    @property
    def goodbye(self) -> Goodbye:
        """How it is left."""
        if self._goodbye is None:
            self._goodbye = Goodbye(self, self._goodbyes)
        return self._goodbye

    @property
    def running(self) -> Running:
        """Calls that are cancelled when it ends."""
        if self._running is None:
            self._running = Running(self)
        return self._running

    @property
    def address(self) -> Any:
        """The other end's `IAddress`, or None where it is not known."""
        return None if self.peer is None else self.peer.address

    def end(self, reason: type[SessionEnded] = Kicked, detail: str = "") -> None:
        """
        End this session: from now on its reference answers with the error, and `detached` runs. Synchronous
        and idempotent: the first reason stays. The client is not told before it calls, and its connection stays.

        :param reason: `SessionEnded` or a subclass: what the client's later calls raise.
        :param detail: a sentence for people, which the client is told too.
        :raises TypeError: the reason is not such a class, or the detail is not a str.
        """
        self.checkReason(reason, detail)
        if self.endedWith is None:
            self.endedWith = reason(detail)
            calls = self._unreached()
            self._onEnd(self)
            for call in calls:
                if not call.called:
                    call.errback(self.endedWith.again())
            if self._goodbye is not None:
                self._goodbye.ended()

    def kick(self, reason: type[SessionEnded] = Kicked, detail: str = "", *, grace: float = GRACE) -> Deferred[None]:
        """
        End this session, tell the client, and close the connection.

        It ends at once, as by `end`. Then the mind is told ``goodbye(reason, detail)``, with the name of the class.
        Then, if no other session and no pending login rides on the connection, that is closed once all is sent, and cut
        off if it is still open 5 s later. A login that is not through yet is refused, which is its goodbye.

        :param reason: `SessionEnded` or a subclass: what the client's later calls raise.
        :param detail: a sentence for people, which the client is told too.
        :param grace: how long the client has to answer, in seconds.
        :return: a Deferred that fires, with None, when the client is out: its connection is gone, or, with others
            riding on that, it has answered or its time is up. Never fails. Kicking again waits for the same; the first
            reason stays. For a session that has ended otherwise it has fired already.
        :raises TypeError: the reason is not such a class, or the detail is not a str.
        """
        return self.goodbye.kick(reason, detail, grace)

    @property
    def busy(self) -> bool:
        """Whether a call of the client's is being served; under a stock factory, one on the session itself."""
        return self.channel is not None and self.channel.busy

    def cancelRunning(self) -> None:
        """For realms: it has ended, and the callers have been told."""
        if self._running is not None:
            self._running.cancel()

    def forget(self) -> None:
        """For realms: it has ended, and the avatar has been told."""
        if self._data is not None:
            self._data.clear()

    def cancelAtEnd(self, running: Deferred[Any]) -> Deferred[Any]:
        """`ISession`: cancel a call that is being served when this session ends."""
        return self.running.add(running)

    @staticmethod
    def checkReason(reason: object, detail: object) -> None:
        """
        :raises TypeError: a session cannot end with these.
        """
        if not (isinstance(reason, type) and issubclass(reason, SessionEnded)):
            raise TypeError(f"a session ends with a subclass of pbkit.errors.SessionEnded, not {reason!r}")
        if not isinstance(detail, str):
            raise TypeError(f"the detail is a str, a sentence for people, not {detail!r}")

    def _seconds(self) -> float:
        return time.time() if self.clock is None else self.clock.seconds()

    def called(self) -> None:
        """`ISession`: the client has called."""
        clock = self.clock
        self.lastActive = time.time() if clock is None else clock.seconds()

    @takesValues
    def perspectiveMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        """
        `pb.IPerspective`: serve one call of the client's.

        :raises SessionEnded: this session has ended; nothing is executed.
        """
        if self.endedWith is not None:
            raise self.endedWith.again()
        if current.get() is self:
            return serve(self.avatar, broker, message, args, kw)
        # Under a stock factory no channel has said whose call this is.
        self.called()
        before = current.set(self)
        try:
            if isinstance(self.channel, StockChannel):
                return self.channel.serving(lambda: serve(self.avatar, broker, message, args, kw))
            return serve(self.avatar, broker, message, args, kw)
        finally:
            current.reset(before)
