"""
Turns what a server raised back into an exception.

Stock gives a client a `pb.CopiedFailure`: its type is bytes, ``except`` does not catch it, it can be neither pickled
nor raised again, and awaiting it loses its class. Here the name that a peer sends is looked up in a table that the
client created beforehand. Nothing is imported because a peer named it.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Hashable, Iterable, Mapping
from functools import lru_cache
from typing import cast

from twisted.cred import error as cred
from twisted.python.failure import Failure
from twisted.spread import jelly, pb

from pbkit.errors import (
    BY_NAME,
    AnonymousRefused,
    BadCredentials,
    BadValue,
    Error,
    LoginRefused,
    RemoteError,
    SessionEnded,
)

#: The exceptions that stock servers raise.
_STOCK: tuple[type[Exception], ...] = (
    pb.Error,
    pb.NoSuchMethod,
    pb.DeadReferenceError,
    cred.LoginFailed,
    cred.UnauthorizedLogin,
    cred.LoginDenied,
    cred.UnhandledCredentials,
    jelly.InsecureJelly,
)

#: A class that derives from no other known class than these becomes a `RemoteError`, which says more.
_ROOTS = (Exception, pb.Error, Error)

#: Never raised here: inside a coroutine these mean that it has returned.
_NEVER = (StopIteration, StopAsyncIteration)


def _named(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def allowed(more: Iterable[type[Exception]] = ()) -> dict[str, type[Exception]]:
    """
    Return the exception classes that the client raises as what they are, by qualified name: pbkit's errors, Python's
    built-in exceptions, those that stock servers raise, and more.

    :param more: the user's own exception classes.
    :raises TypeError: if one is not a subclass of Exception. `SystemExit` and the like are not, on purpose.
    """
    table: dict[str, type[Exception]] = {_named(kind): kind for kind in _STOCK}
    for kind in vars(builtins).values():
        if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, _NEVER):
            table[_named(kind)] = kind
    table.update(BY_NAME)
    for kind in more:
        if not (isinstance(kind, type) and issubclass(kind, Exception)) or issubclass(kind, _NEVER):
            raise TypeError(f"invalid allow: got {kind!r}, expected subclasses of Exception")
        table[_named(kind)] = kind
    return table


def exceptionFrom(failure: Failure, table: Mapping[str, type[Exception]]) -> Exception | None:
    """
    Return the exception that a failed call should raise.

    :param failure: what stock's broker fails the call with.
    :param table: the result of `allowed`.
    :return: the exception; of a class that is not in the table, an instance of the nearest class that it derives from,
        with the name as ``remoteType``, or a `RemoteError`. None if the failure is not from the server and can stay as
        it is.
    """
    if not isinstance(failure, pb.CopiedFailure):
        if isinstance(failure.value, Exception) and not isinstance(failure.value, _NEVER):
            return None
        # The server sent an object that is no exception, or one that must not be raised.
        value: object = failure.value
        args = value.args if isinstance(value, BaseException) else ()
        return RemoteError(_named(type(value)), _text(args[0] if args else ""))
    # The peer chose everything in the failure, so each value can be of any type.
    state = vars(failure)
    name, text = _text(state.get("type")), _text(state.get("value"))
    parents = state.get("_parents")
    names = tuple(map(_text, parents)) if isinstance(parents, list | tuple) else ()
    # The server sends the names of a class and of all that it derives from, in their order.
    for known in (name, *names):
        kind = table.get(known)
        made = None if kind is None or (kind in _ROOTS and known != name) else _made(kind, text)
        if made is not None:
            if known != name:
                vars(made)["remoteType"] = name
            return made
    return RemoteError(name, text, names, _text(state.get("traceback")))


def _text(value: object) -> str:
    # The peer chose the value. Whatever is not a text is not made into one: that could take for ever.
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value if isinstance(value, str) else ""


def _made(kind: type[Exception], text: str) -> Exception | None:
    if issubclass(kind, SessionEnded | BadValue) and text.startswith(f"{kind.text}: "):
        # The class adds its own text again.
        text = text[len(kind.text) + 2 :]
    elif issubclass(kind, Error) and text == kind.text:
        text = ""
    # The text of a KeyError is the repr of the key.
    keyed = issubclass(kind, KeyError) and kind.__str__ is KeyError.__str__
    try:
        made = kind(_unquoted(text) if issubclass(kind, KeyError) else text)
        # An exception of pbkit's, or of the user's, may add something to its argument.
        if str(made) == text or not (keyed or kind.__module__ == "builtins"):
            return made
    except Exception:
        # The constructor takes something else than one text.
        pass
    try:
        made = kind.__new__(kind)
        made.args = (text,)
        if str(made) == text:
            return made
    except Exception:
        pass  # As that of UnicodeDecodeError and ExceptionGroup.
    if not (keyed or kind.__module__ == "builtins"):
        return None
    try:
        return _remade(kind, text)
    except Exception:
        return None


@lru_cache(maxsize=64)
def _texted(kind: type[Exception]) -> type[Exception]:
    """Return a subclass whose text is its last argument, for a class that makes its text of other arguments."""

    def __str__(self: Exception) -> str:
        return str(vars(self)["_remoteText"])

    def __reduce__(self: Exception) -> tuple[object, ...]:
        return _remade, (kind, str(self))

    namespace = {"__str__": __str__, "__reduce__": __reduce__, "__module__": kind.__module__}
    return type(kind.__name__, (kind,), {**namespace, "__qualname__": kind.__qualname__})


def _remade(kind: type[Exception], text: str) -> Exception:
    made: Exception
    texted: type[Exception] = _texted(cast(Hashable, kind))
    if issubclass(kind, ExceptionGroup):
        made = texted(text, [RemoteError(_named(Exception), "servers send no exceptions of a group")])
    else:
        made = kind.__new__(texted)
        made.args = (text,)
    vars(made)["_remoteText"] = text
    return made


def _unquoted(text: str) -> str:
    """Return the key from the text of a `KeyError`, which is its repr. Otherwise the key would be quoted twice."""
    try:
        key = ast.literal_eval(text) if len(text) < 1000 and text[:1] in ("'", '"') else text
    except (ValueError, SyntaxError):
        return text
    return key if isinstance(key, str) else text


def refusalFrom(error: Exception) -> Exception:
    """
    Return the refusal for a failed login.

    :param error: the exception that the server raised: pbkit's own, one of stock's, or any other.
    :return: a `LoginRefused`.
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
        # Stock's error for a wrong password has no text.
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
