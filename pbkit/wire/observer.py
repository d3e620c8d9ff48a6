"""
What a Cacheable knows of one of its copies.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import fail
from twisted.spread import pb


class Observer(pb.RemoteCacheObserver):
    """
    As stock's, given to `getStateToCacheAndObserveFor` and to `stoppedObserving`.

    Stock's are ordered by their brokers, which cannot be: of two or more, none can be taken out of a list (Twisted
    issue 9671). Two of these are equal if they are of the same channel or broker, the same Cacheable and the same
    perspective, each of them by identity; whatever these themselves think of being equal.
    """

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, pb.RemoteCacheObserver):
            return NotImplemented
        return self.broker is other.broker and self.cached is other.cached and self.perspective is other.perspective

    def __ne__(self, other: object) -> bool:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __hash__(self) -> int:
        return hash((id(self.broker), id(self.cached), id(self.perspective)))

    def callRemote(self, _name: str | bytes, *args: Any, **kw: Any) -> Any:
        """
        Call ``observe_NAME`` of the copy.

        :return: a Deferred of the answer; with ``pbanswer=False``, None. It fails if the copy is no more.
        """
        name = _name.encode("utf-8") if isinstance(_name, str) else _name
        broker = self.broker
        luid = broker.cachedFor(self.cached, self.perspective)
        if luid is None and broker.dead() is None:
            error = pb.ProtocolError("the copy that this observes is not there, or not there any more")
            if broker.connection.profile.raiseOnDead:
                raise error
            return fail(error) if kw.get("pbanswer", True) else None
        # Of one that is over the answer is why.
        return broker._sendMessage(b"cache", self.perspective, luid, name, args, kw)

    def remoteMethod(self, key: str) -> Any:
        """A callable that is `callRemote` with this name."""
        return lambda *args, **kw: self.callRemote(key, *args, **kw)


__all__ = ["Observer"]
