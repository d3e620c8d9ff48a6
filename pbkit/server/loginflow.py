"""
One login at the server: from credentials to a session, or to a refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy as copyOf
from typing import Any, TypeAlias

from twisted.cred.credentials import ICredentials
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.spread.interfaces import IJellyable
from zope.interface import Interface, implementer

from pbkit.errors import LoggedOut, LoginInterrupted, LoginRefused, SessionEnded, TooManySessions
from pbkit.interfaces import ILogin, IPeer, ISession, ISessionRealm
from pbkit.server.arguments import LoginArguments, StockArguments
from pbkit.server.attempts import LoginAttempt, sourceOf
from pbkit.server.refusallog import RefusalLog
from pbkit.sessions.login.refusals import refusalFor
from pbkit.wire.broker import Broker
from pbkit.wire.channel import Channel, SharedTables
from pbkit.wire.prelogin.state import PreloginState
from pbkit.wire.profile import Profile

#: Makes credentials of a response, as the client sent it.
Mechanism: TypeAlias = Callable[[object], ICredentials]
#: What a realm gives its portal: the interface, the avatar, and the logout.
Granted: TypeAlias = tuple[type[Interface], object, Callable[[], None]]

log = Logger()


class LoginFlow:
    """
    The logins of one connection.

    :param portal: checks credentials, and asks the realm.
    :param profile: the limits of the server.
    :param connection: the connection.
    :param refusalLog: that of the server.
    """

    def __init__(self, portal: Portal, profile: Profile, connection: Broker, refusalLog: RefusalLog) -> None:
        self.portal = portal
        self.profile = profile
        self.connection = connection
        self._refusalLog = refusalLog

    @property
    def forSessions(self) -> bool:
        """True if the realm is a session realm, which takes an `ILogin` in place of the mind."""
        return ISessionRealm.providedBy(self.portal.realm)

    def login(
        self,
        arguments: LoginArguments | StockArguments,
        mechanism: Mechanism,
        attempt: LoginAttempt | None = None,
    ) -> Deferred[object]:
        """
        Log in, on a new channel.

        :param arguments: the response and the mind, not read yet.
        :param mechanism: makes credentials of the response.
        :param attempt: is told whether the credentials were right; None for a guest, who cannot guess.
        :return: a Deferred of the reference to the session, in jelly.
        """
        most = self.profile.calls.logins
        if most is not None and self.connection.logins >= most:
            arguments.letGo(self.connection)
            refusal = Failure(self.refuse(TooManySessions(f"this connection has {most} of {most} logins")))
            return fail(refusal) if attempt is None else attempt.refused(refusal)
        forSessions = self.forSessions
        ownChannel = forSessions or self.profile.ownChannels
        channel = self.connection.openChannel() if ownChannel else SharedTables(self.connection)
        return Login(self, channel, attempt, forSessions).proceed(arguments, mechanism)

    def refuse(self, refusal: LoginRefused, counted: bool = False) -> LoginRefused:
        """
        Count a refusal, and log it.

        :param counted: whether the realm has counted it.
        """
        if self.forSessions and not counted:
            realm: Any = self.portal.realm
            realm.loginRefused(refusal)
        peer = self.connection.peer
        self._refusalLog.refused(peer, sourceOf(peer), refusal)
        return refusal


@implementer(ILogin)
class Login:
    """
    One login of a connection, as its realm sees it.

    Its steps on the server are `credentials`, `check` and `grant`; between the last two the realm takes its own, see
    `pbkit.sessions.login.entrance.PendingLogin`.

    :param flow: the logins of the connection.
    :param channel: the channel of the session to be.
    :param attempt: is told whether the credentials were right; None for a guest.
    :param forSessions: whether the realm takes this in place of the mind.
    """

    def __init__(
        self,
        flow: LoginFlow,
        channel: Channel | SharedTables,
        attempt: LoginAttempt | None = None,
        forSessions: bool = True,
    ) -> None:
        self.reference: Any = None
        self.channel = channel
        self.peer: IPeer = flow.connection.peer
        self.reachedRealm = False
        self._flow = flow
        self._prelogin = flow.connection.prelogin
        self._attempt = attempt
        self._forSessions = forSessions
        self._entered = False

    @property
    def hello(self) -> dict[str, object]:
        """As `ILogin.hello`."""
        return self.peer.hello

    @property
    def lost(self) -> bool:
        """As `ILogin.lost`."""
        return self.peer.closing or not self.peer.alive

    def credentialsAccepted(self) -> None:
        """As `ILogin.credentialsAccepted`."""
        self.reachedRealm = True

    def proceed(self, arguments: LoginArguments | StockArguments, mechanism: Mechanism) -> Deferred[object]:
        """
        Take all steps.

        :return: a Deferred of the reference to the session, in jelly; it fails with the refusal.
        """
        # What checkers and builders take is not the client's time.
        self._prelogin.working()
        if self._attempt is None:
            self._prelogin.guest()
        checked: Deferred[Granted]
        try:
            checked = self.check(self.credentials(arguments, mechanism))
        except Exception:
            checked = fail(Failure())
        return checked.addCallbacks(self._succeeded, self._failed)

    def credentials(self, arguments: LoginArguments | StockArguments, mechanism: Mechanism) -> ICredentials:
        """Read the response and the mind, and make credentials of the response."""
        response, self.reference = arguments.read(self.channel)
        return mechanism(response)

    def check(self, credentials: ICredentials) -> Deferred[Granted]:
        """Have the portal check the credentials; if they are right it asks the realm for a session."""
        flow = self._flow
        portal = _copy(flow.portal)
        portal.realm = CheckedRealm(flow.portal.realm, self.accepted)
        mind = self if self._forSessions else self.reference
        login: Callable[..., Any] = portal.login
        return maybeDeferred(login, credentials, mind, pb.IPerspective)

    def accepted(self) -> None:
        """
        Note that the checker has accepted the credentials: the attempt was no guess, and the answers to our calls pass
        the gate. A guest has shown nothing, and keeps the limits of a stranger until the session is granted.
        """
        if self._attempt is not None:
            self._attempt.passed()
            self._enter()

    def _enter(self) -> None:
        if not self._entered:
            self._entered = True
            self._prelogin.enter()

    def grant(self, result: Granted) -> object:
        """
        Hand the session out.

        :param result: what the realm gave the portal.
        :return: the reference, in jelly.
        """
        connection, channel = self._flow.connection, self.channel
        avatar: Any
        _, avatar, realmLogout = result
        # A portal of the program's own may not have asked the realm.
        self.accepted()
        logout = Logout(self._prelogin, channel, realmLogout)
        try:
            if connection.disconnected:
                # Stock fails here and never calls logout, so the avatar leaks.
                raise LoginInterrupted("the connection was lost")
            if isinstance(channel, Channel) and channel.error is not None:
                raise LoginInterrupted(f"{LoginInterrupted.text}: {channel.error}")
            if ISession.providedBy(avatar):
                channel.session = avatar
            if not IJellyable.providedBy(avatar):
                avatar = pb.AsReferenceable(avatar, "perspective")
            jelly = channel.grant(avatar)
        except Exception:
            # For example because the table of references is full. Stock reports that and keeps the session.
            logout.logOut()
            raise
        self._enter()
        self._prelogin.granted()
        channel.onReleased(logout.released)
        # If the client has dropped its challenge by now, nothing of the login needs to be remembered.
        connection.atRest()
        return jelly

    def _succeeded(self, result: Granted) -> object:
        self._prelogin.rested()
        try:
            return self.grant(result)
        except Exception:
            return self._refused(Failure())

    def _failed(self, failure: Failure) -> Failure | Deferred[object]:
        self._prelogin.rested()
        return self._refused(failure)

    def _refused(self, failure: Failure) -> Failure | Deferred[object]:
        if self._entered:
            self._prelogin.leave()
        self.channel.end(SessionEnded("the login failed"))
        flow = self._flow
        if flow.profile.convertRefusals or self._forSessions:
            refusal = flow.refuse(refusalFor(failure, self.peer), self.reachedRealm)
            # The traceback would keep the objects of the login alive for as long as the answer waits.
            failure = Failure(refusal.with_traceback(None))
        return failure if self._attempt is None else self._attempt.refused(failure)


def _copy(portal: Portal) -> Portal:
    """Return a shallow copy. For a plain portal this is faster than `copy.copy`."""
    if type(portal) is not Portal:
        return copyOf(portal)
    copied = Portal.__new__(Portal)
    vars(copied).update(vars(portal))
    return copied


@implementer(IRealm)
class CheckedRealm:
    """
    A realm behind a checker. A portal calls its realm when a checker has accepted the credentials; this notes that.

    :param realm: the program's realm.
    :param accepted: called first.
    """

    def __init__(self, realm: IRealm, accepted: Callable[[], None]) -> None:
        self._realm = realm
        self._accepted = accepted

    def requestAvatar(
        self, avatarId: bytes | tuple[()], mind: object, *interfaces: type[Interface]
    ) -> Deferred[Granted] | Granted:
        """As `IRealm.requestAvatar`."""
        self._accepted()
        return self._realm.requestAvatar(avatarId, mind, *interfaces)

    def __getattr__(self, name: str) -> object:
        return getattr(self._realm, name)


class Logout:
    """
    The end of a login that has succeeded.

    :param prelogin: the gate of the connection.
    :param channel: the channel of the session.
    :param realmLogout: the callable that the realm gave for this.
    """

    # There is one for each session.
    __slots__ = ("_channel", "_prelogin", "_realmLogout")

    def __init__(
        self, prelogin: PreloginState, channel: Channel | SharedTables, realmLogout: Callable[[], object]
    ) -> None:
        self._prelogin = prelogin
        self._channel = channel
        self._realmLogout: Callable[[], object] | None = realmLogout

    def released(self) -> None:
        """Log out: the client has released the session, or the connection is lost."""
        self.logOut()
        self._channel.end(LoggedOut())
        self._prelogin.ended()

    def logOut(self) -> None:
        """Call the realm's logout once. What it raises is logged, and does not reach the caller."""
        logout, self._realmLogout = self._realmLogout, None
        if logout is not None:
            result = maybeDeferred(logout)
            result.addErrback(lambda failure: log.failure("logout raised", failure))
