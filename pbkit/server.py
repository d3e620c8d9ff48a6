"""
Where the wire and the sessions meet: the server factory and the login root.

A login flows so: bytes, `Broker`, `LoginRoot`, a fresh channel, ``Portal.login(credentials, ILogin, IPerspective)``,
the realm, a session, and a reference to the session goes to the client.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from hashlib import md5
from typing import Any

import attrs
from twisted.cred.credentials import Anonymous, IUsernameHashedPassword
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.spread.interfaces import IJellyable
from twisted.spread.jelly import globalSecurity
from zope.interface import implementer

from pbkit.auth import spell
from pbkit.errors import (
    BadCredentials,
    BadMind,
    Error,
    LoggedOut,
    LoginInterrupted,
    LoginRefused,
    NoSuchMethod,
    SessionEnded,
    refusalFor,
)
from pbkit.interfaces import ILogin, ISession, ISessionRealm
from pbkit.sessions.mind import checkReference
from pbkit.wire.broker import Broker
from pbkit.wire.channel import Channel
from pbkit.wire.profile import STRICT, Profile
from pbkit.wire.shared import SharedTables

log = Logger()


class ServerFactory(pb.PBServerFactory):
    """
    A server of Perspective Broker with sessions. Clients may be stock.

    :param root: a cred `Portal`; or anything that provides or adapts to `pb.IPBRoot`, served as it is. A realm of
        pbkit's gets an `ILogin` in the place of the mind, any other the raw mind, as from stock.
    :param unsafeTracebacks: as stock's: whether tracebacks are sent to peers.
    :param security: as stock's.
    :param clock: for every deadline; by default the reactor that a connection's transport belongs to.
    :param profile: how strict it is, and its connections; by default that of the class.
    """

    protocol: Any = Broker
    profile: Profile = STRICT

    def __init__(
        self,
        root: Any,
        unsafeTracebacks: bool = False,
        security: Any = globalSecurity,
        *,
        clock: IReactorTime | None = None,
        profile: Profile | None = None,
    ) -> None:
        super().__init__(root, unsafeTracebacks, security)
        self.clock = clock
        if profile is not None:
            self.profile = profile
        if isinstance(root, Portal):
            self.root = _PortalRoot(root, self.profile)

    def buildProtocol(self, addr: Any) -> Any:
        """As stock's; the connection is as strict as its factory."""
        broker = super().buildProtocol(addr)
        if isinstance(broker, Broker):
            broker.profile = self.profile
        return broker


@implementer(pb.IPBRoot)
class _PortalRoot:
    def __init__(self, portal: Portal, profile: Profile) -> None:
        self.portal = portal
        self._profile = profile

    def rootObject(self, broker: Any) -> LoginRoot:
        """`pb.IPBRoot`."""
        return LoginRoot(self.portal, self._profile, broker)


@implementer(ILogin)
class Login:
    """One attempt to log in, as the realm sees it."""

    def __init__(self, reference: Any, channel: Any, broker: Broker) -> None:
        self.reference = reference
        self.channel = channel
        self.peer = broker.peer
        self.reachedRealm = False

    @property
    def hello(self) -> dict[str, Any]:
        """What the client declared of itself."""
        return self.peer.hello

    @property
    def lost(self) -> bool:
        """True once the connection is gone, or about to be closed."""
        return self.peer.closing or not self.peer.alive


