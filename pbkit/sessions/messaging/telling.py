"""
Messages to many clients that do not block the reactor.

Everything that the sessions of a realm are told together goes through the realm's one `Telling`. A small audience is
told at once. Of a large one, as many sessions are told as fit into 5 ms, and the others in later turns of the reactor.
Order is kept per client: pending broadcasts are sent to it before any other message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pbkit.errors import CallDropped
from pbkit.interfaces import ICast
from pbkit.plain import weighed
from pbkit.sessions.messaging.broadcast import Audience, Broadcast, excepted
from pbkit.sessions.messaging.delivery import Answers, Args, Kw, Summary, Told
from pbkit.sessions.messaging.gather import Gathering
from pbkit.sessions.messaging.mind import CALL_TIMEOUT
from pbkit.sessions.messaging.slowpolicy import Policy

if TYPE_CHECKING:
    from pbkit.sessions.messaging.recipient import Recipient

#: Seconds of work in one turn of the reactor. With the last group of the turn this is at most 5 ms.
SLICE = 0.004
#: How many broadcasts may be pending, and their total size in bytes. Beyond that a broadcast is dropped, and its
#: `Summary` says so.
WAITING, WEIGHT = 10_000, 64 * 1024 * 1024


class Telling:
    """
    What a realm tells its clients, in order.

    :param clock: returns the realm's clock, or None: then all clients are told at once.
    :ivar slow: the `pbkit.sessions.messaging.slowpolicy` policy for slow consumers.
    """

    def __init__(self, clock: Callable[[], IReactorTime | None], slow: Policy | None = None) -> None:
        self._clock = clock
        self.slow = slow
        self._queue: deque[Broadcast] = deque()
        self._timer: IDelayedCall | None = None
        self._running = False
        self._waiting = 0
        self._until = -inf

    @property
    def busy(self) -> bool:
        """Whether broadcasts are pending."""
        return bool(self._queue)

    def catchUp(self, session: Recipient) -> None:
        """Send all pending broadcasts to one session now."""
        for broadcast in tuple(self._queue):
            broadcast.tellAhead(session)

    def drop(self, session: Recipient) -> int:
        """
        Drop all pending broadcasts for one session, which has ended.

        :return: how many.
        """
        return sum(broadcast.dropFor(session) for broadcast in self._queue)

    def tell(
        self,
        audience: Audience,
        method: str,
        args: Args,
        kw: Kw,
        *,
        still: Callable[[Recipient], bool] | None = None,
    ) -> Deferred[Summary]:
        """
        Tell some sessions. ``except_=`` and ``pbslow=`` are taken out of `kw`.

        :param still: called when it is a session's turn: whether it is still to be told.
        :return: a Deferred of a `Summary` that fires when all sessions have had their turn. It fails if the arguments
            cannot be sent.
        """
        without = excepted(kw.pop("except_", ()))
        policy: Policy | None = kw.pop("pbslow", None)
        message: list[Any] = [args, kw]
        casts: list[ICast] = []

        def deliver(session: Recipient) -> Told:
            return session.mind.put(method, message[0], message[1], policy)

        def together(sessions: list[Recipient]) -> list[Told]:
            # The message is encoded once, for all sessions and for those of later turns.
            if not casts:
                peer = sessions[0].peer
                assert peer is not None
                casts.append(peer.fanOut(method, message[0], message[1]))
            to = casts[0].to
            # They are ready and have a mind, so the reference is not None.
            return [Told.SENT if to(session.mind.reference) else Told.GONE for session in sessions]  # type: ignore[arg-type]

        broadcast = Broadcast(audience, deliver, without, still, together)
        self._start(broadcast, message)
        return broadcast.done

    def ask(
        self,
        audience: Audience,
        method: str,
        args: Args,
        kw: Kw,
        *,
        still: Callable[[Recipient], bool] | None = None,
    ) -> Deferred[Answers]:
        """
        Ask some sessions. ``except_=``, ``pbslow=`` and ``pbtimeout=`` are taken out of `kw`.

        :return: a Deferred of a dict, by session id, with the answer of each, or a `Failure`. It always fires with
            that, within the deadline, which is one for all sessions and begins now.
        """
        without = excepted(kw.pop("except_", ()))
        policy: Policy | None = kw.pop("pbslow", None)
        timeout: float | None = kw.pop("pbtimeout", CALL_TIMEOUT)
        gathering = Gathering([session for session in audience.sessions if session not in without])
        message: list[Any] = [args, kw]

        def deliver(session: Recipient) -> Told:
            gathering.ask(session, session.mind.putCall(method, message[0], message[1], policy))
            return Told.SENT

        broadcast = Broadcast(audience, deliver, without, still)
        broadcast.done.addCallback(lambda summary: gathering.allAsked(CallDropped if summary.dropped else None))
        clock = self._clock()
        if clock is not None and timeout is not None:
            gathering.within(max(0.0, timeout), clock)
        self._start(broadcast, message)
        return gathering.done

    def each(
        self,
        audience: Audience,
        deliver: Callable[[Recipient], Told],
        together: Callable[[list[Recipient]], list[Told]] | None = None,
    ) -> Deferred[Summary]:
        """
        Call `deliver` for each of some sessions when it is its turn.

        :param deliver: sends something to one session, and returns what became of it.
        :param together: the same for several sessions that are ready.
        """
        broadcast = Broadcast(audience, deliver, frozenset(), None, together)
        self._start(broadcast, [])
        return broadcast.done

    def _start(self, broadcast: Broadcast, message: list[Any]) -> None:
        if len(self._queue) >= WAITING or self._waiting > WEIGHT:
            broadcast.dropRest()
            broadcast.done.callback(broadcast.summary)
            return
        self._queue.append(broadcast)
        if len(self._queue) == 1 and not self._running:
            clock = self._clock()
            now = 0.0 if clock is None else clock.seconds()
            # Several broadcasts of one turn have 5 ms together: they share the slice that the first one began.
            if now >= self._until + SLICE:
                self._until = now + SLICE
            self._run(clock)
        if message and not broadcast.done.called:
            # Copy the arguments: a later change of the caller's objects must not be sent.
            message[:], broadcast.size = weighed(tuple(message))
            self._waiting += broadcast.size

    def _turn(self) -> None:
        self._timer = None
        clock = self._clock()
        assert clock is not None
        self._until = clock.seconds() + SLICE
        self._run(clock, atLeastOne=True)

    def _run(self, clock: IReactorTime | None, atLeastOne: bool = False) -> None:
        self._running = True
        try:
            while self._queue and (atLeastOne or clock is None or clock.seconds() < self._until):
                atLeastOne = False
                broadcast = self._queue[0]
                if not broadcast.over:
                    broadcast.step()
                if broadcast.over:
                    self._queue.popleft()
                    self._waiting -= broadcast.size
                    broadcast.done.callback(broadcast.error or broadcast.summary)
        finally:
            self._running = False
        if self._queue and clock is not None and self._timer is None:
            self._timer = clock.callLater(0, self._turn)
