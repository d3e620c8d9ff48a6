"""
What a server raised, as an exception again.

Stock hands a client a `pb.CopiedFailure`: its type is bytes, it cannot be caught with ``except``, pickled or raised
again, and awaiting it loses its class. Here a name that a peer sends is looked up in a table that the client made
beforehand. Nothing is ever imported because a peer named it.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Mapping
from typing import Any

from twisted.cred import error as cred
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from twisted.spread import pb

from pbkit.errors import BY_NAME, AnonymousRefused, BadCredentials, Error, LoginRefused, RemoteError, SessionEnded

#: What stock servers raise by themselves.
_STOCK: tuple[type[Exception], ...] = (
    pb.Error,
    pb.NoSuchMethod,
    pb.DeadReferenceError,
    cred.LoginFailed,
    cred.UnauthorizedLogin,
    cred.LoginDenied,
    cred.UnhandledCredentials,
)

#: Raised into a coroutine, these mean something else there: that it has returned.
_NEVER = (StopIteration, StopAsyncIteration)


def _named(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def allowed(more: Iterable[type[Exception]] = ()) -> dict[str, type[Exception]]:
    """
    The classes that come back as what they were, by qualified name: pbkit's errors, Python's built-in exceptions,
    those that stock raises by itself, and more.

    :param more: exception classes of the user's.
    :raises TypeError: one of them is no exception class. `SystemExit` and its like are none, on purpose.
    """
    table: dict[str, type[Exception]] = {_named(kind): kind for kind in _STOCK}
    for kind in vars(builtins).values():
        if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, _NEVER):
            table[_named(kind)] = kind
    table.update(BY_NAME)
    for kind in more:
        if not (isinstance(kind, type) and issubclass(kind, Exception)) or issubclass(kind, _NEVER):
            raise TypeError(f"allow takes exception classes, not {kind!r}")
        table[_named(kind)] = kind
    return table


def exceptionFrom(failure: Failure, table: Mapping[str, type[Exception]]) -> Exception | None:
    """
    The exception that a failed call is about.

    :param failure: what stock fails the call with.
    :param table: as made by `allowed`.
    :return: None if nothing remote is in it: it is right as it is.
    """
    if not isinstance(failure, pb.CopiedFailure):
        if isinstance(failure.value, Exception) and not isinstance(failure.value, _NEVER):
            return None
        # Sent by value, and no exception, or none to be raised into a coroutine.
        value: object = failure.value
        return RemoteError(_named(type(value)), safe_str(failure.value))
    # Everything in it is the peer's, and may be of any type.
    state = vars(failure)
    name, text = _text(state.get("type")), _text(state.get("value"))
    kind = table.get(name)
    made = None if kind is None else _made(kind, text)
    if made is not None:
        return made
    parents = state.get("_parents")
    names = tuple(map(_text, parents)) if isinstance(parents, list | tuple) else ()
    return RemoteError(name, text, names, _text(state.get("traceback")))


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else safe_str(value)


def _made(kind: type[Exception], text: str) -> Exception | None:
    if issubclass(kind, SessionEnded) and text.startswith(f"{kind.text}: "):
        # The words of the class come again by themselves.
        text = text[len(kind.text) + 2 :]
    elif issubclass(kind, Error) and text == kind.text:
        text = ""
    elif issubclass(kind, KeyError):
        text = _unquoted(text)
    try:
        made = kind(text)
        str(made)
        return made
    except Exception:
        # It takes something else than a text.
        pass
    try:
        made = kind.__new__(kind)
        made.args = (text,)
        return made if str(made) == text else None
    except Exception:
        return None


def _unquoted(text: str) -> str:
    """The text of a `KeyError` is the repr of its key; another one would be put around it."""
    try:
        key = ast.literal_eval(text) if len(text) < 1000 and text[:1] in ("'", '"') else text
    except (ValueError, SyntaxError):
        return text
    return key if isinstance(key, str) else text


def refusalFrom(error: Exception) -> Exception:
    """
    What a login failed with, as a refusal.

    :param error: what the server raised, as an exception: pbkit's own, one of stock's, or anything.
    :return: a `LoginRefused`, or what the user has allowed by name.
    """
    if isinstance(error, LoginRefused):
        return error
    text = str(error)
    refusal: Exception
    if isinstance(error, cred.UnhandledCredentials):
        refusal = AnonymousRefused() if "IAnonymous" in text else LoginRefused(text)
    elif isinstance(error, cred.LoginDenied) or type(error) is pb.Error:
        refusal = LoginRefused(text)
    elif isinstance(error, cred.LoginFailed):
        # Stock says so by an error without a text.
        refusal = BadCredentials(text)
    elif isinstance(error, RemoteError):
        if error.isA(cred.UnauthorizedLogin):
            refusal = BadCredentials(error.remoteText)
        else:
            told = error.isA(cred.LoginDenied) or error.isA(pb.Error)
            refusal = LoginRefused(error.remoteText if told else text)
    else:
        refusal = LoginRefused(f"the server failed with {type(error).__name__}: {text}".removesuffix(": "))
    refusal.__cause__ = error
    return refusal
