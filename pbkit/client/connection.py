"""
`SessionBroker` and `SessionFactory`: the connection of one `pbkit.connect` login.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, IReactorTime, ISSLTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from twisted.spread import pb
from zope.interface import implementer

from pbkit.client.exceptions import allowed, exceptionFrom, refusalFrom
from pbkit.client.factory import ClientFactory
from pbkit.errors import BY_NAME, Disconnected, ProtocolMismatch, SessionEnded, TooLarge
from pbkit.wire.broker import Broker
from pbkit.wire.jelly.expressions import handles
from pbkit.wire.peer import abort
from pbkit.wire.prelogin.state import loginLimits
from pbkit.wire.profile import Profile
from pbkit.wire.wellknown import PBKIT

#: How many bytes of a greeting are checked. A PB server sends first, and begins with a short list: one or two bytes of
#: length, then 0x80.
GREETING = 5

#: How servers of other protocols begin.
OTHERS = (
    (b"HTTP", "an HTTP server"),
    (b"SSH-", "an SSH server"),
    (b"\x15\x03", "a TLS server: use a tls: endpoint"),
)

#: What these clients declare in their hello: that they note a goodbye.
FEATURES = {"goodbye": True}

#: The last call of a login, by its mechanism.
_LAST_OF_LOGIN = ("respond", b"respond", "loginAnonymous", b"loginAnonymous")

log = Logger()


@implementer(IHandshakeListener)
class SessionBroker(Broker):
    """
    The client's end of a connection with one login. All references that arrive over it, however deep in an answer, make
    their calls through `_sendMessage`, so that method keeps the promises about calls.

    :ivar ended: why the session has ended, or None.
    :ivar spoken: True once the server has sent anything.
    :ivar broken: how the server broke the protocol, or None.
    """

    factory: Any
    ended: SessionEnded | None = None
    spoken = False
    _head = b""
    broken: ProtocolMismatch | None = None
    _handshaken = False
    _suspected: SessionEnded | None = None
    _responded = False

    def connectionMade(self) -> None:
        """Begin; or abort, if the login was cancelled meanwhile: not every endpoint can be cancelled."""
        if self.factory.lost is None:
            abort(self.transport)
        self.factory.newest = self
        super().connectionMade()
        self.inbound.limit(*loginLimits(self.profile.gate, self.profile.calls, True))

    @property
    def _transport(self) -> Any:
        return self.transport

    @property
    def handshaking(self) -> bool:
        """True while a TLS handshake is not complete."""
        return not self._handshaken and ISSLTransport.providedBy(self.transport)

    def handshakeCompleted(self) -> None:
        """Note that the TLS handshake is complete: see `IHandshakeListener`."""
        self._handshaken = True

    @property
    def greeted(self) -> bool:
        """True once the server has sent a Perspective Broker greeting."""
        return bool(self.currentDialect)

    def dataReceived(self, chunk: bytes) -> None:
        """Receive a chunk. Data that is not PB closes the connection, with one line instead of a traceback."""
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

    def passesOver(self, error: TooLarge) -> bool:
        """Return whether a message that exceeds a limit costs one call only: not before the credentials are sent."""
        return self._responded and super().passesOver(error)

    def malformed(self, error: Exception) -> None:
        """Close the connection: what the server sent is not PB, or exceeds a limit."""
        self._break(f"{type(error).__name__}: {safe_str(error):.200}")

    def _break(self, why: str) -> None:
        self.refused, self.closed = why, True
        self.broken = ProtocolMismatch(f"the server does not speak Perspective Broker: {why}")
        if self.factory.loggedIn:
            log.warn("closed the connection: the server broke the protocol: {why}", why=why)
        abort(self.transport)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Fail the pending calls, and from now on every other call."""
        self.disconnected = 1
        if self.ended is None:
            detail = safe_str(self.broken or reason.value).rstrip(".")
            closed = self.broken is None and reason.check(ConnectionDone)
            self.ended = self._suspected or Disconnected("the server closed it" if closed else detail)
        # Report the loss before the pending calls fail: their errors would say less about the reason.
        if self.factory.lost is not None:
            self.factory.lost(self, reason)
        super().connectionLost(reason)

    # Calls out.

    def _sendMessage(
        self,
        prefix: bytes,
        perspective: object,
        objectID: object,
        message: str | bytes,
        args: tuple[Any, ...],
        kw: dict[str, Any],
    ) -> Any:
        """Send a call. Unlike stock's, never raises, has a deadline, and fails with the exception itself."""
        timeout = kw.pop("pbtimeout", self.profile.calls.timeout)
        wanted = kw.get("pbanswer", True)
        if self.ended is not None:
            return fail(self.ended.again()) if wanted else None
        if not self._responded and message in _LAST_OF_LOGIN:
            # From now on the server may call the mind, and answer with anything.
            self._responded = True
            self.inbound.limit(self.profile.limits, self.profile.calls)
        # connect() keeps the deadline of a login.
        kw["pbtimeout"] = timeout if self.factory.loggedIn else None
        answer = super()._sendMessage(prefix, perspective, objectID, message, args, kw)
        if not isinstance(answer, Deferred):
            return answer
        # A call that could not be sent has failed already.
        return answer.addCallbacks(self._answered, self._failed, errbackArgs=(not answer.called,))

    def _answered(self, result: object) -> object:
        # The server answered, so the session lives. The SessionEnded before was about another session.
        self._suspected = None
        return result

    def _failed(self, failure: Failure, sent: bool) -> Failure:
        if failure.check(pb.PBConnectionLost) and self.ended is not None:
            return Failure(self.ended.again())
        error = exceptionFrom(failure, self.factory.allowed)
        if error is None:
            if sent and not self.factory.loggedIn:
                return Failure(_odd(safe_str(failure.value)))
            return failure
        if not self.factory.loggedIn and type(error) not in self.factory.mine:
            return Failure(refusalFrom(error))
        if isinstance(error, SessionEnded):
            self._suspected = error.again()
        return Failure(error)

    # Calls in.

    def proto_message(
        self,
        requestID: object,
        objectID: object,
        message: object,
        answerRequired: object,
        netArgs: object,
        netKw: object,
    ) -> None:
        """Serve a call. Note a goodbye, which the server sends to the mind, or to the object ``pbkit`` without one."""
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

    def _goodbye(self, netArgs: object) -> bool:
        """
        Note a goodbye.

        :return: whether it is one: ``goodbye(reason, detail)``, the name of a class and a text.
        """
        # The arguments are read here and again for the mind. A reference must be read once only.
        if any(handles([b"list", netArgs])):
            return False
        args = self.unserialize(netArgs)
        if not isinstance(args, list | tuple) or not 1 <= len(args) <= 2:
            return False
        if not all(isinstance(arg, str | bytes) for arg in args):
            return False
        reason, detail = (_str(arg) for arg in (*args, "")[:2])
        kind = BY_NAME.get(f"pbkit.errors.{reason.rpartition('.')[2]}", SessionEnded)
        if self.ended is None:
            self.end(kind(detail) if issubclass(kind, SessionEnded) else SessionEnded(detail or reason))
        return True

    def end(self, error: SessionEnded) -> None:
        """End the session, unless it has ended before. Every later call fails with `error`; the connection may last."""
        if self.ended is None:
            self.ended = error
            self.factory.over(error)

    def close(self) -> None:
        """Close the connection once everything written has been sent."""
        if not self.disconnected:
            self._transport.loseConnection()

    def abort(self) -> None:
        """Close the connection now."""
        if not self.disconnected:
            abort(self.transport)


