"""
What pbkit peers tell each other that stock PB has no way to say.

A peer calls ``hello(features)`` on the other end's object named ``pbkit``. A stock peer has no such object and answers
"Invalid Object ID", without a line in its log; that is its answer. The features are sent as JSON in one string, because
before login a message may have few items, and nothing in it is unjellied.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.spread import pb
from twisted.spread.jelly import jelly

from pbkit.errors import Error, NoSuchMethod
from pbkit.plain import ENTRIES, LENGTH, checked
from pbkit.wire.wellknown import PBKIT

__all__ = ["ENTRIES", "FEATURES", "LENGTH", "PROGRAM", "Hello", "checked", "sayHello"]

#: What this end declares.
FEATURES = {"pbkit": 1}
_DECLARED: object = jelly(FEATURES)
#: The key under which a client names its running program, so that a new connection of it may replace its dead one.
PROGRAM = "program"


class _Declared(Protocol):
    hello: dict[str, Any]


class Hello(pb.Referenceable):
    """
    The object that receives hellos: stores what the other end declares, and answers with what this end does.

    :param peer: where it is stored.
    """

    def __init__(self, peer: _Declared) -> None:
        self._peer = peer

    def remoteMessageReceived(self, broker: Any, message: str, args: object, kw: object) -> object:
        """Serve ``hello(features)``. The argument is read by hand, because the caller may not have logged in."""
        if message != "hello" or not isinstance(args, list) or len(args) != 2 or not isinstance(args[1], bytes):
            broker.connection.giveBack([b"list", args, kw])
            raise NoSuchMethod("expected hello(features), with features as a JSON object in bytes")
        try:
            features = json.loads(args[1])
        except (ValueError, RecursionError):
            raise Error("invalid features: expected a JSON object") from None
        self.hello(features)
        return _DECLARED

    def hello(self, features: object) -> dict[str, Any]:
        """
        Store what the other end declares.

        :param features: a small dict of str to plain values.
        :return: what this end declares.
        :raises Error: `features` is not such a dict; what was declared before stays.
        """
        self._peer.hello = checked(features)
        return FEATURES


def sayHello(broker: pb.Broker, features: dict[str, Any]) -> Deferred[dict[str, Any]]:
    """
    Declare features of this end to the other end.

    :return: a Deferred of what the other end declares: {} if it is a stock peer. It never fails.
    """
    declared = checked(features)
    answer: Deferred[Any]
    try:
        answer = broker.remoteForName(PBKIT).callRemote("hello", json.dumps(declared).encode("ascii"))
    except pb.DeadReferenceError:
        return succeed({})
    return answer.addCallbacks(checked, lambda failure: {}).addErrback(lambda failure: {})
