"""
The arguments of a login, read by hand.

Nothing that an unauthenticated client sends is unjellied. Any module may have registered a class with jelly, for every
connection of the process and before any login, and the code of that class would run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twisted.spread import pb

from pbkit.errors import BadMind, Error

#: The length of the response to a challenge: an MD5.
RESPONSE = 16


class ReferenceTables(Protocol):
    """What reading arguments needs of a channel or a connection."""

    def unserialize(self, sexp: object, perspective: object = None) -> object:
        """Make objects of jelly."""


def plainUsername(args: object, kw: object) -> bytes | str | None:
    """
    Read the arguments of ``login(username)``.

    :param args: as received, in jelly.
    :param kw: likewise.
    :return: the name, or None if it is not text.
    :raises Error: there are too few or too many.
    """
    (name,) = _items(args, kw, 1, "login(username)")
    if isinstance(name, list) and len(name) == 2 and name[0] == b"unicode" and isinstance(name[1], bytes):
        try:
            return name[1].decode("utf-8")
        except UnicodeDecodeError:
            return None
    return name if isinstance(name, bytes) else None


class LoginArguments:
    """
    The arguments of ``respond(response, mind)`` or ``loginAnonymous(mind)``.

    :param args: as received, in jelly.
    :param kw: likewise.
    :param signature: the call, for the error.
    :raises Error: there are too few or too many.
    :raises BadMind: the mind is neither None nor an object of the client.
    """

    __slots__ = ("_mind", "_response")

    def __init__(self, args: object, kw: object, signature: str) -> None:
        *rest, mind = _items(args, kw, 1 + signature.count(","), signature)
        # A response of another length is wrong anyway, so it is not kept while the login waits.
        self._response = rest[0] if rest and isinstance(rest[0], bytes) and len(rest[0]) == RESPONSE else None
        self._mind: int | None = None
        if mind != [b"None"]:
            if not isinstance(mind, list) or len(mind) != 2 or mind[0] != b"remote" or type(mind[1]) is not int:
                raise BadMind()
            self._mind = mind[1]

    def read(self, tables: ReferenceTables) -> tuple[bytes | None, pb.RemoteReference | None]:
        """
        Make objects of them.

        :param tables: the channel, or the connection, that the mind is to belong to.
        :return: the response, or None if it is not one; and the mind, which is given back when the last reference to it
            is dropped.
        """
        return self._response, None if self._mind is None else pb.RemoteReference(None, tables, self._mind, 1)

    def letGo(self, connection: ReferenceTables) -> None:
        """Let the client forget its mind: the arguments will not be used."""
        self.read(connection)


class StockArguments:
    """
    The same arguments, unjellied as stock does, so that the mind may be of any type.

    :param args: as received, in jelly.
    :param signature: the call, for the error.
    :param convert: whether an error of jelly becomes a `BadMind`.
    """

    __slots__ = ("_args", "_convert", "_signature")

    def __init__(self, args: object, signature: str, convert: bool) -> None:
        self._args = args
        self._signature = signature
        self._convert = convert

    def read(self, tables: ReferenceTables) -> tuple[object, object]:
        """
        As `LoginArguments.read`.

        :raises Error: there are too few or too many. Errors of jelly are raised too.
        """
        try:
            args = tables.unserialize(self._args)
        except Exception:
            if not self._convert:
                raise
            # For example a mind of a class that is not accepted: a mistake of the client, so it is not logged as ours.
            raise BadMind() from None
        *rest, mind = fitting(args, 1 + self._signature.count(","), self._signature)
        return rest[0] if rest else None, mind

    def letGo(self, connection: ReferenceTables) -> None:
        """Do nothing: the arguments have not been unjellied. As in stock, the client keeps its mind."""


def fitting(args: object, number: int, signature: str) -> Sequence[object]:
    """
    Check the number of arguments.

    :return: the arguments.
    :raises Error: there are too few or too many.
    """
    if not isinstance(args, list | tuple) or len(args) != number:
        raise Error(f"it is called as {signature}")
    return args


def _items(args: object, kw: object, number: int, signature: str) -> Sequence[object]:
    if not isinstance(args, list) or args[:1] not in ([b"tuple"], [b"list"]) or kw != [b"dictionary"]:
        raise Error(f"it is called as {signature}")
    return fitting(args[1:], number, signature)
