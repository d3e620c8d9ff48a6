"""
What a client is told when its login has failed.
"""

from __future__ import annotations

import secrets
from functools import partial

from twisted.cred.error import LoginDenied, LoginFailed, UnhandledCredentials
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb

from pbkit.errors import AnonymousRefused, BadCredentials, LoginRefused, LoginUnavailable
from pbkit.interfaces import IPeer

log = Logger()


def refusalFor(failure: Failure, peer: IPeer | None = None) -> LoginRefused:
    """
    Return the error that the client gets for an exception that ended its login.

    The text of a `pb.Error` or `LoginDenied` is meant for the client. The text of a checker is not: it might tell
    whether the name or the password was wrong. Any other exception is logged under an error id, which the client gets.

    :param peer: the connection, if it is known; it limits what is logged.
    """
    error = failure.value
    if isinstance(error, LoginRefused):
        return error
    if isinstance(error, LoginDenied | pb.Error):
        return LoginRefused(str(error))
    if isinstance(error, UnhandledCredentials):
        return AnonymousRefused() if "IAnonymous" in str(error) else BadCredentials()
    if isinstance(error, LoginFailed):
        return BadCredentials()
    number = secrets.token_hex(4)
    write = log.failure if peer is None else partial(peer.logFailure, log)
    write("a login failed, error {number}", failure, number=number)
    return LoginUnavailable(f"{LoginUnavailable.text} (error {number})")
