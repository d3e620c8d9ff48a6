"""
The remote clock: an avatar that calls its client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime

from pbkit.errors import Error
from pbkit.sessions.avatar import Avatar
from pbkit.sessions.messaging.broadcast import Audience
from pbkit.sessions.messaging.slowpolicy import coalesce
from pbkit.sessions.messaging.telling import Telling

if TYPE_CHECKING:
    from pbkit.sessions.messaging.recipient import Recipient
    from pbkit.sessions.session import Session

#: The shortest and the longest period, in seconds: 10 ms and a day.
SHORTEST, LONGEST = 0.01, 86400.0


class BadPeriod(Error):
    """A period that a clock cannot have."""

    text = f"invalid period: expected a number of seconds from {SHORTEST} to {LONGEST:.0f}"


#: A slow consumer needs the latest time only.
_LATEST = coalesce("notifyTime")


class Rhythm:
    """
    The sessions that are told the time in one period: they share a timer, and each tick is one broadcast.

    :param telling: the `Telling` of the sessions.
    :param clock: their clock.
    """

    def __init__(self, telling: Telling, clock: IReactorTime, period: float) -> None:
        self._telling = telling
        self._clock = clock
        self.period = period
        self._sessions: dict[Recipient, None] = {}
        self._audience: Audience | None = None
        # Importing this imports the base of all reactors, which takes long, and most programs have no such avatar.
        from twisted.internet.task import LoopingCall

        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock

    @classmethod
    def of(cls, session: Session, clock: IReactorTime, period: float) -> Rhythm:
        """Return the rhythm of a session's realm and a period."""
        key = (session.hub.telling, period)
        rhythm = _rhythms.get(key)
        if rhythm is None:
            rhythm = _rhythms[key] = cls(session.hub.telling, clock, period)
        return rhythm

    def add(self, session: Recipient) -> None:
        """Tell a session the time from the next tick on."""
        self._sessions[session] = None
        self._audience = None
        if not self._loop.running:
            self._loop.start(self.period, now=False)

    def remove(self, session: Recipient) -> None:
        """Stop telling a session the time. The last one stops the timer."""
        del self._sessions[session]
        self._audience = None
        if not self._sessions:
            self._loop.stop()
            del _rhythms[self._telling, self.period]

    def _tick(self) -> None:
        if self._audience is None:
            self._audience = Audience(self._sessions)
        now = self._clock.seconds()
        # `still`: a session that leaves this rhythm before its turn gets no tick of it.
        self._telling.tell(self._audience, "notifyTime", (now,), {"pbslow": _LATEST}, still=self._sessions.__contains__)


#: The rhythms that have sessions, by their realm's `Telling` and their period.
_rhythms: dict[tuple[Telling, float], Rhythm] = {}


class ClockAvatar(Avatar):
    """
    Tells its client the time: ``notifyTime(seconds)`` on the mind, at login and then once in each period, until the
    session ends. All clocks of a realm that have the same period tick together, so the second tick may come before a
    whole period has passed. A slow consumer gets the latest tick when it catches up.

    :param period: in seconds.
    """

    #: By session. None until the first one begins, also in a clock that was pickled.
    _rhythms: dict[Session, Rhythm] | None = None

    def __init__(self, avatarId: str, period: float = 1.0) -> None:
        super().__init__(avatarId)
        self.period = _checked(period)

    def attached(self, session: Session) -> None:
        """Start ticking."""
        if session.clock is not None and session.mind:
            session.mind.tell("notifyTime", session.clock.seconds(), pbslow=_LATEST)
            self._start(session, session.clock)

    def detached(self, session: Session) -> None:
        """Stop ticking."""
        self._stop(session)

    def perspective_setperiod(self, period: float) -> None:
        """
        Change the period.

        :param period: in seconds.
        :raises BadPeriod: it is not a number from 10 ms to a day; nothing changes.
        """
        self.period = _checked(period)
        for session in tuple(self._rhythms or ()):
            self._stop(session)
            assert session.clock is not None
            self._start(session, session.clock)

    def _start(self, session: Session, clock: IReactorTime) -> None:
        if self._rhythms is None:
            self._rhythms = {}
        rhythm = self._rhythms[session] = Rhythm.of(session, clock, self.period)
        rhythm.add(session)

    def _stop(self, session: Session) -> None:
        rhythm = self._rhythms.pop(session, None) if self._rhythms else None
        if rhythm is not None:
            rhythm.remove(session)


def _checked(period: float) -> float:
    if isinstance(period, bool) or not isinstance(period, int | float) or not SHORTEST <= period <= LONGEST:
        raise BadPeriod()
    return float(period)