class SessionFactory(ClientFactory):
    """
    Creates the connection of one login.

    :param clock: for every deadline.
    :param mind: what the server can call, or None.
    :param allow: the user's own exception classes that the server may raise.
    :param lost: called with the broker and the reason when the connection is lost.
    :param hello: what this client declares.
    :param profile: the limits, and how strict the client is.
    :ivar allowed: the exceptions that are raised as what they are: see `pbkit.client.exceptions.allowed`.
    :ivar mine: those among them that are the user's own.
    :ivar lost: as the parameter; None once the login was given up.
    :ivar newest: the connection that was made last.
    :ivar over: called when the session ends.
    :ivar loggedIn: True once the login has succeeded.
    :raises TypeError: if `allow` contains something that is not an exception class.
    """

    protocol: Any = SessionBroker
    #: Otherwise each login would log two lines, and a log that is not started keeps the last lines, brokers and all.
    noisy = False
    clock: IReactorTime

    def __init__(
        self,
        clock: IReactorTime,
        mind: object,
        allow: Iterable[type[Exception]],
        lost: Callable[[SessionBroker, Failure], None],
        *,
        hello: Mapping[str, object] | None = None,
        profile: Profile | None = None,
    ) -> None:
        super().__init__(clock=clock, hello={**FEATURES, **(hello or {})}, profile=profile)
        self.mind = mind
        self.mine = frozenset(allow)
        self.allowed = allowed(self.mine)
        self.lost: Callable[[SessionBroker, Failure], None] | None = lost
        self.newest: SessionBroker | None = None
        self.over: Callable[[SessionEnded], None] = lambda error: None
        self.loggedIn = False

    def _cbResponse(self, challenges: object, password: bytes, client: object) -> Any:
        """Answer the challenge, if it is one."""
        if isinstance(challenges, tuple | list) and len(challenges) == 2:
            challenge, challenger = challenges
            if isinstance(challenge, bytes) and isinstance(challenger, pb.RemoteReference):
                return super()._cbResponse(challenges, password, client)
        raise _odd(f"expected a challenge and a reference, got {type(challenges).__name__}")


def _odd(why: str) -> ProtocolMismatch:
    return ProtocolMismatch(f"the server gave an invalid answer to the login: {why}")


def _begins(head: bytes) -> bool:
    high = next((byte for byte in head if byte >= 0x80), None)
    return len(head) < GREETING if high is None else high == 0x80


def _isIn(key: object, table: Mapping[int, object] | None) -> bool:
    return isinstance(key, int) and table is not None and key in table


def _str(value: str | bytes) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
