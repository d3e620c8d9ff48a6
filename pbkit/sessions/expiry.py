"""
The end of sessions that have done nothing for too long, or lasted for too long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall

from pbkit.errors import Idle, SessionEnded, TooOld

if TYPE_CHECKING:
    from pbkit.sessions.realm import Realm
    from pbkit.sessions.session import Session

#: The time between two looks at all sessions, in seconds, at least; a twentieth of a limit, if that is less. To look at
#: 10,000 of them takes some ms.
RESOLUTION = 1.0


class Sweep:
    """
    One timer for all sessions of a realm: it is there while somebody is in and there is a limit.

    :param realm: whose `idleTimeout` and `maxSessionAge` count; a session's end may come later by up to `RESOLUTION`.
    """

    def __init__(self, realm: Realm) -> None:
        self._realm = realm
        self._timer: IDelayedCall | None = None
        realm.roster.onBegin(self._began)
        realm.roster.onEnd(self._ended)

    def limitsChanged(self) -> None:
        """The realm has other limits now, for who is in too."""
        self._stop()
        if len(self._realm.roster):
            self._sweep()

    def _limits(self) -> list[float]:
        return [limit for limit in (self._realm.idleTimeout, self._realm.maxSessionAge) if limit]

    def _began(self, session: Session) -> None:
        limits = self._limits()
        # Else it is set for who has been here for longer.
        if limits and self._timer is None:
            self._wait(min(limits))

    def _ended(self, session: Session) -> None:
        if not len(self._realm.roster):
            self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, seconds: float) -> None:
        clock = self._realm.clock
        if clock is not None:
            self._timer = clock.callLater(seconds, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        limits, clock = self._limits(), self._realm.clock
        if not limits or clock is None:
            return
        now = clock.seconds()
        soonest = min(limits)
        for session in self._realm.roster:
            if session.busy:
                # Who waits for an answer is not idle, however long it takes.
                session.called()
            left, reason, detail = self._left(session, now)
            # A timer may be early by the last bit of a float.
            if left > 0.001:
                soonest = min(soonest, left)
            else:
                session.kick(reason, detail)
        if len(self._realm.roster) and self._timer is None:
            self._wait(max(soonest, min(RESOLUTION, min(limits) / 20)))

    def _left(self, session: Session, now: float) -> tuple[float, type[SessionEnded], str]:
        """How long a session may go on if nothing happens, and how it ends then."""
        idle, age = self._realm.idleTimeout, self._realm.maxSessionAge
        ends: list[tuple[float, type[SessionEnded], str]] = []
        if idle:
            ends.append((session.lastActive + idle - now, Idle, f"no call for {idle:g} s"))
        if age:
            ends.append((session.startedAt + age - now, TooOld, f"it began {age:g} s ago"))
        return min(ends, key=lambda end: end[0])
