"""
What a peer may send before it has logged in.

`PreloginGate` decides on one message at a time, as Banana decodes it: bytes, numbers, and lists of these. The decision
is pure: the gate unjellies nothing and changes no table. It lets through calls on the login root, on a challenger and
on the object ``pbkit``, whose methods read their arguments by hand. From when a checker has accepted the credentials of
a login (`PreloginGate.enter`) it also lets through answers to our own calls, because the realm may ask the client
before it decides. While a session uses the connection, no message is brought here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import attrs
from twisted.spread import pb

from pbkit.wire.wellknown import LOGIN, PBKIT


@attrs.frozen
class Serve:
    """Serve the message: none of its arguments will be unjellied."""


@attrs.frozen
class NoSuchObject:
    """
    Answer that the object does not exist. Peers call such objects to ping each other; a call can also be on an object
    of a session that has ended.

    :ivar requestID: the request to answer.
    :ivar objectID: the object that was called, as received.
    :ivar answer: True if the peer wants an answer.
    :ivar rest: the arguments, in jelly. The references among them must be given back, or the peer keeps their objects.
    """

    requestID: int | bytes
    objectID: object
    answer: bool
    rest: list[object]


@attrs.frozen
class Answer:
    """
    Note that a call of ours was answered: a ping, or a call on the mind of a guest who is not logged in yet. The answer
    must not be unjellied.

    :ivar requestID: the request that is answered.
    :ivar rest: as `NoSuchObject.rest`.
    :ivar isError: True if the call failed.
    """

    requestID: int | bytes
    rest: list[object]
    isError: bool = False


@attrs.frozen
class Ignore:
    """Do nothing."""


@attrs.frozen
class Disconnect:
    """
    Close the connection: no client sends this before login.

    :ivar why: the reason, for the log. It is a constant: it contains nothing that the peer sent.
    """

    why: str


Verdict: TypeAlias = Serve | NoSuchObject | Answer | Ignore | Disconnect

SERVE = Serve()
IGNORE = Ignore()


class PreloginGate:
    """
    The gate of one connection. Do not create one if ``profile.gate.closed`` is False.

    :param isChallenger: whether an id is that of a challenger that was sent on this connection. In a strict server,
        challengers are all that the connection's own table holds under an int.
    :ivar inside: the number of sessions that use the connection, and of logins whose credentials were accepted.
    :ivar used: True once `enter` has been called.
    """

    __slots__ = ("_isChallenger", "inside", "used")

    def __init__(self, isChallenger: Callable[[int], bool]) -> None:
        self._isChallenger = isChallenger
        self.used = False
        self.inside = 0

    def enter(self) -> bool:
        """
        Count a login whose credentials were accepted. The realm is asked next, and may call the client.

        :return: True if it is the first one: answers pass from now on.
        """
        self.used = True
        self.inside += 1
        return self.inside == 1

    def leave(self) -> bool:
        """
        Stop counting a login: its session has ended, or the login failed after `enter`. Call it once for each `enter`.

        :return: True if it was the last one.
        """
        self.inside -= 1
        return self.inside == 0

    def admits(self, expression: object) -> Verdict:
        """
        Decide on one message. Never raises.

        :param expression: the message, as decoded; it can be anything.
        """
        if type(expression) is not list or not expression:
            return _DISCONNECT[b""]
        command = expression[0]
        if command == b"message" and len(expression) == 7:
            return self._message(*expression[1:])
        if command in (b"answer", b"error") and len(expression) == 3 and type(expression[1]) in (int, bytes):
            return SERVE if self.inside else Answer(expression[1], expression[2:3], command == b"error")
        if command == b"version" and expression == [b"version", pb.Broker.version]:
            return SERVE
        if command == b"didNotUnderstand":
            return IGNORE
        if len(expression) == 2 and type(expression[1]) is int:
            # Serving an unknown id does nothing. After a session has ended, its client may not know that yet, and lets
            # go of the session's objects and caches.
            if command == b"decref" or (self.used and command in (b"decache", b"uncache")):
                return SERVE
        if self.used and command == b"cachemessage" and len(expression) == 7 and type(expression[1]) in (int, bytes):
            return NoSuchObject(expression[1], expression[2], bool(expression[4]), [b"list", *expression[5:7]])
        return _DISCONNECT.get(command, _DISCONNECT[b""]) if type(command) is bytes else _DISCONNECT[b""]

    def _message(
        self, requestID: object, objectID: object, message: object, answer: object, netArgs: object, netKw: object
    ) -> Verdict:
        if not isinstance(requestID, int | bytes) or type(message) is not bytes:
            return _DISCONNECT[b"message"]
        if type(objectID) is bytes and objectID in (LOGIN, PBKIT):
            return SERVE
        if type(objectID) is int and self._isChallenger(objectID):
            return SERVE
        return NoSuchObject(requestID, objectID, bool(answer), [b"list", netArgs, netKw])


_DISCONNECT = {
    b"": Disconnect("received something that is no Perspective Broker message before login"),
    b"message": Disconnect("received a malformed call before login"),
    b"version": Disconnect(
        f"received another version of Perspective Broker than {pb.Broker.version}, the only one that is supported"
    ),
    **{
        command: Disconnect(f"received {command.decode()} before login")
        for command in (b"cachemessage", b"decache", b"uncache", b"lcache", b"answer", b"error", b"decref")
    },
}
