"""
The life of one login: how it becomes a session, and what follows when that ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
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
from pbkit.sessions.avatar import Avatar
from pbkit.sessions.lifecycle import Lease
from pbkit.sessions.login.arbitration import Arbitration
from pbkit.sessions.login.handover import Departures, handOver
from pbkit.sessions.login.hooks import Attachment
from pbkit.sessions.login.refusals import refusalFor
from pbkit.sessions.messaging.mind import checkReference
from pbkit.sessions.roster import Place
from pbkit.sessions.session import Session

if TYPE_CHECKING:
    from pbkit.sessions.realm import Realm

log = Logger()


class Entrance:
    """
    The way into a realm, and the way out.

    :param realm: whose it is.
    :param arbitration: gives a login its place.
    :ivar refusing: what everybody is refused with, or None.
    """

    def __init__(self, realm: Realm, arbitration: Arbitration) -> None:
        self.arbitration = arbitration
        self._realm = realm
        self.refusing: type[LoginRefused] | None = None
        self._logins: set[Deferred[Any]] = set()
        self._leaving: set[Deferred[Any]] = set()
        self._departures = Departures()

    def enter(self, avatarId: object, login: Any) -> Deferred[Any]:
        """
        Begin a session.

        :param avatarId: as the checker gave it.
        :param login: an `ILogin`.
        :return: as `Realm.requestAvatar`.
        """
        login.credentialsAccepted()
        d: Deferred[Any] = Deferred.fromCoroutine(self._login(avatarId, login))
        if not d.called:
            self._logins.add(d)
            # A client that is gone waits for nothing, and holds no place any longer.
            stop = login.peer.onLost(d.cancel) if login.peer is not None else lambda: None

            def done(result: Any) -> Any:
                stop()
                self._logins.discard(d)
                return result

            d.addBoth(done)

        def failed(failure: Failure) -> Failure:
            login.channel.end(SessionEnded("the login failed"))
            return failure

        return d.addErrback(failed)

    def refuse(self, kind: type[LoginRefused]) -> None:
        """No newcomers from now on; those who are coming in are refused too. For good: who stops drains no more."""
        if self.refusing is not ServerStopping:
            self.refusing = kind
        for login in tuple(self._logins):
            login.cancel()

    def leaving(self) -> list[Deferred[Any]]:
        """For each ended session whose `detached` still runs, a Deferred that fires when it is through."""
        return [_copy(leaving) for leaving in self._leaving]

    async def _login(self, avatarId: object, login: Any) -> tuple[Any, Session, Any]:
        try:
            return await self._enter(avatarId, login)
        except Exception as error:
            refusal: LoginRefused
            if isinstance(error, CancelledError) and (self.refusing is not None or login.lost):
                refusal = self.refusing() if self.refusing else LoginInterrupted("the connection was lost")
            else:
                refusal = refusalFor(Failure(error), login.peer)
            self._realm.loginRefused(refusal)
            raise refusal from None

    async def _enter(self, avatarId: object, login: Any) -> tuple[Any, Session, Any]:
        realm = self._realm
        self._check(login)
        name = realm.identify(avatarId)
        self._check(login, name)
        reference = checkReference(login.reference)
        clock = self._clockOf(login)
        place = await self.arbitration.reserve(name, login, clock, lambda: self._check(login, name))
        try:
            try:
                if place.handover == "after":
                    await handOver(place, self._departures, clock, _replace)
                    self._check(login, name)
                lease = await realm.acquire(name, clock)
            except BaseException:
                realm.roster.release(place)
                raise
            stay = _Stay(self, place, lease)
            session = Session(
                name,
                lease.avatar,
                reference if realm.hooks else None,
                login.peer,
                clock,
                stay,
                realm.goodbye,
                login.channel,
                hall=realm.hall,
            )
            attachment = stay.attachment = Attachment(session, realm.hooks)
            try:
                self._check(login, name)
                try:
                    attaching = attachment.attach()
                    if attaching is not None:
                        await attaching
                except CancelledError:
                    # It gave up: the client is gone, the realm is shut, or the session was ended meanwhile.
                    self._check(login, name)
                    self._checkLive(session)
                    raise
                self._check(login, name)
                self._checkLive(session)
                if place.refusal is not None:
                    raise place.refusal
            except BaseException:
                shut = Shutdown if self.refusing is ServerStopping else Draining
                lost = Disconnected if login.lost else shut if self.refusing else SessionEnded
                session.end(lost, "its login failed")
                raise
            self._begin(place, session, login)
        finally:
            place.settle()
        self._checkLive(session)
        session.begun = True
        return pb.IPerspective, session, attachment

    def _check(self, login: Any, name: str | None = None) -> None:
        """What may have changed at each await."""
        if self.refusing is not None:
            raise self.refusing()
        if login.lost:
            raise LoginInterrupted("the connection was lost")
        bans = self._realm._operations.bans
        if bans:
            bans.check(name, None if login.peer is None else login.peer.address)

    def _checkLive(self, session: Session) -> None:
        if session.endedWith is not None:
            raise LoginInterrupted(f"{LoginInterrupted.text}: {session.endedWith}")

    def _clockOf(self, login: Any) -> IReactorTime | None:
        realm = self._realm
        if realm.clock is None and login.peer is not None:
            realm.clock = login.peer.clock
        return realm.clock

    def _begin(self, place: Place, session: Session, login: Any) -> None:
        realm = self._realm
        # In one step those that are replaced are out and this one is in, before anybody's code runs.
        realm.roster.begin(place, session)
        for old in place.ending:
            if old.session is not None and isinstance(old.session.avatar, Avatar):
                old.session.avatar._sessionEnded(old.session)
        if isinstance(session.avatar, Avatar):
            session.avatar._sessionBegan(session)
        realm.counters.logins += 1
        log.info(
            "login: {avatarId!r:.200} from {peer}, session {sessionId}",
            avatarId=session.avatarId,
            # Text: whoever keeps log events would keep the connection too.
            peer=str(session.peer or "somewhere"),
            sessionId=session.sessionId,
        )
        realm.roster.tell("begin", session)
        for old in place.ending:
            _replace(old)
        place.ending = ()

    def ended(self, session: Session, place: Place, lease: Lease | None, attachment: Attachment) -> None:
        """A session has just been marked as ended; everything that follows, in order."""
        realm = self._realm
        begun = place.session is session
        self._departures.begin(place)
        realm.roster.release(place)
        if isinstance(session.avatar, Avatar):
            session.avatar._sessionEnded(session)
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

        def out(_: object = None) -> None:
            # Only now: an avatar that is still being told must not be built anew beside itself.
            if lease is not None:
                lease.release()
            session.forget()
            self._departures.end(place)

        detaching = attachment.detach()
        if detaching is None:
            out()
        else:
            self._leaving.add(detaching)
            detaching.addBoth(out).addBoth(lambda _: self._leaving.discard(detaching))
        # Not before `detached` has begun, or the next would be told of the avatar before this one is.
        self.arbitration.changes.left(session.avatarId)


class _Stay:
    """What there is to be done when a session ends. Thousands of them wait for that, so it is no closure."""

    __slots__ = ("_entrance", "_lease", "_place", "attachment")

    attachment: Attachment

    def __init__(self, entrance: Entrance, place: Place, lease: Lease) -> None:
        self._entrance = entrance
        self._place = place
        self._lease = lease if lease.held else None

    def __call__(self, session: Session) -> None:
        self._entrance.ended(session, self._place, self._lease, self.attachment)


def _replace(old: Place) -> None:
    if old.session is not None:
        # The connection stays: a stock client learns the reason from its next call, and one that comes back by itself
        # when it is closed would come back at once.
        old.session.goodbye.kick(Replaced, "", close=False)


def _copy(d: Deferred[Any]) -> Deferred[Any]:
    """A Deferred that fires after `d`; cancelling it leaves `d` alone."""
    copy: Deferred[Any] = Deferred()
    d.addBoth(lambda result: None if copy.called else copy.callback(None))
    return copy
