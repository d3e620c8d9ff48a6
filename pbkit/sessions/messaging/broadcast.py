"""
One thing that is told to many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pbkit.sessions.messaging.outbox import Told

if TYPE_CHECKING:
    from pbkit.sessions.session import Session

#: How many are told between two looks at the clock: at 15 µs each half a millisecond.
GROUP = 32


class Summary(NamedTuple):
    """
    What became of something told to many: how many of them got each `Told`.
    """

    sent: int = 0
    queued: int = 0
    dropped: int = 0
    gone: int = 0


class Audience:
    """
    Some sessions, at one moment. Kept as long as they stay the same.

    :ivar sessions: in the order of telling.
    """

    __slots__ = ("_places", "sessions")

    def __init__(self, sessions: Iterable[Session]) -> None:
        self.sessions = tuple(sessions)
        self._places: dict[Session, int] | None = None

    def placeOf(self, session: Session) -> int:
        """Where it stands; -1 if it does not."""
        if self._places is None:
            self._places = {session: place for place, session in enumerate(self.sessions)}
        return self._places.get(session, -1)


class Broadcast:
    """
    One thing to be told to an audience, and how far it is.

    :param deliver: tells it to one, and says what became of it; None if that is counted later.
    :param without: those who are not told.
    :param still: whether one is still to be told, asked when it is its turn.
    :param together: tells it to some who have nothing waiting and room for it, and says what became of each.
    :ivar size: what waits with it, in bytes.
    """

    __slots__ = (
        "_ahead",
        "_at",
        "_counts",
        "_late",
        "audience",
        "deliver",
        "done",
        "error",
        "size",
        "still",
        "together",
        "without",
    )

    def __init__(
        self,
        audience: Audience,
        deliver: Callable[[Session], Told],
        without: frozenset[Session],
        still: Callable[[Session], bool] | None,
        together: Callable[[list[Session]], list[Told]] | None = None,
    ) -> None:
        self.audience = audience
        self.deliver = deliver
        self.without = without
        self.still = still
        self.together = together
        self.done: Deferred[Summary] = Deferred()
        self.error: Failure | None = None
        self._at = 0
        self._ahead: set[Session] = set()
        self._late: dict[Session, None] = {}
        self._counts = dict.fromkeys(Told, 0)
        self.size = 0

    @property
    def over(self) -> bool:
        """Whether all have had their turn."""
        return self.error is not None or self._at >= len(self.audience.sessions)

    @property
    def summary(self) -> Summary:
        """So far."""
        return Summary(*self._counts.values())

    def step(self) -> None:
        """Tell the next few: first those who can be told at once, all together, and then each of the others."""
        ready: list[Session] = []
        for _ in range(min(GROUP, len(self.audience.sessions) - self._at)):
            session = self.audience.sessions[self._at]
            self._at += 1
            if session in self._ahead:
                self._ahead.discard(session)
            elif session not in self.without:
                if self.together is not None and session.mind and session.ready and self._isMeant(session):
                    ready.append(session)
                else:
                    self._late[session] = None
        if ready and self.together is not None:
            try:
                for told in self.together(ready):
                    self._counts[told] += 1
            except Exception:
                # The arguments cannot be sent: to nobody.
                self.error = Failure()
        # Hooks run in between, and what they tell those who are still to come has to come after this.
        while self._late and self.error is None:
            session = next(iter(self._late))
            del self._late[session]
            self._tell(session)

    def tellAhead(self, session: Session) -> None:
        """Tell one of them out of turn, if it is to be told at all and has not been."""
        if session in self._late:
            del self._late[session]
            self._tell(session)
        elif self.audience.placeOf(session) >= self._at and session not in self._ahead and session not in self.without:
            self._ahead.add(session)
            self._tell(session)

    def _isMeant(self, session: Session) -> bool:
        return session.endedWith is None and (self.still is None or self.still(session))

    def dropRest(self) -> None:
        """Nobody else is told."""
        rest = self.audience.sessions[self._at :]
        self._counts[Told.DROPPED] += sum(session not in self.without for session in rest)
        self._at = len(self.audience.sessions)

    def _tell(self, session: Session) -> None:
        if not self._isMeant(session):
            told = Told.GONE
        else:
            try:
                told = self.deliver(session)
            except Exception:
                # The arguments cannot be sent: to nobody.
                self.error = Failure()
                return
        self._counts[told] += 1


def excepted(sessions: Any) -> frozenset[Session]:
    """
    Who is meant by ``except_=``: a session, or some.

    :raises TypeError: neither.
    """
    if hasattr(sessions, "sessionId"):
        return frozenset((sessions,))
    try:
        found: frozenset[Session] = frozenset(sessions)
    except TypeError:
        raise TypeError(f"except_ takes a session or some, not {sessions!r}") from None
    for session in found:
        if not hasattr(session, "sessionId"):
            raise TypeError(f"except_ takes a session or some, not {session!r}")
    return found
