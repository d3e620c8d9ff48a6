"""
What pbkit peers say to one another beside stock PB.

It goes through a local object named ``pbkit``, on which ``hello(features)`` is called. A stock peer has none, answers
"Invalid Object ID" without a line in its log, and that is the answer. The features go as JSON in one string: before
login there is room for few items in a message, and nothing of it is unjellied.
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
_DECLARED: Any = jelly(FEATURES)
#: Under this key a client says which running program it is, so that it may take the place of its own dead connection.
PROGRAM = "program"


class _Declares(Protocol):
    hello: dict[str, Any]


class Hello(pb.Referenceable):
    """Takes down what the other end declares, and answers with what this end does."""

    def __init__(self, peer: _Declares) -> None:
        self._peer = peer

    def remoteMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        """Serve ``hello(features)``, whose argument is read by hand: whoever calls may be a stranger."""
        if message != "hello" or not isinstance(args, list) or len(args) != 2 or not isinstance(args[1], bytes):
            connection = broker.connection
            connection.giveBack([b"list", args, kw])
            raise NoSuchMethod("it is called as hello(features), a dict in JSON, as bytes")
        try:
            features = json.loads(args[1])
        except (ValueError, RecursionError):
            raise Error("hello takes a dict in JSON") from None
        self.hello(features)
        return _DECLARED

    def hello(self, features: object) -> dict[str, Any]:
        """
        :param features: a small dict of str to plain values.
        :return: the same of this end.
        :raises Error: it is not that; what was declared before stays.
        """
        self._peer.hello = checked(features)
        return FEATURES


def sayHello(broker: pb.Broker, features: dict[str, Any]) -> Deferred[dict[str, Any]]:
    """
    Declare something of this end to the other.

    :return: a Deferred of what the other end declares of itself: {} if it is a stock peer. Never fails.
    """
    declared = checked(features)
    answer: Deferred[Any]
    try:
        answer = broker.remoteForName(PBKIT).callRemote("hello", json.dumps(declared).encode("ascii"))
    except pb.DeadReferenceError:
        return succeed({})
    return answer.addCallbacks(checked, lambda failure: {}).addErrback(lambda failure: {})
