"""
`ClientSession`: a client's login while it lasts.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.spread import pb

from pbkit.client.connection import SessionBroker
from pbkit.errors import LoggedOut, SessionEnded

#: How long to wait for the connection to close, in seconds. Closing takes no time, unless a TLS peer never confirms it,
#: or the peer does not read.
GOODBYE = 1.0


class ClientSession(pb.Jellyable):
    """
    A login, from the client's side, as returned by `pbkit.connect`. It can be sent to the server as an argument, where
    it arrives as the avatar's reference would.

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
        """Why this session has ended, or None."""
        return self._broker.ended

    def callRemote(self, method: str | bytes, *args: Any, **kw: Any) -> Deferred[Any]:
        """
        Call ``perspective_<method>`` of the avatar.

        Never raises. The Deferred always fires: with the answer; with the exception that the server raised, as its own
        class or as `RemoteError`; with `SessionEnded` if the session has ended; with `CallTimedOut`; or with an error
        about the arguments. The same holds for the references that the client receives in answers, however deep, and in
        calls on its mind.

        :param pbtimeout: how many seconds the server has to answer, 30 by default; None: no deadline.
        :param pbanswer: False asks for no answer; the Deferred has already fired, with None.
        """
        try:
            answer = self.reference.callRemote(method, *args, **kw)
        except Exception:
            return fail(Failure())
        return answer if isinstance(answer, Deferred) else succeed(answer)

    def whenEnded(self) -> Deferred[SessionEnded]:
        """
        Return a Deferred that fires with a `SessionEnded` when this session ends. It never fails.
        """
        if self.ended is not None:
            return succeed(self.ended)
        waiting: Deferred[SessionEnded] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def close(self) -> Deferred[None]:
        """
        Log out and close the connection. Idempotent. Every later call fails with `LoggedOut`.

        :return: a Deferred that fires when the connection is closed: within about a second, whatever the server does.
            It never fails. Cancelling it aborts the connection at once.
        """
        broker = self._broker
        if broker.disconnected:
            return succeed(None)
        if self.reference.doRefCount:
            # Dropping the reference is what logs out. Drop it now, not when the last frame that holds it is gone.
            self.reference.doRefCount = 0
            broker.sendDecRef(self.reference.luid)
        broker.end(LoggedOut())
        gone: Deferred[None] = Deferred(lambda _: broker.abort())
        self._gone.append(gone)
        broker.close()
        return closing(gone, broker)

    def jellyFor(self, jellier: object) -> object:
        """Send the avatar's reference in its place: see `IJellyable`."""
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
    Wait for a connection to close, and abort it after `GOODBYE` seconds.

    :param gone: fires when the connection is closed.
    """
    clock = broker.factory.clock

    def late(result: object, timeout: float) -> None:
        broker.abort()

    return gone.addTimeout(GOODBYE, clock, late)
