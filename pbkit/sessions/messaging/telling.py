"""
Telling many clients the same thing, without holding the reactor.

All that the sessions of a realm are told together goes through its one `Telling`. Small audiences are told at once; of
a large one as many as fit into 5 ms, and the others in later turns of the reactor. Whoever of those is told something
else meanwhile gets what is due to him first: each client's order is that of telling.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pbkit.errors import CallDropped
from pbkit.plain import weighed
from pbkit.sessions.messaging.broadcast import Audience, Broadcast, Summary, excepted
from pbkit.sessions.messaging.gather import Asking
from pbkit.sessions.messaging.mind import CALL_TIMEOUT
from pbkit.sessions.messaging.outbox import Told
from pbkit.sessions.messaging.slowpolicy import Policy

if TYPE_CHECKING:
    from pbkit.sessions.session import Session

#: How long it goes on at a time, in seconds: with the last few of a turn it is 5 ms at most.
SLICE = 0.004
#: How many broadcasts may wait for their turn, and how much, in bytes. Who tells more than can be told has the rest
#: dropped, and is told so.
WAITING, WEIGHT = 10_000, 64 * 1024 * 1024


class Telling:
    """
    What a realm tells its clients, in order.

    :param clock: gives the realm's clock, or None: then everybody is told at once.
    :ivar slow: the `pbkit.sessions.messaging.slowpolicy` policy for whoever does not keep up.
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
        """Whether some are still to be told something."""
        return bool(self._queue)

    def catchUp(self, session: Session) -> None:
        """Tell a session all that is due to it, now, because something else is to follow."""
        for broadcast in tuple(self._queue):
            broadcast.tellAhead(session)

    def tell(
        self,
        audience: Audience,
        method: str,
        args: tuple[Any, ...],
        kw: dict[str, Any],
        *,
        still: Callable[[Session], bool] | None = None,
    ) -> Deferred[Summary]:
        """
        Tell some sessions. ``except_=`` and ``pbslow=`` are taken out of `kw`.

        :param still: whether one is still to be told when it is its turn.
        :return: a Deferred of what became of it, once all have had their turn. It fails with what is wrong with the
            arguments, if they cannot be sent.
        """
        without = excepted(kw.pop("except_", ()))
        policy = kw.pop("pbslow", None)
        told: list[Any] = [args, kw]

        def deliver(session: Session) -> Told:
            return session.mind.put(method, told[0], told[1], policy)

        casts: list[Any] = []

        def together(sessions: list[Session]) -> list[Told]:
            # Encoded once, for all of them and for those of later turns.
            if not casts:
                casts.append(sessions[0].peer.fanOut(method, told[0], told[1]))
            to = casts[0].to
            return [Told.SENT if to(session.mind.reference) else Told.GONE for session in sessions]

        broadcast = Broadcast(audience, deliver, without, still, together)
        self._start(broadcast, told)
        return broadcast.done

    def ask(
        self,
        audience: Audience,
        method: str,
        args: tuple[Any, ...],
        kw: dict[str, Any],
        *,
        still: Callable[[Session], bool] | None = None,
    ) -> Deferred[dict[str, Any]]:
        """
        Ask some sessions. ``except_=``, ``pbslow=`` and ``pbtimeout=`` are taken out of `kw`.

        :return: a Deferred of a dict, by session id, of the answers, a `Failure` for who has given none. It always
            fires with that, within the deadline, which is one for all and begins now.
        """
        without = excepted(kw.pop("except_", ()))
        policy = kw.pop("pbslow", None)
        timeout = kw.pop("pbtimeout", CALL_TIMEOUT)
        asking = Asking([session for session in audience.sessions if session not in without])
        asked: list[Any] = [args, kw]

        def deliver(session: Session) -> Told:
            asking.ask(session, session.mind.putCall(method, asked[0], asked[1], policy))
            return Told.SENT

        broadcast = Broadcast(audience, deliver, without, still)
        broadcast.done.addCallback(lambda summary: asking.allAsked(CallDropped if summary.dropped else None))
        clock = self._clock()
        if clock is not None and timeout is not None:
            asking.within(max(0.0, timeout), clock)
        self._start(broadcast, asked)
        return asking.done

    def each(self, audience: Audience, deliver: Callable[[Session], Told]) -> Deferred[Summary]:
        """
        Have each of some sessions told in its turn, by a callable that says what became of it.
        """
        broadcast = Broadcast(audience, deliver, frozenset(), None)
        self._start(broadcast, [])
        return broadcast.done

    def _start(self, broadcast: Broadcast, what: list[Any]) -> None:
        if len(self._queue) >= WAITING or self._waiting > WEIGHT:
            broadcast.dropRest()
            broadcast.done.callback(broadcast.summary)
            return
        self._queue.append(broadcast)
        if len(self._queue) == 1 and not self._running:
            clock = self._clock()
            now = 0.0 if clock is None else clock.seconds()
            if now >= self._until + SLICE:
                # Else it is one of many that are told in one turn, and they have 5 ms together.
                self._until = now + SLICE
            self._run(clock)
        if what and not broadcast.done.called:
            # What the caller does with them later is not told to anybody.
            what[:], broadcast.size = weighed(tuple(what))
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
