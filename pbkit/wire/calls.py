"""
What is promised of calls, in and out: each is answered, each Deferred fires, nothing is raised at the caller.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from twisted.spread import banana, pb

from pbkit.dispatch import receive
from pbkit.errors import BadArguments, CallTimedOut, Error, InternalError, NoSuchMethod, SessionEnded
from pbkit.wire import codec
from pbkit.wire.compact import Few
from pbkit.wire.jelly.expressions import handles
from pbkit.wire.jelly.failures import receivedFailure
from pbkit.wire.lazily import EMPTY
from pbkit.wire.references import Jellying

if TYPE_CHECKING:
    from pbkit.wire.broker import Broker

#: How much is told of an error that could not be sent as it was, in characters.
CUT = 1000

log = Logger()


class Calls(Jellying):
    """
    Serves calls and makes them, with the tables of whoever derives from it: a connection, or a channel of one.

    :ivar connection: the broker that has the socket.
    :ivar waitingForAnswers: calls of ours, by request id.
    :ivar error: None while it lives; then what calls on its references are answered. A connection has none.
    """

    __slots__ = ()

    connection: Broker
    error: SessionEnded | None = None

    @property
    def keepsDeadlines(self) -> bool:
        """Whether calls may have a ``pbtimeout=``: stock's would take it for an argument of the method."""
        return self.connection.clock is not None

    # Calls in.

    def _recvMessage(
        self,
        findObjMethod: Any,
        requestID: Any,
        objectID: Any,
        message: Any,
        answerRequired: Any,
        netArgs: Any,
        netKw: Any,
    ) -> None:
        """Serve a call. As stock's, but what is no `pb.Error` stays in this house."""
        try:
            name = message if type(message) is str else _name(message)
            target = findObjMethod(objectID)
            if target is None:
                raise pb.Error("Invalid Object ID")
            # For what is answered at once.
            self.connection.answering = requestID if answerRequired else None
            result = receive(target, self, name, netArgs, netKw)
        except BaseException:
            # SystemExit too: a peer's call must not be able to stop the server.
            self._notServed(Failure(), requestID, answerRequired)
            return
        # Whether something is a Deferred takes as long to find out as two calls.
        if type(result) is not memoryview and isinstance(result, Deferred):
            weighs = self.connection.inbound.began()
            call = requestID, answerRequired
            result.addCallbacks(self._served, self._notServed, callbackArgs=call, errbackArgs=call)
            result.addBoth(self.connection.inbound.done, weighs)
        elif answerRequired:
            self._sendAnswer(result, requestID)

    def _served(self, netResult: Any, requestID: Any, answerRequired: Any) -> None:
        if answerRequired:
            self._sendAnswer(netResult, requestID)

    def _notServed(self, failure: Failure, requestID: Any, answerRequired: Any) -> None:
        if isinstance(failure.value, BadArguments | NoSuchMethod) and not self.connection.profile.hideErrors:
            # As in stock, where the log has it too.
            stock = pb.NoSuchMethod if isinstance(failure.value, NoSuchMethod) else TypeError
            text = str(failure.value)
            failure = Failure(stock(text[:1].upper() + text[1:]))
        if answerRequired:
            self._sendFailureOrError(failure, requestID)
        elif not failure.check(pb.Error, pb.PBConnectionLost):
            self.connection.peerLog.failure(log, "a call that wants no answer failed", failure)

    def answered(self, result: Any, perspective: Any, method: Any, args: Any, kw: Any) -> Any:
        """
        What a method has returned at once, for `_sendAnswer`: the jelly; or, if it is plain, a view of the bytes of
        the whole answer, which no jelly ever is.
        """
        connection = self.connection
        if connection.plain and connection.answering is not None and self.error is None:
            data = codec.encodeAnswer(connection.answering, result, connection.vocabulary, banana.SIZE_LIMIT)
            if data is not None:
                return memoryview(data)
        return self.serialize(result, perspective, method, args, kw)

    def inJelly(self) -> tuple[Any, Any]:
        """The arguments of the call that is being served as they came, for whoever serves calls in a way of its own."""
        expression = codec.decode(self.connection.message, self.connection.vocabulary)
        return expression[5], expression[6]

    def unserialize(self, sexp: Any, perspective: Any = None) -> Any:
        """As stock's. What is no list is a value already."""
        return super().unserialize(sexp, perspective) if type(sexp) is list else sexp

    def _sendFailure(self, fail: Failure, requestID: Any) -> None:
        """Of what is no `pb.Error` the caller is told where it stands in our log; in drop-in use, as stock."""
        peerLog = self.connection.peerLog
        if not self.connection.profile.hideErrors:
            # Stock's logs it, and sends it so.
            send = super()._sendFailure if peerLog.admits() else self._sendError
            send(fail, requestID)
            return
        if cast(Any, self.factory).unsafeTracebacks:
            peerLog.failure(log, "a call failed", fail)
            self._sendError(fail, requestID)
            return
        number = secrets.token_hex(4)
        peerLog.failure(log, "a call failed: internal error {number}", fail, number=number)
        self._sendError(Failure(InternalError(f"internal error {number}")), requestID)

    def _sendError(self, fail: Any, requestID: Any) -> None:
        """As stock's; one that is too large to be sent is cut."""
        try:
            super()._sendError(fail, requestID)
        except Exception as error:
            value = fail.value if isinstance(fail, Failure) else fail
            kept = f"{safe_str(value):.{CUT}} ({type(value).__name__}; it cannot be sent whole: {safe_str(error):.100})"
            super()._sendError(Failure(Error(kept)), requestID)

    def sendError(self, error: Exception, requestID: Any) -> None:
        """Answer a call with an error that is the caller's to know, and not this server's failure."""
        self._sendError(pb.CopyableFailure(error), requestID)

    def _sendAnswer(self, netResult: Any, requestID: Any) -> None:
        """As stock's; of one that cannot be sent the caller is told, where in stock it waits for ever."""
        try:
            if type(netResult) is memoryview:
                self.connection.outbound.write(cast(bytes, netResult.obj))
                return
            super()._sendAnswer(netResult, requestID)
        except Exception as error:
            self.connection.peerLog.failure(log, "an answer cannot be sent")
            self._sendError(Failure(Error(f"the answer cannot be sent: {safe_str(error):.{CUT}}")), requestID)
            # Last: it may have been all that the session held, which then ends.
            self.takeBack(sum(handles(netResult), []))

    # Calls out.

    def _sendMessage(self, prefix: Any, perspective: Any, objectID: Any, message: Any, args: Any, kw: Any) -> Any:
        """
        As stock's; but it does not raise, and each Deferred fires. What cannot be sent leaves nothing behind.

        In `kw`, beside stock's ``pbanswer``: ``pbtimeout``, in seconds; None is without a deadline.
        """
        connection = self.connection
        profile = connection.profile
        answerRequired = kw.pop("pbanswer", 1)
        callback, errback = kw.pop("pbcallback", None), kw.pop("pberrback", None)
        timeout = kw.pop("pbtimeout", profile.calls.timeout)
        error = self.dead()
        if error is not None:
            if profile.raiseOnDead:
                raise error
            return fail(error) if answerRequired else None
        net: list[Any] = []
        requestID = 0
        answer: Deferred[Any] | None = None
        tail = None
        try:
            if connection.plain:
                tail = codec.encodeTail(message, answerRequired, args, kw, connection.vocabulary, banana.SIZE_LIMIT)
            if tail is None:
                net.append(self.serialize(args, perspective=perspective, method=message))
                net.append(self.serialize(kw, perspective=perspective, method=message))
            requestID = connection.newRequestID()
            if answerRequired:
                answer = Deferred(lambda _: self._givenUp(requestID))
                if self.waitingForAnswers is EMPTY:
                    self.waitingForAnswers = Few()
                self.waitingForAnswers[requestID] = answer
                if connection.callers is EMPTY:
                    connection.callers = Few()
                connection.callers[requestID] = self
            data = None
            if tail is not None:
                data = codec.splice(prefix, requestID, objectID, tail, connection.vocabulary, banana.SIZE_LIMIT)
            if data is not None:
                connection.outbound.write(data)
            else:
                self.sendCall(prefix + b"message", requestID, objectID, message, answerRequired, *net)
        except Exception:
            self._forget(requestID)
            self.takeBack(sum(handles([b"list", *net]), []))
            return fail(Failure())
        if answer is not None:
            if timeout is not None:
                connection.setDeadline(requestID, timeout)
            if callback or errback:
                answer.addCallbacks(callback or _same, errback)
        return answer

    def _forget(self, requestID: Any) -> Deferred[Any] | None:
        """Nobody waits for this answer any more, so nothing is kept for it; it may still come."""
        self.connection.callerOf(requestID)
        waiting: Deferred[Any] | None = self.waitingForAnswers.pop(requestID, None) if self.waitingForAnswers else None
        return waiting

    def _givenUp(self, requestID: int) -> None:
        self._forget(requestID)

    def expired(self, requestID: int, timeout: float) -> None:
        """The deadline of a call has come."""
        answer = self._forget(requestID)
        if answer is not None:
            answer.errback(Failure(CallTimedOut(f"no answer within {timeout:g} s")))

    def proto_answer(self, requestID: Any, netResult: Any) -> None:
        """An answer that somebody waits for. One that cannot be read fails, where stock's never fires."""
        answer = self.waitingForAnswers.pop(requestID)
        try:
            result = self.unserialize(netResult)
        except Exception:
            answer.errback(Failure())
        else:
            answer.callback(result)

    def proto_error(self, requestID: Any, fail: Any) -> None:
        """An error that somebody waits for."""
        answer = self.waitingForAnswers.pop(requestID)
        try:
            error = self.unserialize(fail)
            # In drop-in use a program may look at its very class.
            stock = isinstance(error, Failure) and not self.connection.profile.hideErrors
            failure = error if stock else receivedFailure(error)
        except Exception:
            failure = Failure()
        answer.errback(failure)


