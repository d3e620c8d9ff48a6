"""
Cacheables: who has a copy of what, and that each copy ends once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.logger import Logger
from twisted.spread import pb

from pbkit.errors import Error
from pbkit.wire.jelly.jellier import CacheObserver
from pbkit.wire.lazily import EMPTY

log = Logger()


class Caching(pb.Broker):
    """
    A broker's Cacheables, its own and the other end's: one copy for each that looks at it.

    :ivar connection: the broker that has the socket.
    :ivar minted: what was put into the message that is being put together.
    """

    __slots__ = (
        "_localCleanup",
        "disconnects",
        "jellyArgs",
        "jellyKw",
        "jellyMethod",
        "localObjects",
        "luids",
        "minted",
        "serializingPerspective",
        "unserializingPerspective",
        "waitingForAnswers",
    )

    connection: Any
    disconnected: Any = 0
    remotelyCachedObjects: Any = EMPTY
    remotelyCachedLUIDs: Any = EMPTY
    locallyCachedObjects: Any = EMPTY

    def __init__(self) -> None:
        # Not stock's, which makes 3.5 KB for each connection. All of that is here, or of the class; or of `Routes`, if
        # only a connection needs it.
        self.localObjects: Any = EMPTY
        self.luids: Any = EMPTY
        self.waitingForAnswers: Any = EMPTY
        self._localCleanup: Any = EMPTY
        self.disconnects: Any = ()
        self.minted: list[int] | None = None
        self.unserializingPerspective: Any = None
        self.serializingPerspective: Any = None
        self.jellyMethod = self.jellyArgs = self.jellyKw = None

    def _mint(self, luid: Any) -> None:
        if self.minted is not None:
            self.minted.append(luid)

    def cacheLocally(self, cid: Any, instance: Any) -> None:
        """
        As stock's.

        :raises Error: the other end has more of these kept than it may be given references.
        """
        most = self.connection.profile.calls.references
        if most is not None and cid not in self.locallyCachedObjects and len(self.locallyCachedObjects) >= most:
            raise Error(f"more than {most} copies of Cacheables are kept here for this connection")
        if self.locallyCachedObjects is EMPTY:
            self.locallyCachedObjects = {}
        super().cacheLocally(cid, instance)

    def full(self, most: int) -> Exception:
        """
        The other end would have more references than it may have: that is the end of its session, or connection.

        :return: what is wrong.
        """
        raise NotImplementedError

    def hasLocally(self, luid: Any, copy: Any = None) -> bool:
        """
        :return: whether there is a copy of a Cacheable of the other end's by this id; this one, if one is given.
        """
        found = self.locallyCachedObjects.get(luid)
        return found is not None and (copy is None or found is copy)

    def cacheKey(self, instance: Any, perspective: Any) -> Any:
        """
        What the copies of an object are told apart by. Two users on one connection each have their own, with what the
        object has told of itself to each.
        """
        return instance.processUniqueID(), id(perspective)

    def cachedFor(self, instance: Any, perspective: Any) -> Any:
        """
        :return: the id of the copy that somebody has of an object, or None.
        """
        return (self.remotelyCachedLUIDs or {}).get(self.cacheKey(instance, perspective))

    def cachedRemotelyAs(self, instance: Any, incref: Any = 0) -> Any:
        """As stock's, for whom a message is being put together."""
        luid = self.cachedFor(instance, self.serializingPerspective)
        if incref and luid is not None:
            local = self.remotelyCachedObjects[luid]
            if local.leaving:
                return None
            local.incref()
            self._mint(luid)
        return luid

    def cacheRemotely(self, instance: Any) -> Any:
        """As stock's, for whom a message is being put together, and within the bound for references."""
        most = self.connection.profile.calls.references
        if most is not None and len(self.localObjects) + len(self.remotelyCachedObjects) >= most:
            raise self.full(most)
        if self.remotelyCachedObjects is EMPTY:
            self.remotelyCachedObjects, self.remotelyCachedLUIDs = {}, {}
        luid = super().cacheRemotely(instance)
        key = self.cacheKey(instance, self.serializingPerspective)
        self.remotelyCachedLUIDs[key] = self.remotelyCachedLUIDs.pop(instance.processUniqueID())
        local = self.remotelyCachedObjects[luid]
        local.key, local.leaving = key, False
        local.observer = CacheObserver(self, instance, self.serializingPerspective)
        self._mint(luid)
        return luid

    @contextmanager
    def beginning(self, luid: int, observer: CacheObserver) -> Iterator[None]:
        """
        While a Cacheable is asked for its state: it is observed once it has returned, and not before.
        """
        local = self.remotelyCachedObjects[luid]
        local.observer = None
        yield
        local.observer = observer
        if (self.remotelyCachedObjects or {}).get(luid) is not local:
            # It has ended the session itself, or called somebody who did.
            self.stopObserving(local)

    def decache(self, luid: int) -> bool:
        """One copy less of a Cacheable of ours; True if it was the last."""
        local = self.remotelyCachedObjects[luid]
        if local.decref():
            return False
        # Before it is taken out: as with stock, a last call on the copy still goes through. It may be sent anew
        # meanwhile, as another copy, and the session or the connection may end.
        local.leaving = True
        self.stopObserving(local)
        (self.remotelyCachedObjects or {}).pop(luid, None)
        if (self.remotelyCachedLUIDs or {}).get(local.key) == luid:
            del self.remotelyCachedLUIDs[local.key]
        return True

    def proto_decache(self, objectID: Any) -> None:
        """As stock's; harmless, if there is no such copy."""
        local = self.remotelyCachedObjects.get(objectID)
        if local is not None and not local.leaving and self.decache(objectID):
            self.sendCall(b"uncache", objectID)

    def stopObserving(self, local: Any) -> None:
        """Tell a Cacheable that it is not observed any more; once, if it ever was."""
        observer = local.observer
        local.observer = None
        if observer is not None:
            self.guarded(local.object.stoppedObserving, observer.perspective, observer)

    def notifyOnDisconnect(self, notifier: Any) -> None:
        """As stock's."""
        if not self.disconnects:
            self.disconnects = []
        super().notifyOnDisconnect(notifier)

    def dontNotifyOnDisconnect(self, notifier: Any) -> None:
        """As stock's."""
        super().dontNotifyOnDisconnect(notifier)
        if not self.disconnects:
            self.disconnects = ()

    def dead(self) -> Exception | None:
        """Why nobody can be called here any more, or None."""
        raise NotImplementedError

    def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
        """As stock's; a Cacheable gets the observer that it knows."""
        self.disconnected = 1
        observed, self.remotelyCachedObjects = self.remotelyCachedObjects, {}
        for local in observed.values():
            self.stopObserving(local)
        super().connectionLost(reason)

    def guarded(self, f: Callable[..., object], *args: object) -> None:
        """Call something of the user's: what it raises is logged, and everything else goes on."""
        try:
            f(*args)
        except Exception:
            self.connection.peerLog.failure(log, "a callback for the end of a channel raised")
