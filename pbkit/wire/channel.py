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
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb
from zope.interface import implementer

from pbkit.errors import Disconnected, SessionEnded, TooManyReferences
from pbkit.interfaces import IChannel, current
from pbkit.wire.calls import shared
from pbkit.wire.lazily import EMPTY
from pbkit.wire.tables import Tables

if TYPE_CHECKING:
    from pbkit.wire.broker import Broker

log = Logger()


@implementer(IChannel)
class Channel(Tables):
    """
    A virtual Broker on a `Broker`: serves the calls of one session, makes the calls to its client, and ends.

    :param connection: the broker that has the socket.
    :ivar session: the `ISession` whose channel this is, or None before login.
    """

    __slots__ = ("_granted", "_onReleased", "_serving", "session")

    _draining: tuple[SessionEnded, Callable[[], object]] | None = None

    def __init__(self, connection: Broker) -> None:
        super().__init__(connection)
        self.session: Any = None
        self._serving: dict[Any, Any] = EMPTY
        self._granted = False
        self._onReleased: tuple[Callable[[], object], ...] = ()

    # Calls in.

    def serialize(
        self, object: Any, perspective: Any = None, method: Any = None, args: Any = None, kw: Any = None
    ) -> Any:
        """As stock's; coroutines too. What is serialised when a Deferred fires is so in this session."""
        if isinstance(object, Deferred) or iscoroutine(object):
            return shared(object).addCallback(self._serializeLater, perspective, method, args, kw)
        if self.error is not None:
            # A method may end its own session and then answer with a reference.
            raise self.error.again()
        return self.jellied(object, perspective, method, args, kw)

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
        if self._draining is not None:
            self.connection.decline(self._draining[0].again(), requestID, answer, args, kw)
            return
        before = current.set(self.session)
        if self.session is not None:
            self.session.called()
        # Held while it is being served: a client may drop its last reference while it waits for an
        # answer, as `login().addCallback(lambda p: p.callRemote(...))` does, and is not logged out yet.
        key = requestID if type(requestID) is int else _key(requestID)
        if self._serving is EMPTY:
            self._serving = {}
        self._serving[key] = requestID
        try:
            self._recvMessage(find, requestID, objectID, message, answer, args, kw)
        finally:
            current.reset(before)
        if not answer:
            self._serving.pop(key, None)
            self.checkReleased()

    def _sendAnswer(self, netResult: Any, requestID: Any) -> None:
        key = requestID if type(requestID) is int else _key(requestID)
        if self._serving.pop(key, None) is not None:
            if type(netResult) is memoryview:
                # As below; most answers go this way.
                self.connection.outbound.write(cast(bytes, netResult.obj))
            else:
                super()._sendAnswer(netResult, requestID)
            if self._draining is not None or self.localObjects is EMPTY:
                self.checkReleased()

    def _sendError(self, fail: Any, requestID: Any) -> None:
        # One that stands for an answer that could not be sent comes when the call is no longer being served.
        self._serving.pop(_key(requestID), None)
        if self.error is None:
            super()._sendError(fail, requestID)
            self.checkReleased()

    def _sendFailureOrError(self, fail: Failure, requestID: Any) -> None:
        if _key(requestID) in self._serving:
            super()._sendFailureOrError(fail, requestID)
        elif not fail.check(pb.Error, pb.PBConnectionLost):
            self.connection.peerLog.failure(log, "a call failed after its session had ended", fail)

    # Calls out.

    def dead(self) -> Exception | None:
        """As `Calls.dead`."""
        return None if self.error is None else self.error.again()

    def sendDecRef(self, objectID: Any) -> None:
        """Give a reference back, also after the end: the client keeps its object for us until then."""
        if not self.connection.disconnected:
            self.connection.sendDecRef(objectID)

    def decCacheRef(self, objectID: Any) -> None:
        """Give a cache back."""
        if not self.connection.disconnected:
            self.connection.decCacheRef(objectID)

    # Letting go.

    def tidy(self) -> None:
        """Nothing may be going on: let go of the tables that were needed when something was."""
        if not self._serving:
            self._serving = EMPTY
        if not self.waitingForAnswers:
            self.waitingForAnswers = EMPTY

    @property
    def busy(self) -> bool:
        """As `IChannel.busy`."""
        return bool(self._serving)

    def drain(self, error: SessionEnded, idle: Callable[[], object]) -> None:
        """As `IChannel.drain`."""
        if self.error is None:
            self._draining = (error, idle)
            self.checkReleased()

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
        self._onReleased = (*self._onReleased, f)

    def full(self, most: int) -> Exception:
        """The session ends, and no other on the connection."""
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

    def checkReleased(self) -> None:
        """A session is logged out when its client holds nothing of it any more, and waits for nothing."""
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
        if self.error is not None:
            self.guarded(notifier)
        else:
            super().notifyOnDisconnect(notifier)

    def dontNotifyOnDisconnect(self, notifier: Callable[[], object]) -> None:
        """As stock's; harmless after the end."""
        if notifier in self.disconnects:
            super().dontNotifyOnDisconnect(notifier)

    def _finish(self, why: Callable[[], Failure]) -> None:
        assert self.error is not None
        serving, self._serving = self._serving, EMPTY
        if not self.disconnected:
            for requestID in serving.values():
                self.connection._sendError(pb.CopyableFailure(self.error.again()), requestID)
        waiting, self.waitingForAnswers = self.waitingForAnswers, EMPTY
        observed, self.remotelyCachedObjects = self.remotelyCachedObjects, EMPTY
        # Ids are those of objects that may be freed and their numbers used again: forget them first.
        self.luids = self.remotelyCachedLUIDs = EMPTY
        granted, self.localObjects = self.localObjects, EMPTY
        self._localCleanup = EMPTY
        self.connection.bury(self, granted, observed, waiting)
        for answer in waiting.values():
            self.guarded(answer.errback, why())
        for local in observed.values():
            self.stopObserving(local)
        while self.disconnects:
            self.guarded(self.disconnects.pop(0))
        self._release()


def _nothing() -> None:
    """What is left to do for one that has been told."""


def _key(requestID: Any) -> Any:
    """A client may choose its request ids as it likes; a list cannot be looked up."""
    return requestID if isinstance(requestID, (int, bytes, str)) else repr(requestID)
