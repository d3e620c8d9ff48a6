"""
The clients that watch who is logged in, and what they are told.

Each session has a number here, `who`, and each change has a number of its own, the version. A watcher is told::

    remote_presence(version, changes, fresh)

`changes` are tuples, in order::

    ("began", who, avatarId, declared, first)     first: it is the only session of this user
    ("ended", who, avatarId, reason, last)        reason: the name of a `SessionEnded`; last: this user has no other
    ("changed", who, avatarId, declared)          declared: what the client declared about itself

With `fresh` the watcher starts from nothing: the changes are the beginnings of the sessions that are logged in. A large
state comes in several messages, all but the last with "" as the version. A client that reconnects sends the version
that it was told last, and is told what has changed since, if that is among the last 1,000 changes; otherwise the whole
state. A version is a text that means something to the same run of the server only.

For each watcher the server keeps a version and a number. A slow consumer is sent nothing until it has caught up, and
then what has changed since. So nothing is told twice, nothing is left out, and nothing is queued. Watchers that know
the same are told the same, and that message is encoded once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from pbkit.interfaces import ICast
from pbkit.sessions.messaging.broadcast import Audience
from pbkit.sessions.messaging.delivery import Told
from pbkit.sessions.messaging.feed import Feed
from pbkit.sessions.messaging.telling import Telling

if TYPE_CHECKING:
    from pbkit.sessions.messaging.recipient import Recipient

#: Seconds during which changes are collected before they are told: people do not notice.
BATCH = 0.1
#: This many changes are told at once. Half of what is kept, so that a client that keeps up never falls behind that.
SOON = 500
#: The most that one message carries: changes, and estimated bytes. Some 1 ms of work.
CHANGES, BYTES = 100, 65536
#: How many messages are kept for watchers that know the same: at most half a megabyte.
SHARED = 8

log = Logger()

#: The messages about the sessions with a higher number than the argument: for each its number, the message, its size.
State: TypeAlias = Callable[[float], Iterator[tuple[int, tuple[Any, ...], int]]]


class WatchedChange(Protocol):
    """What watchers need of a change of presence. See `pbkit.sessions.messaging.presence.Change`."""

    @property
    def version(self) -> int: ...
    @property
    def who(self) -> int: ...
    @property
    def size(self) -> int: ...

    def told(self) -> tuple[Any, ...]:
        """Return the change as watchers are told it."""


C = TypeVar("C", bound=WatchedChange)


class _Watcher:
    """
    How much one watcher has been told.

    :ivar version: it knows all changes up to this version.
    :ivar upTo: it knows the sessions with a number up to this one; it has been told nothing about the others.
    :ivar fresh: True if its next message starts from nothing.
    :ivar greeted: True if it has been told something. A client that reconnects is told the version at least.
    """

    __slots__ = ("fresh", "greeted", "session", "stopWaiting", "upTo", "version")

    def __init__(self, session: Recipient) -> None:
        self.session = session
        self.version = 0
        self.upTo: float = 0
        self.fresh = True
        self.greeted = False
        self.stopWaiting: Callable[[], None] | None = None


class _Message(NamedTuple):
    """
    The next message for all watchers that know the same.

    :ivar cast: sends it.
    :ivar version: what such a watcher knows after it, as `_Watcher.version`.
    :ivar upTo: as `_Watcher.upTo`.
    """

    cast: ICast
    version: int
    upTo: float


class Watchers(Generic[C]):
    """
    The clients that watch the presence of a realm.

    :param feed: the changes.
    :param state: who is logged in.
    :param telling: sends the messages.
    :param clock: returns the realm's clock, or None: then changes are told at once.
    """

    def __init__(
        self,
        feed: Feed[C],
        state: State,
        telling: Telling,
        clock: Callable[[], IReactorTime | None],
    ) -> None:
        self._feed = feed
        self._state = state
        self._telling = telling
        self._clock = clock
        self._watchers: dict[Recipient, _Watcher] = {}
        self._timer: IDelayedCall | None = None
        self._toldUpTo = 0
        #: By what a watcher knows, its next message. All are made at one version of the feed.
        self._messages: dict[tuple[int, float, bool], _Message] = {}
        self._messagesVersion = 0

    def __len__(self) -> int:
        """Return how many clients watch."""
        return len(self._watchers)

    def watch(self, session: Recipient, known: int | None) -> Told:
        """
        Add a client.

        :param known: the version that it knows, or None.
        """
        self.unwatch(session)
        if not session.mind or session.endedWith is not None:
            return Told.GONE
        if not self._watchers:
            self._toldUpTo = self._feed.version
        watcher = self._watchers[session] = _Watcher(session)
        if known is not None:
            watcher.version, watcher.upTo, watcher.fresh = known, inf, False
        return self._advance(watcher)

    def sendPending(self, session: Recipient) -> None:
        """Tell a client all changes now, if it is watching and is ready."""
        watcher = self._watchers.get(session)
        while watcher is not None and self._isBehind(watcher) and session.ready:
            if watcher.stopWaiting is not None:
                watcher.stopWaiting()
                watcher.stopWaiting = None
            self._advance(watcher)
            watcher = self._watchers.get(session)

    def unwatch(self, session: Recipient) -> bool:
        """
        Remove a client.

        :return: whether it was watching.
        """
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
        """Tell the watchers soon about a change."""
        if not self._watchers:
            return
        clock = self._clock()
        if clock is None or self._feed.version - self._toldUpTo >= SOON:
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
        self._toldUpTo = self._feed.version
        behind = [watcher.session for watcher in self._watchers.values() if watcher.stopWaiting is None]
        if behind:
            self._telling.each(Audience(behind), self._deliver, self._deliverTogether)

    def _deliverTogether(self, sessions: list[Recipient]) -> list[Told]:
        # Several sessions may share a connection, so the first message may fill it for the next session.
        return [self._deliver(session) for session in sessions]

    def _deliver(self, session: Recipient) -> Told:
        watcher = self._watchers.get(session)
        if watcher is None:
            return Told.GONE
        return self._advance(watcher)

    def _advance(self, watcher: _Watcher) -> Told:
        """Send one watcher the next message, if there is something to tell and the client is ready."""
        session = watcher.session
        if watcher.stopWaiting is not None or not self._isBehind(watcher):
            return Told.QUEUED
        if not session.ready:
            return self._wait(watcher)
        return self._send(watcher)

    def _send(self, watcher: _Watcher) -> Told:
        """Send one watcher, which is behind and whose client is ready, the next message."""
        session = watcher.session
        reference = session.mind.reference
        try:
            message = None
            if self._messagesVersion == self._feed.version:
                message = self._messages.get((watcher.version, watcher.upTo, watcher.fresh))
            if message is None:
                message = self._nextFor(watcher)
            watcher.version, watcher.upTo, watcher.fresh, watcher.greeted = message.version, message.upTo, False, True
            told = Told.SENT if reference is not None and message.cast.to(reference) else Told.GONE
        except Exception:
            # For example, an avatar id that cannot be encoded. Without this message the watcher would miss changes and
            # not know it, so it is removed.
            log.failure("presence could not be told to {mind}, which is not watching any more", mind=session.mind)
            self.unwatch(session)
            return Told.GONE
        if told is Told.SENT and self._isBehind(watcher):
            # Send the rest in a turn of its own.
            self._telling.each(Audience((session,)), self._deliver)
        return told

    def _isBehind(self, watcher: _Watcher) -> bool:
        return not watcher.greeted or watcher.version < self._feed.version or watcher.upTo != inf

    def _wait(self, watcher: _Watcher) -> Told:
        peer = watcher.session.peer
        # A session without a connection is always ready.
        assert peer is not None
        watcher.stopWaiting = peer.onWritable(lambda: self._writable(watcher))
        return Told.QUEUED

    def _writable(self, watcher: _Watcher) -> None:
        watcher.stopWaiting = None
        session = watcher.session
        if self._watchers.get(session) is not watcher:
            return
        # Send what was queued before.
        session.flush()
        self._advance(watcher)

    def _nextFor(self, watcher: _Watcher) -> _Message:
        """Make the next message for a watcher, and keep it for those that know the same."""
        feed = self._feed
        if watcher.version < feed.oldest or watcher.upTo == 0:
            watcher.version, watcher.upTo, watcher.fresh = feed.version, 0, True
        if self._messagesVersion != feed.version or len(self._messages) >= SHARED:
            self._messages.clear()
            self._messagesVersion = feed.version
        changes, version, upTo = self._changesAfter(watcher.version, watcher.upTo)
        name = feed.named(version) if upTo == inf else ""
        peer = watcher.session.peer
        # Only a session with a connection has a mind, and so can watch.
        assert peer is not None
        message = _Message(peer.fanOut("presence", (name, changes, watcher.fresh), {}), version, upTo)
        self._messages[watcher.version, watcher.upTo, watcher.fresh] = message
        return message

    def _changesAfter(self, version: int, upTo: float) -> tuple[list[tuple[Any, ...]], int, float]:
        """
        Return what a watcher is told next, and the `version` and `upTo` that it knows after that.

        :param version: what it knows now, as `_Watcher.version`.
        :param upTo: as `_Watcher.upTo`.
        """
        found: list[tuple[Any, ...]] = []
        room = BYTES
        for change in self._feed.since(version):
            if len(found) >= CHANGES or room <= 0:
                return found, version, upTo
            if change.who <= upTo:
                found.append(change.told())
                room -= change.size
            version = change.version
        if upTo != inf:
            for who, began, size in self._state(upTo):
                if len(found) >= CHANGES or room <= 0:
                    return found, version, upTo
                found.append(began)
                room -= size
                upTo = who
        return found, version, inf
