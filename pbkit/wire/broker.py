"""
`Broker`: stock's, with channels.
"""

from __future__ import annotations

from inspect import iscoroutine
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.spread.jelly import globalSecurity

from pbkit.errors import SessionEnded
from pbkit.interfaces import current
from pbkit.wire.channel import Channel
from pbkit.wire.hello import NAME, Hello
from pbkit.wire.peer import Peer, peerOf
from pbkit.wire.profile import STRICT, Profile
from pbkit.wire.sexp import handles

#: For how many references of ended sessions a connection remembers how they ended. The oldest are forgotten first:
#: a call on one of these is answered "Invalid Object ID", as on any other that never was. Ten sessions' worth
#: of references, by stock's bound of 1,024 each.
TOMBSTONES = 10_240


class Broker(pb.Broker):
    """
    One connection. Brings each message to the channel that it belongs to, and serves what belongs to none, such
    as the login root, from its own tables, as stock does.

    :param isClient: whether this end connected.
    :param security: as stock's.
    """

    profile: Profile = STRICT
    waitingForAnswers: Any

    def __init__(self, isClient: Any = 1, security: Any = globalSecurity) -> None:
        super().__init__(isClient, security)
        #: The channel of each id that was handed out in one.
        self.owners: dict[int, Channel] = {}
        #: The channel of each call that waits for an answer in one.
        self.callers: dict[int, Channel] = {}
        #: The channel of each copy of a Cacheable of the other end's.
        self.cachers: dict[Any, Channel] = {}
        self._channels: dict[Channel, None] = {}
        # What calls on references of ended sessions are answered, and how many of each are still out.
        self._tombstones: dict[int, tuple[SessionEnded, int]] = {}

    @property
    def peer(self) -> Peer:
        """The connection as sessions see it."""
        return peerOf(self)

    def openChannel(self) -> Channel:
        """
        A new channel, for one login.
        """
        channel = Channel(self)
        self._channels[channel] = None
        return channel

    def bury(self, channel: Channel, granted: Any, observed: Any, waiting: Any) -> None:
        """
        A channel has ended: nothing is brought to it any more.

        :param granted: what was in its table of local objects.
        :param observed: what was in its table of remotely cached objects.
        :param waiting: its calls that wait for an answer.
        """
        del self._channels[channel]
        for requestID in waiting:
            self.callers.pop(requestID, None)
        for cid in [cid for cid, cacher in self.cachers.items() if cacher is channel]:
            del self.cachers[cid]
        for luid in (*granted, *observed):
            self.owners.pop(luid, None)
        if self.disconnected:
            return
        assert channel.error is not None
        for luid, local in (*granted.items(), *observed.items()):
            self._tombstones[luid] = (channel.error, local.refcount)
        while len(self._tombstones) > TOMBSTONES:
            del self._tombstones[next(iter(self._tombstones))]
        if self.pageProducers:
            # A pager has nobody to page for now. It would run on, to nowhere, in the transport's only slot.
            self.pageProducers = [p for p in self.pageProducers if _brokerOf(p) is not channel]
            if not self.pageProducers:
                cast(Any, self.transport).unregisterProducer()

    def expressionReceived(self, sexp: Any) -> None:
        """Serve one message, in nobody's name until it is known in whose."""
        if self.disconnected:
            return  # What stood behind the message during which the connection was lost.
        before = current.set(None)
        try:
            super().expressionReceived(sexp)
        finally:
            current.reset(before)

    def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
        """The channels go first, while the connection's own tables are still there."""
        self.disconnected = 1
        before = current.set(None)
        try:
            for channel in tuple(self._channels):
                channel.connectionLost(reason)
            super().connectionLost(reason)
        finally:
            current.reset(before)
        self._tombstones.clear()

    def notifyOnDisconnect(self, notifier: Any) -> None:
        """As stock's; at once if the connection is lost already, where stock raises AttributeError."""
        if self.disconnects is None:
            notifier()
        else:
            super().notifyOnDisconnect(notifier)

    def dontNotifyOnDisconnect(self, notifier: Any) -> None:
        """As stock's; harmless after the loss."""
        if self.disconnects is not None:
            super().dontNotifyOnDisconnect(notifier)

    def localObjectForID(self, luid: Any) -> Any:
        """As stock's; and the object on which pbkit's peers say hello, which takes no room in the table."""
        found = super().localObjectForID(luid)
        return Hello(self.peer) if found is None and luid in (NAME, NAME.decode()) else found

    def serialize(
        self, object: Any, perspective: Any = None, method: Any = None, args: Any = None, kw: Any = None
    ) -> Any:
        """As stock's; coroutines too."""
        if iscoroutine(object):
            object = Deferred.fromCoroutine(object)
        return super().serialize(object, perspective, method, args, kw)

    def _sendMessage(self, prefix: Any, perspective: Any, objectID: Any, message: Any, args: Any, kw: Any) -> Any:
        """As stock's; but an answer that is no longer wanted, or a call that cannot be sent, leaves nothing behind."""
        before = self.currentRequestID
        try:
            answer = super()._sendMessage(prefix, perspective, objectID, message, args, kw)
        except Exception:
            if self.currentRequestID != before and self.waitingForAnswers is not None:
                self.waitingForAnswers.pop(self.currentRequestID, None)
            raise
        if isinstance(answer, Deferred) and not answer.called:
            answer.addErrback(self._givenUp, self.currentRequestID)
        return answer

    def _givenUp(self, failure: Failure, requestID: int) -> Failure:
        if failure.check(CancelledError) and self.waitingForAnswers is not None:
            self.waitingForAnswers.pop(requestID, None)
        return failure

    # Each message to the channel that it is for. An id need not be an int, nor hashable: then it is none of ours.

    def _ownerOf(self, luid: Any) -> Channel | None:
        return self.owners.get(luid) if type(luid) is int else None

    def proto_message(
        self, requestID: Any, objectID: Any, message: Any, answerRequired: Any, netArgs: Any, netKw: Any
    ) -> None:
        """A call on an object of ours."""
        owner = self._ownerOf(objectID)
        if owner is not None:
            owner.serve(owner.ownObject, requestID, objectID, message, answerRequired, netArgs, netKw)
        elif type(objectID) is int and objectID in self._tombstones:
            self.refuse(self._tombstones[objectID][0], requestID, answerRequired, netArgs, netKw)
        else:
            super().proto_message(requestID, objectID, message, answerRequired, netArgs, netKw)

    def proto_cachemessage(
        self, requestID: Any, objectID: Any, message: Any, answerRequired: Any, netArgs: Any, netKw: Any
    ) -> None:
        """A change of a Cacheable of the other end's."""
        owner = self.cachers.get(objectID) if type(objectID) is int else None
        if owner is not None:
            owner.serve(self.cachedLocallyAs, requestID, objectID, message, answerRequired, netArgs, netKw)
        else:
            super().proto_cachemessage(requestID, objectID, message, answerRequired, netArgs, netKw)

    def proto_uncache(self, objectID: Any) -> None:
        """The other end no longer keeps us informed of a Cacheable."""
        if type(objectID) is int and objectID in self.locallyCachedObjects:
            self.cachers.pop(objectID, None)
            super().proto_uncache(objectID)

    def proto_answer(self, requestID: Any, netResult: Any) -> None:
        """An answer. One that nobody waits for any more is dropped, where stock drops the connection."""
        owner = self.callers.pop(requestID, None) if type(requestID) is int else None
        if owner is not None:
            owner.proto_answer(requestID, netResult)
        elif _isIn(requestID, self.waitingForAnswers):
            super().proto_answer(requestID, netResult)
        else:
            self._giveBack(netResult)

    def proto_error(self, requestID: Any, fail: Any) -> None:
        """An error. One that nobody waits for any more is dropped, where stock drops the connection."""
        owner = self.callers.pop(requestID, None) if type(requestID) is int else None
        if owner is not None:
            owner.proto_error(requestID, fail)
        elif _isIn(requestID, self.waitingForAnswers):
            super().proto_error(requestID, fail)
        else:
            self._giveBack(fail)

    def proto_decref(self, objectID: Any) -> None:
        """The other end let go of an object. Of one that is not there, it is free to."""
        owner = self._ownerOf(objectID)
        if owner is not None:
            owner.proto_decref(objectID)
        elif type(objectID) is int and objectID in self._tombstones:
            self._letGo(objectID)
        elif type(objectID) is int and objectID in self.localObjects:
            super().proto_decref(objectID)

    def proto_decache(self, objectID: Any) -> None:
        """The other end let go of a cache."""
        owner = self._ownerOf(objectID)
        if owner is not None:
            owner.proto_decache(objectID)
        elif type(objectID) is int and objectID in self._tombstones:
            if self._letGo(objectID):
                # Stock's other end keeps its copy until it hears this.
                self.sendCall(b"uncache", objectID)
        elif type(objectID) is int and objectID in self.remotelyCachedObjects:
            super().proto_decache(objectID)

    def refuse(self, error: SessionEnded, requestID: Any, answerRequired: Any, netArgs: Any, netKw: Any) -> None:
        """Answer a call with an error, and do nothing else of it."""
        if answerRequired:
            self._sendError(pb.CopyableFailure(error.again()), requestID)
        # What came with the call would be kept at the client for ever.
        self._giveBack([b"list", netArgs, netKw])

    def _giveBack(self, sexp: Any) -> None:
        """Nobody wants this: let the other end forget what it keeps for it. None of its hooks is run."""
        references, caches = handles(sexp)
        for luid in references:
            self.sendDecRef(luid)
        for luid in caches:
            # One that we have a copy of lets go by itself.
            if luid not in self.locallyCachedObjects:
                self.decCacheRef(luid)

    def _letGo(self, luid: int) -> bool:
        """One reference less to an object of an ended session; True if it was the last."""
        error, references = self._tombstones.pop(luid)
        if references > 1:
            self._tombstones[luid] = (error, references - 1)
        return references <= 1


def _isIn(requestID: Any, table: Any) -> bool:
    return isinstance(requestID, int | str | bytes) and requestID in table


def _brokerOf(pager: Any) -> Any:
    return getattr(getattr(pager, "collector", None), "broker", None)
