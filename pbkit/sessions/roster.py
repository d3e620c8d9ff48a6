"""
The index of live sessions, and of the places that pending log-ins hold.

Every look-up, reservation, begin and end is O(1) in the number of sessions (one user's own aside).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, TypeAlias

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from pbkit.interfaces import ILogin
from pbkit.sessions.waiters import Waiters

if TYPE_CHECKING:
    from pbkit.errors import LoginRefused
    from pbkit.sessions.session import Session

log = Logger()


class Place:
    """
    Room for one session: held by a pending login first, then by the live session.

    :ivar avatarId: whose it is.
    :ivar peerId: the connection's, or "" where it is not known.
    :ivar session: the live `Session`, or None while the login is pending.
    :ivar leaving: a pending newcomer will end this one, so it no longer counts.
    :ivar program: what its client calls its own running program, or "" if it said nothing.
    :ivar handover: when those whom the newcomer replaces go: once he has the avatar ("before"), or first ("after").
    :ivar candidate: who holds it, while the login is pending; then None.
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
        self.session: Session | None = None
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
        """The login that held this place has succeeded or failed: tell those who wait for that."""
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
    """Some places, oldest first. Those that are leaving are neither counted nor listed."""

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

    def sessions(self) -> Iterator[Session]:
        """The live sessions among them, oldest login first; also those about to be replaced."""
        return (place.session for place in self._places if place.session is not None)


#: By avatar id or connection. A place that is alone there stands for itself: a group of one takes 280 bytes.
_Index: TypeAlias = dict[str, Group | Place]


def _groupIn(index: _Index, key: str) -> Group:
    found = index.get(key)
    return found if isinstance(found, Group) else Group(*(() if found is None else (found,)))


class View:
    """What an admission policy sees: the places that are taken, by live sessions and pending log-ins."""

    __slots__ = ("_roster",)

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def everyone(self) -> Group:
        """All places."""
        return self._roster._all

    def avatar(self, avatarId: str) -> Group:
        """The places of one avatar id."""
        return _groupIn(self._roster._byAvatar, avatarId)

    def peer(self, peerId: str) -> Group:
        """The places of one connection."""
        return _groupIn(self._roster._byPeer, peerId)


class Roster:
    """
    The live sessions of one realm, guests apart: these are in the roster of its `anonymous` realm.

    ``len(roster)`` is their number; iterating gives them, oldest login first, as they are at that moment: sessions may
    begin and end in the course of it. ``session in roster`` tells whether one lives.
    """

    def __init__(self) -> None:
        self._all = Group()
        self._byAvatar: _Index = {}
        self._byPeer: _Index = {}
        self._sessions: dict[str, Session] = {}
        self._listeners: dict[int, tuple[str, Callable[[Session], object]]] = {}
        self._numbers = count()
        self.view = View(self)

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._sessions.values()))

    def __contains__(self, session: object) -> bool:
        return self._sessions.get(getattr(session, "sessionId", "")) is session

    def __repr__(self) -> str:
        return f"<Roster: {len(self)} sessions, {self.pending} pending log-ins>"

    @property
    def pending(self) -> int:
        """How many log-ins are pending: they hold a place and have no session yet."""
        return len(self._all._places) - len(self._sessions)

    def get(self, sessionId: str) -> Session | None:
        """The live session of that id, or None."""
        return self._sessions.get(sessionId)

    def ofAvatar(self, avatarId: str) -> tuple[Session, ...]:
        """The live sessions of an avatar id, oldest login first."""
        return tuple(self.view.avatar(avatarId).sessions())

    def ofPeer(self, peerId: str) -> tuple[Session, ...]:
        """The live sessions that ride on one connection, oldest login first."""
        return tuple(self.view.peer(peerId).sessions())

    def onBegin(self, f: Callable[[Session], object]) -> Callable[[], None]:
        """
        Call ``f(session)`` whenever a session has begun. What it raises is logged.

        :return: a callable that takes `f` off again.
        """
        return self._listen("begin", f)

    def onEnd(self, f: Callable[[Session], object]) -> Callable[[], None]:
        """
        Call ``f(session)`` whenever a session has ended; ``session.endedWith`` says why.

        :return: a callable that takes `f` off again.
        """
        return self._listen("end", f)

    def _listen(self, event: str, f: Callable[[Session], object]) -> Callable[[], None]:
        number = next(self._numbers)
        self._listeners[number] = (event, f)
        return lambda: void(self._listeners.pop(number, None))

    def tell(self, event: str, session: Session) -> None:
        """Call the listeners of an event; for the realm."""
        for wanted, f in tuple(self._listeners.values()):
            if wanted == event:
                try:
                    f(session)
                except Exception:
                    log.failure("a listener to the {event} of sessions raised", event=event)

    def reserve(self, avatarId: str, peerId: str, ending: tuple[Place, ...] = (), program: str = "") -> Place:
        """
        Hold a place for a login that is not through yet; for the realm.

        :param ending: places of live sessions that this login takes over if it succeeds. From now on they
            do not count, so that nobody else is let in, or refused, on their account.
        :param program: what the client calls its own running program.
        """
        place = Place(avatarId, peerId, ending, program)
        self._all._places[place] = None
        for index, key in self._indices(place):
            found = index.setdefault(key, place)
            if isinstance(found, Group):
                found._places[place] = None
            elif found is not place:
                index[key] = Group(found, place)
        for old in ending:
            self._mark(old, True)
        return place

    @contextmanager
    def asIfGone(self, places: tuple[Place, ...]) -> Iterator[None]:
        """
        While it lasts these do not count: to ask a policy what it would say without them.

        :param places: none of which is leaving already.
        """
        for place in places:
            self._mark(place, True)
        try:
            yield
        finally:
            for place in places:
                self._mark(place, False)

    def begin(self, place: Place, session: Session) -> None:
        """The login has succeeded: the place is the session's, and those taken over are out."""
        place.session = session
        self._sessions[session.sessionId] = session
        for old in place.ending:
            self.release(old)

    def release(self, place: Place) -> None:
        """The login has failed, or the session has ended. Idempotent."""
        if place not in self._all._places:
            return
        if place.session is None:
            for old in place.ending:
                self._mark(old, False)
        else:
            del self._sessions[place.session.sessionId]
        self._mark(place, False)
        del self._all._places[place]
        for index, key in self._indices(place):
            found = index[key]
            if isinstance(found, Group):
                del found._places[place]
            if found is place or (isinstance(found, Group) and not found._places):
                del index[key]

    def _mark(self, place: Place, leaving: bool) -> None:
        if place.leaving != leaving and place in self._all._places:
            place.leaving = leaving
            for group in (self._all, *(index[key] for index, key in self._indices(place))):
                if isinstance(group, Group):
                    group._leaving += 1 if leaving else -1

    def _indices(self, place: Place) -> Iterator[tuple[_Index, str]]:
        for index, key in ((self._byAvatar, place.avatarId), (self._byPeer, place.peerId)):
            if key:
                yield index, key


def void(_: object) -> None:
    """Nothing, whatever it is given."""
