"""
Arguments of strangers, read by hand.

What a connection may call before it has logged in takes a name, a response, a mind, or a dict of plain values.
These are read from the expression itself: no class is looked up, no hook runs, whatever is registered with jelly.
What is read is what stock's unjelly would make of the same, but for the mind: that becomes a `RemoteId`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.spread import pb

from pbkit.errors import BadCredentials, BadMind, Error


class Plain(tuple[Any, ...]):
    """
    Arguments that were read by hand. They stand where `remoteMessageReceived` has jelly otherwise: a list.
    """

    __slots__ = ()


@attrs.frozen
class RemoteId:
    """
    A mind, as it came: the id under which the client keeps its object for us, until we give it back.

    :ivar luid: the id.
    """

    luid: int

    def reference(self, channel: Any) -> pb.RemoteReference:
        """
        The reference itself. Whoever drops it gives the id back to the client.

        :param channel: that of the login; it will be the reference's `broker`.
        """
        return pb.RemoteReference(None, channel, self.luid, 1)


def mindOf(value: RemoteId | None, channel: Any) -> pb.RemoteReference | None:
    """
    The mind of a login, as the realm is to see it.

    :param value: as it was read.
    :param channel: that of the login.
    """
    return None if value is None else value.reference(channel)


class _Unfit(Exception):
    """What came is not of the kind that was asked for."""


def _constant(sexp: Any) -> bool | None:
    if type(sexp) is list:
        if sexp == [b"None"]:
            return None
        if len(sexp) == 2 and sexp[0] == b"boolean" and sexp[1] in (b"true", b"false"):
            return bool(sexp[1] == b"true")
    raise _Unfit


def _text(sexp: Any) -> str | bytes:
    if type(sexp) is bytes:
        return sexp
    if type(sexp) is list and len(sexp) == 2 and sexp[0] == b"unicode" and type(sexp[1]) is bytes:
        try:
            return sexp[1].decode("utf-8")
        except UnicodeDecodeError:
            pass
    raise _Unfit


def _scalar(sexp: Any) -> Any:
    if type(sexp) in (int, float):
        return sexp
    try:
        return _text(sexp)
    except _Unfit:
        return _constant(sexp)


def _username(sexp: Any) -> str | bytes:
    try:
        return _text(sexp)
    except _Unfit:
        raise BadCredentials("a user name is a text") from None


def _response(sexp: Any) -> bytes:
    if type(sexp) is not bytes:
        raise BadCredentials("the response to a challenge is bytes")
    return sexp


def _mind(sexp: Any) -> RemoteId | None:
    if sexp == [b"None"]:
        return None
    if type(sexp) is list and len(sexp) == 2 and sexp[0] == b"remote" and type(sexp[1]) is int:
        return RemoteId(sexp[1])
    raise BadMind()


def _features(sexp: Any) -> dict[str | bytes, Any]:
    try:
        if type(sexp) is not list or sexp[:1] != [b"dictionary"]:
            raise _Unfit
        found = {}
        for pair in sexp[1:]:
            if type(pair) is not list or len(pair) != 2:
                raise _Unfit
            found[_text(pair[0])] = _scalar(pair[1])
        return found
    except _Unfit:
        raise Error("hello takes a dict of short texts to plain values") from None


#: What may be called, on what, and how each of its arguments is read.
ROOT: dict[str, tuple[str, tuple[Callable[[Any], Any], ...]]] = {
    "login": ("login(username)", (_username,)),
    "loginAnonymous": ("loginAnonymous(mind)", (_mind,)),
}
CHALLENGER: dict[str, tuple[str, tuple[Callable[[Any], Any], ...]]] = {
    "respond": ("respond(response, mind)", (_response, _mind)),
}
HELLO: dict[str, tuple[str, tuple[Callable[[Any], Any], ...]]] = {
    "hello": ("hello(features)", (_features,)),
}


def arguments(signature: str, readers: tuple[Callable[[Any], Any], ...], netArgs: Any, netKw: Any) -> Plain:
    """
    Read the arguments of one call.

    :param signature: how it is called, for people.
    :param readers: one for each argument.
    :param netArgs: the arguments, as they came off the wire: a tuple, or a list as clients on Python 2 may send.
    :param netKw: the keyword arguments, which none of these calls takes.
    :raises Error: they are others, or of other kinds. `BadCredentials` and `BadMind` where it is these.
    """
    fits = type(netArgs) is list and netArgs[:1] in ([b"tuple"], [b"list"]) and netKw == [b"dictionary"]
    if not fits or len(netArgs) != 1 + len(readers):
        raise Error(f"it is called as {signature}")
    return Plain(read(sexp) for read, sexp in zip(readers, netArgs[1:], strict=True))
