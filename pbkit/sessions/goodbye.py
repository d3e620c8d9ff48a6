"""
How the server says goodbye to a client.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pbkit.errors import SessionEnded
from pbkit.plain import sendable

if TYPE_CHECKING:
    from twisted.spread import pb

    from pbkit.interfaces import IChannel, IPeer

#: Seconds a client has to answer a goodbye. A round trip to the other side of the earth takes 0.3.
GRACE = 2.0
#: Seconds after which a closing connection is aborted. Otherwise a client that reads nothing would keep it open.
ABORT = 5.0

#: The values of a realm's `goodbye`: which clients are told.
ALWAYS, DECLARED, NEVER = "always", "declared", "never"
MODES = (ALWAYS, DECLARED, NEVER)

log = Logger()


class _HasReference(Protocol):
    """A mind."""

    @property
    def reference(self) -> pb.RemoteReference | None: ...


class Leaving(Protocol):
    """What `Goodbye` needs of a session."""

    @property
    def endedWith(self) -> SessionEnded | None: ...
    @property
    def begun(self) -> bool: ...
    @property
    def clock(self) -> IReactorTime | None: ...
    @property
    def peer(self) -> IPeer | None: ...
    @property
    def channel(self) -> IChannel | None: ...
    @property
    def mind(self) -> _HasReference: ...

    def sendPending(self) -> None:
        """As `Session.sendPending`."""

    def end(self, reason: type[SessionEnded], detail: str = "") -> None:
        """As `Session.end`."""


class Goodbye:
    """
    The end of one session that the server kicks: the session ends, the client is told once, and the connection is
    closed if no other session uses it.

    :param session: the session.
    :param mode: one of `MODES`.
    """

    __slots__ = ("_kicked", "_mode", "_out", "_said", "_session", "_waiters")

    def __init__(self, session: Leaving, mode: str) -> None:
        self._session = session
        self._mode = mode
        self._said: Deferred[None] | None = None
        self._waiters: Sequence[Deferred[None]] = ()
        self._kicked = False
        # The object is made at first use, which may be after the end.
        self._out = session.endedWith is not None

    def kick(self, reason: type[SessionEnded], detail: str, grace: float = GRACE, close: bool = True) -> Deferred[None]:
        """
        As `Session.kick`.

        :param close: whether to close the connection if no other session uses it.
        """
        session = self._session
        checkReason(reason, detail)
        if session.endedWith is None:
            # Set this before the session ends: a hook may kick it again, and then waits for the same goodbye.
            self._kicked = True
            session.end(reason, detail)
            leaving = Deferred.fromCoroutine(self._leave(reason, detail, grace, close))
            leaving.addErrback(lambda failure: log.failure("saying goodbye to a client failed", failure))
            leaving.addCallback(self._done)
        return self._whenOut()

    def drain(self, reason: type[SessionEnded], detail: str) -> Deferred[None]:
        """
        Say goodbye now, and kick the session once no call of its client is being served.

        :return: as `Session.kick`.
        """
        session = self._session
        if session.endedWith is None and session.channel is not None:
            if session.peer is not None:
                # What the client was told before arrives before the goodbye.
                session.sendPending()
                self.say(reason, detail, GRACE)
            session.channel.drain(reason(sendable(detail)), lambda: self.kick(reason, detail, GRACE))
            return self._whenOut()
        return self.kick(reason, detail, GRACE)

    @property
    def told(self) -> bool:
        """Whether a client of `pbkit.connect` knows from a goodbye why the session ended."""
        return self._kicked and self._mode != NEVER

    def ended(self) -> None:
        """Note that the session has ended. If it was not kicked there is nothing to wait for."""
        if not self._kicked:
            self._done()

    def _whenOut(self) -> Deferred[None]:
        waiter: Deferred[None] = Deferred()
        if self._out:
            waiter.callback(None)
        else:
            self._waiters = [*self._waiters, waiter]
        return waiter

    def say(self, reason: type[SessionEnded], detail: str, grace: float) -> Deferred[None]:
        """
        Tell the client goodbye, unless it was told already or the realm's mode excludes it. The session lives on.

        :return: a Deferred that fires when the client has answered or its time is up.
        """
        if self._said is None:
            # Assign this first: what follows may call this method again.
            self._said = Deferred()
            self._tell(reason, detail, grace).addBoth(lambda _: self._stopWaiting())
        copy: Deferred[None] = Deferred()
        self._said.addCallback(lambda _: copy.callback(None))
        return copy

    def cut(self, reason: type[SessionEnded], detail: str, seconds: float) -> None:
        """
        Kick the session if that was not done yet, and wait for no answer.

        :param seconds: how long the connection may still take to close in good order.
        """
        self.kick(reason, detail, 0.0)
        self._stopWaiting()
        peer = self._session.peer
        if peer is not None and peer.closing:
            peer.close(seconds)

    def _tell(self, reason: type[SessionEnded], detail: str, grace: float) -> Deferred[bool]:
        session = self._session
        peer = session.peer
        assert peer is not None
        if not session.begun:
            # The login is refused, which tells the client. The answer to this ping comes after the refusal was read.
            asked: Deferred[bool] = peer.ping(grace) if session.clock is not None else succeed(False)
            return asked
        if self._mode == NEVER or (self._mode == DECLARED and peer.hello.get("goodbye") is not True):
            return succeed(False)
        # The detail is often a user's text, and must not lose the goodbye.
        told: Deferred[bool] = peer.goodbye(session.mind.reference, reason.__name__, sendable(detail), grace)
        return told

    def _stopWaiting(self) -> None:
        if self._said is not None and not self._said.called:
            self._said.callback(None)

    async def _leave(self, reason: type[SessionEnded], detail: str, grace: float, close: bool) -> None:
        peer = self._session.peer
        if peer is None:
            return
        # Count as a session of the connection until the goodbye is answered: several sessions of one connection that
        # are kicked together each get their time.
        stop = peer.board()
        try:
            await self.say(reason, detail, grace)
        finally:
            stop()
        if close and peer.alive and not peer.riders:
            await peer.close(ABORT)

    def _done(self, _: object = None) -> None:
        self._out = True
        waiters, self._waiters = self._waiters, ()
        for waiter in waiters:
            if not waiter.called:
                waiter.callback(None)


def checkReason(reason: object, detail: object) -> None:
    """
    Check what a session is to end with.

    :raises TypeError: the reason is not a subclass of `SessionEnded`, or the detail is not a str.
    """
    if not (isinstance(reason, type) and issubclass(reason, SessionEnded)):
        raise TypeError(f"invalid reason {reason!r}: expected a subclass of pbkit.errors.SessionEnded")
    if not isinstance(detail, str):
        raise TypeError(f"invalid detail {detail!r}: expected a str, a sentence for people")
