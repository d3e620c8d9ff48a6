"""
How a login becomes a session, and what follows when that ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Protocol, TypeAlias

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb

from pbkit.errors import (
    Disconnected,
    Draining,
    LoginInterrupted,
    LoginRefused,
    Replaced,
    ServerStopping,
    SessionEnded,
    Shutdown,
)
from pbkit.interfaces import ILogin, IPeer
from pbkit.sessions.avatar import Avatar
from pbkit.sessions.counters import Counters
from pbkit.sessions.lifecycle import Lease
from pbkit.sessions.login.arbitration import Arbitration
from pbkit.sessions.login.handover import Departures
from pbkit.sessions.login.hooks import Attachment
from pbkit.sessions.login.refusals import refusalFor
from pbkit.sessions.messaging.hub import Hub
from pbkit.sessions.messaging.mind import checkReference
from pbkit.sessions.roster import Candidate, Place, Roster
from pbkit.sessions.session import Session
from pbkit.sessions.sharedcall import MaybeDeferred, Returned, started, then

#: What `IRealm.requestAvatar` gives: the interface, the session, and the logout.
Avatars: TypeAlias = tuple[type[pb.IPerspective], Session, Callable[[], None]]

log = Logger()


class EnteredRealm(Protocol):
    """What an `Entrance` needs of its realm."""

    clock: IReactorTime | None
    roster: Roster[Session]
    counters: Counters
    hub: Hub
    goodbye: str

    @property
    def hooks(self) -> bool:
        """Whether avatars are told of their sessions, and sessions keep a mind."""

    def identify(self, avatarId: object) -> str:
        """Return the avatar id as text, or refuse it."""

    def acquire(self, avatarId: str, clock: IReactorTime | None) -> Returned[Lease]:
        """Provide the avatar."""

    def checkBans(self, avatarId: str | None, peer: IPeer | None) -> None:
        """Raise `LoginBanned` if the user or the address of the connection is banned."""

    def loginRefused(self, error: LoginRefused) -> None:
        """Count a refusal."""


class Entrance:
    """
    The way into a realm: holds the logins that are under way, and the sessions that are on their way out.

    :param realm: the realm.
    :param arbitration: reserves the place of a login.
    :ivar refusing: the error with which every login is refused, or None.
    """

    def __init__(self, realm: EnteredRealm, arbitration: Arbitration) -> None:
        self.realm = realm
        self.arbitration = arbitration
        self.refusing: type[LoginRefused] | None = None
        self.departures = Departures()
        self._logins: set[Deferred[Avatars]] = set()
        self._leaving: set[Deferred[None]] = set()

    def enter(self, avatarId: object, login: ILogin) -> Deferred[Avatars]:
        """
        Begin a session.

        :param avatarId: as the checker gave it.
        :return: as `IRealm.requestAvatar`; it fails with a `LoginRefused`.
        """
        login.credentialsAccepted()
        try:
            entered = PendingLogin(self, avatarId, login).proceed()
        except LoginRefused:
            return fail(Failure())
        if not isinstance(entered, Deferred):
            return succeed(entered)
        return entered if entered.called else self._cancelWhenLost(entered, login)

    def _cancelWhenLost(self, entering: Deferred[Avatars], login: ILogin) -> Deferred[Avatars]:
        # Cancel the login when the connection is lost. Otherwise it would hold its reservation until the build
        # finishes.
        self._logins.add(entering)
        stop = login.peer.onLost(entering.cancel) if login.peer is not None else lambda: None

        def done(result: Avatars | Failure) -> Avatars | Failure:
            stop()
            self._logins.discard(entering)
            return result

        return entering.addBoth(done)

    def refuse(self, kind: type[LoginRefused]) -> None:
        """Refuse all logins from now on, those under way too. Once the server stops, that stays the reason."""
        if self.refusing is not ServerStopping:
            self.refusing = kind
        for login in tuple(self._logins):
            login.cancel()

    def leaving(self) -> list[Deferred[None]]:
        """Return a Deferred for each ended session whose `detached` still runs. It fires when that has returned."""
        return [_copy(leaving) for leaving in self._leaving]

    def waitFor(self, detaching: Deferred[None]) -> None:
        """Count a `detached` that runs among those of `leaving`."""
        self._leaving.add(detaching)
        detaching.addBoth(lambda _: self._leaving.discard(detaching))


class PendingLogin:
    """
    One login on its way into a realm.

    Its steps are methods, taken in order by `proceed`. A step that has to wait returns a Deferred; the next one is
    taken when that fires. Before each step, and after the last, `check` looks at what may have changed meanwhile.

    :param entrance: the realm's.
    :param avatarId: as the checker gave it.
    :param login: the login as the server has it.
    """

    def __init__(self, entrance: Entrance, avatarId: object, login: ILogin) -> None:
        self._entrance = entrance
        self._realm = entrance.realm
        self._avatarId = avatarId
        self._login = login
        self._clock: IReactorTime | None = None
        # What the steps have come to.
        self._name: str | None = None
        self._reference: pb.RemoteReference | None = None
        self._place: Place | None = None
        self._lease: Lease | None = None
        self._session: Session | None = None
        self._attachment: Attachment | None = None

    def proceed(self) -> MaybeDeferred[Avatars]:
        """
        Take all steps.

        :return: what the realm gives the portal; a Deferred only if a step has to wait.
        :raises LoginRefused: the login fails; all that it has done is undone.
        """
        return self._take(iter((self.identify, self.reserve, self.build, self.attach, self.begin)))

    def _take(self, steps: Iterator[Callable[[], Deferred[Any] | None]]) -> MaybeDeferred[Avatars]:
        try:
            for step in steps:
                self.check()
                waiting = step()
                if waiting is not None:
                    if self._login.lost:
                        # Nothing cancels it any more if the connection was lost during the step.
                        waiting.cancel()
                    return waiting.addCallbacks(lambda _: self._take(steps), self._failed)
            self.check()
        except KeyboardInterrupt:
            self._undo()
            raise
        except BaseException:
            raise self._refused(Failure()) from None
        assert self._session is not None and self._attachment is not None
        self._session.begun = True
        return pb.IPerspective, self._session, self._attachment.logout

    def _failed(self, failure: Failure) -> NoReturn:
        raise self._refused(failure) from None

    # The steps.

    def identify(self) -> None:
        """Find out the avatar id, and the mind."""
        self._name = self._realm.identify(self._avatarId)
        self._reference = checkReference(self._login.reference)
        realm, peer = self._realm, self._login.peer
        if realm.clock is None and peer is not None:
            realm.clock = peer.clock
        self._clock = realm.clock

    def reserve(self) -> Deferred[None] | None:
        """Reserve a place, as the admission policy decides; with ``handover="after"``, end the replaced sessions."""
        assert self._name is not None
        candidate = Candidate.of(self._name, self._login)
        return then(self._entrance.arbitration.reserve(candidate, self._clock, self.check), self._reserved)

    def _reserved(self, place: Place) -> Deferred[None] | None:
        self._place = place
        return self._endReplaced(place) if place.handover == "after" else None

    def _endReplaced(self, place: Place) -> Deferred[None] | None:
        """End the sessions that this login replaces, and wait until they are out."""
        replaced, place.ending = place.ending, ()
        for old in replaced:
            _replace(old)
        departures = self._entrance.departures
        return departures.wait(dict.fromkeys((*replaced, *departures.of(place.avatarId))), self._clock)

    def build(self) -> Deferred[None] | None:
        """Get the avatar, built or kept."""
        assert self._name is not None
        return then(started(self._realm.acquire(self._name, self._clock)), self._built)

    def _built(self, lease: Lease) -> None:
        self._lease = lease

    def attach(self) -> Deferred[None] | None:
        """Make the session, and tell the avatar, which may still refuse."""
        assert self._name is not None and self._place is not None and self._lease is not None
        realm, login = self._realm, self._login
        hold = SessionHold(self._entrance, self._place, self._lease)
        self._session = Session(
            self._name,
            self._lease.avatar,
            self._reference if realm.hooks else None,
            login.peer,
            self._clock,
            hold.release,
            realm.goodbye,
            login.channel,
            hub=realm.hub,
        )
        self._attachment = hold.attachment = Attachment(self._session, realm.hooks)
        return self._attachment.attach()

    def begin(self) -> None:
        """Enter the session in the roster, and end those that it replaces."""
        realm, session, place = self._realm, self._session, self._place
        assert session is not None and place is not None
        # In one step, before any user code runs: the replaced sessions are out, and this one is in.
        realm.roster.begin(place, session)
        for old in place.ending:
            if old.session is not None and isinstance(old.session.avatar, Avatar):
                old.session.avatar.untrackSession(old.session)
        if isinstance(session.avatar, Avatar):
            session.avatar.trackSession(session)
        realm.counters.logins += 1
        log.info(
            "login: {avatarId!r:.200} from {peer}, session {sessionId}",
            avatarId=session.avatarId,
            # Text, because an observer that keeps log events would keep the connection too.
            peer=str(session.peer or "somewhere"),
            sessionId=session.sessionId,
        )
        realm.roster.tell("begin", session)
        for old in place.ending:
            _replace(old)
        place.ending = ()
        place.settle()

    # What may stop it.

    def check(self) -> None:
        """
        Look at everything that may have changed while the login waited, or while user code ran.

        :raises LoginRefused: the login must not go on.
        """
        refusing, login, place, session = self._entrance.refusing, self._login, self._place, self._session
        if refusing is not None:
            raise refusing()
        if login.lost:
            raise LoginInterrupted("the connection was lost")
        self._realm.checkBans(self._name, login.peer)
        if session is not None and session.endedWith is not None:
            raise LoginInterrupted(f"{LoginInterrupted.text}: {session.endedWith}")
        if place is not None and place.refusal is not None:
            raise place.refusal

    def _refused(self, failure: Failure) -> LoginRefused:
        refusal = self._refusalFor(failure)
        self._undo()
        self._realm.loginRefused(refusal)
        self._login.channel.end(SessionEnded("the login failed"))
        return refusal

    def _refusalFor(self, failure: Failure) -> LoginRefused:
        if failure.check(CancelledError, pb.PBConnectionLost):
            # It was cancelled because it must not go on, or a hook has lost its client. `check` knows the reason.
            try:
                self.check()
            except LoginRefused as reason:
                return reason
        return refusalFor(failure, self._login.peer)

    def _undo(self) -> None:
        """Give back what the steps have taken."""
        if self._session is not None:
            # This releases the place and the lease too.
            self._session.end(self._endReason(), "its login failed")
        else:
            if self._lease is not None:
                self._lease.release()
            if self._place is not None:
                self._realm.roster.release(self._place)
        if self._place is not None:
            self._place.settle()

    def _endReason(self) -> type[SessionEnded]:
        if self._login.lost:
            return Disconnected
        if self._entrance.refusing is None:
            return SessionEnded
        return Shutdown if self._entrance.refusing is ServerStopping else Draining


class SessionHold:
    """
    What a realm holds for one session, and releases when that ends: its place, and the lease on its avatar.

    :param entrance: the realm's.
    :ivar attachment: the hooks of the session.
    """

    # There is one for each session.
    __slots__ = ("_entrance", "_lease", "_place", "attachment")

    attachment: Attachment

    def __init__(self, entrance: Entrance, place: Place, lease: Lease) -> None:
        self._entrance = entrance
        self._place = place
        self._lease = lease if lease.held else None

    def release(self, session: Session) -> None:
        """Do all that follows, in this order, when the session has just been marked as ended."""
        entrance, realm, place = self._entrance, self._entrance.realm, self._place
        begun = place.session is session
        entrance.departures.begin(place)
        realm.roster.release(place)
        if isinstance(session.avatar, Avatar):
            session.avatar.untrackSession(session)
        assert session.channel is not None and session.endedWith is not None
        session.channel.end(session.endedWith)
        session.cancelRunning()
        if begun:
            reason = type(session.endedWith).__name__
            realm.counters.ends[reason] += 1
            log.info(
                "logout: {avatarId!r:.200}, session {sessionId}, {reason}",
                avatarId=session.avatarId,
                sessionId=session.sessionId,
                reason=reason,
            )
            realm.roster.tell("end", session)
        detaching = self.attachment.detach()
        if detaching is None:
            self._out(session)
        else:
            entrance.waitFor(detaching.addBoth(lambda _: self._out(session)))
        # Only once `detached` has begun: otherwise the avatar would hear of the next session before it hears of the end
        # of this one.
        entrance.arbitration.cooldown.release(session.avatarId)

    def _out(self, session: Session) -> None:
        # Release the lease after `detached`: otherwise a new login builds a second avatar beside this one.
        if self._lease is not None:
            self._lease.release()
        session.forget()
        self._entrance.departures.end(self._place)


def _replace(old: Place) -> None:
    if old.session is not None:
        # The connection stays open. A stock client learns the reason from its next call, and a client that reconnects
        # automatically when its connection is closed would come back at once.
        old.session.goodbye.kick(Replaced, "", close=False)


def _copy(d: Deferred[None]) -> Deferred[None]:
    """Return a Deferred that fires after `d`; cancelling it does not affect `d`."""
    copy: Deferred[None] = Deferred()
    d.addBoth(lambda _: None if copy.called else copy.callback(None))
    return copy
