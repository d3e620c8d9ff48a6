"""
Each message to the session that it is for.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from threading import get_ident
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.interfaces import IReactorTime
from twisted.python import threadable
from twisted.spread import banana, pb
from twisted.spread.jelly import globalSecurity

from pbkit.errors import SessionEnded
from pbkit.wire.calls import Calls
from pbkit.wire.channel import Channel
from pbkit.wire.compact import Few
from pbkit.wire.deadlines import Deadlines
from pbkit.wire.lazily import EMPTY, Lazily
from pbkit.wire.outbound import Outbound
from pbkit.wire.peer import clockOf
from pbkit.wire.tombstones import Tombstones
from pbkit.wire.wellknown import LOGIN

if TYPE_CHECKING:
    from pbkit.wire.broker import Broker


class Routes(Calls):
    """
    A connection's channels, and whose each id on the wire is. What is no channel's is the connection's own, as in
    stock: the login root, and sessions that share its tables.
    """

    __slots__ = (
        "_channels",
        "callers",
        "connects",
        "currentLocalID",
        "currentRequestID",
        "isClient",
        "outbound",
        "owners",
        "security",
    )

    _deadlines: Deadlines | None = None
    #: The channel of each copy of a Cacheable of the other end's.
    cachers: Any = EMPTY
    _tombstones: Any = EMPTY
    # Stock's. Its own copy of the vocabulary, which nothing ever changes, is 1.2 KB.
    outgoingSymbols: Any = MappingProxyType(banana.Banana.outgoingVocabulary)
    outgoingSymbolCount = 0
    listStack: Any = Lazily(list)
    failures: Any = Lazily(list)
    pageProducers: Any = ()

    def __init__(self, isClient: Any = 1, security: Any = globalSecurity) -> None:
        super().__init__()
        # Stock's, which lets go of these when it is ready.
        self.connects: Any = []
        self.isClient = isClient
        self.security = security
        self.currentRequestID = self.currentLocalID = 0
        self.outbound = Outbound(self.connection)
        #: The channel of each id that was handed out in one.
        self.owners: MutableMapping[int, Channel] = EMPTY
        #: Whose each call is that waits for an answer: a channel's, or our own.
        self.callers: MutableMapping[int, Calls] = EMPTY
        self._channels: MutableMapping[Channel, None] = EMPTY

    @property
    def connection(self) -> Broker:  # type: ignore[override]
        """Itself: it is not a channel."""
        return cast("Broker", self)

    @property
    def clock(self) -> IReactorTime | None:
        """What deadlines are kept by here, or None where no clock is known."""
        return clockOf(self)

    def openChannel(self) -> Channel:
        """
        A new channel, for one login.
        """
        channel = Channel(self.connection)
        if self._channels is EMPTY:
            self._channels = Few()
        self._channels[channel] = None
        return channel

    @property
    def logins(self) -> int:
        """How many have logged in here, or are about to."""
        return len(self._channels)

    def tidy(self) -> None:
        """
        To be called now and then, and not at each call: let go of the tables of calls that are through.
        A dict that has had something in it stays as large.
        """
        if not self.waitingForAnswers:
            self.waitingForAnswers = EMPTY
        if not self.callers:
            self.callers = EMPTY
            if self._deadlines is not None:
                # They look into the table that is gone.
                self._deadlines.stop()
                self._deadlines = None
        for channel in self._channels:
            channel.tidy()

    def bury(self, channel: Channel, granted: Any, observed: Any, waiting: Any) -> None:
        """
        A channel has ended: nothing is brought to it any more.

        :param granted: what was in its table of local objects.
        :param observed: what was in its table of remotely cached objects.
        :param waiting: its calls that wait for an answer.
        """
        del self._channels[channel]
        for requestID in waiting:
            self.callerOf(requestID)
        for cid in [cid for cid, cacher in self.cachers.items() if cacher is channel]:
            del self.cachers[cid]
        for luid in (*granted, *observed):
            self.owners.pop(luid, None)
        if self.disconnected:
            return
        assert channel.error is not None
        if granted or observed:
            if self._tombstones is EMPTY:
                self._tombstones = Tombstones()
            self._tombstones.put(channel.error, (*granted.items(), *observed.items()))
        if self.pageProducers:
            # A pager has nobody to page for now. It would run on, to nowhere.
            self.pageProducers = [p for p in self.pageProducers if _brokerOf(p) is not channel]
            self.outbound.unpaged()

    def full(self, most: int) -> Exception:
        """Of a connection without a login, or one that shares these tables among its log-ins."""
        why = f"calls.references: it was to be given more than {most} references"
        self.connection.refuse(why)
        return pb.Error(why)

    def serves(self, expression: Any) -> bool:
        """Whether a call is on an object that there is: others are but pings."""
        luid = expression[2] if len(expression) > 2 else None
        if type(luid) is int:
            return luid in self.owners or luid in self.localObjects
        return isinstance(luid, bytes) and (luid == LOGIN or luid in self.localObjects)

    def setDeadline(self, requestID: int, timeout: float) -> None:
        """Have a call of ours fail unless it is answered in so many seconds."""
        if self._deadlines is None:
            clock = self.connection.clock
            if clock is None:
                return
            self._deadlines = Deadlines(clock, self.callers, self._expired)
        self._deadlines.add(requestID, timeout)

    def _expired(self, requestID: int, timeout: float) -> None:
        self.callers[requestID].expired(requestID, timeout)

    def callerOf(self, requestID: Any) -> Calls | None:
        """Whose call waits for this answer, or None. It waits no longer."""
        caller = self.callers.pop(requestID, None) if type(requestID) is int else None
        if self._deadlines is not None and not self.callers:
            self._deadlines.stop()
        return caller

    # Each message to the channel that it is for. An id need not be an int, nor hashable: then it is none of ours.

    def _ownerOf(self, luid: Any) -> Channel | None:
        return self.owners.get(luid) if type(luid) is int else None

    def sendDecRef(self, objectID: Any) -> None:
        """
        As stock's; but a reference may be collected in any thread, and only the reactor's may write.
        """
        reactor = getattr(self.transport, "reactor", None)
        if reactor is not None and threadable.ioThread not in (None, get_ident()):
            reactor.callFromThread(self.sendDecRef, objectID)
        elif not self.disconnected:
            super().sendDecRef(objectID)

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

    def proto_message(
        self, requestID: Any, objectID: Any, message: Any, answerRequired: Any, netArgs: Any, netKw: Any
    ) -> None:
        """A call on an object of ours."""
        owner = self._ownerOf(objectID)
        if owner is not None:
            owner.serve(owner.ownObject, requestID, objectID, message, answerRequired, netArgs, netKw)
        elif type(objectID) is int and objectID in self._tombstones:
            rest = self.inJelly() if type(netArgs) is tuple else (netArgs, netKw)
            self.nobody(requestID, objectID, answerRequired, [b"list", *rest])
        else:
            super().proto_message(requestID, objectID, message, answerRequired, netArgs, netKw)

    def nobody(self, requestID: Any, objectID: Any, answerRequired: Any, rest: list[Any]) -> None:
        """
        A call on an object that is not there, or of a session that has ended.

        :param rest: its arguments, in jelly.
        """
        if answerRequired:
            ended = type(objectID) is int and objectID in self._tombstones
            error = self._tombstones.error(objectID) if ended else pb.Error("Invalid Object ID")
            self._sendError(pb.CopyableFailure(error), requestID)
        # What came with the call would be kept at the client for ever.
        self.giveBack(rest)

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
        owner = self.callerOf(requestID)
        if owner is self:
            super().proto_answer(requestID, netResult)
        elif owner is not None:
            owner.proto_answer(requestID, netResult)
        else:
            self.giveBack(netResult)

    def answerReceived(self, requestID: Any, value: Any) -> None:
        """An answer that is plain, and read already."""
        owner = self.callerOf(requestID)
        if owner is not None:
            owner.waitingForAnswers.pop(requestID).callback(value)

    def proto_error(self, requestID: Any, fail: Any) -> None:
        """An error. One that nobody waits for any more is dropped, where stock drops the connection."""
        owner = self.callerOf(requestID)
        if owner is self:
            super().proto_error(requestID, fail)
        elif owner is not None:
            owner.proto_error(requestID, fail)
        else:
            self.giveBack(fail)

    def proto_decref(self, objectID: Any) -> None:
        """The other end let go of an object. Of one that is not there, it is free to."""
        owner = self._ownerOf(objectID)
        if owner is not None:
            owner.proto_decref(objectID)
        elif type(objectID) is int and objectID in self._tombstones:
            self._tombstones.letGo(objectID)
        elif type(objectID) is int and objectID in self.localObjects:
            super().proto_decref(objectID)
            self.connection.atRest()

    def proto_decache(self, objectID: Any) -> None:
        """The other end let go of a cache."""
        owner = self._ownerOf(objectID)
        if owner is not None:
            owner.proto_decache(objectID)
        elif type(objectID) is int and objectID in self._tombstones:
            if self._tombstones.letGo(objectID):
                # Stock's other end keeps its copy until it hears this.
                self.sendCall(b"uncache", objectID)
        elif type(objectID) is int and objectID in self.remotelyCachedObjects:
            super().proto_decache(objectID)

    def onDropped(self, object: pb.Referenceable, f: Callable[[], object]) -> None:
        """
        Call `f` when the other end has dropped its last reference to an object that this connection handed out.

        Callbacks that were registered for it before are called too: an avatar that is itself Referenceable has one for
        each login.
        """
        puid = object.processUniqueID()
        if self._localCleanup is EMPTY:
            self._localCleanup = {}
        earlier = self._localCleanup.get(puid)

        def dropped() -> None:
            f()
            if earlier is not None:
                earlier()

        self._localCleanup[puid] = dropped

    def decline(self, error: SessionEnded, requestID: Any, answerRequired: Any, netArgs: Any, netKw: Any) -> None:
        """Answer a call with an error, and do nothing else of it."""
        if answerRequired:
            self._sendError(pb.CopyableFailure(error), requestID)
        # What came with the call would be kept at the client for ever.
        rest = self.inJelly() if type(netArgs) is tuple else (netArgs, netKw)
        self.giveBack([b"list", *rest])


def _brokerOf(pager: Any) -> Any:
    return getattr(getattr(pager, "collector", None), "broker", None)
