"""
What a client is told when its login has failed.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import Any

from twisted.cred.error import LoginDenied, LoginFailed, UnhandledCredentials
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb

from pbkit.errors import AnonymousRefused, BadCredentials, LoginRefused, LoginUnavailable

log = Logger()


def refusalFor(failure: Failure, peer: Any = None) -> LoginRefused:
    """
    What the client is told of an error that ended its login.

    The text of a `pb.Error` or `LoginDenied` is meant for it. That of a checker is not: it might tell whether the
    name or the password was wrong. Anything else is the server's own affair, and goes into the log, under a
    number that the client is told.

    :param peer: the `IPeer` that logs in, if it is known: then the log has no more of it than that admits.
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
