"""
`Broker`: stock's, with channels, bounds, and calls that always come back.
"""

from __future__ import annotations

from inspect import iscoroutine
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.reflect import safe_str
from twisted.spread import pb
from twisted.spread.banana import BananaError
from twisted.spread.jelly import globalSecurity

from pbkit.errors import Disconnected
from pbkit.interfaces import current
from pbkit.wire import codec
from pbkit.wire.calls import Calls, shared
from pbkit.wire.channel import Channel
from pbkit.wire.deadlines import Deadlines
from pbkit.wire.hello import NAME, Hello
from pbkit.wire.intake import Intake
from pbkit.wire.outflow import Outflow
from pbkit.wire.peer import Peer, peerOf
from pbkit.wire.profile import STRICT, Profile
from pbkit.wire.sexp import handles
from pbkit.wire.tombstones import Tombstones

#: The most that a refused message may say of itself in the log, in characters.
CUT = 200

#: How many arguments a command has.
_ARGUMENTS = {
    "version": 1,
    "message": 6,
    "cachemessage": 6,
    "answer": 2,
    "error": 2,
    "decref": 1,
    "decache": 1,
    "uncache": 1,
    "didNotUnderstand": 1,
}

log = Logger()


class Broker(Calls):
    """
    One connection. Brings each message to the channel that it belongs to, and serves what belongs to none, such
    as the login root, from its own tables, as stock does.

    :param isClient: whether this end connected.
    :param security: as stock's.
    :ivar heard: whether anything has come in since somebody looked and set it back.
    :ivar refused: why we closed the connection, or None.
    """

    profile: Profile = STRICT
    heard = False
    refused: str | None = None
    intake: Intake
    _deadlines: Deadlines | None = None

    def __init__(self, isClient: Any = 1, security: Any = globalSecurity) -> None:
        super().__init__(isClient, security)
        self.outflow = Outflow(self)
        #: The channel of each id that was handed out in one.
        self.owners: dict[int, Channel] = {}
        #: Whose each call is that waits for an answer: a channel's, or our own.
        self.callers: dict[int, Calls] = {}
        #: The channel of each copy of a Cacheable of the other end's.
        self.cachers: dict[Any, Channel] = {}
        self._channels: dict[Channel, None] = {}
        self._tombstones = Tombstones()

    @property
    def connection(self) -> Broker:  # type: ignore[override]
        """Itself: it is not a channel."""
        return self

    @property
    def peer(self) -> Peer:
        """The connection as sessions see it."""
        return peerOf(self)

    @property
    def closed(self) -> bool:
        """Whether nothing that comes in is served any more."""
        return bool(self.disconnected) or self.refused is not None

    # Bytes.

    def connectionMade(self) -> None:
        """As stock's. Small messages leave at once: they wait for no acknowledgement of the last."""
        super().connectionMade()
        setTcpNoDelay = getattr(self.transport, "setTcpNoDelay", None)
        if setTcpNoDelay is not None:
            setTcpNoDelay(True)

    def setPrefixLimit(self, limit: Any) -> None:
        """As stock's, which calls it when the connection is made."""
        super().setPrefixLimit(limit)
        self.intake = Intake(self, self.profile.limits, self.profile.calls)

    def dataReceived(self, chunk: bytes) -> None:
        """As stock's, but linear, and bounded."""
        self.heard = True
        self.intake.received(chunk)

    def messageReceived(self, message: bytes) -> None:
        """One whole message came in."""
        try:
            self.callExpressionReceived(codec.decode(message, self.currentDialect == b"pb"))
        except Exception as error:
            if not self.profile.hideErrors or isinstance(error, codec.Malformed):
                raise
            self.malformed(error)

    def malformed(self, error: Exception) -> None:
        """
        What came in is no PB, or over a bound.

        :raises Exception: in drop-in use, as stock does.
        """
        if not self.profile.hideErrors:
            raise error if not isinstance(error, ValueError) else BananaError(str(error))
        self.refuse(f"{type(error).__name__}: {safe_str(error)}"[:CUT])

    def refuse(self, why: str) -> None:
        """Close the connection, and say in one line why. What it sends from now on is not served."""
        if self.closed:
            return
        self.refused = why
        users = sorted({each.session.avatarId for each in self._channels if each.session is not None})
        log.warn(
            "the connection of {peer} is closed: {why!r}; logged in on it: {users!r}",
            peer=str(self.peer),
            why=why,
            users=users[:10],
        )
        # Not in good order: that waits until the other end has read all, which it may never do.
        abort = getattr(self.transport, "abortConnection", None) or cast(Any, self.transport).loseConnection
        abort()

    def sendEncoded(self, obj: Any) -> None:
        """As stock's."""
        pieces: list[bytes] = []
        self._encode(obj, pieces.append)
        self.outflow.write(b"".join(pieces))

    def registerPageProducer(self, pager: Any) -> None:
        """As stock's; pagers take their turns in the way out."""
        self.pageProducers.append(pager)
        if len(self.pageProducers) == 1:
            self.outflow.page()

    # Channels.

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
            self.callerOf(requestID)
        for cid in [cid for cid, cacher in self.cachers.items() if cacher is channel]:
            del self.cachers[cid]
        for luid in (*granted, *observed):
            self.owners.pop(luid, None)
        if self.disconnected:
            return
        assert channel.error is not None
        self._tombstones.put(channel.error, (*granted.items(), *observed.items()))
        if self.pageProducers:
            # A pager has nobody to page for now. It would run on, to nowhere.
            self.pageProducers = [p for p in self.pageProducers if _brokerOf(p) is not channel]
            self.outflow.unpaged()

    # Messages.

    def expressionReceived(self, sexp: Any) -> None:
        """
        Serve one message, in nobody's name until it is known in whose.

        :raises ProtocolError: it is no list that begins with the name of a command.
        """
        if not (isinstance(sexp, list) and sexp and isinstance(sexp[0], bytes | str)):
            raise pb.ProtocolError("a message is a list that begins with the name of a command")
        command = sexp[0].decode("utf-8", "replace") if isinstance(sexp[0], bytes) else sexp[0]
        method = getattr(self, f"proto_{command}", None)
        if method is None or _ARGUMENTS.get(command, len(sexp) - 1) != len(sexp) - 1:
            # Stock would say so too, but sends a str, and that cannot be sent.
            self.sendCall(b"didNotUnderstand", command[:CUT].encode("utf-8"))
            return
        before = current.set(None)
        try:
            method(*sexp[1:])
        finally:
            current.reset(before)

    def proto_didNotUnderstand(self, command: Any) -> None:
        """As stock's; not more of it than is good for the log."""
        log.warn("the other end did not understand the command {command!r}", command=str(command)[:CUT])

    def serves(self, expression: Any) -> bool:
        """Whether a call is on an object that there is: others are but pings."""
        luid = expression[2] if len(expression) > 2 else None
        if type(luid) is int:
            return luid in self.owners or luid in self.localObjects
        return isinstance(luid, bytes) and luid in self.localObjects

    def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
        """The channels go first, while the connection's own tables are still there."""
        self.disconnected = 1
        self.intake.close()
        if self._deadlines is not None:
            self._deadlines.stop()
        before = current.set(None)
        try:
            for channel in tuple(self._channels):
                channel.connectionLost(reason)
            super().connectionLost(reason)
        finally:
            current.reset(before)
        self.callers.clear()
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
        """As stock's; coroutines too, and one Deferred for many callers."""
        if isinstance(object, Deferred) or iscoroutine(object):
            return shared(object).addCallback(self.serialize, perspective, method, args, kw)
        return super().serialize(object, perspective, method, args, kw)

    # Calls out.

    def dead(self) -> Exception | None:
        """Why nobody can be called here any more."""
        if not self.disconnected:
            return None
        return pb.DeadReferenceError("Calling Stale Broker") if self.profile.raiseOnDead else Disconnected()

    def setDeadline(self, requestID: int, timeout: float) -> None:
        """Have a call of ours fail unless it is answered in so many seconds."""
        if self._deadlines is None:
            clock = self.peer.clock
            if clock is None:
                return
            self._deadlines = Deadlines(clock, self.callers, self._expired)
        self._deadlines.add(requestID, timeout)

    def callerOf(self, requestID: Any) -> Calls | None:
        """Whose call waits for this answer, or None. It waits no longer."""
        caller = self.callers.pop(requestID, None) if type(requestID) is int else None
        if self._deadlines is not None and not self.callers:
            self._deadlines.stop()
        return caller

    def _expired(self, requestID: int, timeout: float) -> None:
        self.callers[requestID].expired(requestID, timeout)

    def takeBack(self, luids: list[int]) -> None:
        """Let go of what was put into a message that is not sent."""
        for luid in luids:
            self.proto_decref(luid) if luid in self.localObjects else self.proto_decache(luid)

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
            if answerRequired:
                self._sendError(pb.CopyableFailure(self._tombstones.error(objectID)), requestID)
            # What came with the call would be kept at the client for ever.
            self._giveBack([b"list", netArgs, netKw])
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
        owner = self.callerOf(requestID)
        if owner is self:
            super().proto_answer(requestID, netResult)
        elif owner is not None:
            owner.proto_answer(requestID, netResult)
        else:
            self._giveBack(netResult)

    def proto_error(self, requestID: Any, fail: Any) -> None:
        """An error. One that nobody waits for any more is dropped, where stock drops the connection."""
        owner = self.callerOf(requestID)
        if owner is self:
            super().proto_error(requestID, fail)
        elif owner is not None:
            owner.proto_error(requestID, fail)
        else:
            self._giveBack(fail)

    def proto_decref(self, objectID: Any) -> None:
        """The other end let go of an object. Of one that is not there, it is free to."""
        owner = self._ownerOf(objectID)
        if owner is not None:
            owner.proto_decref(objectID)
        elif type(objectID) is int and objectID in self._tombstones:
            self._tombstones.letGo(objectID)
        elif type(objectID) is int and objectID in self.localObjects:
            super().proto_decref(objectID)

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

    def _giveBack(self, sexp: Any) -> None:
        """Nobody wants this: let the other end forget what it keeps for it. None of its hooks is run."""
        references, caches = handles(sexp)
        for luid in references:
            self.sendDecRef(luid)
        for luid in caches:
            # One that we have a copy of lets go by itself.
            if luid not in self.locallyCachedObjects:
                self.decCacheRef(luid)


def _brokerOf(pager: Any) -> Any:
    return getattr(getattr(pager, "collector", None), "broker", None)
