"""
How a broker makes messages of objects, and objects of messages: `Jellying`, which brokers and channels derive from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.logger import Logger
from twisted.python.reflect import fullyQualifiedName
from twisted.spread import pb

from pbkit.errors import CannotSend, Error
from pbkit.wire.allowed import STOCK, Registry
from pbkit.wire.jellier import Jellier
from pbkit.wire.observer import Observer
from pbkit.wire.peer import peerOf
from pbkit.wire.sexp import handles
from pbkit.wire.unjellier import Unjellier

log = Logger()


class Jellying(pb.Broker):
    """
    A broker's jelly, and its Cacheables. Everything of it works on the tables that a broker has, and on a channel's.

    :ivar connection: the broker that has the socket.
    :ivar registry: of the connection: which classes are made of what the other end sends.
    """

    connection: Any
    registry: Registry = STOCK
    #: What was put into the message that is being put together.
    minted: list[int] | None = None

    # Out.

    def serialize(
        self, object: Any, perspective: Any = None, method: Any = None, args: Any = None, kw: Any = None
    ) -> Any:
        """As stock's, of what is no Deferred."""
        return self.jellied(object, perspective, method, args, kw)

    def jellied(self, object: Any, perspective: Any, method: Any, args: Any, kw: Any) -> Any:
        """
        As stock's `serialize` of what is no Deferred; but if it fails half way, nothing of it stays behind.

        :raises CannotSend: there is something in it that cannot be sent.
        """
        # Stock leaves None here, which a call made from inside a getStateToCopyFor would find.
        outer = self.serializingPerspective, self.jellyMethod, self.jellyArgs, self.jellyKw, self.minted
        minted: list[int] = []
        self.minted = minted
        self.serializingPerspective = perspective
        self.jellyMethod, self.jellyArgs, self.jellyKw = method, args, kw
        try:
            return Jellier(self).jelly(object)
        except Exception as error:
            # The other end will never hear of those before the one that failed, so it would never let go of them.
            self.takeBack(minted)
            if isinstance(error, CannotSend) and callable(method):
                # The caller is told, who cannot mend it.
                # Text: whoever keeps log events would keep all that was there when it was raised.
                why = str(error)
                log.warn("{method} gave {peer} no answer: {why}", method=_name(method), peer=_peer(self), why=why)
            raise
        finally:
            self.serializingPerspective, self.jellyMethod, self.jellyArgs, self.jellyKw, self.minted = outer

    serializingPerspective: Any = None
    jellyMethod: Any = None
    jellyArgs: Any = None
    jellyKw: Any = None

    def registerReference(self, object: Any) -> Any:
        """As stock's."""
        luid = super().registerReference(object)
        self._mint(luid)
        return luid

    def _mint(self, luid: Any) -> None:
        if self.minted is not None:
            self.minted.append(luid)

    def takeBack(self, luids: list[int]) -> None:
        """Let go of what was put into a message that is not sent."""
        for luid in luids:
            if luid in self.localObjects:
                self.proto_decref(luid)
            elif luid in self.remotelyCachedObjects:
                self.decache(luid)

    # In.

    def unserialize(self, sexp: Any, perspective: Any = None) -> Any:
        """
        As stock's. If it fails, what the other end keeps for us because of it is given back.

        :raises BadValue: it is not what jelly makes.
        :raises ClassRefused: it holds an instance of a class that is not accepted.
        """
        outer = self.unserializingPerspective
        self.unserializingPerspective = perspective
        unjellier = Unjellier(self)
        try:
            return unjellier.unjellyFull(sexp)
        except Exception:
            self._returned(*unjellier.unmade())
            raise
        finally:
            self.unserializingPerspective = outer

    def refusing(self, name: str) -> None:
        """An instance of a class is not accepted. The operator is told, who can change that."""
        listed = f"allow={{{name!r}}} for this server, and " if self.connection.registry.closed else ""
        log.warn(
            "an instance of {name!r} from {peer} is refused; what would accept it: {listed}a class that is registered "
            "for it with pb.setUnjellyableForClass",
            name=name,
            peer=_peer(self),
            listed=listed,
        )

    def giveBack(self, sexp: Any) -> None:
        """Let the other end forget what it keeps for an expression that nobody will make anything of."""
        self._returned(*handles(sexp))

    def _returned(self, references: list[int], caches: list[int]) -> None:
        if not self.disconnected:
            for luid in references:
                self.sendDecRef(luid)
            for luid in caches:
                self.decCacheRef(luid)

    def cacheLocally(self, cid: Any, instance: Any) -> None:
        """
        As stock's.

        :raises Error: the other end has more of these kept than it may be given references.
        """
        most = self.connection.profile.calls.references
        if most is not None and cid not in self.locallyCachedObjects and len(self.locallyCachedObjects) >= most:
            raise Error(f"more than {most} copies of Cacheables are kept here for this connection")
        super().cacheLocally(cid, instance)

    def hasLocally(self, luid: Any, copy: Any = None) -> bool:
        """
        :return: whether there is a copy of a Cacheable of the other end's by this id; this one, if one is given.
        """
        found = self.locallyCachedObjects.get(luid)
        return found is not None and (copy is None or found is copy)

    # Cacheables: one copy for each that looks at it.

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
        """As stock's, for whom a message is being put together."""
        luid = super().cacheRemotely(instance)
        key = self.cacheKey(instance, self.serializingPerspective)
        self.remotelyCachedLUIDs[key] = self.remotelyCachedLUIDs.pop(instance.processUniqueID())
        local = self.remotelyCachedObjects[luid]
        local.key, local.leaving = key, False
        local.observer = Observer(self, instance, self.serializingPerspective)
        self._mint(luid)
        return luid

    @contextmanager
    def beginning(self, luid: int, observer: Observer) -> Iterator[None]:
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
            guarded(local.object.stoppedObserving, observer.perspective, observer)

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


def guarded(f: Callable[..., object], *args: object) -> None:
    """Call something of the user's: what it raises is logged, and everything else goes on."""
    try:
        f(*args)
    except Exception:
        log.failure("a callback for the end of a channel raised")


def _name(method: Any) -> str:
    return str(fullyQualifiedName(getattr(method, "__func__", method)))


def _peer(broker: Any) -> str:
    return str(peerOf(broker))


__all__ = ["Jellying", "guarded"]
