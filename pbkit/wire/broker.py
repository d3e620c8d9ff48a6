"""
`Broker`: stock's, with channels, limits, and calls that always complete.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, MutableMapping
from threading import get_ident
from typing import Any, cast

from twisted.cred.error import LoginDenied, LoginFailed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python import threadable
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from twisted.spread import banana, pb
from twisted.spread.banana import BananaError
from twisted.spread.jelly import globalSecurity

from pbkit.errors import (
    BadArguments,
    BadCredentials,
    CannotSend,
    ClassRefused,
    Disconnected,
    LoginRefused,
    NoSuchMethod,
    SessionEnded,
    TooLarge,
)
from pbkit.interfaces import current
from pbkit.wire import codec
from pbkit.wire.calls import CallDeadlines
from pbkit.wire.channel import Channel
from pbkit.wire.compact import Few, LazyTable
from pbkit.wire.connection import ConnectionPart, References, Waiting
from pbkit.wire.hello import Hello
from pbkit.wire.inbound import Inbound
from pbkit.wire.jelly.expressions import countLists, isPlain
from pbkit.wire.jelly.registry import STOCK, Registry, allowsPlain
from pbkit.wire.outbound import Outbound
from pbkit.wire.oversized import HEAD, refusal
from pbkit.wire.peer import Peer, abort, clockOf, peerOf
from pbkit.wire.peerlog import LogBudget, PeerLog
from pbkit.wire.prelogin.foreign import foreignProtocol
from pbkit.wire.prelogin.state import PreloginState
from pbkit.wire.profile import STRICT, Calls, Limits, Profile
from pbkit.wire.references import Invoker
from pbkit.wire.wellknown import LOGIN, PBKIT

#: How many characters of a refused message the log may have.
CUT = 200

#: For how many references of ended sessions a connection remembers how they ended. The oldest are forgotten first:
#: a call on one of these is answered "Invalid Object ID", like a call on one that never existed. This is ten times
#: stock's limit of 1,024 references for a connection.
TOMBSTONES = 10_240

#: How many arguments each command has.
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

#: For how many methods a client logs that it could not serve a call of the server.
UNFIT = 100

log = Logger()


class EndedReferences(dict[int, tuple[SessionEnded, int]]):
    """
    The references of ended sessions that the client still holds.

    By id: the error that a call on the reference is answered, and how often the client holds it. Stock closes the
    connection of a client that releases a reference which is not in its table.
    """

    __slots__ = ()

    def put(self, error: SessionEnded, references: Iterable[tuple[int, Any]]) -> None:
        """
        Add the references of a session.

        :param error: how the session ended.
        :param references: what its tables had, by id.
        """
        for luid, local in references:
            self[luid] = (error, local.refcount)
        while len(self) > TOMBSTONES:
            del self[next(iter(self))]

    def error(self, luid: object) -> SessionEnded:
        """Return a new exception to answer a call with."""
        return self[cast(int, luid)][0].again()

    def release(self, luid: int) -> bool:
        """Count one reference less; return True if it was the last."""
        error, references = self.pop(luid)
        if references > 1:
            self[luid] = (error, references - 1)
        return references <= 1


class Broker(Invoker):
    """
    One connection.

    It brings each message to the channel that owns the message's target, or serves it from its own tables, as stock
    does: the login root, and sessions that share these tables.

    :param isClient: True at the end that connected.
    :param security: as stock's.
    :ivar refused: why this end closed the connection, or None.
    :ivar closed: True once nothing that arrives is served any more.
    :ivar registry: the classes that may be made of what the other end sends.
    :ivar inbound: the part that receives.
    :ivar outbound: the part that sends.
    :ivar prelogin: the part that decides what may be done before login.
    :ivar message: the message that is being served, as received.
    :ivar answering: the request id of the call that is being served, or None if it wants no answer.
    :ivar vocabulary: True if the dialect `pb` is spoken, which abbreviates common words.
    :ivar plain: True if plain data may bypass jelly.
    :ivar fast: True if received messages may bypass jelly, too: not before login.
    :ivar owners: the channel of each id that was handed out in a channel.
    :ivar callers: for each call that waits for an answer, the channel or connection that made it.
    :ivar cachers: the channel that received each copy of a Cacheable of the other end.
    """

    profile: Profile = STRICT
    registry: Registry = STOCK
    refused: str | None = None
    closed = False
    prefixLimit: Any = 64
    outgoingSymbolCount = 0
    _peerLog: PeerLog | None = None
    _deadlines: CallDeadlines | None = None
    _unfit: frozenset[str] = frozenset()
    factory: Any

    __slots__ = (
        "_cachers",
        "_channels",
        "_ended",
        "_failures",
        "_listStack",
        "_locallyCachedObjects",
        "_outgoingSymbols",
        "_ownLogouts",
        "_pbkitPeer",
        "_root",
        "answering",
        "callers",
        "connects",
        "currentDialect",
        "currentLocalID",
        "currentRequestID",
        "fast",
        "inbound",
        "isClient",
        "message",
        "outbound",
        "owners",
        "pageProducers",
        "plain",
        "prelogin",
        "security",
        "vocabulary",
    )

    failures: Any = LazyTable("_failures", list)
    listStack: Any = LazyTable("_listStack", list)
    locallyCachedObjects: Any = LazyTable("_locallyCachedObjects", dict)
    outgoingSymbols: Any = LazyTable("_outgoingSymbols", banana.Banana.outgoingVocabulary.copy)
    cachers: Any = LazyTable("_cachers", dict)
    _tombstones: Any = LazyTable("_ended", EndedReferences)
    _logouts: Any = LazyTable("_ownLogouts", dict)

    def __init__(self, isClient: object = 1, security: object = globalSecurity) -> None:
        super().__init__()
        # Stock releases this list when the dialect is agreed on.
        self.connects: Any = []
        self.pageProducers: list[Any] = []
        self.waitingForAnswers = {}
        self.owners: MutableMapping[Any, Channel] = Few()
        self.callers: MutableMapping[Any, ConnectionPart] = Few()
        self._channels: MutableMapping[Channel, None] = Few()
        self.isClient = isClient
        self.security = security
        self.currentRequestID = self.currentLocalID = 0
        self.currentDialect: Any = None
        self.outbound = Outbound(self)
        self.prelogin: PreloginState = None  # type: ignore[assignment]
        # The login root, while a login may be in progress.
        self._root: Any = None
        self.plain = self.vocabulary = self.fast = False
        self.answering: Any = None
        self.message = b""

    @property
    def connection(self) -> Broker:  # type: ignore[override]
        """This connection."""
        return self

    @property
    def clock(self) -> IReactorTime | None:
        """The clock that deadlines are kept by, or None if none is known."""
        return clockOf(self)

    @property
    def peer(self) -> Peer:
        """This connection as sessions see it."""
        return peerOf(self)

    @property
    def user(self) -> str | None:
        """The user who logged in first, or None."""
        return next((each.session.avatarId for each in self._channels if each.session is not None), None)

    @property
    def peerLog(self) -> PeerLog:
        """The lines that this connection may cause in the log."""
        if self._peerLog is None:
            clock = self.clock
            seconds = time.monotonic if clock is None else clock.seconds
            self._peerLog = PeerLog(self.profile.log, seconds, self.peer, self._logBudget)
        return self._peerLog

    @property
    def _logBudget(self) -> LogBudget | None:
        # A broker without a transport may log, too.
        prelogin: PreloginState | None = getattr(self, "prelogin", None)
        return None if prelogin is None else prelogin.logBudget

    # Bytes.

    def connectionMade(self) -> None:
        """As stock's, as soon as the server has room for the connection."""
        clock = self.clock
        # A server of pbkit's has a monitor, and may have a gate.
        monitorOf = getattr(self.factory, "monitorOf", None)
        monitor = None if monitorOf is None or clock is None else monitorOf(clock)
        self.prelogin = PreloginState(self, monitor, getattr(self.factory, "gated", False))
        self.inbound = Inbound(self, *self.prelogin.limits())
        self.setPrefixLimit(banana._PREFIX_LIMIT)
        self.currentDialect = None
        if self.prelogin.arrive():
            self.greet()

    def greet(self) -> None:
        """Send the list of dialects, without waiting for acknowledgements of small packets from now on."""
        setTcpNoDelay = getattr(self.transport, "setTcpNoDelay", None)
        if setTcpNoDelay is not None:
            setTcpNoDelay(True)
        super().connectionMade()

    def setPrefixLimit(self, limit: Any) -> None:
        """As stock's, which also computes two numbers that take 80 bytes each and are not needed here."""
        if limit != self.prefixLimit:
            self.prefixLimit = limit

    def applyLimits(self, limits: Limits, calls: Calls) -> None:
        """Apply other limits from now on, because the gate has opened or closed."""
        self.inbound.limit(limits, calls)

    def gateChanged(self) -> None:
        """Note that calls pass the gate from now on, or do so no longer: plain data may bypass jelly, or may not."""
        self.fast = self.plain and not self.prelogin.closed

    def dataReceived(self, chunk: bytes) -> None:
        """As stock's, but in linear time, and within the limits. A client of another protocol is closed at once."""
        if not self.currentDialect and (protocol := foreignProtocol(chunk)) is not None:
            self.refuse(f"looks like {protocol}, expected Perspective Broker")
            return
        self.prelogin.received(len(chunk))
        self.inbound.received(chunk)

    def _selectDialect(self, dialect: object) -> None:
        """As stock's. From now on plain data bypasses jelly, unless the program has a say in what is plain."""
        self.vocabulary = dialect == b"pb"
        self.plain = type(self).expressionReceived is Broker.expressionReceived and allowsPlain(self.security)
        self.fast = self.plain and not self.prelogin.closed
        # The constant, not another copy of it for each connection.
        super()._selectDialect(b"pb" if self.vocabulary else dialect)

    def messageReceived(self, message: bytes) -> None:
        """Serve one whole message."""
        self.message = message
        try:
            if self.fast:
                call = codec.decodePlain(message, self.vocabulary, self.profile.limits.items)
                if call is not None:
                    self._plainReceived(message, call)
                else:
                    self._serveJelly(message)
            elif not self.currentDialect:
                self._agree(codec.decode(message, False))
            elif self.prelogin.closed:
                expression = codec.decode(message, self.vocabulary)
                if self.prelogin.admits(expression):
                    self._serveAdmitted(message, expression)
            else:
                self.callExpressionReceived(codec.decode(message, self.vocabulary))
        except Exception as error:
            if not self.profile.hideErrors or isinstance(error, codec.Malformed):
                raise
            self.malformed(error)

    def _serveAdmitted(self, message: bytes, expression: list[object]) -> None:
        """Serve what the gate lets through. An answer, in a login that is accepted, has the limits of a user."""
        if self.plain and expression[0] in (b"answer", b"error"):
            call = codec.decodePlain(message, self.vocabulary, self.profile.limits.items)
            if call is not None:
                self._plainReceived(message, call)
            else:
                self._serveJelly(message)
        else:
            self.callExpressionReceived(expression)

    def _serveJelly(self, message: bytes) -> None:
        """Serve a message that is not plain data, unless it has too many lists."""
        expression = codec.decode(message, self.vocabulary)
        most = self.profile.limits.jelly
        # The quick count includes bytes within strings. Only if it is over the limit is the exact one made.
        if message.count(b"\x80") > most and countLists(expression) > most:
            self.refuseMessage(expression[:HEAD], "jelly", most)
            self.giveBack([b"list", *expression[2:]])
            return
        self.callExpressionReceived(expression)

    def _agree(self, said: object) -> None:
        """Receive the first message: the dialect that the client chose, or those that the server offers."""
        offered = said if self.isClient and isinstance(said, list) else [said]
        if self.profile.hideErrors and not any(each in self.knownDialects for each in offered):
            # Stock writes all of it into the log, and keeps the connection open.
            raise codec.Malformed("unsupported protocol dialect: expected one of 'pb', 'none'")
        self.callExpressionReceived(said)

    def _plainReceived(self, message: bytes, call: tuple[Any, ...]) -> None:
        if call[0] == "message":
            _, requestID, objectID, name, answerRequired, args, kw = call
            if type(args) is list:
                args = tuple(args)
            owner = self.owners.get(objectID) if type(objectID) is int else None
            if owner is not None:
                owner.serve(owner.ownObject, requestID, objectID, name, answerRequired, args, kw)
                return
            before = current.set(None)
            try:
                self.proto_message(requestID, objectID, name, answerRequired, args, kw)
            finally:
                current.reset(before)
        else:
            before = current.set(None)
            try:
                self.answerReceived(call[1], call[2])
            finally:
                current.reset(before)

    def passesOver(self, error: TooLarge) -> bool:
        """
        Return whether a message that exceeds a limit costs the call that it belongs to, and not the connection.

        It costs the connection before login. So does a number that is too long, because anything that is not Banana
        begins with one; and in drop-in use a string that is too long, as in stock.
        """
        if not self.currentDialect or self.prelogin.strange or error.which == "prefix":
            return False
        return self.profile.hideErrors or error.which != "string"

    def refuseMessage(self, head: list[object], which: str, limit: int) -> None:
        """
        Fail the call that a message belongs to, because the message exceeds a limit.

        :param head: the first elements of the message.
        :param which: as for `pbkit.wire.oversized.refusal`, like `limit`.
        """
        error = refusal(which, limit, bool(self.isClient))
        command, requestID = (*head, None, None)[:2]
        if command in (b"message", b"cachemessage") and len(head) == HEAD and isinstance(requestID, int | bytes):
            if self.peerLog.admits():
                log.warn("refused a call from {peer}: {error}", peer=str(self.peer), error=error.detail)
            if head[-1]:
                self.sendError(error, requestID)
        elif command in (b"answer", b"error"):
            caller = self.callerOf(requestID)
            if caller is not None and isinstance(requestID, int):
                caller.waitingForAnswers.pop(requestID).errback(Failure(error))
        else:
            self.malformed(codec.Malformed(error.detail))

    def malformed(self, error: Exception) -> None:
        """
        Close the connection, because what was received is not Perspective Broker, or over a limit.

        :raises Exception: in drop-in use, as stock does.
        """
        if not self.profile.hideErrors:
            raise error if not isinstance(error, ValueError) else BananaError(str(error))
        self.refuse(f"{type(error).__name__}: {safe_str(error)}"[:CUT])

    def refuse(self, why: str) -> None:
        """Close the connection now, with one line in the log. Nothing that arrives after this is served."""
        if self.closed:
            return
        self.refused = why
        self.closed = True
        budget = self._logBudget
        if budget is None or budget.admits():
            self._logRefused(why)
        # Not loseConnection: that waits until the other end has read everything, which it may never do.
        abort(self.transport)

    def _logRefused(self, why: str) -> None:
        users = sorted({each.session.avatarId for each in self._channels if each.session is not None})
        log.warn(
            "closed connection from {peer}: {why!r} (sessions: {users!r})",
            peer=str(self.peer),
            why=why,
            users=[self.peerLog.escaped(user) for user in users[:10]],
        )

    def sendEncoded(self, obj: object) -> None:
        """As stock's."""
        self.outbound.write(codec.encode(obj, self.currentDialect == b"pb", banana.SIZE_LIMIT, self.prefixLimit))

    def registerPageProducer(self, pager: object) -> None:
        """As stock's. The pagers of a connection share its one place as a producer of the transport."""
        self.pageProducers.append(pager)
        if len(self.pageProducers) == 1:
            self.outbound.page()

    # Channels.

    def openChannel(self) -> Channel:
        """Return a new channel, for one login."""
        channel = Channel(self)
        self._channels[channel] = None
        return channel

    @property
    def logins(self) -> int:
        """How many log-ins this connection has, including those in progress."""
        return len(self._channels)

    def channelEnded(self, channel: Channel, granted: References, observed: References, waiting: Waiting) -> None:
        """
        Forget a channel, and remember how it ended for calls on its references.

        :param granted: its table of local objects.
        :param observed: its table of remotely cached objects.
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
            self._tombstones.put(channel.error, (*granted.items(), *observed.items()))
        if self.pageProducers:
            # A pager of an ended session would go on to send pages that no object receives.
            self.pageProducers = [p for p in self.pageProducers if _brokerOf(p) is not channel]
            self.outbound.unpaged()

    def tidy(self) -> None:
        """
        Release the tables that are empty. The monitor calls this every few seconds; after each call it would cost more.
        """
        if self.disconnected:
            return
        self._releaseEmpty()
        if not self.waitingForAnswers:
            self.waitingForAnswers = {}
        if self._deadlines is not None and not self.callers:
            self._deadlines.stop()
            self._deadlines = None
        for channel in self._channels:
            channel.tidy()

    def atRest(self) -> None:
        """Release what only a login needs, if none is in progress. Called when one is over or a challenger dropped."""
        if not self.localObjects and not self.disconnected:
            self._releaseEmpty()
            # A login root of the program's own does not say whether it is idle.
            if self._root is not None and getattr(self._root, "idle", False):
                self._root = None

    def _releaseEmpty(self) -> None:
        for table in _RELEASED:
            table.releaseEmpty(self)

    def _loginRoot(self) -> object:
        # The login root and all that a login needs take 1 KB. They are made when they are called, and released after
        # the login, because an idle session needs none of it.
        if self._root is None:
            rootOf = getattr(self.factory, "loginRoot", None)
            self._root = None if rootOf is None else rootOf(self)
        return self._root

    # What the connection's own tables have.

    def hasOwn(self, luid: int) -> bool:
        """Return whether this id was handed out by the connection itself, in no channel."""
        return luid in self.localObjects

    def serves(self, expression: list[Any]) -> bool:
        """Return whether a call is on an object that exists. Any other call only answers whether this end is alive."""
        luid = expression[2] if len(expression) > 2 else None
        if type(luid) is int:
            return luid in self.owners or luid in self.localObjects
        return isinstance(luid, bytes) and (luid == LOGIN or luid in self.localObjects)

    def localObjectForID(self, luid: object) -> object:
        """As stock's, and also finds the object for hellos and the login root, which are in no table."""
        # An id may also be a list, which cannot be looked up.
        found = super().localObjectForID(luid) if isinstance(luid, int | bytes | str) else None
        if found is None and luid in (PBKIT, PBKIT.decode()):
            return Hello(self.peer)
        return self._loginRoot() if found is None and luid in (LOGIN, LOGIN.decode()) else found

    def registerReference(self, object: pb.Serializable) -> object:
        """As `Invoker.registerReference`. A reference to an avatar ends a login."""
        luid = super().registerReference(object)
        if self.prelogin is not None and self.prelogin.gate is not None:
            self._noteLogin(object.processUniqueID())
        return luid

    def _noteLogin(self, puid: int) -> None:
        """
        Open the gate, if an object is an avatar that a login root of the program's own gives to the client.

        Those that derive from stock's register a callback for the end of each login in `_localCleanup`. pbkit's own
        does not, and gives references in a channel.
        """
        loggedOut = self._localCleanup.get(puid)
        if loggedOut is None or loggedOut is self._logouts.get(puid):
            return
        if puid not in self._logouts:
            self.prelogin.enter()
            self.prelogin.granted()

        def ended() -> None:
            del self._logouts[puid]
            loggedOut()
            self.prelogin.ended()

        self._logouts[puid] = self._localCleanup[puid] = ended

    def unserialize(self, sexp: object, perspective: object = None) -> Any:
        """As `Invoker.unserialize`; before login, of plain data and references only."""
        if type(sexp) is list and self.prelogin is not None and self.prelogin.closed and not isPlain(sexp):
            self.giveBack(sexp)
            raise ClassRefused("before login only plain data and references are accepted")
        return super().unserialize(sexp, perspective)

    def _sendFailureOrError(self, fail: Failure, requestID: object, method: object = "") -> None:
        """As `Invoker`'s; a login root of the program's own refuses a login with an error of cred's."""
        if self.profile.hideErrors and fail.check(LoginFailed, LoginDenied) and not fail.check(pb.Error):
            if self.peerLog.admits():
                text = self.peerLog.escaped(safe_str(fail.value))
                log.info("login refused: {reason} from {peer}", reason=text, peer=str(self.peer))
            fail = Failure(BadCredentials() if fail.check(LoginFailed) else LoginRefused())
        super()._sendFailureOrError(fail, requestID, method)

    def full(self, most: int) -> Exception:
        """Return the error of a call that would hand out one reference too many. Neither call nor connection ends."""
        return CannotSend(f"the peer holds {most} references, as many as calls.references allows")

    def onDropped(self, object: pb.Referenceable, f: Callable[[], object]) -> None:
        """
        Call `f` when the other end has dropped its last reference to an object that this connection handed out.

        Callbacks that were registered for it before are called too: an avatar that is itself Referenceable has one for
        each login.
        """
        puid = object.processUniqueID()
        earlier = self._localCleanup.get(puid)

        def dropped() -> None:
            f()
            if earlier is not None:
                earlier()

        self._localCleanup[puid] = dropped

    # Messages.

    def expressionReceived(self, sexp: object) -> None:
        """
        Serve one message, outside of any session until its target is known.

        :raises ProtocolError: it is no list that begins with the name of a command.
        """
        if not (isinstance(sexp, list) and sexp and isinstance(sexp[0], bytes | str)):
            raise pb.ProtocolError("a message is a list that begins with the name of a command")
        command = sexp[0].decode("utf-8", "replace") if isinstance(sexp[0], bytes) else sexp[0]
        method = getattr(self, f"proto_{command}", None)
        if method is None or _ARGUMENTS.get(command, len(sexp) - 1) != len(sexp) - 1:
            # Stock answers the same, but as a str, which Banana cannot send.
            self.sendCall(b"didNotUnderstand", command[:CUT].encode("utf-8"))
            return
        before = current.set(None)
        try:
            method(*sexp[1:])
        finally:
            current.reset(before)

    def _ownerOf(self, luid: object) -> Channel | None:
        # An id may also be a list or a text: then no channel owns it.
        return self.owners.get(luid) if type(luid) is int else None

    def proto_message(
        self,
        requestID: object,
        objectID: object,
        message: object,
        answerRequired: object,
        netArgs: object,
        netKw: object,
    ) -> None:
        """Serve a call on an object of this end."""
        owner = self._ownerOf(objectID)
        if owner is not None:
            owner.serve(owner.ownObject, requestID, objectID, message, answerRequired, netArgs, netKw)
        elif type(objectID) is int and objectID in self._tombstones:
            rest = self.inJelly() if type(netArgs) is tuple else (netArgs, netKw)
            self.noSuchObject(requestID, objectID, answerRequired, [b"list", *rest])
        else:
            super().proto_message(requestID, objectID, message, answerRequired, netArgs, netKw)

    def noSuchObject(self, requestID: object, objectID: object, answerRequired: object, rest: list[Any]) -> None:
        """
        Answer a call on an object that does not exist, or of a session that has ended.

        :param rest: its arguments, in jelly.
        """
        if answerRequired:
            ended = type(objectID) is int and objectID in self._tombstones
            error = self._tombstones.error(objectID) if ended else pb.Error("Invalid Object ID")
            self.sendError(error, requestID)
        # Otherwise the client would keep the references among the arguments for as long as it is connected.
        self.giveBack(rest)

    def decline(
        self, error: SessionEnded, requestID: object, answerRequired: object, netArgs: object, netKw: object
    ) -> None:
        """Answer a call with an error, unserved."""
        if answerRequired:
            self.sendError(error, requestID)
        # As in noSuchObject.
        rest = self.inJelly() if type(netArgs) is tuple else (netArgs, netKw)
        self.giveBack([b"list", *rest])

    def proto_cachemessage(
        self,
        requestID: object,
        objectID: object,
        message: object,
        answerRequired: object,
        netArgs: object,
        netKw: object,
    ) -> None:
        """Serve a change of a Cacheable of the other end."""
        owner = self.cachers.get(objectID) if type(objectID) is int else None
        if owner is not None:
            owner.serve(self.cachedLocallyAs, requestID, objectID, message, answerRequired, netArgs, netKw)
        elif not (isinstance(objectID, int | bytes) and self.hasLocally(objectID)):
            rest = self.inJelly() if type(netArgs) is tuple else (netArgs, netKw)
            self.noSuchObject(requestID, objectID, answerRequired, [b"list", *rest])
        else:
            super().proto_cachemessage(requestID, objectID, message, answerRequired, netArgs, netKw)

    def proto_uncache(self, objectID: object) -> None:
        """The other end no longer sends changes of a Cacheable."""
        if type(objectID) is int and objectID in self.locallyCachedObjects:
            self.cachers.pop(objectID, None)
            super().proto_uncache(objectID)

    def proto_answer(self, requestID: object, netResult: object) -> None:
        """Receive an answer. One that is no longer waited for is dropped; stock closes the connection."""
        caller = self.callerOf(requestID)
        if caller is self:
            super().proto_answer(requestID, netResult)
        elif caller is not None:
            caller.proto_answer(requestID, netResult)
        else:
            self.giveBack(netResult)

    def answerReceived(self, requestID: object, value: object) -> None:
        """Receive a plain answer, which is read already."""
        caller = self.callerOf(requestID)
        if caller is not None:
            caller.waitingForAnswers.pop(requestID).callback(value)

    def answerUnread(self, requestID: object, error: Exception) -> None:
        """Fail a call whose answer is not read, because it comes from a client that is not logged in."""
        caller = self.callerOf(requestID)
        if caller is not None:
            caller.waitingForAnswers.pop(requestID).errback(Failure(error))

    def proto_error(self, requestID: object, fail: object) -> None:
        """Receive an error. One that is no longer waited for is dropped; stock closes the connection."""
        caller = self.callerOf(requestID)
        if caller is self:
            super().proto_error(requestID, fail)
        elif caller is not None:
            caller.proto_error(requestID, fail)
        else:
            self.giveBack(fail)

    def proto_decref(self, objectID: object) -> None:
        """The other end dropped a reference. Unlike with stock, it may drop one that it does not have."""
        owner = self._ownerOf(objectID)
        if owner is not None:
            owner.proto_decref(objectID)
        elif type(objectID) is int and objectID in self._tombstones:
            self._tombstones.release(objectID)
        elif type(objectID) is int and objectID in self.localObjects:
            super().proto_decref(objectID)
            self.atRest()

    def proto_decache(self, objectID: object) -> None:
        """The other end dropped a copy of a Cacheable."""
        owner = self._ownerOf(objectID)
        if owner is not None:
            owner.proto_decache(objectID)
        elif type(objectID) is int and objectID in self._tombstones:
            if self._tombstones.release(objectID):
                # A stock peer keeps its copy until it is told this.
                self.sendCall(b"uncache", objectID)
        elif type(objectID) is int and objectID in self.remotelyCachedObjects:
            super().proto_decache(objectID)

    def proto_version(self, vnum: object) -> None:
        """As stock's, whose error has the text of anything that was sent."""
        if type(vnum) is not int:
            raise pb.ProtocolError("invalid protocol version: expected an integer")
        super().proto_version(vnum)

    def proto_didNotUnderstand(self, command: object) -> None:
        """As stock's, but writes no more of the command into the log than the limits allow."""
        if self.peerLog.admits():
            # A stock peer sends the name as a text; anything else is not shown.
            text = command if isinstance(command, bytes | str) else f"a {type(command).__name__}"
            log.warn("{peer} did not understand: {command}", peer=str(self.peer), command=self.peerLog.escaped(text))

    def logUnfit(self, method: object, failure: Failure) -> None:
        """
        Log, once for each method, that the server called one that does not exist or does not take the arguments.

        The server may have asked for no answer, and then nobody else learns of it. In drop-in use nothing is logged, as
        in stock, and nothing about ``goodbye``, which every client may be told.
        """
        if not self.profile.hideErrors or not failure.check(NoSuchMethod, BadArguments):
            return
        name = str(method, "utf-8", "replace") if isinstance(method, bytes) else str(method)
        if name == "goodbye" or name in self._unfit or len(self._unfit) >= UNFIT:
            return
        self._unfit = self._unfit | {name}
        if self.peerLog.admits():
            error = self.peerLog.escaped(str(failure.value))
            log.warn("could not serve a call of the server ({peer}): {error}", peer=str(self.peer), error=error)

    # Calls out.

    def dead(self) -> Exception | None:
        """Return why no call can be made any more, or None."""
        if not self.disconnected:
            return None
        return pb.DeadReferenceError("Calling Stale Broker") if self.profile.raiseOnDead else Disconnected()

    def setDeadline(self, requestID: int, timeout: float) -> None:
        """Fail a call of this end unless it is answered within `timeout` seconds."""
        if self._deadlines is None:
            clock = self.clock
            if clock is None:
                return
            self._deadlines = CallDeadlines(clock, self.callers, self._expired)
        self._deadlines.add(requestID, timeout)

    def _expired(self, requestID: int, timeout: float) -> None:
        self.callers[requestID].expired(requestID, timeout)

    def callerOf(self, requestID: object) -> ConnectionPart | None:
        """Return the channel or connection that waits for an answer, or None. It does not wait any more then."""
        caller = self.callers.pop(requestID, None) if type(requestID) is int else None
        if self._deadlines is not None and not self.callers:
            self._deadlines.stop()
        return caller

    def sendDecRef(self, objectID: object) -> None:
        """As stock's, from any thread: a reference may be collected in any, and only the reactor's may write."""
        reactor = getattr(self.transport, "reactor", None)
        if reactor is not None and threadable.ioThread not in (None, get_ident()):
            reactor.callFromThread(self.sendDecRef, objectID)
        elif not self.disconnected:
            super().sendDecRef(objectID)

    # The end.

    def notifyOnDisconnect(self, notifier: Callable[[], object]) -> None:
        """As stock's; called at once if the connection is lost already, where stock raises AttributeError."""
        if self.disconnects is None:
            notifier()
        else:
            super().notifyOnDisconnect(notifier)

    def dontNotifyOnDisconnect(self, notifier: Callable[[], object]) -> None:
        """As stock's, and harmless after the loss."""
        if self.disconnects is not None:
            super().dontNotifyOnDisconnect(notifier)

    def connectionLost(self, reason: object) -> None:  # type: ignore[override]
        """As stock's. The channels end first, while the connection's own tables still exist."""
        self.disconnected = 1
        self.closed = True
        self.inbound.close()
        self.prelogin.lost()
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
        if self._peerLog is not None:
            # Last, because the callbacks above may log.
            self._peerLog.close()


#: The tables that `Broker.tidy` releases if they are empty: those that log-ins, calls and pings use.
_RELEASED: tuple[LazyTable, ...] = (
    cast(LazyTable, Broker.localObjects),
    Broker.luids,
    Broker.remotelyCachedObjects,
    Broker._localCleanup,
    Broker._tombstones,
    Broker._logouts,
)


def _brokerOf(pager: object) -> object:
    return getattr(getattr(pager, "collector", None), "broker", None)
