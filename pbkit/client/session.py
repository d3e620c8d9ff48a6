"""
A client's login while it lasts.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.spread import pb

from pbkit.client.connection import SessionBroker
from pbkit.errors import LoggedOut, SessionEnded

#: How long to wait for the connection to close, in seconds. Closing is all but immediate, save for a TLS peer that
#: never says goodbye, or one that does not read.
GOODBYE = 1.0


class ClientSession(pb.Jellyable):
    """
    One login, from the client's side; made by `pbkit.connect`. May be sent to the server as an argument: it arrives
    as the avatar's reference does.

    :ivar reference: stock's `RemoteReference` to the avatar.
    """

    def __init__(self, reference: pb.RemoteReference, broker: SessionBroker) -> None:
        self.reference = reference
        self._broker = broker
        self._gone: list[Deferred[None]] = []
        self._waiting: list[Deferred[SessionEnded]] = []
        broker.factory.loggedIn = True
        broker.factory.lost = self._lost
        broker.factory.over = self._over

    def __repr__(self) -> str:
        return f"<ClientSession: {self.ended}>" if self.ended else "<ClientSession>"

    @property
    def ended(self) -> SessionEnded | None:
        """Why this session is over, or None."""
        return self._broker.ended

    def callRemote(self, method: str | bytes, *args: Any, **kw: Any) -> Deferred[Any]:
        """
        Call ``perspective_<method>`` of the avatar.

        Never raises. The Deferred always fires: with the answer; with what the server raised, as the class that it was
        or as `RemoteError`; with `SessionEnded` if the session is over; with `CallTimedOut`; or with what is wrong with
        the arguments. All this holds for the references too that are in answers, however deep, and in what
        the mind is called with.

        :param pbtimeout: how long the server has to answer, in seconds, 30 by default; None is without a deadline.
        :param pbanswer: False asks for no answer: the Deferred has fired already, with None.
        """
        try:
            answer = self.reference.callRemote(method, *args, **kw)
        except Exception:
            return fail(Failure())
        return answer if isinstance(answer, Deferred) else succeed(answer)

    def whenEnded(self) -> Deferred[SessionEnded]:
        """
        :return: a Deferred of why this session is over, once it is; it never fails.
        """
        if self.ended is not None:
            return succeed(self.ended)
        waiting: Deferred[SessionEnded] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def close(self) -> Deferred[None]:
        """
        Log out and close the connection. Idempotent; every later call fails with `LoggedOut`.

        :return: a Deferred that fires, never fails, when the connection is closed: within a second or so, whatever the
            server does. Cancelled, the connection is cut off at once.
        """
        broker = self._broker
        if broker.disconnected:
            return succeed(None)
        if self.reference.doRefCount:
            # Now, not when the last frame that holds the reference has gone: this is what logs out.
            self.reference.doRefCount = 0
            broker.sendDecRef(self.reference.luid)
        broker.end(LoggedOut())
        gone: Deferred[None] = Deferred(lambda _: broker.abort())
        self._gone.append(gone)
        broker.close()
        return closing(gone, broker)

    def jellyFor(self, jellier: Any) -> Any:
        """`IJellyable`."""
        return self.reference.jellyFor(jellier)

    def _lost(self, broker: SessionBroker, reason: Failure) -> None:
        assert broker.ended is not None
        self._over(broker.ended)
        gone, self._gone = self._gone, []
        for each in gone:
            if not each.called:
                each.callback(None)

    def _over(self, error: SessionEnded) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.called:
                each.callback(error)


def closing(gone: Deferred[None], broker: SessionBroker) -> Deferred[None]:
    """
    Wait for a connection to close, not for ever.

    :param gone: fires when it is closed.
    """
    clock = broker.factory.clock

    def late(result: Any, timeout: float) -> None:
        broker.abort()

    return gone.addTimeout(GOODBYE, clock, late)
