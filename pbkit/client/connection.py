"""
The connection that a client's login rides on: what is promised of calls is kept here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, IReactorTime, ISSLTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from twisted.spread import pb
from zope.interface import implementer

from pbkit.client.exceptions import exceptionFrom, refusalFrom
from pbkit.client.factory import ClientFactory
from pbkit.errors import BY_NAME, Disconnected, ProtocolMismatch, SessionEnded
from pbkit.wire.broker import Broker
from pbkit.wire.jelly.expressions import handles
from pbkit.wire.wellknown import PBKIT

#: How long the server has to answer a call, in seconds; as the server's own calls on minds.
CALL_TIMEOUT = 30.0

#: A server speaks first, and begins with a list of two or so: a length of a byte or two, and 0x80.
GREETING = 5

#: How some others begin.
OTHERS = (
    (b"HTTP", "an HTTP server"),
    (b"SSH-", "an SSH server"),
    (b"\x15\x03", "a TLS server: use a tls: endpoint"),
)

#: What each of these clients declares: that it remembers a goodbye.
FEATURES = {"goodbye": True}

log = Logger()


@implementer(IHandshakeListener)
class SessionBroker(Broker):
    """
    The client's end of a connection that carries one login. Every reference that came over it, however deep in
    an answer, calls by `_sendMessage`, so what is promised of calls is kept there.

    :ivar ended: why the session is over, or None.
    :ivar spoken: whether the other end has said anything.
    :ivar broken: what was wrong with what the other end said, or None.
    """

    factory: Any
    ended: SessionEnded | None = None
    spoken = False
    _head = b""
    broken: ProtocolMismatch | None = None
    _handshaken = False
    _suspected: SessionEnded | None = None

    def connectionMade(self) -> None:
        """Nobody may want it any more: not every endpoint can be cancelled."""
        if self.factory.lost is None:
            self._transport.abortConnection()
        self.factory.newest = self
        super().connectionMade()

    @property
    def _transport(self) -> Any:
        return self.transport

    @property
    def handshaking(self) -> bool:
        """Whether it is TLS that has not been agreed on so far."""
        return not self._handshaken and ISSLTransport.providedBy(self.transport)

    def handshakeCompleted(self) -> None:
        """`IHandshakeListener`."""
        self._handshaken = True

    @property
    def greeted(self) -> bool:
        """Whether the other end has shown itself to be a PB server."""
        return bool(self.currentDialect)

    def dataReceived(self, chunk: bytes) -> None:
        """As stock's; what is no PB ends the connection with one line, where stock has a traceback."""
        if self.broken is not None:
            return
        self.spoken = self.spoken or bool(chunk)
        if not self.greeted and len(self._head) < GREETING:
            self._head = (self._head + chunk)[:GREETING]
            if not _begins(self._head):
                what = next((f"it is {what}" for begin, what in OTHERS if self._head.startswith(begin)), "")
                self._break(what or f"it begins with {self._head!r}")
                return
        super().dataReceived(chunk)

    def malformed(self, error: Exception) -> None:
        """What came in is no PB, or over a bound."""
        self._break(f"{type(error).__name__}: {safe_str(error):.200}")

    def _break(self, why: str) -> None:
        self.refused, self.closed = why, True
        self.broken = ProtocolMismatch(f"what answers there does not speak Perspective Broker: {why}")
        if self.factory.loggedIn:
            log.warn("the server broke the protocol, the connection is closed: {why!r}", why=why)
        self._transport.abortConnection()

    def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
        """From now on every call fails at once; those that wait, now."""
        self.disconnected = 1
        if self.ended is None:
            detail = safe_str(self.broken or reason.value).rstrip(".")
            closed = self.broken is None and reason.check(ConnectionDone)
            self.ended = self._suspected or Disconnected("the server closed it" if closed else detail)
        # Before the calls that wait are told, which would have less to say.
        if self.factory.lost is not None:
            self.factory.lost(self, reason)
        super().connectionLost(reason)

    # Calls out.

    def _sendMessage(self, prefix: Any, perspective: Any, objectID: Any, message: Any, args: Any, kw: Any) -> Any:
        """As stock's; but it never raises, has a deadline, and fails with the exception itself."""
        timeout = kw.pop("pbtimeout", CALL_TIMEOUT)
        wanted = kw.get("pbanswer", True)
        if self.ended is not None:
            return fail(self.ended.again()) if wanted else None
        # A login has a deadline of its own.
        kw["pbtimeout"] = timeout if self.factory.loggedIn else None
        answer = super()._sendMessage(prefix, perspective, objectID, message, args, kw)
        if not isinstance(answer, Deferred):
            return answer
        return answer.addCallbacks(self._answered, self._failed)

    def _answered(self, result: Any) -> Any:
        # An answer, so this session lives: what ended was somebody else's, of whom the server told.
        self._suspected = None
        return result

    def _failed(self, failure: Failure) -> Failure:
        if failure.check(pb.PBConnectionLost) and self.ended is not None:
            return Failure(self.ended.again())
        error = exceptionFrom(failure, self.factory.allowed)
        if error is None:
            return failure
        if not self.factory.loggedIn and type(error) not in self.factory.mine:
            return Failure(refusalFrom(error))
        if isinstance(error, SessionEnded):
            self._suspected = error.again()
        return Failure(error)

    # Calls in.

    def proto_message(
        self, requestID: Any, objectID: Any, message: Any, answerRequired: Any, netArgs: Any, netKw: Any
    ) -> None:
        """As stock's; a goodbye that is said to the mind, or to pbkit where there is no mind, is noted."""
        mind = self.factory.mind
        if message in (b"goodbye", "goodbye"):
            named = objectID in (PBKIT, PBKIT.decode())
            known = mind is not None and _isIn(objectID, self.localObjects)
            if named or (known and self.localObjectForID(objectID) is mind):
                if self._goodbye(netArgs) and (named or not hasattr(mind, "remote_goodbye")):
                    if answerRequired:
                        self._sendAnswer(self.serialize(None), requestID)
                    return
        super().proto_message(requestID, objectID, message, answerRequired, netArgs, netKw)

    def _goodbye(self, netArgs: Any) -> bool:
        """
        :return: whether it is one: ``goodbye(reason, detail)``, the name of a class and a text.
        """
        # Read twice, here and for the mind, so it must not hold a reference, which is to be read once.
        if any(handles([b"list", netArgs])):
            return False
        args = self.unserialize(netArgs)
        if not isinstance(args, list | tuple) or not 1 <= len(args) <= 2:
            return False
        reason, detail = (_str(arg) for arg in (*args, "")[:2])
        kind = BY_NAME.get(f"pbkit.errors.{reason.rpartition('.')[2]}", SessionEnded)
        if self.ended is None:
            self.end(kind(detail) if issubclass(kind, SessionEnded) else SessionEnded(detail or reason))
        return True

    def end(self, error: SessionEnded) -> None:
        """The session is over, though the connection may last: every later call fails with this. The first stays."""
        if self.ended is None:
            self.ended = error
            self.factory.over(error)

    def close(self) -> None:
        """Close the connection when all that was written is sent."""
        if not self.disconnected:
            self._transport.loseConnection()

    def abort(self) -> None:
        """Close the connection now."""
        if not self.disconnected:
            self._transport.abortConnection()


