"""
What a peer may say before it has logged in.

A pure decision on one message, as Banana decodes it: bytes, numbers, and lists of these. Nothing is unjellied, and no
table is touched. Calls on the login root, on a challenger and in a hello are served: these read their arguments by
hand, whether the gate is open or not. The gate is open while somebody is logged in on the connection: `enter` and
`leave`; nobody asks it then.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import attrs
from twisted.spread import pb

from pbkit.wire.wellknown import LOGIN, PBKIT


@attrs.frozen
class Serve:
    """Nothing in it is going to be unjellied: serve it as ever."""


@attrs.frozen
class Nobody:
    """
    A call on an object that is not there, which is how peers ping one another; or on one of a session that has ended.

    :ivar requestID: what the answer is to say that it answers.
    :ivar objectID: as it came.
    :ivar answer: whether one is wanted.
    :ivar rest: its arguments, in jelly: the references among them are to be given back, or the client keeps them.
    """

    requestID: int | bytes
    objectID: Any
    answer: bool
    rest: list[Any]


@attrs.frozen
class Answered:
    """
    The answer to a call of ours: before login, to a ping. What it says is of no interest, and is not unjellied.

    :ivar requestID: of the call.
    :ivar rest: as of `Nobody`.
    """

    requestID: int | bytes
    rest: list[Any]


@attrs.frozen
class Ignored:
    """Of no consequence."""


@attrs.frozen
class Closed:
    """
    No client says this: the connection is to be closed.

    :ivar why: what it said, a constant text for the log: nothing of the peer's is in it.
    """

    why: str


Verdict: TypeAlias = Serve | Nobody | Answered | Ignored | Closed

SERVE = Serve()
IGNORED = Ignored()


class Tables(Protocol):
    """What a gate asks of a connection."""

    def hasOwn(self, luid: int, /) -> bool:
        """Whether something was handed out by this id that is no session's."""


class PreloginGate:
    """
    The gate of one connection. There is none where ``profile.gate.closed`` is False: do not make one.

    :param tables: the connection, which is asked whether an id is that of a challenger that was handed out on it. In a
        strict server these are all that is in the connection's own table under an int.
    :ivar inside: how many are logged in. The gate is open while there are any.
    :ivar used: whether anybody ever was.
    """

    __slots__ = ("_tables", "inside", "used")

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.used = False
        self.inside = 0

    def enter(self) -> bool:
        """
        Somebody has shown who he is: the realm is asked for an avatar, which may call the client already.

        :return: whether that opened the gate.
        """
        self.used = True
        self.inside += 1
        return self.inside == 1

    def leave(self) -> bool:
        """
        A session has ended, or the login came to nothing after `enter`. Once for each `enter`.

        :return: whether that closed the gate.
        """
        self.inside -= 1
        return self.inside == 0

    def admits(self, expression: Any) -> Verdict:
        """
        Decide on one message.

        :param expression: as it came off the wire. Never raises, whatever it is.
        """
        if type(expression) is not list or not expression:
            return _CLOSED[b""]
        command = expression[0]
        if command == b"message" and len(expression) == 7:
            return self._message(*expression[1:])
        if command in (b"answer", b"error") and len(expression) == 3 and type(expression[1]) in (int, bytes):
            return Answered(expression[1], expression[2:3])
        if command == b"version" and expression == [b"version", pb.Broker.version]:
            return SERVE
        if command == b"didNotUnderstand":
            return IGNORED
        if len(expression) == 2 and type(expression[1]) is int:
            # Ids that nobody has are passed over. Those of a cache are for who was logged in: the session has ended,
            # and the client, who may not know yet, lets go.
            if command == b"decref" or (self.used and command in (b"decache", b"uncache")):
                return SERVE
        if self.used and command == b"cachemessage" and len(expression) == 7 and type(expression[1]) in (int, bytes):
            return Nobody(expression[1], expression[2], bool(expression[4]), [b"list", *expression[5:7]])
        return _CLOSED.get(command, _CLOSED[b""]) if type(command) is bytes else _CLOSED[b""]

    def _message(self, requestID: Any, objectID: Any, message: Any, answer: Any, netArgs: Any, netKw: Any) -> Verdict:
        if type(requestID) not in (int, bytes) or type(message) is not bytes:
            return _CLOSED[b"message"]
        if type(objectID) is bytes and objectID in (LOGIN, PBKIT):
            return SERVE
        if type(objectID) is int and self._tables.hasOwn(objectID):
            return SERVE
        return Nobody(requestID, objectID, bool(answer), [b"list", netArgs, netKw])


_CLOSED = {
    b"": Closed("it sent what is no message of Perspective Broker's before it had logged in"),
    b"message": Closed("it sent a call that is none of Perspective Broker's"),
    b"version": Closed(f"it speaks another version of Perspective Broker than {pb.Broker.version}"),
    **{
        command: Closed(f"it sent {command.decode()} before it had logged in")
        for command in (b"cachemessage", b"decache", b"uncache", b"lcache", b"answer", b"error", b"decref")
    },
}
