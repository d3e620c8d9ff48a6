"""
The tables of references of one session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pbkit.errors import Error
from pbkit.wire.calls import Calls
from pbkit.wire.compact import Few
from pbkit.wire.lazily import EMPTY

if TYPE_CHECKING:
    from pbkit.wire.broker import Broker
    from pbkit.wire.channel import Channel


class Tables(Calls):
    """
    What jelly knows as its invoker: hands out references and takes them in, for one session. The ids are the
    connection's, so that they stay unique there, and the socket is too.

    :param connection: the broker that has the socket.
    """

    __slots__ = ("connection",)

    def __init__(self, connection: Broker) -> None:
        super().__init__()
        self.connection = connection
        if connection.disconnected:
            self.disconnected = connection.disconnected

    # Equal to itself only, and with an order: observers of Cacheables compare brokers by it.

    def __lt__(self, other: object) -> bool:
        return id(self) < id(other)

    def __gt__(self, other: object) -> bool:
        return id(self) > id(other)

    # What the connection has.

    @property
    def factory(self) -> Any:  # type: ignore[override]
        """The connection's."""
        return self.connection.factory

    @property
    def security(self) -> Any:
        """The connection's."""
        return self.connection.security

    @property
    def transport(self) -> Any:  # type: ignore[override]
        """The connection's."""
        return self.connection.transport

    @property
    def _pbkitPeer(self) -> Any:
        return self.connection.peer

    def cacheKey(self, instance: Any, perspective: Any) -> Any:
        """A session has one copy of an object, however it came by it."""
        return instance.processUniqueID()

    def refusing(self, name: str) -> None:
        """An instance of a class is not accepted. Before its login is through, that is told with the login."""
        if self.localObjects or self.remotelyCachedObjects:
            super().refusing(name)

    def hasLocally(self, luid: Any, copy: Any = None) -> bool:
        """Whether there is a copy of a Cacheable of the client's by this id."""
        return self.connection.hasLocally(luid, copy)

    def sendCall(self, *exp: Any) -> None:
        """Send an expression on the connection."""
        self.connection.sendCall(*exp)

    def newLocalID(self) -> int:
        """The connection's next id, whose calls it will bring here."""
        if self.error is not None:
            # It has ended while something of it was being put together.
            raise self.error.again()
        luid = int(self.connection.newLocalID())
        if self.connection.owners is EMPTY:
            self.connection.owners = Few()
        self.connection.owners[luid] = cast("Channel", self)
        return luid

    def cacheLocally(self, cid: Any, instance: Any) -> None:
        """
        Keep a copy of a client's Cacheable. On the connection: the client sends it once, whichever of its sessions
        it gives it to.
        """
        if self.connection.cachers is EMPTY:
            self.connection.cachers = {}
        self.connection.cachers[cid] = cast("Channel", self)
        self.connection.cacheLocally(cid, instance)

    def cachedLocallyAs(self, cid: Any) -> Any:
        """The copy of a client's Cacheable."""
        return self.connection.cachedLocallyAs(cid)

    def registerPageProducer(self, pager: Any) -> None:
        """Stock's pagers take their turn on the connection."""
        self.connection.registerPageProducer(pager)

    def ownObject(self, luid: Any) -> Any:
        """What this session was given, to be called, or None."""
        local = self.localObjects.get(luid)
        return None if local is None else local.object

    def localObjectForID(self, luid: Any) -> Any:
        """
        What ``["local", id]`` of the client means: something that this session was given, or the connection before
        login. Nothing of another session's: it would be laundered past that one's end.

        :raises Error: it is none of these. Stock would hand None to the method that is called.
        """
        found = super().localObjectForID(luid)
        if found is None:
            found = self.connection.localObjectForID(luid)
        if found is None:
            raise Error("a reference among the arguments was not given to this session, or no longer")
        return found

    # Handing out.

    def cacheRemotely(self, instance: Any) -> Any:
        """As stock's."""
        try:
            return super().cacheRemotely(instance)
        except Exception:
            # The table is full, which stock finds when it has taken an id.
            self.connection.owners.pop(self.connection.currentLocalID, None)
            raise

    def takeBack(self, luids: list[int]) -> None:
        """Let go of what was put into a message that is not sent."""
        super().takeBack(luids)
        self.checkReleased()

    # Letting go.

    def checkReleased(self) -> None:
        """Called when something was let go of: it may have been the last."""

    def proto_decref(self, objectID: Any) -> None:
        """The client let go of an object; perhaps of the last."""
        if objectID in self.localObjects:
            super().proto_decref(objectID)
            if not self.localObjects:
                # Then it is told at a glance, as has to be done after each answer.
                self.localObjects = EMPTY
            if objectID not in self.localObjects:
                self.connection.owners.pop(objectID, None)
            self.checkReleased()

    def proto_decache(self, objectID: Any) -> None:
        """The client let go of a cache; perhaps of the last."""
        super().proto_decache(objectID)
        self.checkReleased()

    def decache(self, luid: int) -> bool:
        """One copy less of a Cacheable; True if it was the last."""
        last = super().decache(luid)
        if last:
            self.connection.owners.pop(luid, None)
        return last
