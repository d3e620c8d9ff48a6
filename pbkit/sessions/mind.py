"""
What makes a client's own object safe to hold and to call.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.spread import pb

from pbkit.errors import BadMind, CallTimedOut, NoMind

if TYPE_CHECKING:
    from pbkit.sessions.session import Session

#: How long a client has to answer a call, in seconds.
CALL_TIMEOUT = 30.0


class Told(Enum):
    """What became of something told."""

    SENT = "sent"
    GONE = "gone"


def checkReference(mind: object) -> pb.RemoteReference | None:
    """
    The mind itself, if it is one that a session can hold.

    A client may send anything for a mind: a number, 640 kB of bytes, or even ``["local", "root"]``, which
    is the server's own login object.

    :raises BadMind: it is neither None nor a reference to an object of the client's.
    """
    if mind is None or isinstance(mind, pb.RemoteReference):
        return mind
    raise BadMind()


class Mind:
    """
    A safe hold on a client. False when the client sent no mind at login.

    Equal to itself only; hashable. Stock's references cannot even be compared across connections.

    :ivar reference: stock's `RemoteReference`, or None.
    """

    __slots__ = ("_session", "reference")

    def __init__(self, session: Session, reference: pb.RemoteReference | None) -> None:
        self._session = session
        self.reference = reference

    def __bool__(self) -> bool:
        return self.reference is not None

    def __repr__(self) -> str:
        kind = "mind" if self else "no mind"
        return f"<{kind} of session {self._session.sessionId}>"

    def callRemote(self, method: str, *args: Any, pbtimeout: float | None = CALL_TIMEOUT, **kw: Any) -> Deferred[Any]:
        """
        Call ``remote_<method>`` of the client's object.

        Never raises, whatever the client is or does. The Deferred always fires: with the answer; with
        `NoMind`; with `SessionEnded` if the session has ended; with `CallTimedOut`; with what the client raised;
        with `pb.PBConnectionLost`; or with what is wrong with the arguments.

        :param pbtimeout: how long the client has to answer, in seconds; None is without a deadline.
        """
        if self.reference is None:
            return fail(NoMind())
        if self._session.endedWith is not None:
            return fail(self._session.endedWith.again())
        kept = getattr(self.reference.broker, "keepsDeadlines", False)
        if kept:
            kw["pbtimeout"] = pbtimeout
        try:
            answer = self.reference.callRemote(method, *args, **kw)
        except Exception:
            return fail(Failure())
        if not isinstance(answer, Deferred):
            return succeed(answer)  # pbanswer=False
        if not kept and self._session.clock is not None and pbtimeout is not None:
            answer.addTimeout(max(0, pbtimeout), self._session.clock, _timedOut)
        return answer

    def tell(self, method: str, *args: Any, **kw: Any) -> Told:
        """
        Call ``remote_<method>`` of the client's object and ask for no answer.

        :return: `Told.SENT`, or `Told.GONE` if there is no mind, its session has ended or its connection is lost.
        :raises Exception: what is wrong with the arguments, if they cannot be sent; never for the client's sake.
        """
        # The connection may be gone a moment before the session has heard of it.
        if self.reference is None or self._session.endedWith is not None or self.reference.broker.disconnected:
            return Told.GONE
        try:
            failed = self.reference.callRemote(method, *args, pbanswer=False, **kw)
        except pb.DeadReferenceError:
            return Told.GONE
        if isinstance(failed, Deferred):
            # Stock hands back a failed Deferred when the arguments cannot be serialised, and only then.
            errors: list[Failure] = []
            failed.addErrback(errors.append)
            for error in errors:
                error.raiseException()
        return Told.SENT


def _timedOut(result: Any, timeout: float) -> Any:
    raise CallTimedOut(f"no answer within {timeout:g} s")
