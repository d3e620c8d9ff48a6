"""
The remote clock: an avatar that calls its client, rather than the other way round.
"""

from __future__ import annotations

from pbkit.errors import Error
from pbkit.sessions.avatar import Avatar
from pbkit.sessions.messaging.slowpolicy import coalesce
from pbkit.sessions.session import Session
from pbkit.sessions.wheel import Ticking, wheelOf

#: The shortest and the longest period, in seconds: 10 ms and a day.
SHORTEST, LONGEST = 0.01, 86400.0


class BadPeriod(Error):
    """A period that a clock cannot have."""

    text = f"a period is a number of seconds from {SHORTEST} to {LONGEST:.0f}"


#: To a client that does not keep up only the latest time is of use.
_LATEST = coalesce("notifyTime")


class ClockAvatar(Avatar):
    """
    Tells its client the time: ``notifyTime(seconds)`` on the mind at login and then once in each period,
    until the session ends. All clocks together are one timer, and are spread over the period if they began together:
    the second tick may come sooner, then. A client that does not keep up gets the latest tick when it does.

    :param period: in seconds.
    """

    def __init__(self, avatarId: str, period: float = 1.0) -> None:
        super().__init__(avatarId)
        self.period = _checked(period)
        self._tickings: dict[Session, Ticking] = {}

    def attached(self, session: Session) -> None:
        """Start ticking."""
        if session.clock is not None and session.mind:
            self._tick(session)
            self._start(session)

    def detached(self, session: Session) -> None:
        """Stop ticking."""
        ticking = self._tickings.pop(session, None)
        if ticking is not None:
            ticking.stop()

    def perspective_setperiod(self, period: float) -> None:
        """
        Tick in this period from now on.

        :param period: in seconds.
        :raises BadPeriod: it is not a number from 10 ms to a day; nothing changes.
        """
        self.period = _checked(period)
        for session, ticking in tuple(self._tickings.items()):
            ticking.stop()
            self._start(session)

    def _start(self, session: Session) -> None:
        assert session.clock is not None
        self._tickings[session] = wheelOf(session.clock).every(self.period, lambda: self._tick(session))

    @staticmethod
    def _tick(session: Session) -> None:
        assert session.clock is not None
        session.mind.tell("notifyTime", session.clock.seconds(), pbslow=_LATEST)


def _checked(period: float) -> float:
    if isinstance(period, bool) or not isinstance(period, int | float) or not SHORTEST <= period <= LONGEST:
        raise BadPeriod()
    return float(period)
