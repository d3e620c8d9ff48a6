"""
What a login may be called with, read by hand.

Nothing that a stranger sends is unjellied: any module may have opened a class of its own to jelly, for every
connection of the process and before any login, and the code of that class would run.
"""

from __future__ import annotations

from typing import Any

from twisted.spread import pb

from pbkit.errors import BadMind, Error
from pbkit.wire.compact import Lazily

#: The length of an answer to a challenge: an MD5.
RESPONSE = 16


def plainUsername(args: Any, kw: Any) -> bytes | str | None:
    """
    Read the arguments of ``login(username)``.

    :param args: as they came, in jelly.
    :param kw: the same.
    :return: the name, or None if it is no text.
    :raises Error: they are too few or too many.
    """
    (name,) = _items(args, kw, 1, "login(username)")
    if isinstance(name, list) and len(name) == 2 and name[0] == b"unicode" and isinstance(name[1], bytes):
        try:
            return name[1].decode("utf-8")
        except UnicodeDecodeError:
            return None
    return name if isinstance(name, bytes) else None


class Mind(pb.RemoteReference):
    """
    A client's own object, which the server keeps for as long as its session lives; as stock's, but that a list is made
    when there is something to be put in.
    """

    disconnectCallbacks: Any = Lazily(list)

    def __init__(self, perspective: Any, broker: Any, luid: int, doRefCount: int) -> None:
        self.luid = luid
        self.broker = broker
        self.doRefCount = doRefCount
        self.perspective = perspective


class LoginArguments:
    """
    Those of ``respond(response, mind)`` or ``loginAnonymous(mind)``.

    :param args: as they came, in jelly.
    :param kw: the same.
    :param signature: how the method is called.
    :raises Error: they are too few or too many.
    :raises BadMind: the mind is neither None nor an object of the client's.
    """

    __slots__ = ("_response", "_mind")

    def __init__(self, args: Any, kw: Any, signature: str) -> None:
        *rest, mind = _items(args, kw, 1 + signature.count(","), signature)
        # Of another length it is wrong anyway, and need not be kept while it waits its turn.
        self._response = rest[0] if rest and isinstance(rest[0], bytes) and len(rest[0]) == RESPONSE else None
        self._mind: int | None = None
        if mind != [b"None"]:
            if not isinstance(mind, list) or len(mind) != 2 or mind[0] != b"remote" or type(mind[1]) is not int:
                raise BadMind()
            self._mind = mind[1]

    def read(self, tables: Any) -> tuple[bytes | None, pb.RemoteReference | None]:
        """
        :param tables: the channel, or the connection, that the mind is to belong to.
        :return: the response, None if it is none; and the mind, which is given back when nobody holds it any more.
        """
        return self._response, None if self._mind is None else Mind(None, tables, self._mind, 1)

    def letGo(self, connection: Any) -> None:
        """Nothing will be made of them: let the client forget what it keeps for the mind."""
        self.read(connection)


class StockArguments:
    """
    The same, unjellied as stock does it: of any kind.

    :param args: as they came, in jelly.
    :param signature: how the method is called.
    :param convert: whether an error of jelly's is a `BadMind`.
    """

    __slots__ = ("_args", "_signature", "_convert")

    def __init__(self, args: Any, signature: str, convert: bool) -> None:
        self._args = args
        self._signature = signature
        self._convert = convert

    def read(self, tables: Any) -> tuple[Any, Any]:
        """
        As `LoginArguments.read`.

        :raises Error: they are too few or too many; jelly's own errors as well.
        """
        try:
            args = tables.unserialize(self._args)
        except Exception:
            if not self._convert:
                raise
            # Such as a mind of a class that is not open to strangers: their mistake, and no traceback of ours.
            raise BadMind() from None
        *rest, mind = fitting(args, 1 + self._signature.count(","), self._signature)
        return rest[0] if rest else None, mind

    def letGo(self, connection: Any) -> None:
        """They have not been unjellied, and are not for this. As in stock, the client keeps what it keeps."""


def fitting(args: Any, number: int, signature: str) -> Any:
    """
    :return: the arguments.
    :raises Error: it is another number of them.
    """
    if not isinstance(args, list | tuple) or len(args) != number:
        raise Error(f"it is called as {signature}")
    return args


def _items(args: Any, kw: Any, number: int, signature: str) -> Any:
    if not isinstance(args, list) or args[:1] not in ([b"tuple"], [b"list"]) or kw != [b"dictionary"]:
        raise Error(f"it is called as {signature}")
    return fitting(args[1:], number, signature)
