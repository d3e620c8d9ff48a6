"""
Who is logged in, and what has changed: events for the server's own use, and for the clients that watch.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.interfaces import IReactorTime

from pbkit.plain import sendable, weighed
from pbkit.sessions.listeners import Listeners
from pbkit.sessions.messaging.delivery import Told
from pbkit.sessions.messaging.feed import Feed
from pbkit.sessions.messaging.mind import Mind
from pbkit.sessions.messaging.telling import Telling
from pbkit.sessions.messaging.watchers import Watchers

if TYPE_CHECKING:
    from pbkit.sessions.messaging.recipient import Recipient, Recipients

#: How many changes are kept for clients that reconnect.
RING = 1000
#: The most bytes of an avatar id that watchers are told.
NAME = 4096


class Change(NamedTuple):
    """
    A change of presence.

    :ivar version: its number; the numbers have no gaps.
    :ivar kind: "began", "ended" or "changed".
    :ivar who: the number of the session.
    :ivar avatarId: the avatar id of the session.
    :ivar detail: a dict with what the client declared about itself; of an end, the name of the reason.
    :ivar edge: True if it is the user's first session that began, or the last one that ended.
    :ivar sessionId: the session id. Watchers are not told it.
    :ivar size: an estimate of the size of the message, in bytes.
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
        """Return the change as watchers are told it."""
        one = (self.kind, self.who, sendable(self.avatarId, NAME), self.detail)
        return one if self.kind == "changed" else (*one, self.edge)


class _Present(NamedTuple):
    """A session that is logged in."""

    session: Recipient
    declared: dict[str, Any]
    size: int


class Presence:
    """
    Who is logged in at a realm, and the clients that watch it.

    :param telling: sends the messages.
    :param clock: returns the realm's clock, or None: then changes are told at once.
    :param rosters: the sessions of the realm and of its guests.
    """

    def __init__(
        self, telling: Telling, clock: Callable[[], IReactorTime | None], rosters: Iterable[Recipients]
    ) -> None:
        self._feed: Feed[Change] = Feed(RING)
        self._present: dict[int, _Present] = {}
        self._numbers: list[int] = []
        self._byAvatar: dict[str, dict[int, None]] = {}
        self._whoIs: dict[Recipient, int] = {}
        self._next = count(1)
        self._watchers = Watchers(self._feed, self._presentAfter, telling, clock)
        self._listeners: Listeners[Change] = Listeners("presence")
        for roster in rosters:
            for session in roster:
                self._enter(session)
            roster.onBegin(self._began)
            roster.onEnd(self._ended)

    # Changes.

    @property
    def version(self) -> int:
        """The number of the last change."""
        return self._feed.version

    @property
    def avatarIds(self) -> tuple[str, ...]:
        """The avatar ids that are logged in, in the order of login."""
        return tuple(self._byAvatar)

    def onChange(self, f: Callable[[Change], object]) -> Callable[[], None]:
        """
        Call ``f(change)`` for each change, when it happens. An exception in it is logged.

        :return: a callable that removes `f`.
        """
        return self._listeners.add(f)

    def declared(self, session: Recipient) -> None:
        """Note that a client declares something else about itself; for the realm."""
        who = self._whoIs.get(session)
        declared = session.declared
        # A session that has not begun yet declares it when it begins.
        if who is not None and declared != self._present[who].declared:
            present = self._present[who] = _present(session, declared)
            self._add("changed", who, session, declared, False, present.size)

    def _began(self, session: Recipient) -> None:
        first = session.avatarId not in self._byAvatar
        who = self._enter(session)
        present = self._present[who]
        self._add("began", who, session, present.declared, first, present.size)

    def _enter(self, session: Recipient) -> int:
        who = self._whoIs[session] = next(self._next)
        self._present[who] = _present(session, session.declared)
        self._numbers.append(who)
        self._byAvatar.setdefault(session.avatarId, {})[who] = None
        return who

    def _ended(self, session: Recipient) -> None:
        who = self._whoIs.pop(session, None)
        if who is None:
            return
        del self._present[who]
        del self._numbers[bisect_left(self._numbers, who)]
        mates = self._byAvatar[session.avatarId]
        del mates[who]
        if not mates:
            del self._byAvatar[session.avatarId]
        reason = type(session.endedWith).__name__
        self._add("ended", who, session, reason, not mates, len(session.avatarId) + 64)

    def _add(self, kind: str, who: int, session: Recipient, detail: Any, edge: bool, size: int) -> None:
        change = Change(self.version + 1, kind, who, session.avatarId, detail, edge, session.sessionId, size)
        self._feed.add(change)
        self._watchers.changed()
        self._listeners.tell(change)

    def _presentAfter(self, who: float) -> Iterator[tuple[int, tuple[Any, ...], int]]:
        """
        Iterate over the sessions with a number above `who`, by number.

        :return: for each the number, its beginning as watchers are told it, and the size of that.
        """
        for number in islice(self._numbers, bisect_right(self._numbers, who), None):
            present = self._present[number]
            avatarId = present.session.avatarId
            first = next(iter(self._byAvatar[avatarId])) == number
            yield number, ("began", number, sendable(avatarId, NAME), present.declared, first), present.size

    # Watching.

    def sendPending(self, session: Recipient) -> None:
        """Tell a client all changes now, if it is watching: its session is about to end."""
        self._watchers.sendPending(session)

    def watch(self, mind: Mind | Recipient, version: object = None) -> Told:
        """
        Tell a client who is logged in, and from then on what changes, until `unwatch` or the end of its session. See
        `pbkit.sessions.messaging.watchers` for the messages. Call it from a method of the avatar, for example
        ``perspective_watch``.

        :param mind: the mind or session of the client. A second call starts again from the version that is given.
        :param version: the last version that the client was told, as it sent it. A value that is not one counts as
            none.
        :return: `Told.GONE` if the client cannot be told, for example without a mind; otherwise what became of the
            first message.
        """
        return self._watchers.watch(_sessionOf(mind), self._feed.parse(version))

    def unwatch(self, mind: Mind | Recipient) -> bool:
        """
        Stop telling a client.

        :return: whether it was watching.
        """
        return self._watchers.unwatch(_sessionOf(mind))


def _present(session: Recipient, declared: dict[str, Any]) -> _Present:
    return _Present(session, declared, weighed((session.avatarId, declared))[1] + 32)


def _sessionOf(mind: Mind | Recipient) -> Recipient:
    return mind.session if isinstance(mind, Mind) else mind
