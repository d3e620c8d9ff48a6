"""
Who is here: as events for the server's own use, and told to those clients who watch.

Each session has a number here, `who`, and each change one of its own, the version. A watcher is told::

    remote_presence(version, changes, fresh)

`changes` are tuples, in order::

    ("began", who, avatarId, declared, first)     first: of this user no other session was here
    ("ended", who, avatarId, reason, last)        reason: the name of a `SessionEnded`; last: no other is here any more
    ("changed", who, avatarId, declared)          what the client says of itself

With `fresh` it starts from nothing: the changes are the beginnings of those who are here. A large state comes in more
than one message, all but the last with "" for a version. A client that comes back names the version that it was told
last, and gets what has changed since, if that is among the last 1,000 changes; else the state. A version is a text
that means something to the same run of the server only.

Of a watcher a version and a number are kept; to one that does not keep up nothing is sent until it does, and then what
has changed since. So nothing is told twice, nothing is left out, and nothing is kept for who is not there.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from pbkit.sessions.messaging.broadcast import Audience
from pbkit.sessions.messaging.outbox import Told
from pbkit.sessions.messaging.telling import Telling

if TYPE_CHECKING:
    from pbkit.sessions.messaging.presence import Presence
    from pbkit.sessions.session import Session

#: How long changes are gathered before they are told, in seconds: people do not notice.
BATCH = 0.1
#: As many are told at once. Half of what is kept, so that who keeps up never falls behind that.
SOON = 500
#: What one message carries at most: changes, and bytes by an estimate. Some 1 ms of work.
CHANGES, BYTES = 100, 65536

log = Logger()


class _Watcher:
    """
    How far one who watches has been told.

    :ivar version: it knows all changes up to this one.
    :ivar upTo: of the sessions with a number up to this one; of others it has been told nothing yet.
    :ivar fresh: what it is told next starts from nothing.
    :ivar greeted: it has been told something: who comes back is, even if nothing has changed.
    """

    __slots__ = ("fresh", "greeted", "session", "stopWaiting", "upTo", "version")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.version = 0
        self.upTo: float = 0
        self.fresh = True
        self.greeted = False
        self.stopWaiting: Callable[[], None] | None = None


class Watching:
    """
    Those who watch the presence of a realm.

    :param presence: what they watch.
    :param telling: what they are told goes through this.
    :param clock: gives the realm's clock, or None: then changes are told at once.
    """

    def __init__(self, presence: Presence, telling: Telling, clock: Callable[[], IReactorTime | None]) -> None:
        self._presence = presence
        self._telling = telling
        self._clock = clock
        self._watchers: dict[Session, _Watcher] = {}
        self._timer: IDelayedCall | None = None
        self._toldUpTo = 0

    def __len__(self) -> int:
        """How many there are."""
        return len(self._watchers)

    def watch(self, session: Session, known: int | None) -> Told:
        """
        One more.

        :param known: the version that it knows, or None.
        """
        self.unwatch(session)
        if not session.mind or session.endedWith is not None:
            return Told.GONE
        if not self._watchers:
            self._toldUpTo = self._presence.version
        watcher = self._watchers[session] = _Watcher(session)
        if known is not None:
            watcher.version, watcher.upTo, watcher.fresh = known, inf, False
        return self._advance(watcher)

    def unwatch(self, session: Session) -> bool:
        """One less, if it was one."""
        watcher = self._watchers.pop(session, None)
        if watcher is None:
            return False
        if watcher.stopWaiting is not None:
            watcher.stopWaiting()
        if not self._watchers and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return True

    def changed(self) -> None:
        """Something has changed: tell them soon."""
        if not self._watchers:
            return
        clock = self._clock()
        if clock is None or self._presence.version - self._toldUpTo >= SOON:
            self._tellAll()
        elif self._timer is None:
            self._timer = clock.callLater(BATCH, self._due)

    def _due(self) -> None:
        self._timer = None
        self._tellAll()

    def _tellAll(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._toldUpTo = self._presence.version
        behind = [watcher.session for watcher in self._watchers.values() if watcher.stopWaiting is None]
        if behind:
            self._telling.each(Audience(behind), self._deliver)

    def _deliver(self, session: Session) -> Told:
        watcher = self._watchers.get(session)
        if watcher is None:
            return Told.GONE
        return self._advance(watcher)

    def _advance(self, watcher: _Watcher) -> Told:
        """Tell one the next of what it does not know, if it can take it."""
        session = watcher.session
        if watcher.stopWaiting is not None or not self._isBehind(watcher):
            return Told.QUEUED
        if not session.ready:
            return self._wait(watcher)
        changes, version, upTo = self._nextFor(watcher)
        fresh, watcher.fresh = watcher.fresh, False
        watcher.version, watcher.upTo, watcher.greeted = version, upTo, True
        name = self._presence.named(version) if upTo == inf else ""
        try:
            told = session.mind.put("presence", (name, changes, fresh), {})
        except Exception:
            # An avatar id that no text can be, say. It would miss something and not know of it.
            log.failure("presence could not be told to {mind}, which is taken off", mind=session.mind)
            self.unwatch(session)
            return Told.GONE
        if told is Told.SENT and self._isBehind(watcher):
            # There is more, in a turn of its own.
            self._telling.each(Audience((session,)), self._deliver)
        return told

    def _isBehind(self, watcher: _Watcher) -> bool:
        return not watcher.greeted or watcher.version < self._presence.version or watcher.upTo != inf

    def _wait(self, watcher: _Watcher) -> Told:
        watcher.stopWaiting = watcher.session.peer.onWritable(lambda: self._writable(watcher))
        return Told.QUEUED

    def _writable(self, watcher: _Watcher) -> None:
        watcher.stopWaiting = None
        session = watcher.session
        if self._watchers.get(session) is not watcher:
            return
        # What it was told before goes first.
        if session.outbox is not None:
            session.outbox.flush()
        self._advance(watcher)

    def _nextFor(self, watcher: _Watcher) -> tuple[list[tuple[Any, ...]], int, float]:
        """
        :return: the next changes for one; the version that it knows then, and of how many sessions.
        """
        presence = self._presence
        if watcher.version < presence.oldest or watcher.upTo == 0:
            watcher.version, watcher.upTo, watcher.fresh = presence.version, 0, True
        found: list[tuple[Any, ...]] = []
        room, version, upTo = BYTES, watcher.version, watcher.upTo
        for change in presence.since(version):
            if len(found) >= CHANGES or room <= 0:
                return found, version, upTo
            if change.who <= upTo:
                found.append(change.told())
                room -= change.size
            version = change.version
        if upTo != inf:
            for who, began, size in presence.after(upTo):
                if len(found) >= CHANGES or room <= 0:
                    return found, version, upTo
                found.append(began)
                room -= size
                upTo = who
        return found, version, inf
