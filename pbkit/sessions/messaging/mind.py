"""
What makes a client's own object safe to hold and to call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.spread import pb

from pbkit.errors import BadMind, CallTimedOut, NoMind
from pbkit.sessions.messaging.outbox import Told
from pbkit.sessions.messaging.slowpolicy import Policy

if TYPE_CHECKING:
    from pbkit.sessions.session import Session

#: How long a client has to answer a call, in seconds.
CALL_TIMEOUT = 30.0


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

    :ivar session: whose it is.
    :ivar reference: stock's `RemoteReference`, or None.
    """

    __slots__ = ("session", "reference")

    def __init__(self, session: Session, reference: pb.RemoteReference | None) -> None:
        self.session = session
        self.reference = reference

    def __bool__(self) -> bool:
        return self.reference is not None

    def __repr__(self) -> str:
        kind = "mind" if self else "no mind"
        return f"<{kind} of session {self.session.sessionId}>"

    def tell(self, method: str, *args: Any, pbslow: Policy | None = None, **kw: Any) -> Told:
        """
        Call ``remote_<method>`` of the client's object and ask for no answer. What is told first arrives first.

        :param pbslow: what to do if the client does not keep up, such as `pbkit.coalesce` of a key; by default what its
            realm does.
        :return: what became of it, at once. What is `Told.QUEUED` may still be dropped for others, or go with the
            session.
        :raises Exception: what is wrong with the arguments, if they cannot be sent; never for the client's sake. What
            is wrong with those that are to wait is logged when it shows.
        """
        telling = self.session.telling
        if telling.busy:
            telling.catchUp(self.session)
        return self.put(method, args, kw, pbslow)

    def ask(
        self,
        method: str,
        *args: Any,
        pbtimeout: float | None = CALL_TIMEOUT,
        pbslow: Policy | None = None,
        **kw: Any,
    ) -> Deferred[Any]:
        """
        Call ``remote_<method>`` of the client's object, after all that it was told before.

        Never raises, whatever the client is or does. The Deferred always fires: with the answer; with `NoMind`; with
        `SessionEnded` if the session has ended; with `CallTimedOut`; with `CallDropped`, if the client does not keep
        up; with what the client raised; with `pb.PBConnectionLost`; or with what is wrong with the arguments.

        :param pbtimeout: how long the client has to answer, in seconds; None is without a deadline.
        :param pbslow: as for `tell`.
        """
        telling = self.session.telling
        if telling.busy:
            telling.catchUp(self.session)
        return self.putCall(method, args, kw, pbslow, pbtimeout)

    def callRemote(self, method: str, *args: Any, pbanswer: bool = True, **kw: Any) -> Deferred[Any]:
        """
        As stock's, and `ask`: with ``pbanswer=False`` nothing is asked, and the Deferred has fired with None.
        """
        if pbanswer:
            return self.ask(method, *args, **kw)
        kw.pop("pbtimeout", None)
        if self.reference is None or self.session.endedWith is not None:
            return self.ask(method)
        try:
            self.tell(method, *args, **kw)
        except Exception:
            return fail(Failure())
        return succeed(None)

    # For the rest of the room.

    def put(self, method: str, args: Any, kw: Any, policy: Policy | None = None) -> Told:
        """As `tell`, whatever may be waiting to be told to others."""
        session = self.session
        # The connection may be gone a moment before the session has heard of it, and nothing is to wait for it then.
        if self.reference is None or session.endedWith is not None or self.reference.broker.disconnected:
            return Told.GONE
        if session.ready:
            return self.send(method, args, kw)
        return session.lag().put(method, args, kw, policy or session.telling.slow)

    def putCall(
        self, method: str, args: Any, kw: Any, policy: Policy | None = None, pbtimeout: float | None = None
    ) -> Deferred[Any]:
        """As `ask`, whatever may be waiting to be told to others."""
        session = self.session
        if self.reference is None:
            return fail(NoMind())
        if session.endedWith is not None:
            return fail(session.endedWith.again())
        if session.ready or self.reference.broker.disconnected:
            return self.call(method, args, kw, pbtimeout)
        try:
            answer = session.lag().ask(method, args, kw, policy or session.telling.slow)
        except Exception:
            return fail(Failure())
        # It counts from now, and not from when it is sent.
        return self._inTime(answer, pbtimeout)

    def _inTime(self, answer: Deferred[Any], pbtimeout: float | None) -> Deferred[Any]:
        if pbtimeout is not None and self.session.clock is not None and not answer.called:
            answer.addTimeout(max(0, pbtimeout), self.session.clock, timedOut)
        return answer

    def send(self, method: str, args: Any, kw: Any) -> Told:
        """Onto the wire, now, without an answer. :raises Exception: what is wrong with the arguments."""
        assert self.reference is not None
        if self.reference.broker.disconnected:
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

    def call(self, method: str, args: Any, kw: Any, pbtimeout: float | None = None) -> Deferred[Any]:
        """Onto the wire, now, for an answer."""
        assert self.reference is not None
        kept = getattr(self.reference.broker, "keepsDeadlines", False)
        if kept:
            kw = {**kw, "pbtimeout": pbtimeout}
        try:
            answer: Deferred[Any] = self.reference.callRemote(method, *args, **kw)
        except Exception:
            return fail(Failure())
        return answer if kept else self._inTime(answer, pbtimeout)


def timedOut(result: Any, timeout: float) -> Any:
    """For `Deferred.addTimeout`. :raises CallTimedOut: always."""
    raise CallTimedOut(f"no answer within {timeout:g} s")
