"""
`Mind`: the client's own object, made safe to hold and to call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.spread import pb

from pbkit.errors import BadMind, CallTimedOut, NoMind
from pbkit.sessions.messaging.delivery import Answer, Args, Kw, Told
from pbkit.sessions.messaging.slowpolicy import Policy

if TYPE_CHECKING:
    from pbkit.sessions.messaging.recipient import Recipient

#: Seconds a client has to answer a call.
CALL_TIMEOUT = 30.0


def checkReference(mind: object) -> pb.RemoteReference | None:
    """
    Return the mind if a session can hold it.

    A client can send anything in place of a mind: a number, 640 kB of bytes, or even ``["local", "root"]``, which
    stands for the server's own login object.

    :raises BadMind: it is neither None nor a reference to an object of the client.
    """
    if mind is None or isinstance(mind, pb.RemoteReference):
        return mind
    raise BadMind()


class Mind:
    """
    The client's own object, as the server calls it. False if the client sent no mind at login.

    A mind is equal to itself only, and hashable. Stock's references cannot even be compared across connections.

    :ivar session: its `Session`.
    :ivar reference: stock's `RemoteReference`, or None.
    """

    __slots__ = ("session", "reference")

    def __init__(self, session: Recipient, reference: pb.RemoteReference | None) -> None:
        self.session = session
        self.reference = reference

    def __bool__(self) -> bool:
        return self.reference is not None

    def __reduce__(self) -> NoReturn:
        """
        Refuse to be pickled or copied.

        :raises TypeError: always.
        """
        raise TypeError(notPickled("Mind"))

    def __repr__(self) -> str:
        kind = "mind" if self else "no mind"
        return f"<{kind} of session {self.session.sessionId}>"

    def tell(self, method: str, *args: object, pbslow: Policy | None = None, **kw: object) -> Told:
        """
        Call ``remote_<method>`` of the client's object and ask for no answer. Messages arrive in the order of telling.

        :param pbslow: what to do if the client is a slow consumer, for example `pbkit.coalesce` with a key; by default
            the policy of its realm.
        :return: what became of the message. A message that is `Told.QUEUED` may still be dropped for others, or with
            the session.
        :raises Exception: the arguments cannot be sent. Nothing that the client does raises here, and arguments of a
            queued message that turn out to be wrong later are logged.
        """
        self.session.catchUp()
        return self.put(method, args, kw, pbslow)

    def ask(
        self,
        method: str,
        *args: object,
        pbtimeout: float | None = CALL_TIMEOUT,
        pbslow: Policy | None = None,
        **kw: object,
    ) -> Answer:
        """
        Call ``remote_<method>`` of the client's object, after everything that it was told before.

        Never raises, whatever the client is or does. The Deferred always fires: with the answer; with `NoMind`; with
        `SessionEnded` if the session has ended; with `CallTimedOut`; with `CallDropped` if the client is a slow
        consumer; with the client's exception; with `pb.PBConnectionLost`; or with what is wrong with the arguments.

        :param pbtimeout: how many seconds the client has to answer; None sets no deadline.
        :param pbslow: as for `tell`.
        """
        self.session.catchUp()
        return self.putCall(method, args, kw, pbslow, pbtimeout)

    def callRemote(
        self,
        method: str,
        *args: object,
        pbanswer: bool = True,
        pbtimeout: float | None = CALL_TIMEOUT,
        pbslow: Policy | None = None,
        **kw: object,
    ) -> Answer:
        """
        Call the client as stock does; the same as `ask`. With ``pbanswer=False`` no answer is asked for, and the
        Deferred has fired with None.
        """
        if pbanswer:
            return self.ask(method, *args, pbtimeout=pbtimeout, pbslow=pbslow, **kw)
        if self.reference is None or self.session.endedWith is not None:
            return self.ask(method)
        try:
            self.tell(method, *args, pbslow=pbslow, **kw)
        except Exception:
            return fail(Failure())
        return succeed(None)

    # For the rest of `messaging`.

    def put(self, method: str, args: Args, kw: Kw, policy: Policy | None = None) -> Told:
        """Tell the client as `tell` does, without sending pending broadcasts first."""
        session = self.session
        # The connection may be lost a moment before the session learns of it, and nothing must be queued then.
        if self.reference is None or session.endedWith is not None or self.reference.broker.disconnected:
            return Told.GONE
        if session.ready:
            return self.send(method, args, kw)
        return session.enqueue(method, args, kw, policy)

    def putCall(
        self, method: str, args: Args, kw: Kw, policy: Policy | None = None, pbtimeout: float | None = None
    ) -> Answer:
        """Ask the client as `ask` does, without sending pending broadcasts first."""
        session = self.session
        if self.reference is None:
            return fail(NoMind())
        if session.endedWith is not None:
            return fail(session.endedWith.again())
        if session.ready or self.reference.broker.disconnected:
            return self.call(method, args, kw, pbtimeout)
        try:
            answer = session.enqueueCall(method, args, kw, policy)
        except Exception:
            return fail(Failure())
        # The deadline counts from now, not from when the call is sent.
        return self._inTime(answer, pbtimeout)

    def _inTime(self, answer: Answer, pbtimeout: float | None) -> Answer:
        if pbtimeout is not None and self.session.clock is not None and not answer.called:
            answer.addTimeout(max(0, pbtimeout), self.session.clock, timedOut)
        return answer

    def send(self, method: str, args: Args, kw: Kw) -> Told:
        """
        Write a message without an answer to the connection.

        :raises Exception: the arguments cannot be sent.
        """
        assert self.reference is not None
        if self.reference.broker.disconnected:
            return Told.GONE
        try:
            failed = self.reference.callRemote(method, *args, pbanswer=False, **kw)
        except pb.DeadReferenceError:
            return Told.GONE
        if isinstance(failed, Deferred):
            # Stock returns a failed Deferred when the arguments cannot be serialized, and only then.
            errors: list[Failure] = []
            failed.addErrback(errors.append)
            for error in errors:
                error.raiseException()
        return Told.SENT

    def call(self, method: str, args: Args, kw: Kw, pbtimeout: float | None = None) -> Answer:
        """Write a call that wants an answer to the connection."""
        assert self.reference is not None
        kept = getattr(self.reference.broker, "keepsDeadlines", False)
        if kept:
            kw = {**kw, "pbtimeout": pbtimeout}
        try:
            answer: Answer = self.reference.callRemote(method, *args, **kw)
        except Exception:
            return fail(Failure())
        return answer if kept else self._inTime(answer, pbtimeout)


def notPickled(name: str) -> str:
    """Return the text of the error for an object that cannot be pickled or copied, because it is part of a session."""
    return (
        f"a {name} cannot be pickled or copied, because it belongs to live connections. "
        "Leave it out in __getstate__ of the object that refers to it; an Avatar leaves out its own sessions"
    )


def timedOut(result: object, timeout: float) -> NoReturn:
    """
    Replace the result of a call whose deadline has passed; for `Deferred.addTimeout`.

    :raises CallTimedOut: always.
    """
    raise CallTimedOut(f"no answer within {timeout:g} s")
