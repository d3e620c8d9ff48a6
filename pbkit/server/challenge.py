"""
PB's own way to prove a password: a challenge, and the answer to it.
"""

from __future__ import annotations

import hmac
from hashlib import md5
from typing import TYPE_CHECKING, Any

import attrs
from twisted.cred.credentials import IUsernameHashedPassword
from twisted.spread import pb
from zope.interface import implementer

from pbkit.auth import spell
from pbkit.errors import NoSuchMethod

if TYPE_CHECKING:
    from pbkit.server.root import LoginRoot


class Challenger(pb.Referenceable):
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

    def _credentials(self, rest: Any) -> Response:
        username = self._username
        if isinstance(username, bytes):
            username = spell(self._root.portal, username)
        # New ones for each answer: a checker may still be at work on the last.
        return Response(username, self._challenge, rest[0])


@implementer(IUsernameHashedPassword, pb.IUsernameMD5Password)
@attrs.frozen
class Response:
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
