"""
One login, one call, one goodbye, over in time whatever the other end does: what ``pbkit call`` runs.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from twisted.spread import pb
from twisted.spread.banana import BananaError

from pbkit.client import ClientFactory

#: How long to wait, once the answer is here, for the connection to close, in seconds. Closing is all but
#: immediate, save for a TLS peer that never says goodbye.
GOODBYE = 1.0

LOGGING_IN = "logging in"


class Status(IntEnum):
    """What became of a call; the exit statuses of ``pbkit call``."""

    ANSWERED = 0
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    REMOTE_ERROR = 5
    TIMED_OUT = 6
    #: 128 + SIGINT, as shells have it.
    INTERRUPTED = 130


class CallFailed(Exception):
    """
    There is no answer.

    :param status: why.
    :param text: the same for people. It may hold the other end's text, which is not to be trusted with a
        terminal.
    """

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status


class OneCall:
    """
    A conversation with a PB server, stock ones included.

    :param reactor: for its clock.
    :param endpoint: where the server is.
    :param credentials: `IAnonymous` or `IUsernamePassword`, of bytes.
    :param method: the name of the method, without ``perspective_``.
    :param args: its arguments.
    """

    def __init__(
        self,
        reactor: Any,
        endpoint: IStreamClientEndpoint,
        credentials: Any,
        method: str,
        args: Sequence[Any],
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._credentials = credentials
        self._method = method
        self._args = args
        self._factory = ClientFactory()
        self._doing = "connecting"
        self._settled = False
        self._broker: Any = None
        self._me: Any = None
        self._gone: Deferred[None] = Deferred()
        self._result: Deferred[Any] = Deferred()
        self._work: Deferred[Any] | None = None
        self._timer: IDelayedCall | None = None

    def run(self, timeout: float) -> Deferred[Any]:
        """
        Do it. To be called once.

        :param timeout: for everything but the goodbye, in seconds.
        :return: a Deferred of the answer; it always fires, and fails with `CallFailed` only.
        """
        self._timer = self._reactor.callLater(timeout, self._expired, timeout)
        self._work = Deferred.fromCoroutine(self._converse())
        self._work.addCallbacks(self._settle, self._broken)
        return self._result.addBoth(self._goodbye)

    async def _converse(self) -> Any:
        try:
            self._broker = await self._endpoint.connect(self._factory)
        except Exception as e:
            raise CallFailed(Status.UNREACHABLE, f"cannot connect: {_text(e)}") from None
        self._watch(self._broker)
        self._doing = LOGGING_IN
        # Failures of remote calls are looked at as such, never awaited: awaiting turns them into an
        # exception that has lost its type, or into an AttributeError.
        self._me = await self._factory.login(self._credentials).addErrback(self._loginFailed)
        self._doing = f"calling {self._method}"
        try:
            answering = self._me.callRemote(self._method, *self._args)
        except Exception as e:
            raise CallFailed(Status.USAGE, f"the arguments cannot be sent: {_text(e)}") from None
        return await answering.addErrback(self._methodFailed)

    def _watch(self, broker: Any) -> None:
        # The broker tells its own listeners that the connection is lost, but not why. Ours comes first:
        # the broker's would fail the calls that wait, with less to say.
        connectionLost = broker.connectionLost

        def lost(reason: Failure) -> None:
            try:
                self._lost(reason)
            finally:
                connectionLost(reason)

        broker.connectionLost = lost

    def _lost(self, reason: Failure) -> None:
        if reason.check(BananaError):
            text = "what answers there is not a Perspective Broker server"
        elif reason.check(ConnectionDone):
            text = f"the server closed the connection while {self._doing}{self._doubt()}"
        else:
            text = f"the connection was lost while {self._doing}: {_text(reason)}"
        self._settle(CallFailed(Status.UNREACHABLE, text))
        self._gone.callback(None)

    def _expired(self, timeout: float) -> None:
        self._timer = None
        text = f"no answer within {timeout:g} s while {self._doing}{self._doubt()}"
        self._settle(CallFailed(Status.TIMED_OUT, text))

    def _doubt(self) -> str:
        """What to think of, if a server that takes connections does not even take a login."""
        if self._doing != LOGGING_IN:
            return ""
        return "; is it a Perspective Broker server, and with TLS or without as you said?"

    def _broken(self, failure: Failure) -> None:
        if not failure.check(CallFailed):
            text = f"it broke while {self._doing}: {type(failure.value).__name__}: {_text(failure)}"
            failure = Failure(CallFailed(Status.UNREACHABLE, text))
        self._settle(failure.value)

    def _settle(self, outcome: Any) -> None:
        """What comes first counts: the answer, an error, the end of the connection or of patience."""
        if self._settled:
            return
        self._settled = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._work is not None:
            self._work.cancel()
        if isinstance(outcome, CallFailed):
            self._result.errback(outcome)
        else:
            self._result.callback(outcome)

    def _goodbye(self, result: Any) -> Any:
        if self._broker is None:
            return result
        # Letting go of the reference is what logs out; it is not left to whatever frame still holds it.
        self._me = None
        self._broker.transport.loseConnection()
        self._gone.addTimeout(GOODBYE, self._reactor, lambda *_: None)
        return self._gone.addCallback(lambda _: result)

    def _loginFailed(self, failure: Failure) -> Any:
        error, text = _remote(failure)
        if error is None:
            return failure
        # Stock says so by an error without a text.
        fallback = "unknown user or wrong password" if error.endswith(".UnauthorizedLogin") else error
        raise CallFailed(Status.REFUSED, f"login refused: {text or fallback}")

    def _methodFailed(self, failure: Failure) -> Any:
        error, text = _remote(failure)
        if error is None:
            return failure
        raise CallFailed(Status.REMOTE_ERROR, f"{self._method} failed: {error}: {text}".removesuffix(": "))


def _remote(failure: Failure) -> tuple[str | None, str]:
    """The class name and the text of what the server raised, or (None, "") if it was not the server."""
    kind: Any = None
    if isinstance(failure, pb.CopiedFailure):
        kind = failure.type
    elif isinstance(failure.value, pb.RemoteError):
        kind = failure.value.remoteType
    elif isinstance(failure.value, pb.Error) and not failure.check(pb.ProtocolError):
        kind = f"{type(failure.value).__module__}.{type(failure.value).__qualname__}"
    if isinstance(kind, bytes):
        kind = kind.decode("utf-8", "backslashreplace")
    return (None, "") if kind is None else (str(kind), failure.getErrorMessage())


def _text(error: BaseException | Failure) -> str:
    value = error.value if isinstance(error, Failure) else error
    return safe_str(value).rstrip(".") or type(value).__name__


#: The keys under which `toJson` marks what JSON does not have. A dict that has just one key, and that one of
#: these, is marked itself, so that an answer never reads as what it is not.
_MARKS = frozenset(("bytes", "tuple", "set", "dict", "float", "reference", "object", "cycle"))


def toJson(answer: Any) -> str:
    """
    An answer as JSON, on one line and in ASCII: nothing in it can be obeyed by a terminal.

    What JSON does not have is marked: ``{"bytes": base64}``, ``{"tuple": [...]}``, ``{"set": [...]}``, a dict
    with keys other than str ``{"dict": [[key, value], ...]}``, ``{"float": "nan"}``, a reference to an object
    of the server's ``{"reference": number}``, any other object ``{"object": its class and text}``, and
    ``{"cycle": true}`` for what is inside itself.
    """
    return json.dumps(_marked(answer, ()), allow_nan=False)


def _marked(value: Any, around: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, pb.RemoteReference):
        return {"reference": value.luid}
    if id(value) in around:
        return {"cycle": True}
    inside = (*around, id(value))
    if isinstance(value, list):
        return [_marked(one, inside) for one in value]
    if isinstance(value, tuple):
        return {"tuple": [_marked(one, inside) for one in value]}
    if isinstance(value, set | frozenset):
        return {"set": [_marked(one, inside) for one in value]}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value) and not (len(value) == 1 and _MARKS.issuperset(value)):
            return {key: _marked(one, inside) for key, one in value.items()}
        return {"dict": [[_marked(key, inside), _marked(one, inside)] for key, one in value.items()]}
    return {"object": f"{type(value).__module__}.{type(value).__qualname__}: {safe_str(value)}"}
