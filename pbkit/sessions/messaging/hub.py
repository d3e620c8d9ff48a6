"""
What the sessions of a realm have in common: what they are told together, their topics, who is here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorTime

from pbkit.sessions.messaging.broadcast import Audience
from pbkit.sessions.messaging.presence import Presence
from pbkit.sessions.messaging.slowpolicy import Policy
from pbkit.sessions.messaging.telling import Telling
from pbkit.sessions.messaging.topics import Topics

if TYPE_CHECKING:
    from pbkit.sessions.session import Session


class Hall:
    """
    The sessions of a realm, together with those of its guests.

    :param clock: if there is no realm that has one.
    :param slow: the policy for clients that do not keep up; None is the usual one.
    """

    def __init__(self, clock: IReactorTime | None = None, slow: Policy | None = None) -> None:
        self._fixedClock = clock
        self._realms: list[Any] = []
        self._everyone: Audience | None = None
        self._presence: Presence | None = None
        self.telling = Telling(self.clock, slow)
        self.topics = Topics(self.telling)

    def clock(self) -> IReactorTime | None:
        """The clock of the first realm that has one."""
        for realm in self._realms:
            if realm.clock is not None:
                clock: IReactorTime = realm.clock
                return clock
        return self._fixedClock

    def add(self, realm: Any) -> None:
        """The sessions of this realm are here, too."""
        self._realms.append(realm)
        realm.roster.onBegin(self._changed)
        realm.roster.onEnd(self._changed)

    def _changed(self, session: Session) -> None:
        self._everyone = None

    def everyone(self) -> Audience:
        """All who are here."""
        if self._everyone is None:
            self._everyone = Audience(session for realm in self._realms for session in realm.roster)
        return self._everyone

    @property
    def presence(self) -> Presence:
        """Who is here, for those who want to know. Made when it is first asked for; until then it costs nothing."""
        if self._presence is None:
            self._presence = Presence(self.telling, self.clock, [realm.roster for realm in self._realms])
        return self._presence

    def left(self, session: Session) -> None:
        """A session has ended."""
        if session.topicNames:
            self.topics.forget(session)
        if self._presence is not None:
            self._presence.unwatch(session)

    def declared(self, session: Session) -> None:
        """A session says something else of itself."""
        if self._presence is not None:
            self._presence.declared(session)
