"""
The login root: what a connection may call before login.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.credentials import Anonymous
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure
from twisted.spread import pb

from pbkit.auth.mechanisms import OUTSTANDING, Challenger, Challenges, Response
from pbkit.errors import (
    BadCredentials,
    BadMind,
    ChallengeExpired,
    Error,
    LoginRefused,
    NoSuchMethod,
    TooManyAttempts,
    TooManyFailures,
)
from pbkit.server.arguments import LoginArguments, ReferenceTables, StockArguments, fitting, plainUsername
from pbkit.server.attempts import LoginAttempt, LoginAttempts
from pbkit.server.loginflow import LoginFlow
from pbkit.server.refusallog import RefusalLog
from pbkit.server.throttle import LoginThrottle
from pbkit.wire.broker import Broker
from pbkit.wire.profile import Profile


class LoginRoot(pb.Referenceable):
    """
    What a connection may call before login: stock's ``login``, ``respond`` and ``loginAnonymous``.

    :param portal: checks credentials, and asks the realm.
    :param profile: the limits of the server.
    :param broker: the connection.
    :param throttle: the failed logins of the server.
    :param refusalLog: the log of refused logins of the server.
    """

    def __init__(
        self, portal: Portal, profile: Profile, broker: Broker, throttle: LoginThrottle, refusalLog: RefusalLog
    ) -> None:
        self.portal = portal
        self._profile = profile
        self._broker = broker
        self._attempts = LoginAttempts(profile.door, throttle, broker)
        self._challenges = Challenges(broker)
        self._flow = LoginFlow(portal, profile, broker, refusalLog)

    @property
    def idle(self) -> bool:
        """True if there is nothing to remember of this connection's logins: a new root would do as well."""
        return self._attempts.idle

    @property
    def _byHand(self) -> bool:
        """True if arguments are read by hand. With a session realm they are, because it takes no other minds."""
        profile = self._profile
        return profile.gate.closed or not profile.anyMind or self._flow.forSessions

    def remoteMessageReceived(self, broker: Any, message: str, args: object, kw: object) -> object:
        """
        Serve a call. Stock's method is not used, because it unjellies the arguments and logs what does not fit.
        """
        if message == "login":
            return self._challenge(broker, args, kw)
        if message == "loginAnonymous":
            return self._flow.login(self._read(args, kw, "loginAnonymous(mind)"), lambda _: Anonymous())
        raise self.unknown(message, args, kw)

    def unknown(self, message: str, args: object, kw: object) -> NoSuchMethod:
        """Return the error that answers a call of a method that does not exist."""
        self.giveBack(args, kw)
        return NoSuchMethod(f"no such method: remote_{message:.100}")

    def respond(self, broker: ReferenceTables, challenger: Challenger, args: object, kw: object) -> Deferred[object]:
        """
        Serve ``respond(response, mind)`` of a challenge.

        :return: a Deferred of the reference to the session, in jelly.
        :raises ChallengeExpired: the challenge was answered before, or it is too late.
        :raises TooManyFailures: the connection is being closed.
        :raises TooManyAttempts: too many logins of this user wait.
        """
        arguments = self._read(args, kw, "respond(response, mind)")
        try:
            username, challenge = challenger.take(self._seconds())
        except ChallengeExpired as e:
            arguments.letGo(broker)
            raise self._flow.refuse(e) from None

        def mechanism(response: object) -> Response:
            return Response.of(self.portal, username, challenge, response)

        def login(attempt: LoginAttempt) -> Deferred[object]:
            return self._flow.login(arguments, mechanism, attempt)

        def refused(failure: Failure) -> Failure:
            arguments.letGo(broker)
            if isinstance(failure.value, TooManyAttempts):
                self._flow.refuse(failure.value)
            return failure

        try:
            turn = self._attempts.begin(_octets(username))
        except LoginRefused:
            return fail(refused(Failure()))
        if isinstance(turn, LoginAttempt):
            return login(turn)
        # Count as a user of the connection while the login waits, so that nothing closes the connection meanwhile.
        leave = self._broker.peer.board()

        def begun(result: object) -> object:
            leave()
            return result

        return turn.addBoth(begun).addCallbacks(login, refused)

    def _challenge(self, broker: ReferenceTables, args: object, kw: object) -> object:
        """Serve ``login(username)``: return a challenge, and the object that waits for the answer, in jelly."""
        door = self._profile.door
        if self._attempts.exhausted:
            self.giveBack(args, kw)
            raise TooManyFailures()
        username: object
        if self._byHand:
            try:
                username = plainUsername(args, kw)
            except Error:
                self.giveBack(args, kw)
                raise
            if username is None or (door.username is not None and len(_octets(username)) > door.username):
                self.giveBack(args, kw)
                length = "" if door.username is None else f" of at most {door.username} bytes"
                refusal = self._flow.refuse(BadCredentials(f"a user name is a text{length}"))
                return self._attempts.reject(Failure(refusal))
            if self._profile.bytesNames:
                username = _octets(username)
        else:
            (username,) = fitting(broker.unserialize(args), 1, "login(username)")
        if door.challenge is None:
            return self._challenges.hand(Challenger(self, username, None, once=False), None)
        now = self._seconds()
        until = None if now is None else now + door.challenge
        # With a session on the connection, challenges may take as many references as a session may.
        most = self._profile.calls.references if self._broker.prelogin.sessions else OUTSTANDING
        return self._challenges.hand(Challenger(self, username, until, once=True), most)

    def _read(self, args: object, kw: object, signature: str) -> LoginArguments | StockArguments:
        if not self._byHand:
            return StockArguments(args, signature, self._profile.convertRefusals)
        try:
            return LoginArguments(args, kw, signature)
        except BadMind as e:
            self.giveBack(args, kw)
            raise self._flow.refuse(e) from None
        except Error:
            self.giveBack(args, kw)
            raise

    def giveBack(self, args: object, kw: object) -> None:
        """Let the client forget the references in arguments that are not read."""
        self._broker.giveBack([b"list", args, kw])

    def _seconds(self) -> float | None:
        clock = self._broker.peer.clock
        return None if clock is None else clock.seconds()


def _octets(username: object) -> bytes:
    """Return a user name as bytes. In a drop-in server it may be of any type; then the result is empty."""
    if isinstance(username, str):
        return username.encode("utf-8", "surrogatepass")
    return username if isinstance(username, bytes) else b""
