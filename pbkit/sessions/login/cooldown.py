"""
How often an avatar id may change hands.

Two clients of one user that reconnect automatically whenever they are disconnected would disconnect each other in an
endless loop, as fast as their machines can. So a new login that would end another session waits, if that has happened
to this avatar id in the last five seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pbkit.sessions.roster import Place
from pbkit.sessions.waiters import Waiters

#: How long a session is safe from the next takeover, in seconds. Long enough that a reconnect loop costs next to
#: nothing, and short enough for people who walk from one machine to another: their client just takes a little longer.
CHANGE_INTERVAL = 5.0


@attrs.define(eq=False)
class _Queue:
    """The logins that wait for one avatar id, and the timer that lets them ask again."""

    waiters: Waiters[None]
    timer: IDelayedCall


class Cooldown:
    """
    When avatar ids last changed hands. Entries are forgotten after `CHANGE_INTERVAL`; there is a timer only where a
    login waits.
    """

    def __init__(self) -> None:
        #: By avatar id, the login that is about to take over.
        self._pending: dict[str, Place] = {}
        #: By avatar id, when a login last did; the earliest first.
        self._changedAt: dict[str, float] = {}
        self._queues: dict[str, _Queue] = {}

    def begin(self, place: Place, avatarIds: Iterable[str], clock: IReactorTime, isChange: Callable[[], bool]) -> None:
        """
        Note that a login has reserved its place, and will end other sessions.

        :param avatarIds: its own and those of the other sessions.
        :param isChange: called when the login is decided; returns whether it did end them.
        """
        ids = tuple(dict.fromkeys(avatarIds))

        def decided(_: object) -> None:
            for avatarId in ids:
                if self._pending.get(avatarId) is place:
                    del self._pending[avatarId]
                if isChange():
                    self._changedAt.pop(avatarId, None)
                    self._changedAt[avatarId] = clock.seconds()

        self._pending.update(dict.fromkeys(ids, place))
        place.settled().addCallback(decided)

    def wait(self, avatarIds: Iterable[str], clock: IReactorTime) -> Deferred[None] | None:
        """
        Find out whether a new login that would end other sessions has to wait.

        :param avatarIds: its own and those of the other sessions.
        :return: a Deferred that fires when it is time to ask again, or None if there is nothing to wait for.
        """
        now = clock.seconds()
        self._forget(now)
        ids = tuple(avatarIds)
        for avatarId in ids:
            if avatarId in self._pending:
                return self._pending[avatarId].settled()
        recent = [avatarId for avatarId in ids if avatarId in self._changedAt]
        if not recent:
            return None
        last = max(recent, key=self._changedAt.__getitem__)
        queue = self._queues.get(last)
        if queue is None:
            timer = clock.callLater(self._changedAt[last] + CHANGE_INTERVAL - now, self._due, last)
            queue = self._queues[last] = _Queue(Waiters(lambda: self.release(last)), timer)
        return queue.waiters.wait()

    def _due(self, avatarId: str) -> None:
        # Forget it here, not by comparing times: the sum of a clock's times may differ in the last digit.
        self._changedAt.pop(avatarId, None)
        self.release(avatarId)

    def release(self, avatarId: str) -> None:
        """Let the logins that wait for an avatar id ask again: it is time, or a session of this id has ended."""
        queue = self._queues.pop(avatarId, None)
        if queue is not None:
            if queue.timer.active():
                queue.timer.cancel()
            queue.waiters.fire(None)

    def _forget(self, now: float) -> None:
        while self._changedAt:
            avatarId, at = next(iter(self._changedAt.items()))
            if now < at + CHANGE_INTERVAL:
                break
            del self._changedAt[avatarId]
