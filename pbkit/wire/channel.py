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

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb
from zope.interface import implementer

from pbkit.errors import Disconnected, Error, SessionEnded
from pbkit.interfaces import IChannel, current
from pbkit.wire.sexp import remotes

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
        self.waitingForAnswers: Any = {}
        self.unserializingPerspective = None
        self.serializingPerspective = None
        self._localCleanup: dict[Any, Any] = {}
        self._serving: dict[Any, Any] = {}
        self._minted: list[int] = []
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

    def cacheLocally(self, cid: Any, instance: Any) -> None:
        """
        Keep a copy of a client's Cacheable. On the connection: the client sends it once, whichever of its sessions
        it gives it to.
        """
        self.connection.cachers[cid] = self
        self.connection.cacheLocally(cid, instance)

    def cachedLocallyAs(self, cid: Any) -> Any:
        """The copy of a client's Cacheable."""
        return self.connection.cachedLocallyAs(cid)

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
        if self.error is not None:
            # A method may end its own session and then answer with a reference.
            raise self.error.again()
        # Stock leaves None here, which a call made from inside a getStateToCopyFor would find.
        outer = self.serializingPerspective, self._minted
        minted: list[int] = []
        self._minted = minted
        try:
            return super().serialize(object, perspective, method, args, kw)
        except Exception:
            # The client will never hear of those before the one that failed, so it would never let go of them.
            self._takeBack(minted)
            raise
        finally:
            self.serializingPerspective, self._minted = outer

    def registerReference(self, object: Any) -> Any:
        """As stock's."""
        luid = super().registerReference(object)
        self._minted.append(luid)
        return luid

    def _takeBack(self, luids: list[int]) -> None:
        for luid in luids:
            self.proto_decref(luid)

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
        self._serving[_key(requestID)] = requestID
        try:
            self._recvMessage(find, requestID, objectID, message, answer, args, kw)
        finally:
            current.reset(before)
        if not answer:
            self._serving.pop(_key(requestID), None)
            self._checkReleased()

    def _sendAnswer(self, netResult: Any, requestID: Any) -> None:
        if self._serving.pop(_key(requestID), None) is not None:
            try:
                super()._sendAnswer(netResult, requestID)
            except Exception as error:
                # Too large, say. In stock the caller waits for ever, or the connection drops.
                log.failure("an answer could not be sent")
                self._takeBack(remotes(netResult))
                self.connection._sendError(pb.CopyableFailure(Error(f"the answer cannot be sent: {error}")), requestID)
            self._checkReleased()

    def _sendError(self, fail: Any, requestID: Any) -> None:
        if self._serving.pop(_key(requestID), None) is not None:
            super()._sendError(fail, requestID)
            self._checkReleased()

    def _sendFailureOrError(self, fail: Failure, requestID: Any) -> None:
        if _key(requestID) in self._serving:
            super()._sendFailureOrError(fail, requestID)
        elif not fail.check(pb.Error):
            log.failure("a call failed after its session had ended", fail)

    # Calls out.

    def _sendMessage(self, prefix: Any, perspective: Any, objectID: Any, message: Any, args: Any, kw: Any) -> Any:
        """As stock's; but what cannot be sent fails the Deferred and leaves nothing behind."""
        answerRequired = kw.pop("pbanswer", 1)
        callback, errback = kw.pop("pbcallback", None), kw.pop("pberrback", None)
        if self.error is not None:
            return fail(self.error.again()) if answerRequired else None
        net: list[Any] = []
        requestID = self.connection.newRequestID()
        answer: Deferred[Any] = Deferred(lambda _: self._forget(requestID))
        try:
            net.append(self.serialize(args, perspective=perspective, method=message))
            net.append(self.serialize(kw, perspective=perspective, method=message))
            if answerRequired:
                self.waitingForAnswers[requestID] = answer
                self.connection.callers[requestID] = self
            self.sendCall(prefix + b"message", requestID, objectID, message, answerRequired, *net)
        except Exception:
            self._forget(requestID)
            self._takeBack(remotes([b"list", *net]))
            return fail(Failure())
        if callback or errback:
            answer.addCallbacks(callback, errback)
        return answer if answerRequired else None

    def _forget(self, requestID: Any) -> None:
        """Nobody waits for this answer any more, so nothing is kept for it; it may still come."""
        self.waitingForAnswers.pop(requestID, None)
        self.connection.callers.pop(requestID, None)

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
        serving, self._serving = self._serving, {}
        if not self.disconnected:
            for requestID in serving.values():
                self.connection._sendError(pb.CopyableFailure(self.error.again()), requestID)
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


def _key(requestID: Any) -> Any:
    """A client may choose its request ids as it likes; a list cannot be looked up."""
    return requestID if isinstance(requestID, int | bytes | str) else repr(requestID)


def _guarded(f: Callable[..., object], *args: object) -> None:
    try:
        f(*args)
    except Exception:
        log.failure("a callback for the end of a channel raised")
