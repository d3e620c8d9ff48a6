"""
What a client is told when its login has failed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from twisted.cred.error import LoginDenied, LoginFailed, UnhandledCredentials
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb

from pbkit.dispatch import misfit
from pbkit.errors import AnonymousRefused, BadCredentials, LoginRefused, LoginUnavailable, ServerMisconfigured
from pbkit.interfaces import IPeer

T = TypeVar("T")

log = Logger()


class Misfit(TypeError):
    """
    A class, function or hook of the program's that cannot be called as pbkit calls it. The next login would fail too.
    """


def callFitting(f: Callable[..., T], *args: object) -> T:
    """
    Call user code.

    :raises Misfit: its parameters do not fit the arguments.
    """
    try:
        return f(*args)
    except TypeError:
        why = misfit(f, *args)
        if not why:
            raise
        name = getattr(f, "__qualname__", None) or type(f).__qualname__
        raise Misfit(f"{name} cannot be called with {len(args)} argument{'s' * (len(args) != 1)}: {why}") from None


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
    if isinstance(error, Misfit):
        write("no login can succeed, error {number}: {why}", failure, number=number, why=str(error))
        return ServerMisconfigured(f"{ServerMisconfigured.text} (error {number})")
    write("a login failed, error {number}", failure, number=number)
    return LoginUnavailable(f"{LoginUnavailable.text} (error {number})")
