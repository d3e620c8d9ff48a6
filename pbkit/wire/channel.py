"""
One session's part of a connection: its own tables of references.

A channel is a virtual Broker. Jelly registers references with its `invoker`; here that is the channel, so whatever a
session's calls and answers carry, at once or when a Deferred fires later, belongs to that session without further
marking. The connection keeps the counters and the socket, and knows which channel an id belongs to. The references of
one session can therefore end without affecting those of another, the current session is that of the
reference that was called, and a client that drops its avatar but keeps other objects is still logged in.

The price: one object that was obtained through two logins has two ids, and its proxies compare unequal.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutine

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb
from zope.interface import implementer

from pbkit.errors import Disconnected, Error, SessionEnded, TooManyReferences
from pbkit.interfaces import IChannel, IPeer, ISession, current
from pbkit.wire.compact import Few, LazyTable
from pbkit.wire.connection import Connection, References
from pbkit.wire.references import Find, Invoker

_REMOTELY_CACHED: LazyTable = Invoker.remotelyCachedObjects

log = Logger()


@implementer(IChannel)
class Channel(Invoker):
    """
    A virtual Broker on a connection: serves the calls of one session, makes the calls to its client, and ends.

    :param connection: the connection that has the socket.
    :ivar session: the `ISession` whose channel this is, or None before login.
    """

    __slots__ = (
        "_granted",
        "_onReleased",
        "_serving",
        "_unreferenced",
        "connection",
        "localObjects",
        "luids",
        "session",
    )

    _draining: tuple[SessionEnded, Callable[[], object]] | None = None

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        if connection.disconnected:
            self.disconnected = connection.disconnected
        self.session: ISession | None = None
        # A session at rest has one reference, to its avatar.
        self.localObjects: References = Few()
        self.luids = Few()
        self.waitingForAnswers = Few()
        self._serving: dict[object, object] = {}
        self._granted = False
        # True once the client has dropped its last reference: then each answer may be the last of the session.
        self._unreferenced = False
        self._onReleased: tuple[Callable[[], object], ...] = ()

    # What belongs to the connection.

    @property
    def factory(self) -> object:  # type: ignore[override]
        """The connection's."""
        return self.connection.factory

    @property
    def security(self) -> object:
        """The connection's."""
        return self.connection.security

    @property
    def transport(self) -> object:  # type: ignore[override]
        """The connection's."""
        return self.connection.transport

    @property
    def _pbkitPeer(self) -> IPeer:
        return self.connection.peer

    def sendCall(self, *exp: object) -> None:
        """Send an expression on the connection."""
        self.connection.sendCall(*exp)

    def newLocalID(self) -> int:
        """
        Return the connection's next id, whose calls the connection brings here.

        :raises SessionEnded: the session ended while a message of it was under construction.
        """
        if self.error is not None:
            raise self.error.again()
        luid = self.connection.newLocalID()
        self.connection.owners[luid] = self
        return luid

    def hasLocally(self, luid: object, copy: object = None) -> bool:
        """As `Invoker.hasLocally`, for the whole connection."""
        return self.connection.hasLocally(luid, copy)

    def cacheLocally(self, cid: object, instance: object) -> None:
        """
        Keep a copy of a client's Cacheable.

        The connection keeps it: the client sends it once, through whichever of its sessions comes first.
        """
        self.connection.cachers[cid] = self
        self.connection.cacheLocally(cid, instance)

    def cachedLocallyAs(self, cid: object) -> object:
        """Return the copy of a client's Cacheable."""
        return self.connection.cachedLocallyAs(cid)

    def registerPageProducer(self, pager: object) -> None:
        """Register a pager of stock's with the connection."""
        self.connection.registerPageProducer(pager)

    # The tables of this session.

    def cacheKey(self, instance: pb.Cacheable, perspective: object) -> object:
        """Return the key of an object's copy. A session has one copy of each object, however it was obtained."""
        return instance.processUniqueID()

    def refusing(self, name: str) -> None:
        """As `Invoker.refusing`, once the login has succeeded. Before that the refused login is logged instead."""
        if self.localObjects or self.remotelyCachedObjects:
            super().refusing(name)

    def ownObject(self, luid: object) -> object:
        """Return the object that this session was given under an id, or None."""
        local = self.localObjects.get(luid)
        return None if local is None else local.object

    def localObjectForID(self, luid: object) -> object:
        """
        Return what ``["local", id]`` of the client stands for.

        That is an object that this session was given. An object of another session would survive the end of that
        session by being passed here; and the login root, a challenger or the object for hellos is no argument for a
        method of an avatar.

        :raises Error: this session was not given it. Stock would pass None to the method that is called.
        """
        found = super().localObjectForID(luid)
        if found is None:
            raise Error("a reference among the arguments was not given to this session, or no longer")
        return found

    def cacheRemotely(self, instance: pb.Cacheable) -> int:
        """As `Invoker.cacheRemotely`."""
        try:
            return super().cacheRemotely(instance)
        except Exception:
            # Stock takes an id before it finds that the table is full.
            self.connection.owners.pop(self.connection.currentLocalID, None)
            raise

    def full(self, most: int) -> Exception:
        """End this session, and no other on the connection."""
        detail = f"more than {most}"
        if self.session is not None:
            self.session.end(TooManyReferences, detail)
        else:
            log.warn(
                "calls.references: a login of {peer} ends, for {detail} references",
                peer=str(self.connection.peer),
                detail=detail,
            )
        self.end(TooManyReferences(detail))
        assert self.error is not None
        return self.error.again()

    # Calls in.

    def serialize(
        self, object: object, perspective: object = None, method: object = None, args: object = None, kw: object = None
    ) -> object:
        """
        As `Invoker.serialize`.

        :raises SessionEnded: the session has ended, so that no more references of it are handed out.
        """
        if self.error is not None and not (isinstance(object, Deferred) or iscoroutine(object)):
            # A method may end its own session and then answer with a reference.
            raise self.error.again()
        return super().serialize(object, self._perspective(perspective), method, args, kw)

    def unserialize(self, sexp: object, perspective: object = None) -> object:
        """As `Invoker.unserialize`."""
        # Answers to the server's own calls come without a perspective, and may hold references to call.
        return sexp if type(sexp) is not list else super().unserialize(sexp, self._perspective(perspective))

    def _perspective(self, perspective: object) -> object:
        """Return for whom something is sent or received: in a session, for its avatar."""
        return self.session.avatar if perspective is None and self.session is not None else perspective

    def serializeLater(self, result: object, perspective: object, method: object, args: object, kw: object) -> object:
        """Serialize the result of a Deferred, in this session."""
        if self.error is not None:
            # No caller waits any more, so no jelly hook is run and no reference is handed out.
            raise self.error.again()
        before = current.set(self.session)
        try:
            return self.serialize(result, perspective, method, args, kw)
        finally:
            current.reset(before)

    def serve(
        self,
        find: Find,
        requestID: object,
        objectID: object,
        message: object,
        answer: object,
        args: object,
        kw: object,
    ) -> None:
        """Serve one call of the client on an object of this session."""
        if self._draining is not None:
            self.connection.decline(self._draining[0].again(), requestID, answer, args, kw)
            return
        before = current.set(self.session)
        if self.session is not None:
            self.session.called()
        # A call in progress keeps the session alive. A client may drop its last reference while it waits for the
        # answer, as `login().addCallback(lambda p: p.callRemote(...))` does, and must not be logged out by that.
        key = requestID if type(requestID) is int else _key(requestID)
        self._serving[key] = requestID
        try:
            self._recvMessage(find, requestID, objectID, message, answer, args, kw)
        finally:
            current.reset(before)
        if not answer:
            self._serving.pop(key, None)
            self.checkReleased()

    def _sendAnswer(self, netResult: object, requestID: object) -> None:
        key = requestID if type(requestID) is int else _key(requestID)
        if self._serving.pop(key, None) is not None:
            if type(netResult) is memoryview:
                # As in Invoker._sendAnswer, inlined because most answers are plain data.
                self.connection.outbound.write(netResult.obj)  # type: ignore[arg-type]
            else:
                super()._sendAnswer(netResult, requestID)
            if self._unreferenced or self._draining is not None:
                self.checkReleased()

    def _sendError(self, fail: object, requestID: object) -> None:
        # The error that replaces an answer which could not be sent arrives when the call is no longer in `_serving`.
        self._serving.pop(_key(requestID), None)
        if self.error is None:
            super()._sendError(fail, requestID)
            self.checkReleased()

    def whose(self) -> str:
        """Return the user and the session, for the log."""
        if self.session is None:
            return super().whose()
        return f"{self.connection.peerLog.escaped(self.session.avatarId)} (session {self.session.sessionId})"

    def _sendFailureOrError(self, fail: Failure, requestID: object, method: object = "") -> None:
        if _key(requestID) in self._serving:
            super()._sendFailureOrError(fail, requestID, method)
        elif not fail.check(pb.Error, pb.PBConnectionLost):
            self.connection.peerLog.failure(log, "a call failed after its session had ended", fail)

    # Calls out.

    def dead(self) -> Exception | None:
        """Return how the session ended, or None."""
        return None if self.error is None else self.error.again()

    def sendDecRef(self, objectID: object) -> None:
        """Release a reference to an object of the client, also after the end: the client keeps it until then."""
        if not self.connection.disconnected:
            self.connection.sendDecRef(objectID)

    def decCacheRef(self, objectID: object) -> None:
        """Release a copy of a Cacheable of the client."""
        if not self.connection.disconnected:
            self.connection.decCacheRef(objectID)

    # Releasing.

    def tidy(self) -> None:
        """Release the tables that are empty."""
        if not self._serving:
            self._serving = {}
        _REMOTELY_CACHED.releaseEmpty(self)

    @property
    def busy(self) -> bool:
        """As `IChannel.busy`."""
        return bool(self._serving)

    def drain(self, error: SessionEnded, idle: Callable[[], object]) -> None:
        """As `IChannel.drain`."""
        if self.error is None:
            self._draining = (error, idle)
            self.checkReleased()

    def grant(self, avatar: object) -> object:
        """
        Return the jelly of a reference to an avatar: what a login gives to the client.

        :raises pb.Error: the tables are full.
        """
        jelly = self.serialize(avatar)
        self._granted = True
        return jelly

    def onReleased(self, f: Callable[[], object]) -> None:
        """As `IChannel.onReleased`."""
        self._onReleased = (*self._onReleased, f)

    def takeBack(self, luids: list[int]) -> None:
        """As `Invoker.takeBack`; what it drops may be the last reference of the session."""
        super().takeBack(luids)
        self.checkReleased()

    def proto_decref(self, objectID: object) -> None:
        """The client dropped a reference, perhaps its last."""
        if objectID in self.localObjects:
            super().proto_decref(objectID)
            self._unreferenced = not self.localObjects
            if objectID not in self.localObjects:
                self.connection.owners.pop(objectID, None)
            self.checkReleased()

    def proto_decache(self, objectID: object) -> None:
        """The client dropped a copy of a Cacheable, perhaps its last."""
        super().proto_decache(objectID)
        self.checkReleased()

    def decache(self, luid: int) -> bool:
        """As `Invoker.decache`."""
        last = super().decache(luid)
        if last:
            self.connection.owners.pop(luid, None)
        return last

    def checkReleased(self) -> None:
        """Log the session out if its client holds nothing of it any more and waits for nothing."""
        if self._granted and not (self.localObjects or self.remotelyCachedObjects or self._serving):
            self._release()
        if self._draining is not None and self.error is None and not self._serving:
            error, idle = self._draining
            self._draining = (error, _nothing)
            self.guarded(idle)

    def _release(self) -> None:
        while self._onReleased:
            first, *rest = self._onReleased
            self._onReleased = tuple(rest)
            self.guarded(first)

    # The end.

    def end(self, error: SessionEnded) -> None:
        """As `IChannel.end`. In this order: no new calls, then answers to those in progress, then user code."""
        if self.error is None:
            self.error = error
            self._finish(lambda: Failure(error.again()))

    def connectionLost(self, reason: object) -> None:  # type: ignore[override]
        """End this channel, because the connection is lost."""
        self.disconnected = 1
        if self.error is None:
            self.error = Disconnected()
            self._finish(lambda: Failure(pb.PBConnectionLost(reason)))

    def notifyOnDisconnect(self, notifier: Callable[[], object]) -> None:
        """Call `notifier` when this channel ends or its connection is lost; at once if that has happened."""
        if self.error is not None:
            self.guarded(notifier)
        else:
            super().notifyOnDisconnect(notifier)

    def _finish(self, why: Callable[[], Failure]) -> None:
        assert self.error is not None
        serving, self._serving = self._serving, {}
        if not self.disconnected:
            for requestID in serving.values():
                self.connection.sendError(self.error.again(), requestID)
        waiting, self.waitingForAnswers = self.waitingForAnswers, {}
        observed, self.remotelyCachedObjects = self.remotelyCachedObjects, {}
        # Before any object is freed: the keys are memory addresses, which new objects may get.
        self.luids, self.remotelyCachedLUIDs = {}, {}
        granted, self.localObjects = self.localObjects, {}
        self._localCleanup = {}
        self.connection.channelEnded(self, granted, observed, waiting)
        for answer in waiting.values():
            self.guarded(answer.errback, why())
        for local in observed.values():
            self.stopObserving(local)
        while self.disconnects:
            self.guarded(self.disconnects.pop(0))
        self._release()


class SharedTables:
    """
    A login that shares the tables of the connection, as in stock: for realms that are not pbkit's, in a drop-in server.

    :param connection: the connection whose tables it shares.
    """

    session: ISession | None = None

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.unserialize = connection.unserialize
        self._avatar: pb.Referenceable | None = None

    def grant(self, avatar: pb.Referenceable) -> object:
        """As `Channel.grant`."""
        jelly = self.connection.serialize(avatar)
        self._avatar = avatar
        return jelly

    def onReleased(self, f: Callable[[], object]) -> None:
        """Call `f` when the client drops the avatar, or the connection is lost."""
        stop = self.connection.peer.onLost(f)

        def released() -> None:
            stop()
            f()

        assert self._avatar is not None, "nothing was granted"
        self.connection.onDropped(self._avatar, released)

    def end(self, error: SessionEnded) -> None:
        """Do nothing: stock has no way to mark a reference as dead."""


def _nothing() -> None:
    """The callback of a drain whose own callback has been called."""


def _key(requestID: object) -> int | bytes | str:
    """Return what a request id is looked up by. The client chooses it, and may send a list."""
    return requestID if isinstance(requestID, (int, bytes, str)) else repr(requestID)
