"""
Topics: named groups of sessions, to be told things.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from pbkit.errors import Error
from pbkit.sessions.messaging.broadcast import Audience, Summary
from pbkit.sessions.messaging.telling import Telling

if TYPE_CHECKING:
    from pbkit.sessions.session import Session

#: How many topics one session may be in, and how long a name may be: clients often choose them.
TOPICS, NAME = 1000, 256


class _Members:
    """Who is in a topic that somebody is in."""

    __slots__ = ("audience", "sessions")

    def __init__(self) -> None:
        self.sessions: dict[Session, None] = {}
        self.audience: Audience | None = None


class Topics:
    """
    The topics of a realm that somebody is in. Of others nothing is kept.

    :param telling: what is told goes through this.
    """

    def __init__(self, telling: Telling) -> None:
        self.telling = telling
        self.members: dict[str, _Members] = {}

    def __len__(self) -> int:
        """How many topics have members."""
        return len(self.members)

    def __iter__(self) -> Iterator[str]:
        """The names of the topics that have members."""
        return iter(tuple(self.members))

    def forget(self, session: Session) -> None:
        """A session has ended: it leaves all of its topics. Costs as many steps as these are."""
        names, session.topicNames = session.topicNames, None
        for name in names or ():
            self.remove(name, session)

    def remove(self, name: str, session: Session) -> None:
        """Out of one topic, which is forgotten if that was the last one in it."""
        members = self.members[name]
        del members.sessions[session]
        members.audience = None
        if not members.sessions:
            del self.members[name]


class Topic:
    """
    A named group of sessions: what ``realm.topic(name)`` gives. One that nobody is in costs nothing; whoever asks
    for the name gets the same group.

    :ivar name: its name.
    """

    __slots__ = ("_topics", "name")

    def __init__(self, topics: Topics, name: str) -> None:
        """
        For realms.

        :raises Error: the name is not a str of 1 to 256 characters.
        """
        if not isinstance(name, str) or not 0 < len(name) <= NAME:
            raise Error(f"the name of a topic is a text of 1 to {NAME} characters")
        self._topics = topics
        self.name = name

    def __repr__(self) -> str:
        return f"<Topic {self.name!r}, {len(self)} in it>"

    def __len__(self) -> int:
        members = self._topics.members.get(self.name)
        return 0 if members is None else len(members.sessions)

    def __bool__(self) -> bool:
        """Always true, though nobody be in it."""
        return True

    def __contains__(self, session: object) -> bool:
        members = self._topics.members.get(self.name)
        return members is not None and session in members.sessions

    def __iter__(self) -> Iterator[Session]:
        return iter(self.members)

    @property
    def members(self) -> tuple[Session, ...]:
        """Who is in it, the first who joined first."""
        return self._audience().sessions

    def join(self, session: Session) -> bool:
        """
        Let a session in. It leaves by itself when it ends; one that has ended does not come in.

        :return: whether it has come in now, and was not in it before.
        :raises ValueError: it is a session of another realm.
        :raises Error: it is in 1000 topics already.
        """
        if session.hall.topics is not self._topics:
            raise ValueError(f"{session!r} is a session of another realm")
        if session.endedWith is not None or session in self:
            return False
        names = session.topicNames
        if names is None:
            names = session.topicNames = set()
        elif len(names) >= TOPICS:
            raise Error(f"a session may be in {TOPICS} topics, and this one is")
        members = self._topics.members.get(self.name)
        if members is None:
            members = self._topics.members[self.name] = _Members()
        members.sessions[session] = None
        members.audience = None
        names.add(self.name)
        return True

    def leave(self, session: Session) -> bool:
        """
        Let a session out. What it has not been told by now it is not told any more.

        :return: whether it was in it.
        """
        if session not in self:
            return False
        assert session.topicNames is not None
        session.topicNames.discard(self.name)
        self._topics.remove(self.name, session)
        return True

    def tell(self, method: str, *args: Any, **kw: Any) -> Deferred[Summary]:
        """Tell all who are in it, as `Realm.tell`. The cost is theirs, and not that of all sessions."""
        return self._topics.telling.tell(self._audience(), method, args, kw, still=self.__contains__)

    def ask(self, method: str, *args: Any, **kw: Any) -> Deferred[dict[str, Any]]:
        """Ask all who are in it, as `Realm.ask`."""
        return self._topics.telling.ask(self._audience(), method, args, kw, still=self.__contains__)

    def _audience(self) -> Audience:
        members = self._topics.members.get(self.name)
        if members is None:
            return NOBODY
        if members.audience is None:
            members.audience = Audience(members.sessions)
        return members.audience


NOBODY = Audience(())
