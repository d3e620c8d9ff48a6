"""
What the sessions of a realm share: broadcasts, topics, presence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IReactorTime

from pbkit.sessions.messaging.broadcast import Audience
from pbkit.sessions.messaging.presence import Presence
from pbkit.sessions.messaging.slowpolicy import Policy
from pbkit.sessions.messaging.telling import Telling
from pbkit.sessions.messaging.topics import Topics

if TYPE_CHECKING:
    from pbkit.sessions.messaging.recipient import Recipient, Recipients


class HubRealm(Protocol):
    """What a hub needs of a realm."""

    @property
    def clock(self) -> IReactorTime | None: ...
    @property
    def roster(self) -> Recipients: ...


class Hub:
    """
    What the sessions of a realm and those of its guests share.

    :param clock: the clock, if there is no realm that has one.
    :param slow: the policy for slow consumers; None is the default one.
    """

    def __init__(self, clock: IReactorTime | None = None, slow: Policy | None = None) -> None:
        self._fixedClock = clock
        self._realms: list[HubRealm] = []
        self._everyone: Audience | None = None
        self._presence: Presence | None = None
        self._endingSeveral = 0
        self.telling = Telling(self.clock, slow)
        self.topics = Topics(self.telling, self)

    def clock(self) -> IReactorTime | None:
        """Return the clock of the first realm that has one."""
        for realm in self._realms:
            if realm.clock is not None:
                return realm.clock
        return self._fixedClock

    def add(self, realm: HubRealm) -> None:
        """Add the sessions of a realm."""
        self._realms.append(realm)
        realm.roster.onBegin(self._changed)
        realm.roster.onEnd(self._changed)

    def _changed(self, session: Recipient) -> None:
        self._everyone = None

    def everyone(self) -> Audience:
        """Return all live sessions."""
        if self._everyone is None:
            self._everyone = Audience(session for realm in self._realms for session in realm.roster)
        return self._everyone

    @property
    def presence(self) -> Presence:
        """The realm's presence. It is made at first access; until then it costs nothing."""
        if self._presence is None:
            self._presence = Presence(self.telling, self.clock, [realm.roster for realm in self._realms])
        return self._presence

    def sendPending(self, session: Recipient) -> None:
        """Send one session its pending broadcasts, and the changes of presence that it has not been told."""
        if self.telling.busy:
            self.telling.catchUp(session)
        if self._presence is not None and not self._endingSeveral:
            self._presence.sendPending(session)

    @contextmanager
    def endingSeveral(self, sessions: Iterable[Recipient]) -> Iterator[None]:
        """
        End several sessions within this context. What each of them was told before is sent first. They are not told
        that the others end: n sessions that watch each other would be told n² changes.
        """
        for session in sessions:
            session.sendPending()
        self._endingSeveral += 1
        try:
            yield
        finally:
            self._endingSeveral -= 1

    def left(self, session: Recipient) -> int:
        """
        Remove a session that has ended from the pending broadcasts, from its topics and from the watchers.

        :return: how many pending broadcasts were dropped for it.
        """
        dropped = self.telling.drop(session) if self.telling.busy and session.mind else 0
        if session.topicNames:
            self.topics.forget(session)
        if self._presence is not None:
            self._presence.unwatch(session)
        return dropped

    def declared(self, session: Recipient) -> None:
        """Tell the presence that a client has changed what it declares about itself."""
        if self._presence is not None:
            self._presence.declared(session)
