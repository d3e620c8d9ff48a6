"""
PB's own mechanism: a challenge, and the response to it.
"""

from __future__ import annotations

import hmac
import secrets
from hashlib import md5
from typing import Any, Protocol

import attrs
from twisted.cred.credentials import IUsernameHashedPassword
from twisted.cred.portal import Portal
from twisted.spread import pb
from zope.interface import implementer

from pbkit.auth import spell
from pbkit.errors import ChallengeExpired

#: How many challenges an unauthenticated connection may have. With names of 255 bytes they take 39 kB. A real client
#: needs one for each user that it logs in at the same time.
OUTSTANDING = 50


class ChallengedLogin(Protocol):
    """What a `Challenger` needs of the login root."""

    def unknown(self, message: str, args: object, kw: object) -> Exception:
        """Return the error that answers a call of a method that does not exist."""

    def respond(self, broker: Any, challenger: Challenger, args: object, kw: object) -> object:
        """Serve ``respond(response, mind)`` of a challenge."""


class Challenger(pb.Referenceable):
    """
    The object that waits for the response to a challenge.

    :param root: the login root of the connection.
    :param username: the user name, as the client sent it.
    :param until: when the challenge expires, by the connection's clock; None is never.
    :param once: whether the challenge can be answered only once.
    :ivar challenge: 16 random bytes.
    """

    def __init__(self, root: ChallengedLogin, username: object, until: float | None, once: bool) -> None:
        self._root = root
        self._username = username
        self._until = until
        self._once = once
        self._answered = False
        self.challenge = secrets.token_bytes(16)

    def remoteMessageReceived(self, broker: Any, message: str, args: object, kw: object) -> object:
        """Serve ``respond(response, mind)``."""
        if message != "respond":
            raise self._root.unknown(message, args, kw)
        return self._root.respond(broker, self, args, kw)

    def take(self, now: float | None) -> tuple[object, bytes]:
        """
        Use the challenge up.

        :param now: the time by the connection's clock, or None without one.
        :return: the user name, and the challenge.
        :raises ChallengeExpired: it was answered before, or has expired.
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
    The challenges of one connection. The client holds them until it drops them. When there are too many the oldest are
    forgotten; a response to one of those is a call on an object that does not exist.

    :param broker: the connection.
    """

    def __init__(self, broker: Any) -> None:
        self._broker = broker
        self._luids: dict[int, None] = {}

    def hand(self, challenger: Challenger, most: int | None) -> object:
        """
        Hand one out.

        :param most: how many challenges there may be then; None is as many as the tables hold.
        :return: the challenge and a reference to the challenger, in jelly.
        """
        reference = self._broker.serialize(challenger)
        if most is not None:
            self._luids[reference[1]] = None
            if len(self._luids) > most:
                self._forget(most)
        return b"tuple", challenger.challenge, reference

    def _forget(self, most: int) -> None:
        held = self._broker.localObjects
        # Those that the client has dropped are not in the table any more.
        self._luids = dict.fromkeys(luid for luid in self._luids if luid in held)
        for luid in list(self._luids)[: max(0, len(self._luids) - most)]:
            del self._luids[luid]
            # A later decref for this id finds nothing, and does nothing.
            self._broker.luids.pop(held.pop(luid).object.processUniqueID(), None)


@implementer(IUsernameHashedPassword, pb.IUsernameMD5Password)
@attrs.define(eq=False)
class Response:
    """
    PB's own credentials: the MD5 of the password's MD5 and the challenge. Each answer gets credentials of its own,
    because a checker may still be at work on the last ones.
    """

    username: object
    _challenge: bytes = attrs.field(repr=False)
    _response: object = attrs.field(repr=False)

    @classmethod
    def of(cls, portal: Portal, username: object, challenge: bytes, response: object) -> Response:
        """
        Make credentials of the response to a challenge.

        :param portal: the portal whose checkers will be asked.
        :param username: as the client sent it.
        :param response: likewise.
        """
        return cls(spell(portal, username) if isinstance(username, bytes) else username, challenge, response)

    def checkPassword(self, password: bytes | str) -> bool:
        """As `IUsernameHashedPassword.checkPassword`; a str is encoded as UTF-8."""
        if isinstance(password, str):
            password = password.encode("utf-8")
        return self.checkMD5Password(md5(password).digest())

    def checkMD5Password(self, md5Password: bytes) -> bool:
        """As `pb.IUsernameMD5Password.checkMD5Password`."""
        expected = md5(md5Password + self._challenge).digest()
        return isinstance(self._response, bytes) and hmac.compare_digest(self._response, expected)
