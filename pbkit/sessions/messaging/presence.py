"""
Who is here, and what has changed: events for the server's own use, and what `pbkit.sessions.messaging.watchers` tells.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pbkit.plain import weighed
from pbkit.sessions.messaging.outbox import Told
from pbkit.sessions.messaging.telling import Telling
from pbkit.sessions.messaging.watchers import Watching

if TYPE_CHECKING:
    from pbkit.sessions.messaging.mind import Mind
    from pbkit.sessions.roster import Roster
    from pbkit.sessions.session import Session

#: How many changes are kept for those who come back.
RING = 1000

log = Logger()


class Change(NamedTuple):
    """
    Something has changed.

    :ivar version: its number; they have no gaps.
    :ivar kind: "began", "ended" or "changed".
    :ivar who: the number of the session.
    :ivar detail: what the client says of itself, a dict; of an end the name of the reason.
    :ivar edge: whether it is the user's first session that began, or the last that ended.
    :ivar sessionId: not told to watchers.
    """

    version: int
    kind: str
    who: int
    avatarId: str
    detail: Any
    edge: bool
    sessionId: str
    size: int

    def told(self) -> tuple[Any, ...]:
        """As watchers see it."""
        one = (self.kind, self.who, self.avatarId, self.detail)
        return one if self.kind == "changed" else (*one, self.edge)


class _Here(NamedTuple):
    """A session that is here."""

    session: Session
    declared: dict[str, Any]
    size: int


class Presence:
    """
    Who is here, and who wants to know.

    :param telling: what is told goes through this.
    :param clock: gives the realm's clock, or None: then changes are told at once.
    :param rosters: whose sessions they are.
    :ivar version: the number of the last change.
    """

    def __init__(self, telling: Telling, clock: Callable[[], IReactorTime | None], rosters: Iterable[Roster]) -> None:
        self._ring: deque[Change] = deque(maxlen=RING)
        self._here: dict[int, _Here] = {}
        self._numbers: list[int] = []
        self._byAvatar: dict[str, dict[int, None]] = {}
        self._whoIs: dict[Session, int] = {}
        self._next = count(1)
        self._watching = Watching(self, telling, clock)
        self._listeners: dict[int, Callable[[Change], object]] = {}
        self._listenerNumbers = count()
        #: Of this run of the server.
        self._epoch = secrets.token_hex(4)
        self.version = 0
        for roster in rosters:
            for session in roster:
                self._enter(session)
            roster.onBegin(self._began)
            roster.onEnd(self._ended)

    # What has changed.

    @property
    def avatarIds(self) -> tuple[str, ...]:
        """Who is here, the first who came first."""
        return tuple(self._byAvatar)

    def onChange(self, f: Callable[[Change], object]) -> Callable[[], None]:
        """
        Call ``f(change)`` for each change, as it happens. What it raises is logged.

        :return: a callable that takes `f` off again.
        """
        number = next(self._listenerNumbers)
        self._listeners[number] = f

        def stop() -> None:
            self._listeners.pop(number, None)

        return stop

    def declared(self, session: Session) -> None:
        """A session says something else of itself; for the realm."""
        who = self._whoIs.get(session)
        declared = session.declared
        # One that has not begun yet says it when it does.
        if who is not None and declared != self._here[who].declared:
            here = self._here[who] = _here(session, declared)
            self._add("changed", who, session, declared, False, here.size)

    def _began(self, session: Session) -> None:
        first = session.avatarId not in self._byAvatar
        who = self._enter(session)
        here = self._here[who]
        self._add("began", who, session, here.declared, first, here.size)

    def _enter(self, session: Session) -> int:
        who = self._whoIs[session] = next(self._next)
        self._here[who] = _here(session, session.declared)
        self._numbers.append(who)
        self._byAvatar.setdefault(session.avatarId, {})[who] = None
        return who

    def _ended(self, session: Session) -> None:
        who = self._whoIs.pop(session, None)
        if who is None:
            return
        del self._here[who]
        del self._numbers[bisect_left(self._numbers, who)]
        mates = self._byAvatar[session.avatarId]
        del mates[who]
        if not mates:
            del self._byAvatar[session.avatarId]
        reason = type(session.endedWith).__name__
        self._add("ended", who, session, reason, not mates, len(session.avatarId) + 64)

    def _add(self, kind: str, who: int, session: Session, detail: Any, edge: bool, size: int) -> None:
        self.version += 1
        change = Change(self.version, kind, who, session.avatarId, detail, edge, session.sessionId, size)
        self._ring.append(change)
        self._watching.changed()
        for f in tuple(self._listeners.values()):
            try:
                f(change)
            except Exception:
                log.failure("a listener to presence raised")

    # Those who watch.

    def watch(self, mind: Mind | Session, version: object = None) -> Told:
        """
        Tell a client who is here, and from then on what changes, until it is taken off or its session ends: see
        `pbkit.sessions.messaging.watchers` for how. To be called from the avatar's own method, say
        ``perspective_watch``, by which its client asks for it.

        :param mind: the client's. Once more, with the version that it has by then, begins anew.
        :param version: what the client was told last, as it says. Anything that means nothing here is nothing.
        :return: `Told.GONE` if it cannot be told, without a mind say; else what became of the first message.
        """
        return self._watching.watch(_sessionOf(mind), self._parse(version))

    def unwatch(self, mind: Mind | Session) -> bool:
        """
        It is not told any more.

        :return: whether it was.
        """
        return self._watching.unwatch(_sessionOf(mind))

    # What those are told.

    def named(self, version: int) -> str:
        """A version, as clients know it."""
        return f"{self._epoch}.{version}"

    def _parse(self, version: object) -> int | None:
        epoch, _, number = version.partition(".") if isinstance(version, str) else ("", "", "")
        if epoch != self._epoch or not (number.isascii() and number.isdecimal()) or len(number) > 20:
            return None
        known = int(number)
        return known if self.oldest <= known <= self.version else None

    @property
    def oldest(self) -> int:
        """Who knows this version can be told what has changed since."""
        return self.version - len(self._ring)

    def since(self, version: int) -> Iterator[Change]:
        """What has changed since a version, which is not older than `oldest`."""
        return islice(self._ring, version - self.oldest, None)

    def after(self, who: float) -> Iterator[tuple[int, tuple[Any, ...], int]]:
        """
        Those who are here and have a number above one, by number.

        :return: the number, their beginning as watchers see it, and its size.
        """
        for number in islice(self._numbers, bisect_right(self._numbers, who), None):
            here = self._here[number]
            avatarId = here.session.avatarId
            first = next(iter(self._byAvatar[avatarId])) == number
            yield number, ("began", number, avatarId, here.declared, first), here.size


def _here(session: Session, declared: dict[str, Any]) -> _Here:
    return _Here(session, declared, weighed((session.avatarId, declared))[1] + 32)


def _sessionOf(mind: Any) -> Session:
    session: Session = getattr(mind, "session", mind)
    return session
