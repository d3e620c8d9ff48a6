"""
What a connection may talk to before it has logged in.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.credentials import Anonymous
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.spread import pb

from pbkit.auth.mechanisms import OUTSTANDING, Challenger, Challenges, Response
from pbkit.errors import (
    BadCredentials,
    BadMind,
    ChallengeExpired,
    Error,
    NoSuchMethod,
    TooManyFailures,
)
from pbkit.interfaces import ISessionRealm
from pbkit.server.arguments import LoginArguments, StockArguments, fitting, plainUsername
from pbkit.server.attempts import Tries, Try
from pbkit.server.loginflow import Entry
from pbkit.server.throttle import Patience
from pbkit.wire.broker import Broker
from pbkit.wire.profile import Profile


class LoginRoot(pb.Referenceable):
    """
    What a connection may talk to before it has logged in: stock's ``login``, ``respond`` and ``loginAnonymous``.

    :param portal: decides who comes in.
    :param profile: how strict it is.
    :param broker: the connection.
    :param patience: who has failed to log in at this server.
    """

    def __init__(self, portal: Portal, profile: Profile, broker: Broker, patience: Patience) -> None:
        self.portal = portal
        self._profile = profile
        self._broker = broker
        self._tries = Tries(profile.door, patience, broker)
        self._challenges = Challenges(broker)
        self._entry = Entry(portal, profile, broker)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to remember of this connection's log-ins: a new one would do as well."""
        return self._tries.idle

    @property
    def _byHand(self) -> bool:
        """Whether arguments are read by hand. That suits a realm of pbkit's, which takes no other minds."""
        profile = self._profile
        return profile.gate.closed or not profile.anyMind or ISessionRealm.providedBy(self.portal.realm)

    def remoteMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        """
        Serve a call. Not left to stock's method, which unjellies what it gets, and logs what does not fit.
        """
        if message == "login":
            return self._challenge(broker, args, kw)
        if message == "loginAnonymous":
            return self._entry.login(self._read(args, kw, "loginAnonymous(mind)"), lambda _: Anonymous())
        raise self.unknown(message, args, kw)

    def unknown(self, message: str, args: Any, kw: Any) -> NoSuchMethod:
        """
        :return: what a call of a method that is not there is answered.
        """
        self.giveBack(args, kw)
        return NoSuchMethod(f"no such method: remote_{message:.100}")

    def respond(self, broker: Any, challenger: Challenger, args: Any, kw: Any) -> Deferred[Any]:
        """
        Serve ``respond(response, mind)`` of a challenge.

        :return: a Deferred of the reference to the avatar, in jelly.
        :raises ChallengeExpired: it was answered before, or it is too late.
        """
        arguments = self._read(args, kw, "respond(response, mind)")
        try:
            username, challenge = challenger.take(self._seconds())
        except ChallengeExpired as e:
            arguments.letGo(broker)
            raise self._entry.refuse(e) from None

        def check(attempt: Try) -> Deferred[Any]:
            return self._entry.login(
                arguments, lambda response: Response.of(self.portal, username, challenge, response), attempt
            )

        def tooMany(failure: Failure) -> Failure:
            arguments.letGo(broker)
            return failure

        def begun(result: Any) -> Any:
            leave()
            return result

        try:
            turn = self._tries.begin(_octets(username))
        except TooManyFailures:
            arguments.letGo(broker)
            raise
        if isinstance(turn, Try):
            return check(turn)
        # It has to wait: nobody is to close the connection on it meanwhile.
        leave = self._broker.peer.board()
        return turn.addBoth(begun).addCallbacks(check, tooMany)

    def _challenge(self, broker: Any, args: Any, kw: Any) -> Any:
        """Serve ``login(username)``: a challenge, and what waits for the answer, in jelly."""
        door = self._profile.door
        if self._tries.exhausted:
            self.giveBack(args, kw)
            raise TooManyFailures()
        if self._byHand:
            try:
                username = plainUsername(args, kw)
            except Error:
                self.giveBack(args, kw)
                raise
            if username is None or (door.username is not None and len(_octets(username)) > door.username):
                self.giveBack(args, kw)
                length = "" if door.username is None else f" of at most {door.username} bytes"
                return self._tries.reject(Failure(self._entry.refuse(BadCredentials(f"a user name is a text{length}"))))
            if self._profile.bytesNames:
                username = _octets(username)
        else:
            (username,) = fitting(broker.unserialize(args), 1, "login(username)")
        if door.challenge is None:
            return self._challenges.hand(Challenger(self, username, None, once=False), None)
        now = self._seconds()
        until = None if now is None else now + door.challenge
        # Who has logged in has the room of a session.
        most = self._profile.calls.references if self._broker.prelogin.sessions else OUTSTANDING
        return self._challenges.hand(Challenger(self, username, until, once=True), most)

    def _read(self, args: Any, kw: Any, signature: str) -> LoginArguments | StockArguments:
        if not self._byHand:
            return StockArguments(args, signature, self._profile.convertRefusals)
        try:
            return LoginArguments(args, kw, signature)
        except BadMind as e:
            self.giveBack(args, kw)
            raise self._entry.refuse(e) from None
        except Error:
            self.giveBack(args, kw)
            raise

    def giveBack(self, args: Any, kw: Any) -> None:
        """Nothing was made of these arguments: let the client forget what it keeps for them."""
        self._broker.giveBack([b"list", args, kw])

    def _seconds(self) -> float | None:
        clock = self._broker.peer.clock
        return None if clock is None else clock.seconds()


def _octets(username: Any) -> bytes:
    """A user name as bytes; what is none, in a drop-in server, goes without."""
    if isinstance(username, str):
        return username.encode("utf-8", "surrogatepass")
    return username if isinstance(username, bytes) else b""
