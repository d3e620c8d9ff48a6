"""
How a broker makes messages of objects, and objects of messages: `Jellying`, which brokers and channels derive from.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger
from twisted.python.reflect import fullyQualifiedName
from twisted.spread import pb

from pbkit.errors import CannotSend
from pbkit.wire.caching import Caching
from pbkit.wire.compact import Few
from pbkit.wire.jelly.expressions import handles
from pbkit.wire.jelly.jellier import Jellier
from pbkit.wire.jelly.registry import STOCK, Registry
from pbkit.wire.jelly.unjellier import Unjellier
from pbkit.wire.lazily import EMPTY
from pbkit.wire.peer import peerOf

#: How stock makes jelly of what is called from afar.
_BY_REFERENCE: Any = pb.Referenceable.jellyFor

log = Logger()


class Local:
    """
    What stock's `pb.Local` is, in half of the memory: an object that the other end has, and how often.
    """

    __slots__ = ("object", "refcount")

    perspective: Any = None

    def __init__(self, object: Any) -> None:
        self.object = object
        self.refcount = 1

    def __repr__(self) -> str:
        return f"<Local {self.object!r} ref:{self.refcount}>"

    def incref(self) -> int:
        """One more."""
        self.refcount += 1
        return self.refcount

    def decref(self) -> int:
        """One less."""
        self.refcount -= 1
        return self.refcount


class Jellying(Caching):
    """
    A broker's jelly. Everything of it works on the tables that a broker has, and on a channel's.

    :ivar registry: of the connection: which classes are made of what the other end sends.
    """

    __slots__ = ()

    registry: Registry = STOCK

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
        if getattr(type(object), "jellyFor", None) is _BY_REFERENCE:
            # The usual case of what is not plain. It is all there is in this jelly: if it fails, nothing is half done.
            outer, self.minted = self.minted, None
            try:
                return b"remote", self.registerReference(object)
            finally:
                self.minted = outer
        # Stock leaves None here, which a call made from inside a getStateToCopyFor would find.
        around = self.serializingPerspective, self.jellyMethod, self.jellyArgs, self.jellyKw, self.minted
        minted: list[int] = []
        self.minted = minted
        self.serializingPerspective = perspective
        self.jellyMethod, self.jellyArgs, self.jellyKw = method, args, kw
        try:
            return Jellier(self).jelly(object)
        except Exception as error:
            # The other end will never hear of those before the one that failed, so it would never let go of them.
            self.takeBack(minted)
            if isinstance(error, RecursionError) and not self.connection.profile.stockJelly:
                raise CannotSend("what is nested so deep, or without end, cannot be sent") from None
            if isinstance(error, CannotSend) and callable(method):
                # The caller is told, who cannot mend it.
                self._noAnswer(method, str(error))
            raise
        finally:
            self.serializingPerspective, self.jellyMethod, self.jellyArgs, self.jellyKw, self.minted = around

    def _noAnswer(self, method: Any, why: str) -> None:
        peerLog = self.connection.peerLog
        if peerLog.admits():
            # Text: whoever keeps log events would keep all that was there when it was raised.
            name, why = str(fullyQualifiedName(getattr(method, "__func__", method))), peerLog.escaped(why)
            log.warn("{method} gave {peer} no answer: {why}", method=name, peer=str(peerOf(self)), why=why)

    def registerReference(self, object: Any) -> Any:
        """
        As stock's, but with a bound of the profile's: over stock's the whole connection is lost, with all its sessions.

        :raises Error: the other end has as many as it may have.
        """
        if self.luids is EMPTY:
            self.luids = Few()
        if self.localObjects is EMPTY:
            self.localObjects = Few()
        most = self.connection.profile.calls.references
        if most is None:
            luid = super().registerReference(object)
        else:
            puid = object.processUniqueID()
            luid = self.luids.get(puid)
            if luid is not None:
                self.localObjects[luid].incref()
            elif len(self.localObjects) + len(self.remotelyCachedObjects) >= most:
                raise self.full(most)
            else:
                luid = self.newLocalID()
                self.localObjects[luid] = Local(object)
                self.luids[puid] = luid
        self._mint(luid)
        return luid

    def setNameForLocal(self, name: Any, object: Any) -> None:
        """As stock's."""
        if self.localObjects is EMPTY:
            # Mostly it is the root and nothing else.
            self.localObjects = Few()
        assert object is not None
        # In stock, one that is twice as large.
        self.localObjects[name.encode("utf-8") if isinstance(name, str) else name] = Local(object)

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
        peerLog = self.connection.peerLog
        if not peerLog.admits():
            return
        name = peerLog.escaped(name)
        listed = f"allow={{'{name}'}} for this server, and " if self.connection.registry.closed else ""
        log.warn(
            "an instance of '{name}' from {peer} is refused; what would accept it: {listed}a class that is registered "
            "for it with pb.setUnjellyableForClass",
            name=name,
            peer=str(peerOf(self)),
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


__all__ = ["Jellying"]
