"""
From credentials to a session, or to a refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.spread.interfaces import IJellyable
from zope.interface import implementer

from pbkit.dispatch import granted
from pbkit.errors import LoggedOut, LoginInterrupted, LoginRefused, SessionEnded, TooManySessions
from pbkit.interfaces import ILogin, ISession, ISessionRealm
from pbkit.server.arguments import LoginArguments, StockArguments
from pbkit.server.attempts import Try
from pbkit.sessions.login.refusals import refusalFor
from pbkit.wire.broker import Broker
from pbkit.wire.channel import Channel, SharedTables
from pbkit.wire.prelogin.state import PreloginState
from pbkit.wire.profile import Profile

log = Logger()


@implementer(ILogin)
class Login:
    """
    One attempt to log in, as the realm sees it.

    :param passed: called when a realm has taken it over, so that the credentials were right.
    """

    def __init__(self, reference: Any, channel: Any, broker: Broker, passed: Callable[[], object]) -> None:
        self.reference = reference
        self.channel = channel
        self.peer = broker.peer
        self._passed = passed
        self._reachedRealm = False

    @property
    def reachedRealm(self) -> bool:
        """True once a session realm has taken this login over."""
        return self._reachedRealm

    def credentialsAccepted(self) -> None:
        """As `ILogin.credentialsAccepted`."""
        if not self._reachedRealm:
            self._reachedRealm = True
            self._passed()

    @property
    def hello(self) -> dict[str, Any]:
        """What the client declared of itself."""
        return self.peer.hello

    @property
    def lost(self) -> bool:
        """True once the connection is gone, or about to be closed."""
        return self.peer.closing or not self.peer.alive


class Entry:
    """
    The way in, for one connection.

    :param portal: decides who comes in.
    :param profile: how strict it is.
    :param broker: the connection.
    """

    def __init__(self, portal: Portal, profile: Profile, broker: Broker) -> None:
        self._portal = portal
        self._profile = profile
        self._broker = broker

    def login(
        self,
        arguments: LoginArguments | StockArguments,
        credentials: Callable[[Any], Any],
        attempt: Try | None = None,
    ) -> Deferred[Any]:
        """
        Log in, on a fresh channel.

        :param credentials: makes them of the response.
        :param attempt: what waits to hear whether they were right; None for a guest, who guesses at nothing.
        :return: a Deferred of the reference to the avatar, in jelly.
        """
        most = self._profile.calls.logins
        if most is not None and self._broker.logins >= most:
            arguments.letGo(self._broker)
            refusal = Failure(self.refuse(TooManySessions(f"this connection has {most} of {most} log-ins")))
            return fail(refusal) if attempt is None else attempt.refused(refusal)
        sessions = ISessionRealm.providedBy(self._portal.realm)
        channel = self._broker.openChannel() if sessions or self._profile.ownChannels else SharedTables(self._broker)
        passed = (lambda: None) if attempt is None else attempt.passed
        d: Deferred[Any]
        login: Any = None
        made: Any = None
        entered = _Entered(self._broker.prelogin)

        def passes() -> None:
            passed()
            entered.enter()

        try:
            response, mind = arguments.read(channel)
            login = Login(mind, channel, self._broker, passes) if sessions else mind
            made = credentials(response)
            d = maybeDeferred(self._portal.login, made, login, pb.IPerspective)
        except Exception:
            d = fail(Failure())
        d.addCallback(self._loggedIn, channel, passes, entered)
        return d.addErrback(self._failed, channel, login, made, attempt, entered)

    def _loggedIn(
        self, result: Any, channel: Channel | SharedTables, passes: Callable[[], object], entered: _Entered
    ) -> Any:
        entered.rested()
        _, avatar, logout = result
        passes()
        entered.logsOutBy(logout)
        try:
            if self._broker.disconnected:
                # Stock fails here and never calls logout: the avatar would leak.
                raise LoginInterrupted("the connection was lost")
            if isinstance(channel, Channel) and channel.error is not None:
                raise LoginInterrupted(f"{LoginInterrupted.text}: {channel.error}")
            if ISession.providedBy(avatar):
                channel.session = avatar
            if not IJellyable.providedBy(avatar):
                avatar = granted(avatar)
            jelly = channel.grant(avatar)
        except Exception:
            # The table is full, say. Stock tells the client so, and keeps the session.
            entered.logOut()
            raise
        entered.granted(channel)
        channel.onReleased(entered)
        # Of his challenge nothing is left, if the client has let go of that by now.
        self._broker.atRest()
        return jelly

    def _failed(
        self,
        failure: Failure,
        channel: Channel | SharedTables,
        login: Any,
        made: Any,
        attempt: Try | None,
        entered: _Entered,
    ) -> Failure | Deferred[Any]:
        entered.rested()
        entered.leave()
        channel.end(SessionEnded("the login failed"))
        sessions = ISessionRealm.providedBy(self._portal.realm)
        if self._profile.convertRefusals or sessions:
            # Without its traceback, which would keep what was to log in for as long as the answer waits.
            failure = Failure(self.refuse(refusalFor(failure, self._broker.peer), login).with_traceback(None))
        if attempt is None:
            return failure
        if not sessions and made is not None and made.right:
            # A realm that is not pbkit's does not say that it was reached. Its refusal is no wrong password.
            attempt.passed()
        return attempt.refused(failure)

    def refuse(self, refusal: LoginRefused, login: Any = None) -> LoginRefused:
        """Count it, unless the realm has done so, and say so in one line."""
        if ISessionRealm.providedBy(self._portal.realm) and not (isinstance(login, Login) and login.reachedRealm):
            self._portal.realm.loginRefused(refusal)
        peerLog = self._broker.peerLog
        if peerLog.admits():
            # Not the name that was tried: people type passwords there.
            log.info(
                "login refused: {reason} from {peer}: {text}",
                reason=type(refusal).__name__,
                peer=str(self._broker.peer),
                text=peerLog.escaped(str(refusal)),
            )
        return refusal


class _Entered:
    """
    One login's way through the gate: in at most once, and out as often as it was in. It stays as long as its session,
    of which there are thousands, so it is no closure.
    """

    __slots__ = ("_channel", "_entrance", "_inside", "_logout", "_working")

    def __init__(self, prelogin: PreloginState) -> None:
        self._entrance = prelogin
        self._inside = False
        self._channel: Channel | SharedTables | None = None
        self._logout: Callable[[], object] | None = None
        self._working = True
        prelogin.working()

    def rested(self) -> None:
        """Checkers and builders are done. Idempotent."""
        if self._working:
            self._working = False
            self._entrance.rested()

    def enter(self) -> None:
        """It is known who he is."""
        if not self._inside:
            self._inside = True
            self._entrance.enter()

    def logsOutBy(self, logout: Callable[[], object]) -> None:
        """The realm has let him in."""
        self._logout = logout

    def logOut(self) -> None:
        """Call the realm's logout once, whoever asks, and let nothing that it does reach the caller."""
        logout, self._logout = self._logout, None
        if logout is not None:
            try:
                result: Any = logout()
            except BaseException:
                log.failure("logout raised")
                return
            if result is not None:
                maybeDeferred(lambda: result).addErrback(lambda failure: log.failure("logout raised", failure))

    def granted(self, channel: Channel | SharedTables) -> None:
        """He has his avatar."""
        self._channel = channel
        self._entrance.granted()

    def __call__(self) -> None:
        """He has let go of it."""
        assert self._channel is not None
        self._entrance.sessions -= 1
        self.logOut()
        self._channel.end(LoggedOut())
        self.leave()

    def leave(self) -> None:
        """He is out, or it came to nothing."""
        if self._inside:
            self._inside = False
            self._entrance.leave()
