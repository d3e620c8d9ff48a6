"""
One message to several clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pbkit.sessions.messaging.delivery import Summary, Told

if TYPE_CHECKING:
    from pbkit.sessions.messaging.recipient import Recipient

#: How many clients are told between two looks at the clock: at 15 µs each this is half a millisecond.
GROUP = 32


class Audience:
    """
    Some sessions at one moment. Its owner keeps it until they change.

    :ivar sessions: in the order of telling.
    """

    __slots__ = ("_positions", "sessions")

    def __init__(self, sessions: Iterable[Recipient]) -> None:
        self.sessions = tuple(sessions)
        self._positions: dict[Recipient, int] | None = None

    def positionOf(self, session: Recipient) -> int:
        """Return the index of a session, or -1."""
        if self._positions is None:
            self._positions = {session: position for position, session in enumerate(self.sessions)}
        return self._positions.get(session, -1)


class Broadcast:
    """
    One message to an audience, and how far it has been sent.

    :param deliver: sends it to one session and returns what became of it.
    :param without: sessions that are not told.
    :param still: called when it is a session's turn: whether it is still to be told.
    :param together: sends it to several sessions that are ready, and returns what became of it for each.
    :ivar done: a Deferred of the `Summary`.
    :ivar error: what is wrong with the arguments, or None.
    :ivar size: the estimated size of the message, in bytes.
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
        deliver: Callable[[Recipient], Told],
        without: frozenset[Recipient],
        still: Callable[[Recipient], bool] | None,
        together: Callable[[list[Recipient]], list[Told]] | None = None,
    ) -> None:
        self.audience = audience
        self.deliver = deliver
        self.without = without
        self.still = still
        self.together = together
        self.done: Deferred[Summary] = Deferred()
        self.error: Failure | None = None
        self._at = 0
        self._ahead: set[Recipient] = set()
        self._late: dict[Recipient, None] = {}
        self._counts = dict.fromkeys(Told, 0)
        self.size = 0

    @property
    def over(self) -> bool:
        """Whether all sessions have had their turn."""
        return self.error is not None or self._at >= len(self.audience.sessions)

    @property
    def summary(self) -> Summary:
        """What became of the message so far."""
        return Summary(*self._counts.values())

    def step(self) -> None:
        """Tell the next sessions: first, all together, those that are ready; then each of the others."""
        ready: list[Recipient] = []
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
                # The arguments cannot be sent to any session.
                self.error = Failure()
        # Hooks run in between. What they tell the remaining sessions has to arrive after this message, so `tellAhead`
        # must find these in `_late`.
        while self._late and self.error is None:
            session = next(iter(self._late))
            del self._late[session]
            self._tell(session)

    def tellAhead(self, session: Recipient) -> None:
        """Tell one session before its turn, if it is to be told and has not been."""
        if self._takeAhead(session):
            self._tell(session)

    def dropFor(self, session: Recipient) -> bool:
        """
        Count one session as dropped, if it is to be told and has not been.

        :return: whether it was.
        """
        dropped = self._takeAhead(session) and (self.still is None or self.still(session))
        self._counts[Told.DROPPED] += dropped
        return dropped

    def _takeAhead(self, session: Recipient) -> bool:
        """Take a session out of those that are to be told. Return whether it was among them."""
        if session in self._late:
            del self._late[session]
            return True
        if self.audience.positionOf(session) < self._at or session in self._ahead or session in self.without:
            return False
        self._ahead.add(session)
        return True

    def _isMeant(self, session: Recipient) -> bool:
        return session.endedWith is None and (self.still is None or self.still(session))

    def dropRest(self) -> None:
        """Tell no other session, and count the remaining ones as dropped."""
        rest = self.audience.sessions[self._at :]
        self._counts[Told.DROPPED] += sum(session not in self.without for session in rest)
        self._at = len(self.audience.sessions)

    def _tell(self, session: Recipient) -> None:
        if not self._isMeant(session):
            told = Told.GONE
        else:
            try:
                told = self.deliver(session)
            except Exception:
                # The arguments cannot be sent to any session.
                self.error = Failure()
                return
        self._counts[told] += 1


def excepted(sessions: Any) -> frozenset[Recipient]:
    """
    Return the sessions that an ``except_=`` argument stands for.

    :param sessions: a session or several.
    :raises TypeError: it is something else.
    """
    if hasattr(sessions, "sessionId"):
        return frozenset((sessions,))
    try:
        found: frozenset[Recipient] = frozenset(sessions)
    except TypeError:
        raise TypeError(f"invalid except_ {sessions!r}: expected a session or several") from None
    for session in found:
        if not hasattr(session, "sessionId"):
            raise TypeError(f"invalid except_: expected a session or several, got {session!r} among them")
    return found
