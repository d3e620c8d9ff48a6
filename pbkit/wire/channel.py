"""
One session's part of a connection: its own tables of references.

A channel is a virtual Broker. Whoever jelly knows as its `invoker` hands out and takes in references; here that is
the channel, so what a session's calls and answers carry, at once or when a Deferred fires later, belongs to that
session without anybody having to say so. The connection keeps the counters and the socket, and knows which
channel an id belongs to. So a session's references can end without touching another's, the current
session is that of the reference that was called, and a client that drops its avatar but keeps other
objects is still logged in.

The price: one object that was got through two log-ins has two ids, and its proxies compare unequal.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb
from zope.interface import implementer

from pbkit.errors import Disconnected, Error, SessionEnded
from pbkit.interfaces import IChannel, current

if TYPE_CHECKING:
    from pbkit.wire.broker import Broker

log = Logger()


@implementer(IChannel)
class Channel(pb.Broker):
    """
    A virtual Broker on a `Broker`.

    :param connection: the broker that has the socket.
    :ivar session: the `ISession` whose channel this is, or None before login.
    :ivar error: None while it lives, then what calls on its references are answered.
    """

    session: Any = None
    error: SessionEnded | None = None

    def __init__(self, connection: Broker) -> None:
        # Not pb.Broker's own: it would make what only a connection needs, and a kilobyte of it.
        self.connection = connection
        self.factory = connection.factory
        self.security = connection.security
        self.disconnected = connection.disconnected
        self.disconnects: list[Callable[[], object]] = []
        self.localObjects: dict[Any, Any] = {}
        self.luids: dict[Any, Any] = {}
        self.remotelyCachedObjects: dict[Any, Any] = {}
        self.remotelyCachedLUIDs: dict[Any, Any] = {}
        self.locallyCachedObjects: dict[Any, Any] = {}
        self.waitingForAnswers: Any = {}
        self.unserializingPerspective = None
        self.serializingPerspective = None
        self._localCleanup: dict[Any, Any] = {}
        self._serving: set[Any] = set()
        self._granted = False
        self._onReleased: list[Callable[[], object]] = []

    # Equal to itself only, and with an order: observers of Cacheables compare brokers by it.

    def __lt__(self, other: object) -> bool:
        return id(self) < id(other)

    def __gt__(self, other: object) -> bool:
        return id(self) > id(other)

    # What the connection has.

    @property
    def transport(self) -> Any:  # type: ignore[override]
        """The connection's."""
        return self.connection.transport

    @property
    def _pbkitPeer(self) -> Any:
        return self.connection.peer

    def sendCall(self, *exp: Any) -> None:
        """Send an expression on the connection."""
        self.connection.sendCall(*exp)

    def newLocalID(self) -> int:
        """The connection's next id, whose calls it will bring here."""
        luid = int(self.connection.newLocalID())
        self.connection.owners[luid] = self
        return luid

    def newRequestID(self) -> int:
        """The connection's next request id."""
        return int(self.connection.newRequestID())

    def cacheLocally(self, cid: Any, instance: Any) -> None:
        """Keep a copy of a client's Cacheable, whose messages the connection will bring here."""
        self.connection.cachers[cid] = self
        super().cacheLocally(cid, instance)

    def proto_uncache(self, objectID: Any) -> None:
        """The client's Cacheable is no longer cached here."""
        self.connection.cachers.pop(objectID, None)
        super().proto_uncache(objectID)

    def registerPageProducer(self, pager: Any) -> None:
        """Stock's pagers take their turn on the connection."""
        self.connection.registerPageProducer(pager)

    def ownObject(self, luid: Any) -> Any:
        """What this session was given, or None."""
        return super().localObjectForID(luid)

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

    # Calls in.

    def serialize(
        self, object: Any, perspective: Any = None, method: Any = None, args: Any = None, kw: Any = None
    ) -> Any:
        """As stock's; coroutines too. What is serialised when a Deferred fires is so in this session."""
        if iscoroutine(object):
            object = Deferred.fromCoroutine(object)
        if isinstance(object, Deferred):
            return object.addCallback(self._serializeLater, perspective, method, args, kw)
        outer = self.serializingPerspective
        try:
            return super().serialize(object, perspective, method, args, kw)
        finally:
            # Stock leaves None here, which a call made from inside a getStateToCopyFor would find.
            self.serializingPerspective = outer

    def _serializeLater(self, result: Any, perspective: Any, method: Any, args: Any, kw: Any) -> Any:
        if self.error is not None:
            # Nobody will get it, so none of its hooks is run and no reference is handed out.
            raise self.error.again()
        before = current.set(self.session)
        try:
            return self.serialize(result, perspective, method, args, kw)
        finally:
            current.reset(before)

    def serve(self, find: Any, requestID: Any, objectID: Any, message: Any, answer: Any, args: Any, kw: Any) -> None:
        """Serve one call of the client's on an object of this session."""
        before = current.set(self.session)
        if self.session is not None:
            self.session.called()
        # Held while it is being served: a client may drop its last reference while it waits for an
        # answer, as `login().addCallback(lambda p: p.callRemote(...))` does, and is not logged out yet.
        self._serving.add(requestID)
        try:
            self._recvMessage(find, requestID, objectID, message, answer, args, kw)
        finally:
            current.reset(before)
        if not answer:
            self._serving.discard(requestID)
            self._checkReleased()

    def _sendAnswer(self, netResult: Any, requestID: Any) -> None:
        if requestID in self._serving:
            self._serving.discard(requestID)
            super()._sendAnswer(netResult, requestID)
            self._checkReleased()

    def _sendError(self, fail: Any, requestID: Any) -> None:
        if requestID in self._serving:
            self._serving.discard(requestID)
            super()._sendError(fail, requestID)
            self._checkReleased()

    def _sendFailureOrError(self, fail: Failure, requestID: Any) -> None:
        if requestID in self._serving:
            super()._sendFailureOrError(fail, requestID)
        elif not fail.check(pb.Error):
            log.failure("a call failed after its session had ended", fail)

    # Calls out.

    def _sendMessage(self, prefix: Any, perspective: Any, objectID: Any, message: Any, args: Any, kw: Any) -> Any:
        if self.error is not None:
            return fail(self.error.again()) if kw.get("pbanswer", True) else None
        answer: Any = super()._sendMessage(prefix, perspective, objectID, message, args, kw)
        requestID = self.connection.currentRequestID
        if requestID in self.waitingForAnswers:
            self.connection.callers[requestID] = self
            answer.addErrback(self._givenUp, requestID)
        return answer

    def _givenUp(self, failure: Failure, requestID: Any) -> Failure:
        """Nobody waits for this answer any more, so nothing is kept for it; it may still come."""
        if failure.check(CancelledError):
            self.waitingForAnswers.pop(requestID, None)
            self.connection.callers.pop(requestID, None)
        return failure

    def sendDecRef(self, objectID: Any) -> None:
        """Give a reference back, also after the end: the client keeps its object for us until then."""
        if not self.connection.disconnected:
            self.connection.sendDecRef(objectID)

    def decCacheRef(self, objectID: Any) -> None:
        """Give a cache back."""
        if not self.connection.disconnected:
            self.connection.decCacheRef(objectID)

    # Letting go.

    def grant(self, avatar: Any) -> Any:
        """
        What a login gives the client: a reference to an avatar, in jelly.

        :raises pb.Error: the tables are full.
        """
        jelly = self.serialize(avatar)
        self._granted = True
        return jelly

    def onReleased(self, f: Callable[[], object]) -> None:
        """As `IChannel.onReleased`."""
        self._onReleased.append(f)

    def proto_decref(self, objectID: Any) -> None:
        """The client let go of an object; perhaps of the last."""
        if objectID in self.localObjects:
            super().proto_decref(objectID)
            if objectID not in self.localObjects:
                self.connection.owners.pop(objectID, None)
            self._checkReleased()

    def proto_decache(self, objectID: Any) -> None:
        """The client let go of a cache; perhaps of the last."""
        if objectID in self.remotelyCachedObjects:
            super().proto_decache(objectID)
            if objectID not in self.remotelyCachedObjects:
                self.connection.owners.pop(objectID, None)
            self._checkReleased()

    def _checkReleased(self) -> None:
        if self._granted and not (self.localObjects or self.remotelyCachedObjects or self._serving):
            self._call(self._onReleased)

    def _call(self, callbacks: list[Callable[[], object]]) -> None:
        while callbacks:
            _guarded(callbacks.pop(0))

    # The end.

    def end(self, error: SessionEnded) -> None:
        """As `IChannel.end`. In this order: no new calls; those in flight answered; then user code."""
        if self.error is None:
            self.error = error
            self._finish(lambda: Failure(error.again()))

    def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
        """The connection is gone, and with it this channel."""
        self.disconnected = 1
        if self.error is None:
            self.error = Disconnected()
            self._finish(lambda: Failure(pb.PBConnectionLost(reason)))

    def notifyOnDisconnect(self, notifier: Callable[[], object]) -> None:
        """Call it when this channel ends or its connection is lost; at once if that has happened."""
        self.disconnects.append(notifier)
        if self.error is not None:
            self._call(self.disconnects)

    def _finish(self, why: Callable[[], Failure]) -> None:
        assert self.error is not None
        serving, self._serving = self._serving, set()
        if not self.disconnected:
            for requestID in serving:
                super()._sendError(pb.CopyableFailure(self.error.again()), requestID)
        waiting, self.waitingForAnswers = self.waitingForAnswers, {}
        observed, self.remotelyCachedObjects = self.remotelyCachedObjects, {}
        # Ids are those of objects that may be freed and their numbers used again: forget them first.
        self.luids, self.remotelyCachedLUIDs = {}, {}
        granted, self.localObjects = self.localObjects, {}
        self._localCleanup = {}
        self.connection.bury(self, granted, observed, waiting)
        for answer in waiting.values():
            _guarded(answer.errback, why())
        for local in observed.values():
            observer = pb.RemoteCacheObserver(self, local.object, local.perspective)
            _guarded(local.object.stoppedObserving, local.perspective, observer)
        self._call(self.disconnects)
        self._call(self._onReleased)


def _guarded(f: Callable[..., object], *args: object) -> None:
    try:
        f(*args)
    except Exception:
        log.failure("a callback for the end of a channel raised")


class SharedTables:
    """
    A login that shares the connection's tables, as in stock: for realms that are not pbkit's, in a drop-in server.

    :param connection: the broker whose tables they are.
    """

    session: Any = None

    def __init__(self, connection: Broker) -> None:
        self.connection = connection
        self.unserialize = connection.unserialize
        self._puid: Any = None

    def grant(self, avatar: Any) -> Any:
        """As `Channel.grant`."""
        jelly = self.connection.serialize(avatar)
        self._puid = avatar.processUniqueID()
        return jelly

    def onReleased(self, f: Callable[[], object]) -> None:
        """Call `f` when the client lets go of the avatar, or the connection is lost."""
        stop = self.connection.peer.onLost(f)
        cleanups = self.connection._localCleanup
        # An avatar that is itself Referenceable may have been given by an earlier login, too.
        earlier = cleanups.get(self._puid)

        def released() -> None:
            stop()
            f()
            if earlier is not None:
                earlier()

        cleanups[self._puid] = released

    def end(self, error: SessionEnded) -> None:
        """Nothing of its own to end: stock has no way to mark a reference as dead."""
