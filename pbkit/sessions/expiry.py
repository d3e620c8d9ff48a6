"""
The end of sessions that have been idle or live for too long.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pbkit.errors import Idle, SessionEnded, TooOld

if TYPE_CHECKING:
    from pbkit.sessions.messaging.hub import Hub
    from pbkit.sessions.messaging.recipient import Recipient
    from pbkit.sessions.roster import Roster
    from pbkit.sessions.session import Session

#: The shortest time between two looks at all sessions, in seconds; or a twentieth of a limit, if that is less. A look
#: at 10,000 sessions takes some ms.
RESOLUTION = 1.0


class ExpiringRealm(Protocol):
    """What the expiry needs of a realm."""

    @property
    def clock(self) -> IReactorTime | None: ...
    @property
    def roster(self) -> Roster[Session]: ...
    @property
    def hub(self) -> Hub: ...
    @property
    def idleTimeout(self) -> float: ...
    @property
    def maxSessionAge(self) -> float: ...


class Expiry:
    """
    One timer for all sessions of a realm. It runs while there are sessions and a limit.

    :param realm: the realm, with its `idleTimeout` and `maxSessionAge`. A session may end late by `RESOLUTION`.
    """

    def __init__(self, realm: ExpiringRealm) -> None:
        self._realm = realm
        self._timer: IDelayedCall | None = None
        realm.roster.onBegin(self._began)
        realm.roster.onEnd(self._ended)

    def limitsChanged(self) -> None:
        """Apply changed limits, to existing sessions too."""
        self._stop()
        if len(self._realm.roster):
            self._look()

    def _limits(self) -> list[float]:
        return [limit for limit in (self._realm.idleTimeout, self._realm.maxSessionAge) if limit]

    def _began(self, session: Recipient) -> None:
        limits = self._limits()
        # If the timer runs already it is set for an older session, which ends sooner.
        if limits and self._timer is None:
            self._wait(min(limits))

    def _ended(self, session: Recipient) -> None:
        if not len(self._realm.roster):
            self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, seconds: float) -> None:
        clock = self._realm.clock
        if clock is not None:
            self._timer = clock.callLater(seconds, self._look)

    def _look(self) -> None:
        """Look at all sessions, and kick those whose time is up."""
        self._timer = None
        limits, clock = self._limits(), self._realm.clock
        if not limits or clock is None:
            return
        now = clock.seconds()
        soonest = min(limits)
        ending: dict[Session, tuple[type[SessionEnded], str]] = {}
        for session in self._realm.roster:
            if session.busy:
                # A client that waits for an answer is not idle, however long that takes.
                session.called()
            left, reason, detail = self.timeLeft(session, now)
            # A timer may be early by the last bit of a float.
            if left > 0.001:
                soonest = min(soonest, left)
            else:
                ending[session] = reason, detail
        with self._realm.hub.endingSeveral(ending):
            for session, (reason, detail) in ending.items():
                session.kick(reason, detail)
        if len(self._realm.roster) and self._timer is None:
            self._wait(max(soonest, min(RESOLUTION, min(limits) / 20)))

    def timeLeft(self, session: Recipient, now: float) -> tuple[float, type[SessionEnded], str]:
        """Return how many seconds a session has left if its client does nothing, and how it ends then."""
        return min(self._ends(session, now), key=lambda end: end[0])

    def _ends(self, session: Recipient, now: float) -> Iterator[tuple[float, type[SessionEnded], str]]:
        idle, age = self._realm.idleTimeout, self._realm.maxSessionAge
        if idle:
            yield session.lastActive + idle - now, Idle, f"no call for {idle:g} s"
        if age:
            yield session.startedAt + age - now, TooOld, f"it began {age:g} s ago"
