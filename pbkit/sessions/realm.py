"""
`Realm`: how a login becomes a session, and how a session ends.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from twisted.cred.checkers import ANONYMOUS
from twisted.cred.portal import IRealm
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb
from zope.interface import implementer

from pbkit.errors import (
    AnonymousRefused,
    BadAvatarId,
    ConfigError,
    Disconnected,
    LoggedOut,
    LoginInterrupted,
    LoginRefused,
    Replaced,
    ServerStopping,
    SessionEnded,
    Shutdown,
    refusalFor,
)
from pbkit.interfaces import ISessionRealm
from pbkit.sessions.admission import Admit, Policy, allOf
from pbkit.sessions.arbitration import Arbitration
from pbkit.sessions.attachment import Attachment
from pbkit.sessions.attempt import attempt
from pbkit.sessions.avatar import Avatar
from pbkit.sessions.counters import Counters
from pbkit.sessions.lifecycle import Lease, Lifecycle, PerLogin
from pbkit.sessions.mind import checkReference
from pbkit.sessions.parameters import bind
from pbkit.sessions.reconfiguring import reconfigured
from pbkit.sessions.roster import Place, Roster
from pbkit.sessions.session import Session
from pbkit.sessions.stock import loginOf

_KEPT_FOR_GUESTS = re.compile(r"anonymous#\d+\Z")

log = Logger()


@implementer(IRealm, ISessionRealm)
class Realm:
    """
    The base of all realms: a new avatar for each login, and no limit. Used in three ways::

        CachingRealm(Player)

        class GameRealm(CachingRealm):
            avatarClass = Player

        class GameRealm(CachingRealm):
            async def buildAvatar(self, avatarId):
                return Player(avatarId, await load(avatarId))

    :param avatarClass: called with the avatar id to make an avatar.
    :param clock: for deadlines and lingering. By default that of the connection that logs in.
    :param anonymous: the `AnonymousRealm` that serves log-ins without a name; without one they are refused.
    :param admission: a policy of one's own, asked after the realm's.
    :param parameters: those that the class declares, see `pbkit.sessions.parameters.parametersOf`.
    :raises ConfigError: a parameter that there is not, or a value that cannot be.
    """

    avatarClass: Any = None
    hooks: ClassVar[bool] = True  #: Whether avatars are told of their clients, and sessions keep a mind.
    allow: ClassVar[frozenset[Any]] = frozenset()  #: The classes that clients may send, as `ServerFactory` takes them.
    fixed: ClassVar[frozenset[str]] = frozenset({"linger"})  #: The parameters that `reconfigure` cannot change.

    def __init__(
        self,
        avatarClass: Any = None,
        *,
        clock: IReactorTime | None = None,
        anonymous: Realm | None = None,
        admission: Policy | None = None,
        **parameters: Any,
    ) -> None:
        bind(self, parameters)
        if avatarClass is not None:
            self.avatarClass = avatarClass
        if anonymous is not None and not (isinstance(anonymous, Realm) and anonymous.takesAnonymous):
            raise ConfigError(f"anonymous={anonymous!r}: it takes an AnonymousRealm(…)")
        if self.avatarClass is None and hasattr(type(self).buildAvatar, "needsAvatarClass"):
            raise ConfigError(f"{type(self).__name__} needs an avatarClass, or a buildAvatar of its own")
        self.clock = clock
        self.anonymous = anonymous
        self.roster = Roster()
        self.counters = Counters()
        self.lifecycle = self.makeLifecycle()
        self._admission = () if admission is None else (admission,)
        self._arbitration = Arbitration(self.roster, allOf(self.makePolicy(), *self._admission))
        self._closing = False
        self._logins: set[Deferred[Any]] = set()
        self._leaving: set[Deferred[Any]] = set()

    # What subclasses say.

    def makeLifecycle(self) -> Lifecycle:
        """How long avatars live; called once."""
        return PerLogin()

    def makePolicy(self) -> Policy:
        """Who may be in; called once, and again when the parameters change."""
        return lambda view, candidate: Admit()

    def buildAvatar(self, avatarId: str) -> Any:
        """
        Make an avatar. Override it to make one in your own way; it may be async. It has 30 s.

        What it raises is logged, and the client gets `LoginUnavailable`; a `pb.Error` or one of cred's errors
        refuses the login with its text.

        :param avatarId: a str.
        """
        return self.avatarClass(avatarId)

    buildAvatar.needsAvatarClass = True  # type: ignore[attr-defined]

    @property
    def takesAnonymous(self) -> bool:
        """Whether log-ins without a name are served."""
        return self.anonymous is not None

    def identify(self, avatarId: object) -> str:
        """
        The avatar id of a login, as text.

        :param avatarId: as the checker gave it.
        :raises LoginRefused: it cannot be served.
        """
        if avatarId == ANONYMOUS:
            raise AnonymousRefused()
        if isinstance(avatarId, bytes):
            try:
                avatarId = avatarId.decode("utf-8")
            except UnicodeDecodeError:
                raise BadAvatarId("a user name must be UTF-8") from None
        if not isinstance(avatarId, str) or not avatarId:
            raise BadAvatarId()
        if _KEPT_FOR_GUESTS.match(avatarId):
            raise BadAvatarId("user names of this form are kept for guests")
        return avatarId

    async def acquire(self, avatarId: str, clock: IReactorTime | None) -> Lease:
        """The avatar for one login."""
        return await self.lifecycle.acquire(avatarId, self.built, clock)

    async def built(self, avatarId: str, *model: Any) -> Any:
        """
        What `buildAvatar` gives, once it is known to be an avatar: before that it must not be cached.

        :raises TypeError: it is none.
        """
        avatar = await attempt(lambda: self.buildAvatar(avatarId, *model))
        if not pb.IPerspective.providedBy(avatar):
            raise TypeError(f"buildAvatar returned {avatar!r}, not a pbkit.Avatar or pb.Avatar")
        return avatar

    # What portals and servers say.

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Deferred[Any]:
        """
        `IRealm`: begin a session.

        :param mind: an `ILogin`, or a raw mind as under a stock factory.
        :return: a Deferred of ``(IPerspective, session, logout)``; it fails with a `LoginRefused`.
        :raises NotImplementedError: `pb.IPerspective` is not among the interfaces.
        """
        if pb.IPerspective not in interfaces:
            raise NotImplementedError(f"{type(self).__name__} serves pb.IPerspective only")
        if avatarId == ANONYMOUS and self.anonymous is not None:
            return self.anonymous.requestAvatar(avatarId, mind, *interfaces)
        login = loginOf(mind)
        login.reachedRealm = True
        d: Deferred[Any] = Deferred.fromCoroutine(self._login(avatarId, login))
        self._logins.add(d)
        # A client that is gone waits for nothing, and holds no place any longer.
        stop = login.peer.onLost(d.cancel) if login.peer is not None else lambda: None

        def done(result: Any) -> Any:
            stop()
            self._logins.discard(d)
            return result

        return d.addBoth(done)

    def loginRefused(self, error: LoginRefused) -> None:
        """`ISessionRealm`: count a refusal."""
        self.counters.refusals[type(error).__name__] += 1

    def reconfigure(self, **parameters: Any) -> None:
        """Change parameters, for newcomers. :raises ConfigError: one cannot be, or not now; nothing is changed."""
        self._arbitration.policy = allOf(reconfigured(self, parameters), *self._admission)

    def close(self, timeout: float = 5.0) -> Deferred[None]:
        """
        No newcomers from now on, and every session ends with `Shutdown`.

        :param timeout: how long `detached` hooks may take, in seconds; without a clock, as long as they like.
        :return: a Deferred that fires when the hooks are done or the time is up; never fails.
        """
        self._closing = True
        for login in tuple(self._logins):
            login.cancel()
        for session in self.roster:
            session.end(Shutdown)
        self.lifecycle.close()
        waiting: list[Deferred[Any]] = [_copy(leaving) for leaving in self._leaving]
        if self.anonymous is not None:
            waiting.append(self.anonymous.close(timeout))
        done: Deferred[Any] = DeferredList(waiting, consumeErrors=True)
        if self.clock is not None:
            done.addTimeout(timeout, self.clock, lambda result, timeout: None)
        return done.addCallback(lambda _: None)

    # The life of one session.

    async def _login(self, avatarId: object, login: Any) -> tuple[Any, Session, Any]:
        try:
            return await self._enter(avatarId, login)
        except Exception as error:
            refusal: LoginRefused
            if isinstance(error, CancelledError) and (self._closing or login.lost):
                refusal = ServerStopping() if self._closing else LoginInterrupted("the connection was lost")
            else:
                refusal = refusalFor(Failure(error), login.peer)
            self.loginRefused(refusal)
            raise refusal from None

    async def _enter(self, avatarId: object, login: Any) -> tuple[Any, Session, Any]:
        self._check(login)
        name = self.identify(avatarId)
        reference = checkReference(login.reference)
        clock = self._clockOf(login)
        place = await self._arbitration.reserve(name, login, clock, lambda: self._check(login))
        try:
            try:
                lease = await self.acquire(name, clock)
            except BaseException:
                self.roster.release(place)
                raise
            attachment: Attachment
            session = Session(
                name,
                lease.avatar,
                reference if self.hooks else None,
                login.peer,
                clock,
                lambda session: self._ended(session, place, lease, attachment, login.channel),
            )
            attachment = Attachment(session, self.hooks)
            try:
                self._check(login)
                await attachment.attach()
                self._check(login)
                self._checkLive(session)
            except BaseException:
                lost = Disconnected if login.lost else Shutdown if self._closing else SessionEnded
                session.end(lost, "its login failed")
                raise
            self._begin(place, session, login)
        finally:
            place.settle()
        self._checkLive(session)
        return pb.IPerspective, session, lambda: session.end(Disconnected if login.lost else LoggedOut)

    def _check(self, login: Any) -> None:
        """What may have changed at each await."""
        if self._closing:
            raise ServerStopping()
        if login.lost:
            raise LoginInterrupted("the connection was lost")

    def _checkLive(self, session: Session) -> None:
        if session.endedWith is not None:
            raise LoginInterrupted(f"{LoginInterrupted.text}: {session.endedWith}")

    def _clockOf(self, login: Any) -> IReactorTime | None:
        if self.clock is None and login.peer is not None:
            self.clock = login.peer.clock
        return self.clock

    def _begin(self, place: Place, session: Session, login: Any) -> None:
        # In one step those that are replaced are out and this one is in, before anybody's code runs.
        self.roster.begin(place, session)
        for old in place.ending:
            if old.session is not None and isinstance(old.session.avatar, Avatar):
                old.session.avatar._sessionEnded(old.session)
        if isinstance(session.avatar, Avatar):
            session.avatar._sessionBegan(session)
        self.counters.logins += 1
        log.info(
            "login: {avatarId!r:.200} from {peer}, session {sessionId}",
            avatarId=session.avatarId,
            # Text: whoever keeps log events would keep the connection too.
            peer=str(session.peer or "somewhere"),
            sessionId=session.sessionId,
        )
        self.roster.tell("begin", session)
        for old in place.ending:
            if old.session is not None:
                old.session.end(Replaced)
        place.ending = ()

    def _ended(self, session: Session, place: Place, lease: Lease, attachment: Attachment, channel: Any) -> None:
        """A session has just been marked as ended; everything that follows, in order."""
        begun = place.session is session
        self.roster.release(place)
        if isinstance(session.avatar, Avatar):
            session.avatar._sessionEnded(session)
        if channel is not None:
            channel.end(session.endedWith)
        if begun:
            reason = type(session.endedWith).__name__
            self.counters.ends[reason] += 1
            log.info(
                "logout: {avatarId!r:.200}, session {sessionId}, {reason}",
                avatarId=session.avatarId,
                sessionId=session.sessionId,
                reason=reason,
            )
            self.roster.tell("end", session)

        def detached(_: object) -> None:
            # Only now: an avatar that is still being told must not be built anew beside itself.
            lease.release()
            session.data.clear()

        done = attachment.detach().addBoth(detached)
        # `called` would not tell whether it is through: it is True of one that waits for another, too.
        self._leaving.add(done)
        done.addBoth(lambda _: self._leaving.discard(done))


def _copy(d: Deferred[Any]) -> Deferred[Any]:
    """A Deferred that fires after `d`; cancelling it leaves `d` alone."""
    copy: Deferred[Any] = Deferred()
    d.addBoth(lambda result: None if copy.called else copy.callback(None))
    return copy
