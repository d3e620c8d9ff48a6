"""
What pbkit peers say to one another beside stock PB.

It goes through a local object named ``pbkit``, on which ``hello(features)`` is called. A stock peer has none, answers
"Invalid Object ID" without a line in its log, and that is the answer.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.spread import pb

from pbkit.errors import NoSuchMethod
from pbkit.plain import ENTRIES, LENGTH, checked
from pbkit.wire.peer import Peer

__all__ = ["ENTRIES", "FEATURES", "LENGTH", "NAME", "Hello", "checked", "sayHello"]

#: The name of the local object.
NAME = b"pbkit"
#: What this end declares.
FEATURES = {"pbkit": 1}


class Hello(pb.Referenceable):
    """Takes down what the other end declares, and answers with what this end does."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def remoteMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        """Serve ``hello(features)``. Not left to stock's method, which logs arguments that do not fit."""
        args = broker.unserialize(args)
        if message != "hello" or not isinstance(args, list | tuple) or len(args) != 1:
            raise NoSuchMethod("it is called as hello(features)")
        return broker.serialize(self.hello(args[0]))

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
        answer = broker.remoteForName(NAME).callRemote("hello", declared)
    except pb.DeadReferenceError:
        return succeed({})
    return answer.addCallbacks(checked, lambda failure: {}).addErrback(lambda failure: {})
