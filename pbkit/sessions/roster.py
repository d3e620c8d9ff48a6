"""
The registry of live sessions and of the places that pending logins hold.

Every look-up, reservation, begin and end takes the same time for any number of sessions, except in the number of
sessions of one user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress

from pbkit.interfaces import ILogin
from pbkit.sessions.listeners import Listeners
from pbkit.sessions.waiters import Waiters

if TYPE_CHECKING:
    from pbkit.errors import LoginRefused
    from pbkit.sessions.messaging.recipient import Recipient

#: The class of the sessions: `pbkit.Session` in realms.
S = TypeVar("S", bound="Recipient")


class Place:
    """
    Room for one session: a reservation while the login is pending, then the place of the live session.

    :ivar avatarId: the avatar id of the login.
    :ivar peerId: the id of the connection, or "" where it is not known.
    :ivar session: the live `Session`, or None while the login is pending.
    :ivar leaving: True if a pending login will end this session. Then the place does not count.
    :ivar ending: the places that this login takes over.
    :ivar program: the client instance id, or "" if the client declared none.
    :ivar handover: when the replaced sessions end: "before" the new login has its avatar, or "after".
    :ivar candidate: the pending login, then None.
    :ivar refusal: why the pending login is to be refused after all, or None.
    """

    __slots__ = (
        "_waiting",
        "avatarId",
        "candidate",
        "ending",
        "handover",
        "leaving",
        "peerId",
        "program",
        "refusal",
        "session",
    )

    def __init__(self, avatarId: str, peerId: str, ending: tuple[Place, ...] = (), program: str = "") -> None:
        self.avatarId = avatarId
        self.peerId = peerId
        self.ending = ending
        self.program = program
        self.session: Recipient | None = None
        self.leaving = False
        self.handover = "before"
        self.candidate: Candidate | None = None
        self.refusal: LoginRefused | None = None
        self._waiting: Waiters[None] | None = Waiters()

    @property
    def pending(self) -> bool:
        """True until the login has succeeded or failed."""
        return self._waiting is not None

    def settled(self) -> Deferred[None]:
        """
        :return: a Deferred that fires when the login that holds this place has succeeded or failed.
        """
        return succeed(None) if self._waiting is None else self._waiting.wait()

    def settle(self) -> None:
        """Note that the login has succeeded or failed, and fire the Deferreds of `settled`."""
        self.candidate = None
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.fire(None)


@attrs.frozen
class Candidate:
    """
    A login that asks to be admitted.

    :ivar avatarId: the avatar id that it is for.
    :ivar peerId: the id of its connection, "" where that is not known.
    :ivar address: the `IAddress` of the client, or None.
    :ivar hello: what the client declared about itself.
    :ivar probed: by session id, whether the session answered when it was probed for this login.
    :ivar ending: the places that earlier policies of an `allOf` have chosen to end for this login.
    """

    avatarId: str
    peerId: str = ""
    address: IAddress | None = None
    hello: Mapping[str, object] = attrs.field(factory=dict)
    probed: Mapping[str, bool] = attrs.field(factory=dict)
    ending: tuple[Place, ...] = ()

    @classmethod
    def of(cls, avatarId: str, login: ILogin) -> Candidate:
        """Describe a login to a policy."""
        peer = login.peer
        return (
            cls(avatarId, "", None, login.hello)
            if peer is None
            else cls(avatarId, peer.peerId, peer.address, login.hello)
        )


class Group:
    """Some places, oldest first. Places that are leaving are neither counted nor listed."""

    __slots__ = ("_leaving", "_places")

    def __init__(self, *places: Place) -> None:
        self._places: dict[Place, None] = dict.fromkeys(places)
        self._leaving = sum(place.leaving for place in places)

    def __len__(self) -> int:
        return len(self._places) - self._leaving

    def __iter__(self) -> Iterator[Place]:
        return (place for place in self._places if not place.leaving)

    def __contains__(self, place: object) -> bool:
        return place in self._places and not place.leaving

    def sessions(self) -> Iterator[Recipient]:
        """Iterate over the live sessions, oldest login first, including those that are about to be replaced."""
        return (place.session for place in self._places if place.session is not None)

    # For the roster. A place that is leaving is part of the group until it is removed.

    @property
    def size(self) -> int:
        """The number of places, including those that are leaving."""
        return len(self._places)

    def holds(self, place: Place) -> bool:
        """Return whether a place is part of this group, leaving or not."""
        return place in self._places

    def add(self, place: Place) -> None:
        """Add a place that is not leaving."""
        self._places[place] = None

    def remove(self, place: Place) -> None:
        """Remove a place that is not leaving."""
        del self._places[place]

    def marked(self, leaving: bool) -> None:
        """Note that one of the places is leaving now, or is not any more."""
        self._leaving += 1 if leaving else -1


#: Places by avatar id or connection. A single place stands for itself: a group of one takes 280 bytes, and a session
#: has two, which is a tenth of its memory.
_Index: TypeAlias = dict[str, Group | Place]


def _groupIn(index: _Index, key: str) -> Group:
    found = index.get(key)
    return found if isinstance(found, Group) else Group(*(() if found is None else (found,)))


class View:
    """What an admission policy sees: the places of live sessions and pending logins."""

    __slots__ = ("_byAvatar", "_byPeer", "_everyone")

    def __init__(self, everyone: Group, byAvatar: _Index, byPeer: _Index) -> None:
        self._everyone = everyone
        self._byAvatar = byAvatar
        self._byPeer = byPeer

    def everyone(self) -> Group:
        """Return all places."""
        return self._everyone

    def avatar(self, avatarId: str) -> Group:
        """Return the places of one avatar id."""
        return _groupIn(self._byAvatar, avatarId)

    def peer(self, peerId: str) -> Group:
        """Return the places of one connection."""
        return _groupIn(self._byPeer, peerId)


class Roster(Generic[S]):
    """
    The live sessions of one realm. Guests are in the roster of its `anonymous` realm.

    ``len(roster)`` is the number of sessions, ``session in roster`` tells whether one is live, and iterating lists the
    sessions that are live at that moment, oldest login first: sessions may begin and end meanwhile.
    """

    def __init__(self) -> None:
        self._all = Group()
        self._byAvatar: _Index = {}
        self._byPeer: _Index = {}
        self._sessions: dict[str, S] = {}
        self._listeners = {event: Listeners[S](f"the {event} of sessions") for event in ("begin", "end")}
        self.view = View(self._all, self._byAvatar, self._byPeer)

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[S]:
        return iter(tuple(self._sessions.values()))

    def __contains__(self, session: object) -> bool:
        return self._sessions.get(getattr(session, "sessionId", "")) is session

    def __repr__(self) -> str:
        return f"<Roster: {len(self)} sessions, {self.pending} pending logins>"

    @property
    def pending(self) -> int:
        """The number of pending logins, which hold a place and have no session yet."""
        return self._all.size - len(self._sessions)

    def get(self, sessionId: str) -> S | None:
        """Return the live session with that id, or None."""
        return self._sessions.get(sessionId)

    def ofAvatar(self, avatarId: str) -> tuple[S, ...]:
        """Return the live sessions of an avatar id, oldest login first."""
        return self._sessionsIn(self.view.avatar(avatarId))

    def ofPeer(self, peerId: str) -> tuple[S, ...]:
        """Return the live sessions of one connection, oldest login first."""
        return self._sessionsIn(self.view.peer(peerId))

    def _sessionsIn(self, group: Group) -> tuple[S, ...]:
        return tuple(self._sessions[session.sessionId] for session in group.sessions())

    def onBegin(self, f: Callable[[S], object]) -> Callable[[], None]:
        """
        Call ``f(session)`` whenever a session has begun. An exception in it is logged.

        :return: a callable that removes `f`.
        """
        return self._listeners["begin"].add(f)

    def onEnd(self, f: Callable[[S], object]) -> Callable[[], None]:
        """
        Call ``f(session)`` whenever a session has ended; ``session.endedWith`` is the reason. An exception in it is
        logged.

        :return: a callable that removes `f`.
        """
        return self._listeners["end"].add(f)

    def tell(self, event: str, session: S) -> None:
        """Call the listeners of an event, "begin" or "end"; for the realm."""
        self._listeners[event].tell(session)

    def reserve(self, avatarId: str, peerId: str, ending: tuple[Place, ...] = (), program: str = "") -> Place:
        """
        Hold a place for a pending login; for the realm.

        :param ending: the places of live sessions that this login takes over if it succeeds. They do not count from
            now on, so that no other login is admitted or refused because of them.
        :param program: the client instance id.
        """
        place = Place(avatarId, peerId, ending, program)
        self._all.add(place)
        for index, key in self._indices(place):
            found = index.setdefault(key, place)
            if isinstance(found, Group):
                found.add(place)
            elif found is not place:
                index[key] = Group(found, place)
        for old in ending:
            self._mark(old, True)
        return place

    @contextmanager
    def asIfGone(self, places: tuple[Place, ...]) -> Iterator[None]:
        """
        Do not count some places within this context, to ask a policy what it would decide without them.

        :param places: none of them is leaving already.
        """
        for place in places:
            self._mark(place, True)
        try:
            yield
        finally:
            for place in places:
                self._mark(place, False)

    def begin(self, place: Place, session: S) -> None:
        """Give the place of a login that has succeeded to its session, and remove the sessions that it replaces."""
        place.session = session
        self._sessions[session.sessionId] = session
        for old in place.ending:
            self.release(old)

    def release(self, place: Place) -> None:
        """Remove the place of a login that has failed or of a session that has ended. Idempotent."""
        if not self._all.holds(place):
            return
        if place.session is None:
            for old in place.ending:
                self._mark(old, False)
        else:
            del self._sessions[place.session.sessionId]
        self._mark(place, False)
        self._all.remove(place)
        for index, key in self._indices(place):
            found = index[key]
            if isinstance(found, Group):
                found.remove(place)
            if found is place or (isinstance(found, Group) and not found.size):
                del index[key]

    def _mark(self, place: Place, leaving: bool) -> None:
        if place.leaving != leaving and self._all.holds(place):
            place.leaving = leaving
            for group in (self._all, *(index[key] for index, key in self._indices(place))):
                if isinstance(group, Group):
                    group.marked(leaving)

    def _indices(self, place: Place) -> Iterator[tuple[_Index, str]]:
        for index, key in ((self._byAvatar, place.avatarId), (self._byPeer, place.peerId)):
            if key:
                yield index, key
