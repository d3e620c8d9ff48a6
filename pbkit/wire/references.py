"""
The tables of references, and the calls that go through them: what a connection and a channel have in common.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import fullyQualifiedName, safe_str
from twisted.spread import banana, pb

from pbkit.dispatch import receive
from pbkit.errors import BadArguments, CallTimedOut, CannotSend, Error, InternalError, NoSuchMethod, SessionEnded
from pbkit.plain import TEXT
from pbkit.wire import codec
from pbkit.wire.calls import SentFailure, methodName, passedOn, shared
from pbkit.wire.compact import LazyTable
from pbkit.wire.connection import Connection, References, Waiting
from pbkit.wire.jelly.expressions import handles
from pbkit.wire.jelly.failures import ReceivedFailure, receivedFailure
from pbkit.wire.jelly.jellier import CacheObserver, Jellier
from pbkit.wire.jelly.unjellier import Unjellier

#: The most bytes of an error's text before login, and of an error that says why an answer cannot be sent.
CUT = 1000

#: How stock makes jelly of an object that is sent by reference.
_BY_REFERENCE: Any = pb.Referenceable.jellyFor

#: Finds the object that a call is on, by the id that was sent.
Find: TypeAlias = Callable[[Any], object]

#: What may be replaced by a SentFailure: not a subclass of a program's own, which may have state of its own.
_FAILURES = frozenset((Failure, pb.CopyableFailure, pb.CopiedFailure, ReceivedFailure))

log = Logger()


class Invoker(pb.Broker):
    """
    One set of reference tables, and the calls through them: all of stock's Broker but the socket.

    Jelly calls the object whose tables it uses its invoker, and so does this class. There are two: a connection
    (`pbkit.wire.broker.Broker`) and a channel of one (`pbkit.wire.channel.Channel`). References that a message carries
    belong to the invoker that the message was made or read with.

    :ivar connection: the connection that has the socket; a connection is its own.
    :ivar error: None, then what calls on references of this channel are answered. A connection keeps None.
    :ivar minted: the ids that were added to the message under construction, or None if it needs no rollback.
    """

    __slots__ = (
        "_cleanups",
        "_disconnects",
        "_localObjects",
        "_luids",
        "_remotelyCachedLUIDs",
        "_remotelyCachedObjects",
        "jellyArgs",
        "jellyKw",
        "jellyMethod",
        "minted",
        "serializingPerspective",
        "unserializingPerspective",
        "waitingForAnswers",
    )

    if TYPE_CHECKING:
        connection: Connection
        waitingForAnswers: Waiting  # type: ignore[assignment]
        localObjects: References  # type: ignore[assignment]
    else:
        localObjects = LazyTable("_localObjects", dict)

    disconnects: Any = LazyTable("_disconnects", list)
    luids: Any = LazyTable("_luids", dict)
    remotelyCachedObjects: Any = LazyTable("_remotelyCachedObjects", dict)
    remotelyCachedLUIDs: Any = LazyTable("_remotelyCachedLUIDs", dict)
    _localCleanup: Any = LazyTable("_cleanups", dict)

    disconnected: Any = 0
    error: SessionEnded | None = None

    def __init__(self) -> None:
        # Not stock's __init__, which makes all tables at once: 3.5 KB for each connection and each channel.
        self.minted: list[int] | None = None
        self.unserializingPerspective: Any = None
        self.serializingPerspective: Any = None
        self.jellyMethod = self.jellyArgs = self.jellyKw = None

    # Equal to itself only, and ordered. Stock compares the brokers of two references, or of two observers of a copy;
    # and the broker of one reference with another reference, if their brokers differ.

    def __lt__(self, other: object) -> bool:
        return id(self) < id(_brokerOf(other))

    def __gt__(self, other: object) -> bool:
        return id(self) > id(_brokerOf(other))

    @property
    def keepsDeadlines(self) -> bool:
        """True if calls may have a ``pbtimeout=``. Stock's Broker passes it on to the method as an argument."""
        return self.connection.clock is not None

    # Objects to jelly.

    def serialize(
        self, object: object, perspective: object = None, method: object = None, args: object = None, kw: object = None
    ) -> Any:
        """As stock's, and also for coroutines and for a Deferred that several callers wait for."""
        if isinstance(object, Deferred) or iscoroutine(object):
            return shared(object).addCallback(self.serializeLater, perspective, method, args, kw)
        return self.jellied(object, perspective, method, args, kw)

    def serializeLater(self, result: object, perspective: object, method: object, args: object, kw: object) -> object:
        """Serialize the result of a Deferred; not after the loss, when no reference can be handed out."""
        return None if self.disconnected else self.serialize(result, perspective, method, args, kw)

    def jellied(self, object: object, perspective: object, method: object, args: object, kw: object) -> object:
        """
        Make jelly of an object that is no Deferred. If that fails half way, take back all references made for it.

        :raises CannotSend: it, or something in it, cannot be sent.
        """
        if getattr(type(object), "jellyFor", None) is _BY_REFERENCE:
            # The most frequent case of what is not plain data. The reference is all of the jelly, so if it cannot be
            # made there is nothing to take back.
            outer, self.minted = self.minted, None
            try:
                return b"remote", self.registerReference(cast(pb.Referenceable, object))
            finally:
                self.minted = outer
        # Stock resets these to None, so a call from inside a getStateToCopyFor would lose the perspective.
        around = self.serializingPerspective, self.jellyMethod, self.jellyArgs, self.jellyKw, self.minted
        minted: list[int] = []
        self.minted = minted
        self.serializingPerspective = perspective
        self.jellyMethod, self.jellyArgs, self.jellyKw = method, args, kw
        try:
            return Jellier(self).jelly(object)
        except Exception as error:
            # The other end never hears of these references, so it would never release them.
            self.takeBack(minted)
            refused = error if self.connection.profile.stockJelly else _cannotSend(error)
            if isinstance(refused, CannotSend) and callable(method):
                # The caller gets the error as well, but only the author of the method can correct it.
                self._logNoAnswer(method, str(refused))
            if refused is error:
                raise
            raise refused from None
        finally:
            self.serializingPerspective, self.jellyMethod, self.jellyArgs, self.jellyKw, self.minted = around

    def _logNoAnswer(self, method: object, why: str) -> None:
        peerLog = self.connection.peerLog
        if peerLog.admits():
            # As text, because a log observer that keeps events would keep the method's object, and all it refers to.
            name, why = str(fullyQualifiedName(getattr(method, "__func__", method))), peerLog.escaped(why)
            log.warn("{method} gave {peer} no answer: {why}", method=name, peer=str(self.connection.peer), why=why)

    def registerReference(self, object: pb.Serializable) -> object:
        """
        As stock's, with the profile's limit. Over stock's limit the connection is lost, with all its sessions.

        :raises Error: the other end already holds as many references as it may.
        """
        most = self.connection.profile.calls.references
        if most is None:
            luid = super().registerReference(object)
        else:
            puid = object.processUniqueID()
            luid = self.luids.get(puid)
            if luid is not None:
                self.localObjects[luid].incref()
            elif len(self.localObjects) + len(self.remotelyCachedObjects) >= most:
                raise self.full(most)
            else:
                luid = self.newLocalID()
                self.localObjects[luid] = pb.Local(object)
                self.luids[puid] = luid
        self._mint(luid)
        return luid

    def _mint(self, luid: int) -> None:
        if self.minted is not None:
            self.minted.append(luid)

    def takeBack(self, luids: list[int]) -> None:
        """Drop the references that were made for a message that is not sent."""
        for luid in luids:
            if luid in self.localObjects:
                self.proto_decref(luid)
            elif luid in self.remotelyCachedObjects:
                self.decache(luid)

    def full(self, most: int) -> Exception:
        """
        Return the error for a call that would make the other end hold more than `most` references. A channel also ends.
        """
        raise NotImplementedError

    # Jelly to objects.

    def unserialize(self, sexp: object, perspective: object = None) -> Any:
        """
        As stock's. If it fails, the references in the expression are given back to the other end. Anything but a list
        is a value already.

        :raises BadValue: it is not an expression that jelly makes.
        :raises ClassRefused: it holds an instance of a class that is not accepted.
        """
        if type(sexp) is not list:
            return sexp
        outer = self.unserializingPerspective
        self.unserializingPerspective = perspective
        unjellier = Unjellier(self)
        try:
            return unjellier.unjellyFull(sexp)
        except Exception:
            self.giveBackIds(*unjellier.unmade())
            raise
        finally:
            self.unserializingPerspective = outer

    def refusing(self, name: str) -> None:
        """Log that an instance of a class was refused, and how the operator can accept that class."""
        peerLog = self.connection.peerLog
        if not peerLog.admits():
            return
        name = peerLog.escaped(name)
        listed = f"allow={{'{name}'}} for this server, and " if self.connection.registry.closed else ""
        log.warn(
            "an instance of '{name}' from {peer} is refused; what would accept it: {listed}a class that is registered "
            "for it with pb.setUnjellyableForClass",
            name=name,
            peer=str(self.connection.peer),
            listed=listed,
        )

    def giveBack(self, sexp: object) -> None:
        """Let the other end forget the references in an expression that is not read."""
        self.giveBackIds(*handles(sexp))

    def giveBackIds(self, references: list[int], caches: list[int]) -> None:
        """Let the other end forget references and copies of Cacheables, each once."""
        if not self.disconnected:
            for luid in references:
                self.sendDecRef(luid)
            for luid in caches:
                self.decCacheRef(luid)

    # Cacheables: one copy for each client that looks at an object, and each copy ends once.

    def cacheLocally(self, cid: object, instance: object) -> None:
        """
        As stock's, with the profile's limit.

        :raises Error: this end already keeps as many copies for the connection as it may.
        """
        most = self.connection.profile.calls.references
        if most is not None and cid not in self.locallyCachedObjects and len(self.locallyCachedObjects) >= most:
            raise Error(f"more than {most} copies of Cacheables are kept here for this connection")
        super().cacheLocally(cid, instance)

    def hasLocally(self, luid: object, copy: object = None) -> bool:
        """
        Return whether there is a copy of a Cacheable of the other end under this id.

        :param copy: if given, whether it is this one.
        """
        found = self.locallyCachedObjects.get(luid)
        return found is not None and (copy is None or found is copy)

    def cacheKey(self, instance: pb.Cacheable, perspective: object) -> object:
        """
        Return the key of the copy of an object in `remotelyCachedLUIDs`.

        Two users on one connection each have a copy of their own, as the object may show each of them another state.
        """
        return instance.processUniqueID(), id(perspective)

    def cachedFor(self, instance: pb.Cacheable, perspective: object) -> int | None:
        """Return the id of the copy of an object that a user has, or None."""
        return (self.remotelyCachedLUIDs or {}).get(self.cacheKey(instance, perspective))

    def cachedRemotelyAs(self, instance: pb.Cacheable, incref: object = 0) -> int | None:
        """As stock's, for the user that the message under construction is for."""
        luid = self.cachedFor(instance, self.serializingPerspective)
        if incref and luid is not None:
            local = self.remotelyCachedObjects[luid]
            if local.leaving:
                return None
            local.incref()
            self._mint(luid)
        return luid

    def cacheRemotely(self, instance: pb.Cacheable) -> int:
        """As stock's, for the user that the message under construction is for, with the limit for references."""
        most = self.connection.profile.calls.references
        if most is not None and len(self.localObjects) + len(self.remotelyCachedObjects) >= most:
            raise self.full(most)
        luid: int = super().cacheRemotely(instance)
        key = self.cacheKey(instance, self.serializingPerspective)
        self.remotelyCachedLUIDs[key] = self.remotelyCachedLUIDs.pop(instance.processUniqueID())
        local = self.remotelyCachedObjects[luid]
        local.key, local.leaving = key, False
        local.observer = CacheObserver(self, instance, self.serializingPerspective)
        self._mint(luid)
        return luid

    @contextmanager
    def beginning(self, luid: int, observer: CacheObserver) -> Iterator[None]:
        """Wrap the request for a Cacheable's state: the copy is observed once that has returned, and not before."""
        local = self.remotelyCachedObjects[luid]
        local.observer = None
        yield
        local.observer = observer
        if (self.remotelyCachedObjects or {}).get(luid) is not local:
            # The Cacheable ended the session itself, or called code that did.
            self.stopObserving(local)

    def decache(self, luid: int) -> bool:
        """Release one copy of a Cacheable of this end; return True if it was the last."""
        local = self.remotelyCachedObjects[luid]
        if local.decref():
            return False
        # Before it leaves the table, so that a last call on the copy still goes through, as with stock. Meanwhile the
        # object may be sent anew, as another copy, and the session or the connection may end.
        local.leaving = True
        self.stopObserving(local)
        (self.remotelyCachedObjects or {}).pop(luid, None)
        if (self.remotelyCachedLUIDs or {}).get(local.key) == luid:
            del self.remotelyCachedLUIDs[local.key]
        return True

    def proto_decache(self, objectID: Any) -> None:
        """As stock's, but ignored if there is no such copy."""
        local = self.remotelyCachedObjects.get(objectID)
        if local is not None and not local.leaving and self.decache(objectID):
            self.sendCall(b"uncache", objectID)

    def stopObserving(self, local: Any) -> None:
        """Tell a Cacheable once that it is no longer observed, if it ever was."""
        observer = local.observer
        local.observer = None
        if observer is not None:
            self.guarded(local.object.stoppedObserving, observer.perspective, observer)

    # Calls in.

    def _recvMessage(
        self,
        findObjMethod: Find,
        requestID: object,
        objectID: object,
        message: object,
        answerRequired: object,
        netArgs: object,
        netKw: object,
    ) -> None:
        """Serve a call. Unlike stock's, tells the caller nothing about exceptions that are no `pb.Error`."""
        try:
            name = message if type(message) is str else methodName(message)
            target = findObjMethod(objectID)
            if target is None:
                raise pb.Error("Invalid Object ID")
            # `answered` reads this if the method returns at once.
            self.connection.answering = requestID if answerRequired else None
            result = receive(target, self, name, netArgs, netKw)
        except BaseException:
            # Including SystemExit: a call of a peer must not be able to stop the server.
            failure = Failure()
            if self.connection.isClient:
                self.connection.logUnfit(message, failure)
            self._notServed(failure, requestID, answerRequired, message)
            # The traceback of the failure refers to this frame, so the variable makes a cycle, which would keep the
            # objects of the call until the next garbage collection.
            del failure
            return
        # The type is compared first because isinstance of a Deferred takes as long as two calls.
        if type(result) is not memoryview and isinstance(result, Deferred):
            weighs = self.connection.inbound.began()
            call = requestID, answerRequired
            result.addCallbacks(self._served, self._notServed, callbackArgs=call, errbackArgs=(*call, message))
            result.addBoth(self.connection.inbound.done, weighs)
        elif answerRequired:
            self._sendAnswer(result, requestID)

    def _served(self, netResult: object, requestID: object, answerRequired: object) -> None:
        if answerRequired:
            self._sendAnswer(netResult, requestID)

    def _notServed(self, failure: Failure, requestID: object, answerRequired: object, method: object) -> None:
        if isinstance(failure.value, BadArguments | NoSuchMethod) and not self.connection.profile.hideErrors:
            # In drop-in use the caller and the log get what they get from stock.
            stock = pb.NoSuchMethod if isinstance(failure.value, NoSuchMethod) else TypeError
            text = str(failure.value)
            failure = Failure(stock(text[:1].upper() + text[1:]))
        failure = passedOn(failure)
        if answerRequired:
            self._sendFailureOrError(failure, requestID, method)
        elif not failure.check(pb.Error, pb.PBConnectionLost):
            self.connection.peerLog.failure(log, "a call that wants no answer failed", failure)

    def answered(self, result: object, perspective: object, method: object, args: object, kw: object) -> object:
        """
        Return what a method has returned at once, in the form that `_sendAnswer` takes.

        :return: jelly; or, of plain data, a memoryview of the encoded answer. Jelly is never a memoryview.
        """
        connection = self.connection
        if connection.plain and connection.answering is not None and self.error is None:
            data = codec.encodeAnswer(connection.answering, result, connection.vocabulary, banana.SIZE_LIMIT)
            if data is not None:
                return memoryview(data)
        return self.serialize(result, perspective, method, args, kw)

    def inJelly(self) -> tuple[Any, Any]:
        """Return the arguments of the call that is being served in jelly, for objects that read them themselves."""
        expression = codec.decode(self.connection.message, self.connection.vocabulary)
        return expression[5], expression[6]

    def _sendAnswer(self, netResult: object, requestID: object) -> None:
        """As stock's. If the answer cannot be sent the caller gets an error; stock's caller waits forever."""
        if self.connection.disconnected:
            # As with stock, the log has nothing of this, also if the answer could not have been sent.
            return
        try:
            if type(netResult) is memoryview:
                self.connection.outbound.write(netResult.obj)  # type: ignore[arg-type]
                return
            super()._sendAnswer(netResult, requestID)
        except Exception as error:
            self.connection.peerLog.failure(log, "an answer cannot be sent")
            self._sendError(Failure(Error(f"the answer cannot be sent: {safe_str(error):.{CUT}}")), requestID)
            # Last, because these may have been the last references of the session, which then ends.
            self.takeBack(sum(handles(netResult), []))

    def _sendFailureOrError(self, fail: Failure, requestID: object, method: object = "") -> None:
        """As stock's, with the name of the method that was called, for the log."""
        if fail.check(pb.Error):
            self._sendError(fail, requestID)
        else:
            self._sendFailure(fail, requestID, method)

    def whose(self) -> str:
        """Return for whom calls are served here, for the log."""
        return str(self.connection.peer)

    def _sendFailure(self, fail: Failure, requestID: object, method: object = "") -> None:
        """Answer an exception that is no `pb.Error` with an error id, and log it under that id; in drop-in as stock."""
        peerLog = self.connection.peerLog
        if not self.connection.profile.hideErrors:
            # Stock's method logs the failure and sends it.
            send = super()._sendFailure if peerLog.admits() else self._sendError
            send(fail, requestID)
            return
        if cast(Any, self.factory).unsafeTracebacks:
            peerLog.failure(log, "a call failed", fail)
            self._sendError(fail, requestID)
            return
        number = secrets.token_hex(4)
        name = method if isinstance(method, str | bytes) else ""
        peerLog.failure(
            log,
            "a call failed: internal error {number} in {method}, called by {whose}",
            fail,
            number=number,
            method=peerLog.escaped(name),
            whose=self.whose(),
        )
        end = "client" if self.connection.isClient else "server"
        self._sendError(Failure(InternalError(f"internal error {number}: the log of the {end} says more")), requestID)

    def _sendError(self, fail: object, requestID: object) -> None:
        """As stock's, but each error can be sent, and nothing of the server's is in it."""
        if isinstance(fail, Failure) and type(fail) in _FAILURES:
            value = fail.value
            if not (isinstance(value, pb.Jellyable) or self.security.isClassAllowed(type(value))):
                self._sendText(fail, requestID)
                return
        try:
            super()._sendError(fail, requestID)
        except Exception:
            # An exception that is sent as an object, or a CopyableFailure of the program's own, with its own state.
            self._sendText(fail if isinstance(fail, Failure) else Failure(cast(BaseException, fail)), requestID)

    def _sendText(self, failure: Failure, requestID: object) -> None:
        """Answer a call with the class and the text of an exception."""
        connection = self.connection
        if not connection.profile.hideErrors:
            most = banana.SIZE_LIMIT
        else:
            # Before login a client accepts small messages only.
            most = CUT if connection.prelogin.closed else TEXT
        sent = SentFailure(failure, most)
        sent.unsafeTracebacks = cast(Any, self.factory).unsafeTracebacks
        self.sendCall(b"error", requestID, self.serialize(sent))

    def sendError(self, error: Exception, requestID: object) -> None:
        """Answer a call with an error of pbkit's own, which is not logged."""
        self._sendError(Failure(error), requestID)

    # Calls out.

    def dead(self) -> Exception | None:
        """Return why no call can be made any more, or None."""
        raise NotImplementedError

    def _sendMessage(
        self,
        prefix: bytes,
        perspective: object,
        objectID: object,
        message: str | bytes,
        args: tuple[Any, ...],
        kw: dict[str, Any],
    ) -> Deferred[Any] | None:
        """
        As stock's, but never raises, and each Deferred fires. A call that cannot be sent leaves nothing in the tables.

        `kw` may have ``pbtimeout``, in seconds, as well as stock's ``pbanswer``; None sets no deadline.
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
                self.waitingForAnswers[requestID] = answer
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

    def _forget(self, requestID: int) -> Deferred[Any] | None:
        """Stop waiting for an answer. It may still arrive, and is dropped then."""
        self.connection.callerOf(requestID)
        return self.waitingForAnswers.pop(requestID, None) if self.waitingForAnswers else None

    def _givenUp(self, requestID: int) -> None:
        self._forget(requestID)

    def expired(self, requestID: int, timeout: float) -> None:
        """Fail a call whose deadline has passed."""
        answer = self._forget(requestID)
        if answer is not None:
            answer.errback(Failure(CallTimedOut(f"no answer within {timeout:g} s")))

    def proto_answer(self, requestID: object, netResult: object) -> None:
        """Receive an answer that is waited for. If it cannot be read the Deferred fails; stock's never fires."""
        answer = self.waitingForAnswers.pop(requestID)
        try:
            result = self.unserialize(netResult)
        except Exception:
            answer.errback(Failure())
        else:
            answer.callback(result)

    def proto_error(self, requestID: object, fail: object) -> None:
        """Receive the error of a call that is waited for."""
        answer = self.waitingForAnswers.pop(requestID)
        try:
            error = self.unserialize(fail)
            # In drop-in use a program may compare the very class of the failure.
            stock = isinstance(error, Failure) and not self.connection.profile.hideErrors
            failure = error if stock else receivedFailure(error)
        except Exception:
            failure = Failure()
        answer.errback(failure)
        # Break the cycle of this frame, the failure and its traceback.
        del failure

    # The end.

    def connectionLost(self, reason: object) -> None:  # type: ignore[override]
        """As stock's, but gives a Cacheable the observer that it knows."""
        self.disconnected = 1
        observed, self.remotelyCachedObjects = self.remotelyCachedObjects, {}
        for local in observed.values():
            self.stopObserving(local)
        super().connectionLost(reason)

    def guarded(self, f: Callable[..., object], *args: object) -> None:
        """Call code of the user's. An exception is logged, and everything else goes on."""
        try:
            f(*args)
        except Exception:
            self.connection.peerLog.failure(log, "a callback for the end of a channel raised")


def _cannotSend(error: Exception) -> Exception:
    """Return an error that says what is wrong with an object, for the errors that say it in terms of Python."""
    if isinstance(error, RecursionError):
        return CannotSend("an object that is nested too deep, or contains itself, cannot be sent")
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        return CannotSend("a text with half of a surrogate pair cannot be sent: it is not UTF-8")
    return error


def _brokerOf(other: object) -> object:
    return other.broker if isinstance(other, pb.RemoteReference) else other


def _same(result: object) -> object:
    return result
