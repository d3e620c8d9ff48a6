"""
The remote clock: an avatar that calls its client, rather than the other way round.
"""

from __future__ import annotations

from twisted.internet.task import LoopingCall

from pbkit.errors import Error
from pbkit.sessions.avatar import Avatar
from pbkit.sessions.session import Session

#: The shortest and the longest period, in seconds: 10 ms and a day.
SHORTEST, LONGEST = 0.01, 86400.0


class BadPeriod(Error):
    """A period that a clock cannot have."""

    text = f"a period is a number of seconds from {SHORTEST} to {LONGEST:.0f}"


class ClockAvatar(Avatar):
    """
    Tells its client the time: ``notifyTime(seconds)`` on the mind at login and then once in each period,
    until the session ends.

    :param period: in seconds.
    """

    def __init__(self, avatarId: str, period: float = 1.0) -> None:
        super().__init__(avatarId)
        self.period = _checked(period)
        self._loop: LoopingCall | None = None

    def attached(self, session: Session) -> None:
        """Start ticking."""
        clock = session.clock
        if clock is None or not session.mind:
            return
        self._loop = LoopingCall(lambda: session.mind.tell("notifyTime", clock.seconds()))
        self._loop.clock = clock
        self._loop.start(self.period)

    def detached(self, session: Session) -> None:
        """Stop ticking."""
        if self._loop is not None and self._loop.running:
            self._loop.stop()

    def perspective_setperiod(self, period: float) -> None:
        """
        Tick in this period from now on.

        :param period: in seconds.
        :raises BadPeriod: it is not a number from 10 ms to a day; nothing changes.
        """
        self.period = _checked(period)
        if self._loop is not None and self._loop.running:
            self._loop.stop()
            self._loop.start(self.period, now=False)


def _checked(period: float) -> float:
    if isinstance(period, bool) or not isinstance(period, int | float) or not SHORTEST <= period <= LONGEST:
        raise BadPeriod()
    return float(period)
