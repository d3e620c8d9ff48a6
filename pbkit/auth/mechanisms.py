"""
PB's own way to prove a password: a challenge, and the answer to it.
"""

from __future__ import annotations

import hmac
import secrets
from hashlib import md5
from typing import Any, Protocol

import attrs
from twisted.cred.credentials import IUsernameHashedPassword
from twisted.spread import pb
from zope.interface import implementer

from pbkit.auth import spell
from pbkit.errors import ChallengeExpired

#: How many challenges a connection may have before anybody has logged in on it. With names of 255 bytes these take
#: 39 kB; a real client has as many as it logs in users at the same time.
OUTSTANDING = 50


class ChallengedLogin(Protocol):
    """The login root, as a challenge sees it: who is asked when the challenge is answered."""

    def unknown(self, message: str, args: Any, kw: Any) -> Exception:
        """Return the error that answers a call of a method that does not exist."""

    def respond(self, broker: Any, challenger: Challenger, args: Any, kw: Any) -> Any:
        """Serve ``respond(response, mind)`` of a challenge."""


class Challenger(pb.Referenceable):
    """
    Waits for the answer to a challenge.

    :param root: that of the connection.
    :param username: who wants to log in.
    :param until: when it is too late, by the connection's clock; None is never.
    :param once: whether it can be answered but once.
    :ivar challenge: 16 random bytes.
    """

    def __init__(self, root: ChallengedLogin, username: Any, until: float | None, once: bool) -> None:
        self._root = root
        self._username = username
        self._until = until
        self._once = once
        self._answered = False
        self.challenge = secrets.token_bytes(16)

    def remoteMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        """Serve ``respond(response, mind)``."""
        if message != "respond":
            raise self._root.unknown(message, args, kw)
        return self._root.respond(broker, self, args, kw)

    def take(self, now: float | None) -> tuple[Any, bytes]:
        """
        Have it answered.

        :param now: the time by the connection's clock, or None without one.
        :return: the user name, and the challenge.
        :raises ChallengeExpired: it was answered before, or it is too late.
        """
        late = self._until is not None and now is not None and now > self._until
        if self._answered or late:
            raise ChallengeExpired()
        taken = self._username, self.challenge
        if self._once:
            self._answered, self._username, self.challenge = True, None, b""
        return taken


class Challenges:
    """
    The challenges of one connection. Its client holds them until it lets go; the oldest go first when there are
    too many, and answering one of those is answering an object that never was.

    :param broker: the connection.
    """

    def __init__(self, broker: Any) -> None:
        self._broker = broker
        self._luids: dict[int, None] = {}

    def hand(self, challenger: Challenger, most: int | None) -> Any:
        """
        Hand one out.

        :param most: how many there may be then; None is as many as the tables hold.
        :return: it and its challenge, in jelly.
        """
        reference = self._broker.serialize(challenger)
        if most is not None:
            self._luids[reference[1]] = None
            if len(self._luids) > most:
                self._forget(most)
        return b"tuple", challenger.challenge, reference

    def _forget(self, most: int) -> None:
        held = self._broker.localObjects
        # Those that the client has let go of are not there any more.
        self._luids = dict.fromkeys(luid for luid in self._luids if luid in held)
        for luid in list(self._luids)[: max(0, len(self._luids) - most)]:
            del self._luids[luid]
            # A decref that comes for it later finds nothing, and does nothing.
            self._broker.luids.pop(held.pop(luid).object.processUniqueID(), None)


@implementer(IUsernameHashedPassword, pb.IUsernameMD5Password)
@attrs.define(eq=False)
class Response:
    """
    PB's own credentials: the MD5 of the password's MD5 and the challenge. Each answer gets credentials of its own,
    because a checker may still be at work on the last ones.
    """

    username: Any
    _challenge: bytes = attrs.field(repr=False)
    _response: Any = attrs.field(repr=False)

    @classmethod
    def of(cls, portal: Any, username: Any, challenge: bytes, response: Any) -> Response:
        """
        :param portal: whose checkers are to be asked.
        :param username: as the client sent it.
        :param response: the same.
        """
        return cls(spell(portal, username) if isinstance(username, bytes) else username, challenge, response)

    def checkPassword(self, password: bytes | str) -> bool:
        """`IUsernameHashedPassword`; a str is taken as UTF-8."""
        if isinstance(password, str):
            password = password.encode("utf-8")
        return self.checkMD5Password(md5(password).digest())

    def checkMD5Password(self, md5Password: bytes) -> bool:
        """`pb.IUsernameMD5Password`."""
        expected = md5(md5Password + self._challenge).digest()
        return isinstance(self._response, bytes) and hmac.compare_digest(self._response, expected)
