"""
What the parts of a connection may ask of it, and of one another.

`pbkit.wire.broker.Broker` creates the parts and passes itself to them. The parts know these protocols only, so imports
run one way: no part imports the broker.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any, Protocol, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.spread import pb

from pbkit.errors import SessionEnded, TooLarge
from pbkit.interfaces import IPeer
from pbkit.wire.jelly.registry import Registry
from pbkit.wire.peerlog import PeerLog
from pbkit.wire.profile import Calls, Limits, Profile

#: A transport of Twisted's. Transports differ in what they have besides `ITransport`.
Transport: TypeAlias = Any

#: A table of references, by id.
References: TypeAlias = MutableMapping[Any, pb.Local]

#: The calls that wait for an answer, by request id.
Waiting: TypeAlias = MutableMapping[Any, Deferred[Any]]


class InboundPart(Protocol):
    """What others ask of the part that receives: see `pbkit.wire.inbound.Inbound`."""

    arguments: int

    @property
    def held(self) -> int:
        """How many received bytes are kept."""

    @property
    def paused(self) -> bool:
        """True while nothing is read from the transport."""

    def hold(self) -> None:
        """Stop reading."""

    def resume(self) -> None:
        """Read again, and serve what has arrived."""

    def began(self) -> int:
        """Count a call whose Deferred has not fired; return its weight."""

    def done(self, result: object, weighs: int) -> object:
        """Stop counting that call; return the result unchanged."""


class OutboundPart(Protocol):
    """What others ask of the part that sends: see `pbkit.wire.outbound.Outbound`."""

    window: int
    buffered: int
    drained: int

    def write(self, data: bytes) -> None:
        """Send this after everything written before."""

    def cork(self) -> None:
        """Collect writes until `uncork`."""

    def uncork(self) -> None:
        """Send the collected writes in one piece."""

    def onWritable(self, f: Callable[[], object]) -> None:
        """Call `f` once nothing is buffered."""

    def lasting(self, now: float, most: int) -> float:
        """Return for how many seconds more than `most` bytes have been buffered."""


class PreloginPart(Protocol):
    """What others ask of the part that decides before login: see `pbkit.wire.prelogin.state.PreloginState`."""

    @property
    def closed(self) -> bool:
        """True while no session exists, so that only what a login needs is served."""

    charged: bool

    def charge(self) -> None:
        """Count the memory that the connection holds now for its user and its server."""

    @property
    def outputLimit(self) -> int:
        """How many bytes may be buffered now."""

    @property
    def outputLimitName(self) -> str:
        """The name of that limit, for the log."""


class ConnectionPart(Protocol):
    """
    What a connection asks of a channel on it, and of itself where it acts for no channel.

    :ivar waitingForAnswers: the calls made through it that have no answer yet, by request id.
    """

    waitingForAnswers: Waiting

    @property
    def connection(self) -> Connection: ...

    def dead(self) -> Exception | None:
        """Return why no call can be made any more, or None."""

    def expired(self, requestID: int, timeout: float) -> None:
        """Fail a call whose deadline has passed."""

    def proto_answer(self, requestID: object, netResult: object) -> None:
        """Receive the answer to a call."""

    def proto_error(self, requestID: object, fail: object) -> None:
        """Receive the error that a call failed with."""


class Connection(Protocol):
    """
    A connection, as its parts see it: the protocol that `pbkit.wire.broker.Broker` implements.

    :ivar message: the message that is being served, as received.
    :ivar answering: the request id of the call that is being served, or None if it wants no answer.
    :ivar closed: True once nothing that arrives is served any more.
    :ivar owners: the channel of each id handed out in a channel.
    :ivar callers: for each call that waits for an answer, the channel or connection that made it.
    :ivar cachers: the channel that received each copy of a Cacheable of the other end.
    :ivar plain: True if plain data may bypass jelly.
    :ivar vocabulary: True if the dialect `pb` is spoken, which abbreviates common words.
    """

    message: bytes
    answering: Any
    closed: bool
    owners: MutableMapping[Any, Any]
    callers: MutableMapping[Any, Any]
    cachers: MutableMapping[Any, Any]
    disconnected: Any
    currentLocalID: int
    pageProducers: list[Any]

    @property
    def plain(self) -> bool: ...

    @property
    def vocabulary(self) -> bool: ...

    @property
    def profile(self) -> Profile: ...

    @property
    def registry(self) -> Registry: ...

    @property
    def prefixLimit(self) -> int: ...

    @property
    def security(self) -> object: ...

    @property
    def factory(self) -> Any: ...

    @property
    def transport(self) -> Transport: ...

    @property
    def user(self) -> str | None:
        """The user who logged in first, or None."""

    @property
    def peer(self) -> IPeer: ...

    @property
    def peerLog(self) -> PeerLog: ...

    @property
    def clock(self) -> IReactorTime | None: ...

    @property
    def inbound(self) -> InboundPart: ...

    @property
    def outbound(self) -> OutboundPart: ...

    @property
    def prelogin(self) -> PreloginPart: ...

    @property
    def isClient(self) -> Any: ...

    def logUnfit(self, method: object, failure: Failure) -> None:
        """Log, once for each method, that the server called one that does not exist or does not take the arguments."""

    # Messages in.

    def greet(self) -> None:
        """Send the list of dialects, which begins the conversation."""

    def messageReceived(self, message: bytes) -> None:
        """Serve one message."""

    def answerReceived(self, requestID: object, value: object) -> None:
        """Receive a plain answer."""

    def answerUnread(self, requestID: Any, error: Exception) -> None:
        """Fail a call whose answer is not read."""

    def serves(self, expression: list[Any]) -> bool:
        """Return whether a call is on an object that exists."""

    def hasOwn(self, luid: int) -> bool:
        """Return whether this id was handed out by the connection itself, in no channel."""

    def applyLimits(self, limits: Limits, calls: Calls) -> None:
        """Apply other limits from now on."""

    def gateChanged(self) -> None:
        """Note that calls pass the gate from now on, or do so no longer."""

    def noSuchObject(self, requestID: object, objectID: object, answerRequired: object, rest: list[Any]) -> None:
        """Answer a call on an object that does not exist."""

    def decline(
        self, error: SessionEnded, requestID: object, answerRequired: object, netArgs: object, netKw: object
    ) -> None:
        """Answer a call with an error, unserved."""

    def malformed(self, error: Exception) -> None:
        """Close the connection because of what was received."""

    def refuse(self, why: str) -> None:
        """Close the connection now, with one line in the log."""

    def tidy(self) -> None:
        """Release the tables that are empty."""

    # For channels: ids, requests, and what is shared by all of them.

    def newLocalID(self) -> int: ...

    def newRequestID(self) -> int: ...

    def sendCall(self, *exp: object) -> None: ...

    def sendError(self, error: Exception, requestID: object) -> None:
        """Answer a call with an error."""

    def sendDecRef(self, objectID: object) -> None: ...

    def decCacheRef(self, objectID: object) -> None: ...

    def giveBack(self, sexp: object) -> None:
        """Let the other end forget the references in an expression that is not read."""

    def giveBackIds(self, references: list[int], caches: list[int]) -> None:
        """Let the other end forget references and copies of Cacheables, each once."""

    def passesOver(self, error: TooLarge) -> bool:
        """Return whether a message that exceeds a limit costs the call that it belongs to, and not the connection."""

    def refuseMessage(self, head: list[object], which: str, limit: int) -> None:
        """Fail the call that a message belongs to, because the message exceeds a limit."""

    def localObjectForID(self, luid: object) -> object: ...

    def cacheLocally(self, cid: object, instance: object) -> None: ...

    def cachedLocallyAs(self, cid: object) -> object: ...

    def hasLocally(self, luid: object, copy: object = None) -> bool:
        """Return whether there is a copy of a Cacheable of the other end under this id."""

    def registerPageProducer(self, pager: object) -> None: ...

    def callerOf(self, requestID: object) -> ConnectionPart | None:
        """Return who waits for an answer, and stop waiting."""

    def setDeadline(self, requestID: int, timeout: float) -> None:
        """Fail a call unless it is answered within `timeout` seconds."""

    def channelEnded(self, channel: Any, granted: References, observed: References, waiting: Waiting) -> None:
        """Forget a channel, and remember how it ended for calls on its references."""

    # For log-ins that share the tables of the connection.

    def serialize(
        self, object: object, perspective: object = None, method: object = None, args: object = None, kw: object = None
    ) -> object: ...

    def unserialize(self, sexp: object, perspective: object = None) -> Any: ...

    def onDropped(self, object: pb.Referenceable, f: Callable[[], object]) -> None:
        """Call `f` when the other end has dropped its last reference to an object."""


__all__ = [
    "Connection",
    "ConnectionPart",
    "InboundPart",
    "OutboundPart",
    "PreloginPart",
]
