"""
`Broker`: stock's, with channels, bounds, and calls that always come back.
"""

from __future__ import annotations

import time
from inspect import iscoroutine
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.reflect import safe_str
from twisted.spread import banana, pb
from twisted.spread.banana import BananaError
from twisted.spread.jelly import globalSecurity

from pbkit.errors import Disconnected
from pbkit.interfaces import current
from pbkit.wire import codec
from pbkit.wire.backlog import deepen
from pbkit.wire.calls import shared
from pbkit.wire.hello import Hello
from pbkit.wire.inbound import Inbound
from pbkit.wire.jelly.expressions import countLists
from pbkit.wire.jelly.registry import allowsPlain
from pbkit.wire.lazily import EMPTY
from pbkit.wire.peer import Peer, peerOf
from pbkit.wire.peerlog import PeerLog
from pbkit.wire.prelogin.state import PreloginState
from pbkit.wire.profile import STRICT, Limits, Profile
from pbkit.wire.profile import Calls as CallBounds
from pbkit.wire.routes import Routes
from pbkit.wire.wellknown import LOGIN, PBKIT

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


class Broker(Routes):
    """
    One connection. Brings each message to the channel that it belongs to, and serves what belongs to none, such
    as the login root, from its own tables, as stock does.

    :param isClient: whether this end connected.
    :param security: as stock's.
    :ivar refused: why we closed the connection, or None.
    :ivar closed: whether nothing that comes in is served any more.
    """

    profile: Profile = STRICT
    refused: str | None = None
    closed = False
    prelogin: PreloginState
    _peerLog: PeerLog | None = None
    prefixLimit: Any = 64

    __slots__ = (
        "_pbkitPeer",
        "_root",
        "answering",
        "currentDialect",
        "fast",
        "inbound",
        "message",
        "plain",
        "prelogin",
        "vocabulary",
    )

    def __init__(self, isClient: Any = 1, security: Any = globalSecurity) -> None:
        super().__init__(isClient, security)
        self.inbound: Any = None
        # While somebody is about to log in.
        self._root: Any = None
        self.currentDialect: Any = None
        #: Whether plain data takes the fast way, and whether the vocabulary of the dialect `pb` is spoken.
        self.plain = self.vocabulary = False
        #: Whether what comes in takes the fast way too: not while the gate is closed.
        self.fast = False
        #: The request that is being served, if it is to be answered.
        self.answering: Any = None
        #: The message that is being served, as it came.
        self.message = b""

    @property
    def peer(self) -> Peer:
        """The connection as sessions see it."""
        return peerOf(self)

    @property
    def peerLog(self) -> PeerLog:
        """What may be written into the log because of this connection."""
        if self._peerLog is None:
            clock = self.clock
            seconds = time.monotonic if clock is None else clock.seconds
            self._peerLog = PeerLog(self.profile.log, seconds, self.peer)
        return self._peerLog

    # Bytes.

    def connectionMade(self) -> None:
        """As stock's, once there is room."""
        clock = self.clock
        # A server of ours has a watch, and may have a gate.
        monitorOf = getattr(self.factory, "monitorOf", None)
        watch = None if monitorOf is None or clock is None else monitorOf(clock)
        self.prelogin = PreloginState(self, watch, getattr(self.factory, "gated", False))
        self.setPrefixLimit(banana._PREFIX_LIMIT)
        self.currentDialect = None
        if not self.isClient:
            deepen(self.transport)
        if self.prelogin.arrive():
            self.greet()

    def greet(self) -> None:
        """Say what is spoken here. Small messages leave at once: they wait for no acknowledgement."""
        setTcpNoDelay = getattr(self.transport, "setTcpNoDelay", None)
        if setTcpNoDelay is not None:
            setTcpNoDelay(True)
        super().connectionMade()

    def setPrefixLimit(self, limit: Any) -> None:
        """As stock's, which calls it when the connection is made; without its two numbers of 80 bytes."""
        if limit != self.prefixLimit:
            self.prefixLimit = limit
        if self.inbound is None:
            self.inbound = Inbound(self, *self.prelogin.limits())

    def applyLimits(self, limits: Limits, calls: CallBounds) -> None:
        """Other bounds from now on: the gate has opened, or closed."""
        self.fast = self.plain and not self.prelogin.closed
        self.inbound.limit(limits, calls)

    def dataReceived(self, chunk: bytes) -> None:
        """As stock's, but linear, and bounded."""
        self.prelogin.received(len(chunk))
        self.inbound.received(chunk)

    def _selectDialect(self, dialect: Any) -> None:
        """As stock's. From now on plain data takes the fast way, if nobody has a say in what is plain."""
        self.vocabulary = dialect == b"pb"
        self.plain = type(self).expressionReceived is Broker.expressionReceived and allowsPlain(self.security)
        self.fast = self.plain and not self.prelogin.closed
        # Ours, not one more that came in.
        super()._selectDialect(b"pb" if self.vocabulary else dialect)

    def messageReceived(self, message: bytes) -> None:
        """One whole message came in."""
        self.message = message
        try:
            if self.fast:
                call = codec.decodePlain(message, self.vocabulary)
                if call is not None:
                    self._plainReceived(message, call)
                    return
                most = self.profile.limits.jelly
                # Those within strings are counted too at first.
                if message.count(b"\x80") > most and countLists(codec.decode(message, self.vocabulary)) > most:
                    self.refuse(f"limits.jelly: more than {most} lists in a message that is not plain")
                    return
            elif not self.currentDialect:
                self._agree(codec.decode(message, False))
                return
            elif self.prelogin.closed:
                expression = codec.decode(message, self.vocabulary)
                if self.prelogin.admits(expression):
                    self.callExpressionReceived(expression)
                return
            self.callExpressionReceived(codec.decode(message, self.vocabulary))
        except Exception as error:
            if not self.profile.hideErrors or isinstance(error, codec.Malformed):
                raise
            self.malformed(error)

    def _agree(self, said: Any) -> None:
        """The first thing that is said: which dialect is spoken, or which are offered."""
        offered = said if self.isClient and isinstance(said, list) else [said]
        if self.profile.hideErrors and not any(each in self.knownDialects for each in offered):
            # Stock writes all of it into the log, and goes on to the next.
            self.malformed(codec.Malformed("a dialect that is not spoken here"))
        else:
            self.callExpressionReceived(said)

    def _plainReceived(self, message: bytes, call: Any) -> None:
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
        self.closed = True
        users = sorted({each.session.avatarId for each in self._channels if each.session is not None})
        log.warn(
            "the connection of {peer} is closed: {why!r}; logged in on it: {users!r}",
            peer=str(self.peer),
            why=why,
            users=[self.peerLog.escaped(user) for user in users[:10]],
        )
        # Not in good order: that waits until the other end has read all, which it may never do.
        abort = getattr(self.transport, "abortConnection", None) or cast(Any, self.transport).loseConnection
        abort()

    def sendEncoded(self, obj: Any) -> None:
        """As stock's."""
        prefix: Any = self.prefixLimit
        self.outbound.write(codec.encode(obj, self.currentDialect == b"pb", banana.SIZE_LIMIT, prefix))

    def registerPageProducer(self, pager: Any) -> None:
        """As stock's; pagers take their turns in the way out."""
        if not self.pageProducers:
            self.pageProducers = []
        self.pageProducers.append(pager)
        if len(self.pageProducers) == 1:
            self.outbound.page()

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
        if self.peerLog.admits():
            text = command if isinstance(command, bytes) else str(command)
            log.warn("{peer} did not understand: {command}", peer=str(self.peer), command=self.peerLog.escaped(text))

    def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
        """The channels go first, while the connection's own tables are still there."""
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
            # Last: what is called above has things to say, too.
            self._peerLog.close()

    def localObjectForID(self, luid: Any) -> Any:
        """As stock's; and the object on which pbkit's peers say hello, which takes no room in the table."""
        # An id need not be one.
        found = super().localObjectForID(luid) if isinstance(luid, int | bytes | str) else None
        if found is None and luid in (PBKIT, PBKIT.decode()):
            return Hello(self.peer)
        return self._loginRoot() if found is None and luid in (LOGIN, LOGIN.decode()) else found

    def _loginRoot(self) -> Any:
        # It and all that it needs for a login take 1 KB, of which nothing is needed by who is in.
        if self._root is None:
            rootOf = getattr(self.factory, "loginRoot", None)
            self._root = None if rootOf is None else rootOf(self)
        return self._root

    def atRest(self) -> None:
        """A login is through, or its challenger is let go of: forget all that only a login needs, if that is over."""
        if not self.localObjects and not self.disconnected:
            self.localObjects = self.luids = EMPTY
            if self._root is not None and self._root.idle:
                self._root = None

    def hasOwn(self, luid: int) -> bool:
        """Whether something was handed out by this id that is no session's."""
        return luid in self.localObjects

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
