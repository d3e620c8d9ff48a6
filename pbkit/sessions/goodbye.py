"""
How the server takes its leave of a client.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from pbkit.errors import SessionEnded

if TYPE_CHECKING:
    from pbkit.sessions.session import Session

#: How long a client has to answer a goodbye, in seconds. Two: a round trip to the other side of the earth takes 0.3.
GRACE = 2.0
#: After so long, in seconds, a connection that is being closed is cut off: a client that reads nothing would keep it.
ABORT = 5.0

#: The values of a realm's `goodbye`: who is told.
ALWAYS, DECLARED, NEVER = "always", "declared", "never"
MODES = (ALWAYS, DECLARED, NEVER)

log = Logger()


class Goodbye:
    """
    One session's way out: told once, ended once, and its connection closed if nobody else rides on it.

    :param session: whose it is.
    :param mode: one of `MODES`.
    """

    __slots__ = ("_kicked", "_mode", "_out", "_said", "_session", "_waiters")

    def __init__(self, session: Session, mode: str) -> None:
        self._session = session
        self._mode = mode
        self._said: Deferred[None] | None = None
        self._waiters: Sequence[Deferred[None]] = ()
        self._kicked = False
        # It is made when it is first needed, which may be when all is over.
        self._out = session.endedWith is not None

    def kick(self, reason: type[SessionEnded], detail: str, grace: float = GRACE, close: bool = True) -> Deferred[None]:
        """
        As `Session.kick`.

        :param close: whether the connection is closed if nobody else rides on it.
        """
        session = self._session
        session.checkReason(reason, detail)
        if session.endedWith is None:
            # Before it ends: somebody's hook may kick it again, and waits as all do.
            self._kicked = True
            session.end(reason, detail)
            leaving = Deferred.fromCoroutine(self._leave(reason, detail, grace, close))
            leaving.addErrback(lambda failure: log.failure("taking leave of a client broke", failure))
            leaving.addCallback(self._done)
        return self._whenOut()

    def drain(self, reason: type[SessionEnded], detail: str) -> Deferred[None]:
        """
        Kick it once no call of its client's is being served, and tell it now that no more will be.

        :return: as `Session.kick`.
        """
        session = self._session
        if session.endedWith is None and session.channel is not None:
            if session.peer is not None:
                self.say(reason, detail, GRACE)
            session.channel.drain(reason(detail), lambda: self.kick(reason, detail, GRACE))
            return self._whenOut()
        return self.kick(reason, detail, GRACE)

    @property
    def told(self) -> bool:
        """Whether a client of `pbkit.connect` knows from a goodbye why the session ended."""
        return self._kicked and self._mode != NEVER

    def ended(self) -> None:
        """The session has ended; if it was not kicked, that is all."""
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
        Tell the client, if that has not been done yet and it is one that is to be told; the session lives on.

        :return: a Deferred that fires when it has answered, or the time is up.
        """
        if self._said is None:
            # This one first: what follows may call back here.
            self._said = Deferred()
            self._tell(reason, detail, grace).addBoth(lambda _: self._enough())
        copy: Deferred[None] = Deferred()
        self._said.addCallback(lambda _: copy.callback(None))
        return copy

    def cut(self, reason: type[SessionEnded], detail: str, seconds: float) -> None:
        """
        Kick it if that has not been done yet, and wait for nothing more.

        :param seconds: what is left for a connection to close in good order.
        """
        self.kick(reason, detail, 0.0)
        self._enough()
        peer = self._session.peer
        if peer is not None and peer.closing:
            peer.close(seconds)

    def _tell(self, reason: type[SessionEnded], detail: str, grace: float) -> Deferred[bool]:
        session = self._session
        peer = session.peer
        assert peer is not None
        if not session.begun:
            # Its login is refused, which says it. What this waits for comes after that refusal.
            asked: Deferred[bool] = peer.ping(grace) if session.clock is not None else succeed(False)
            return asked
        if self._mode == NEVER or (self._mode == DECLARED and peer.hello.get("goodbye") is not True):
            return succeed(False)
        told: Deferred[bool] = peer.goodbye(session.mind.reference, reason.__name__, detail, grace)
        return told

    def _enough(self) -> None:
        if self._said is not None and not self._said.called:
            self._said.callback(None)

    async def _leave(self, reason: type[SessionEnded], detail: str, grace: float, close: bool) -> None:
        peer = self._session.peer
        if peer is None:
            return
        # Who is told goodbye on the same connection has the time for it, too.
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