class _Shared:
    """What a Deferred brings, for as many callers as it is handed to. Whose it is keeps its result."""

    __slots__ = ("_done", "_outcome", "_source", "_waiting")

    def __init__(self, source: Deferred[Any]) -> None:
        self._done = False
        self._outcome: Any = None
        self._source = source
        self._waiting: list[Deferred[Any]] = []
        source.addBoth(self._fire)

    def wait(self) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred(lambda _: self._source.cancel())
        if self._done:
            _bring(waiting, self._outcome)
        else:
            self._waiting.append(waiting)
        return waiting

    def _fire(self, outcome: Any) -> Any:
        self._done, self._outcome = True, outcome
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            _bring(each, outcome)
        # An error has been told to those who asked; else it would be logged as one that nobody looked at.
        return None if isinstance(outcome, Failure) else outcome


def _bring(waiting: Deferred[Any], outcome: Any) -> None:
    if not waiting.called:
        waiting.errback(outcome) if isinstance(outcome, Failure) else waiting.callback(outcome)


def shared(result: Any) -> Deferred[Any]:
    """
    A method's answer that is yet to come. Stock makes jelly of the Deferred itself, so that a second caller that
    is handed the same one is answered None.

    :param result: a Deferred or a coroutine.
    :return: a Deferred of one's own.
    """
    if not isinstance(result, Deferred):
        return Deferred.fromCoroutine(result)
    known: _Shared | None = getattr(result, "_pbkitShared", None)
    if known is None:
        known = _Shared(result)
        result._pbkitShared = known  # type: ignore[attr-defined]
    return known.wait()


def _name(message: Any) -> str:
    try:
        return message if isinstance(message, str) else str(message, "utf-8")
    except (TypeError, UnicodeDecodeError):
        raise NoSuchMethod("no such method: a name is a text") from None


def _same(result: Any) -> Any:
    return result
