"""
One thing that is told to many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pbkit.sessions.outbox import Told

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
    :ivar size: what waits with it, in bytes.
    """

    __slots__ = (
        "_ahead",
        "_at",
        "_counts",
        "audience",
        "deliver",
        "done",
        "error",
        "size",
        "still",
        "without",
    )

    def __init__(
        self,
        audience: Audience,
        deliver: Callable[[Session], Told],
        without: frozenset[Session],
        still: Callable[[Session], bool] | None,
    ) -> None:
        self.audience = audience
        self.deliver = deliver
        self.without = without
        self.still = still
        self.done: Deferred[Summary] = Deferred()
        self.error: Failure | None = None
        self._at = 0
        self._ahead: set[Session] = set()
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
        """Tell the next few."""
        for _ in range(min(GROUP, len(self.audience.sessions) - self._at)):
            session = self.audience.sessions[self._at]
            # Before it is told: what its avatar's hooks then tell it comes after this.
            self._at += 1
            if session in self._ahead:
                self._ahead.discard(session)
            elif session not in self.without:
                self._tell(session)
            if self.error is not None:
                break

    def tellAhead(self, session: Session) -> None:
        """Tell one of them out of turn, if it is to be told at all and has not been."""
        if self.audience.placeOf(session) >= self._at and session not in self._ahead and session not in self.without:
            self._ahead.add(session)
            self._tell(session)

    def dropRest(self) -> None:
        """Nobody else is told."""
        rest = self.audience.sessions[self._at :]
        self._counts[Told.DROPPED] += sum(session not in self.without for session in rest)
        self._at = len(self.audience.sessions)

    def _tell(self, session: Session) -> None:
        if session.endedWith is not None or (self.still is not None and not self.still(session)):
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