class SessionFactory(ClientFactory):
    """
    Makes the connection of one login.

    :param clock: for every deadline.
    :param mind: what the server may call, or None.
    :param allowed: the exceptions that come back as what they were (`pbkit.client.exceptions.allowed`).
    :param lost: told of the loss of a connection, with the broker and the reason; None when nobody wants one any more.
    :ivar loggedIn: whether the login is through.
    """

    protocol: Any = SessionBroker
    #: Else each login is two lines in the log, and a log that nobody has begun keeps the last of them, brokers and all.
    noisy = False
    clock: IReactorTime

    def __init__(
        self,
        clock: IReactorTime,
        mind: Any,
        allowed: dict[str, type[Exception]],
        lost: Callable[[Any, Failure], None],
        *,
        hello: dict[str, Any] | None = None,
        **kw: Any,
    ) -> None:
        super().__init__(clock=clock, hello={**FEATURES, **(hello or {})}, **kw)
        self.mind = mind
        self.allowed = allowed
        self.lost: Callable[[Any, Failure], None] | None = lost
        #: The user's own, of these.
        self.mine: frozenset[type[Exception]] = frozenset()
        #: The connection that was made last.
        self.newest: SessionBroker | None = None
        self.over: Callable[[SessionEnded], None] = lambda error: None
        self.loggedIn = False


def _begins(head: bytes) -> bool:
    high = next((byte for byte in head if byte >= 0x80), None)
    return len(head) < GREETING if high is None else high == 0x80


def _isIn(key: Any, table: Any) -> bool:
    return isinstance(key, int) and table is not None and key in table


def _str(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else safe_str(value)
