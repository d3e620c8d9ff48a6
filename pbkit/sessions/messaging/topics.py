"""
Topics: named groups of sessions that are told the same things.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.internet.defer import Deferred

from pbkit.errors import Error
from pbkit.sessions.messaging.broadcast import Audience
from pbkit.sessions.messaging.delivery import Answers, Summary
from pbkit.sessions.messaging.mind import notPickled
from pbkit.sessions.messaging.telling import Telling

if TYPE_CHECKING:
    from pbkit.sessions.messaging.recipient import Recipient

#: How many topics one session may join, and how many characters a name may have: often the client chooses them.
TOPICS, NAME = 1000, 256


class _Members:
    """The members of one topic."""

    __slots__ = ("audience", "sessions")

    def __init__(self) -> None:
        self.sessions: dict[Recipient, None] = {}
        self.audience: Audience | None = None


class Topics:
    """
    The topics of a realm that have members. Nothing is kept of others.

    :param telling: sends the messages.
    :ivar hub: the hub that the topics and their sessions belong to.
    """

    def __init__(self, telling: Telling, hub: object) -> None:
        self.telling = telling
        self.hub = hub
        self.members: dict[str, _Members] = {}

    def __len__(self) -> int:
        """Return how many topics have members."""
        return len(self.members)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the topics that have members."""
        return iter(tuple(self.members))

    def forget(self, session: Recipient) -> None:
        """Remove a session that has ended from all of its topics."""
        names, session.topicNames = session.topicNames, None
        for name in names or ():
            self.remove(name, session)

    def remove(self, name: str, session: Recipient) -> None:
        """Remove a session from one topic. A topic without members is forgotten."""
        members = self.members[name]
        del members.sessions[session]
        members.audience = None
        if not members.sessions:
            del self.members[name]


class Topic:
    """
    A named group of sessions, which ``realm.topic(name)`` returns. A topic without members costs nothing; all objects
    with the same name stand for the same group.

    :ivar name: its name.
    """

    __slots__ = ("_topics", "name")

    def __init__(self, topics: Topics, name: str) -> None:
        """
        For realms.

        :raises Error: the name is not a str of 1 to 256 characters.
        """
        if not isinstance(name, str):
            raise Error(f"invalid topic name: expected a str, got {type(name).__name__}")
        if not 0 < len(name) <= NAME:
            raise Error(f"invalid topic name of {len(name)} characters: expected 1 to {NAME}")
        self._topics = topics
        self.name = name

    def __reduce__(self) -> NoReturn:
        """
        Refuse to be pickled or copied.

        :raises TypeError: always.
        """
        raise TypeError(notPickled("Topic"))

    def __repr__(self) -> str:
        return f"<Topic {self.name!r}, {len(self)} members>"

    def __len__(self) -> int:
        members = self._topics.members.get(self.name)
        return 0 if members is None else len(members.sessions)

    def __bool__(self) -> bool:
        """Return True, also for a topic without members."""
        return True

    def __contains__(self, session: object) -> bool:
        members = self._topics.members.get(self.name)
        return members is not None and session in members.sessions

    def __iter__(self) -> Iterator[Any]:
        return iter(self.members)

    @property
    def members(self) -> tuple[Any, ...]:
        """The `Session` objects in this topic, in the order in which they joined."""
        # Any, so that they can be passed to functions that are annotated with `Session`, which is not imported here.
        return self._audience().sessions

    def join(self, session: Recipient) -> bool:
        """
        Add a session. It leaves automatically when it ends; a session that has ended is not added.

        :return: True if it was added now, and was not a member before.
        :raises ValueError: it is a session of another realm.
        :raises Error: it is in 1000 topics already.
        """
        if session.hub is not self._topics.hub:
            raise ValueError(f"{session!r} is a session of another realm")
        if session.endedWith is not None or session in self:
            return False
        names = session.topicNames
        if names is None:
            names = session.topicNames = set()
        elif len(names) >= TOPICS:
            raise Error(f"a session may join {TOPICS} topics, and this one has joined as many")
        members = self._topics.members.get(self.name)
        if members is None:
            members = self._topics.members[self.name] = _Members()
        members.sessions[session] = None
        members.audience = None
        names.add(self.name)
        return True

    def leave(self, session: Recipient) -> bool:
        """
        Remove a session. Messages that it was not sent by now are not sent to it.

        :return: whether it was a member.
        """
        if session not in self:
            return False
        assert session.topicNames is not None
        session.topicNames.discard(self.name)
        self._topics.remove(self.name, session)
        return True

    def tell(self, method: str, *args: object, **kw: object) -> Deferred[Summary]:
        """Tell all members, as `Realm.tell`. The cost depends on their number, not on that of all sessions."""
        return self._topics.telling.tell(self._audience(), method, args, kw, still=self.__contains__)

    def ask(self, method: str, *args: object, **kw: object) -> Deferred[Answers]:
        """Ask all members, as `Realm.ask`."""
        return self._topics.telling.ask(self._audience(), method, args, kw, still=self.__contains__)

    def _audience(self) -> Audience:
        members = self._topics.members.get(self.name)
        if members is None:
            return NOBODY
        if members.audience is None:
            members.audience = Audience(members.sessions)
        return members.audience


NOBODY = Audience(())