class LoginRoot(pb.Referenceable):
    """
    What a connection may talk to before it has logged in: stock's ``login``, ``respond`` and ``loginAnonymous``.

    :param portal: decides who comes in.
    :param profile: how strict it is.
    :param broker: the connection.
    """

    def __init__(self, portal: Portal, profile: Profile, broker: Broker) -> None:
        self.portal = portal
        self._profile = profile
        self._broker = broker

    def remoteMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        """
        Serve a call. Not left to stock's method, which logs arguments that do not fit.
        """
        if message == "login":
            username = self._arguments(broker.unserialize(args), 1, "login(username)")[0]
            if self._profile.bytesNames:
                if isinstance(username, str):
                    username = username.encode("utf-8", "surrogatepass")
                if not isinstance(username, bytes):
                    raise self._refused(BadCredentials("a user name is a text"))
            challenge = secrets.token_bytes(16)
            return broker.serialize((challenge, _Challenger(self, username, challenge)))
        if message == "loginAnonymous":
            return self.login(broker, lambda _: Anonymous(), args, 1, "loginAnonymous(mind)")
        raise NoSuchMethod(f"no such method: remote_{message:.100}")

    def _unserialized(self, channel: Channel | SharedTables, netArgs: Any) -> Any:
        try:
            return channel.unserialize(netArgs)
        except Exception:
            if not self._profile.convertRefusals:
                raise
            # Such as a mind of a class that is not open to strangers: their mistake, and no traceback of ours.
            raise BadMind() from None

    @staticmethod
    def _arguments(args: Any, number: int, signature: str) -> Any:
        if not isinstance(args, list | tuple) or len(args) != number:
            raise Error(f"it is called as {signature}")
        return args

    def login(
        self, broker: Any, credentials: Callable[[Any], Any], netArgs: Any, number: int, signature: str
    ) -> Deferred[Any]:
        """
        Log in, on a fresh channel.

        :param credentials: makes them of the arguments, all but the mind.
        :param netArgs: the arguments in jelly; the last one is the mind.
        :return: a Deferred of the reference to the avatar, in jelly.
        """
        sessions = ISessionRealm.providedBy(self.portal.realm)
        channel = broker.openChannel() if sessions or self._profile.ownChannels else SharedTables(broker)
        d: Deferred[Any]
        login: Any = None
        try:
            *rest, mind = self._arguments(self._unserialized(channel, netArgs), number, signature)
            if not (sessions or self._profile.anyMind):
                checkReference(mind)
            login = Login(mind, channel, broker) if sessions else mind
            d = maybeDeferred(self.portal.login, credentials(rest), login, pb.IPerspective)
        except Exception:
            d = fail(Failure())
        d.addCallback(self._loggedIn, channel)
        return d.addErrback(self._failed, channel, login)

    def _loggedIn(self, result: Any, channel: Channel | SharedTables) -> Any:
        _, avatar, logout = result
        logout = _Once(logout)
        try:
            if self._broker.disconnected:
                # Stock fails here and never calls logout: the avatar would leak.
                raise LoginInterrupted("the connection was lost")
            if isinstance(channel, Channel) and channel.error is not None:
                raise LoginInterrupted(f"{LoginInterrupted.text}: {channel.error}")
            if ISession.providedBy(avatar):
                channel.session = avatar
            if not IJellyable.providedBy(avatar):
                avatar = pb.AsReferenceable(avatar, "perspective")
            jelly = channel.grant(avatar)
        except Exception:
            # The table is full, say. Stock tells the client so, and keeps the session.
            logout()
            raise

        def released() -> None:
            logout()
            channel.end(LoggedOut())

        channel.onReleased(released)
        return jelly

    def _failed(self, failure: Failure, channel: Channel | SharedTables, login: Any) -> Failure:
        channel.end(SessionEnded("the login failed"))
        if not (self._profile.convertRefusals or ISessionRealm.providedBy(self.portal.realm)):
            return failure
        return Failure(self._refused(refusalFor(failure), login))

    def _refused(self, refusal: LoginRefused, login: Any = None) -> LoginRefused:
        """Count it, unless the realm has done so, and say so in one line."""
        if ISessionRealm.providedBy(self.portal.realm) and not (isinstance(login, Login) and login.reachedRealm):
            self.portal.realm.loginRefused(refusal)
        # Not the name that was tried: people type passwords there.
        log.info(
            "login refused: {reason} from {peer}: {text!r}",
            reason=type(refusal).__name__,
            peer=str(self._broker.peer),
            text=str(refusal),
        )
        return refusal


class _Once:
    """Calls a realm's logout once, whoever asks, and lets nothing that it does reach the caller."""

    def __init__(self, logout: Callable[[], object]) -> None:
        self._logout: Callable[[], object] | None = logout

    def __call__(self) -> None:
        logout, self._logout = self._logout, None
        if logout is not None:
            maybeDeferred(logout).addErrback(lambda failure: log.failure("logout raised", failure))


class _Challenger(pb.Referenceable):
    """Waits for the answer to a challenge."""

    def __init__(self, root: LoginRoot, username: Any, challenge: bytes) -> None:
        self._root = root
        self._username = username
        self._challenge = challenge

    def remoteMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        """Serve ``respond(response, mind)``."""
        if message != "respond":
            raise NoSuchMethod(f"no such method: remote_{message:.100}")
        return self._root.login(broker, self._credentials, args, 2, "respond(response, mind)")

    def _credentials(self, rest: Any) -> _Response:
        username = self._username
        if isinstance(username, bytes):
            username = spell(self._root.portal, username)
        # New ones for each answer: a checker may still be at work on the last.
        return _Response(username, self._challenge, rest[0])


@implementer(IUsernameHashedPassword, pb.IUsernameMD5Password)
@attrs.frozen
class _Response:
    """
    PB's own credentials: MD5 of the challenge behind the MD5 of the password.
    """

    username: Any
    _challenge: bytes = attrs.field(repr=False)
    _response: Any = attrs.field(repr=False)

    def checkPassword(self, password: bytes | str) -> bool:
        """`IUsernameHashedPassword`; a str is taken as UTF-8."""
        if isinstance(password, str):
            password = password.encode("utf-8")
        return self.checkMD5Password(md5(password).digest())

    def checkMD5Password(self, md5Password: bytes) -> bool:
        """`pb.IUsernameMD5Password`."""
        right = md5(md5Password + self._challenge).digest()
        return isinstance(self._response, bytes) and hmac.compare_digest(self._response, right)
