"""
The clients of a `MemoryServer`.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twisted.cred.credentials import Anonymous, UsernamePassword
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.python.failure import Failure
from twisted.spread import pb
from zope.interface import implementer

from pbkit.client.exceptions import exceptionFrom
from pbkit.client.factory import ClientFactory
from pbkit.errors import Disconnected, LoggedOut, SessionEnded
from pbkit.testing.link import Link

if TYPE_CHECKING:
    from pbkit.testing.memory import MemoryServer


class MemoryConnection:
    """
    A client's connection to a `MemoryServer`, see `MemoryServer.connect`.

    :ivar link: the `pbkit.testing.Link` under it, with both brokers.
    """

    def __init__(self, server: MemoryServer, factory: Any, address: IAddress | None) -> None:
        self._server = server
        self._factory = factory
        self._clients: list[MemoryClient] = []
        #: Whether the client is Twisted's own.
        self.stock = not isinstance(factory, ClientFactory)
        self.link = Link(server.factory.buildProtocol(address), factory.buildProtocol(None), address)

    def login(self, name: str | bytes | None, mind: Any = None, password: str | bytes = "") -> Deferred[MemoryClient]:
        """
        Log in. A connection may have many log-ins.

        :param name: None for a guest.
        :return: a Deferred of the `MemoryClient`; it fails with the error's own class.
        """
        self._server.watchMind(mind)
        credentials: Any = Anonymous()
        if name is not None:
            credentials = UsernamePassword(_bytes(name), _bytes(password))
        d: Deferred[Any] = self._factory.login(credentials, mind)
        d.addErrback(_raised, self._server.allowed)
        d.addCallback(lambda reference: MemoryClient(self._server, self, reference)).addCallback(self._loggedIn)
        return self._server.watchCall(d)

    def _loggedIn(self, client: MemoryClient) -> MemoryClient:
        # Or it would log out as soon as nobody keeps it, which is not what a test means that only logs in.
        self._clients.append(client)
        return client

    def loseConnection(self, server: bool = False) -> None:
        """
        The client hangs up, in good order; or the server does.

        :param server: whether it is the server.
        """
        self.link.loseConnection(server)
        self._server.flush()

    def cut(self, client: bool = False) -> None:
        """
        The connection breaks, and what was on its way is lost. The server learns of it first, or the client.

        :param client: whether it is the client.
        """
        self.link.cut(client)
        self._server.flush()

    def vanish(self) -> None:
        """
        The client is gone and the server does not know: half open. What waits at the client fails. Let the
        server find out by a deadline of its own, or by `cut`.
        """
        self._server.flush()
        self.link.vanish()
        self._server.flush()

    def stall(self) -> None:
        """The client reads nothing and answers nothing, as when its program is stopped, until `resume`."""
        self._server.flush()
        self.link.stall()

    def resume(self) -> None:
        """The client goes on, with what has come meanwhile."""
        self.link.resume()
        self._server.flush()

    def hangUp(self) -> None:
        """Let it be over, whatever state it is in."""
        if self.link.stalled or self.link.vanished:
            self.link.cut()
            self.link.stalled = False
        elif self.link.connected:
            self.link.loseConnection()


@implementer(IStreamClientEndpoint)
class MemoryEndpoint:
    """
    Where client code of your own reaches a `MemoryServer`, see `MemoryServer.endpoint`.
    """

    def __init__(self, server: MemoryServer, address: IAddress | None) -> None:
        self._server = server
        self._address = address

    def connect(self, factory: Any) -> Deferred[Any]:
        """`IStreamClientEndpoint`."""
        return succeed(self._server.connectWith(factory, self._address).link.client)


class MemoryClient:
    """
    A client that is logged in.

    :ivar connection: its `MemoryConnection`, with which things can go wrong: ``client.connection.cut()``.
    :ivar reference: the `pb.RemoteReference` to the avatar, as a client has it; None after `logout`. Who keeps it
        elsewhere stays logged in.
    :ivar session: the server's `Session`; None if the realm is not one of pbkit's.
    """

    def __init__(self, server: MemoryServer, connection: MemoryConnection, reference: Any) -> None:
        self._server = server
        self.connection = connection
        self.reference = reference
        channel = getattr(connection.link.server, "owners", {}).get(reference.luid)
        self.session: Any = getattr(channel, "session", None)

    @property
    def avatar(self) -> Any:
        """The server's avatar of this login; None if the realm is not one of pbkit's."""
        return None if self.session is None else self.session.avatar

    def call(self, method: str, *args: Any, **kw: Any) -> Any:
        """
        Call a method of the avatar's.

        :param method: without ``perspective_``.
        :return: the answer.
        :raises Exception: what the method raised, as the class that it is; or the `SessionEnded` that says why there is
            no session any more.
        :raises AssertionError: there is no answer yet. `callRemote` is for those.
        """
        return now(self.callRemote(method, *args, **kw), f"{method}()")

    def callRemote(self, method: str, *args: Any, **kw: Any) -> Deferred[Any]:
        """
        The same, but answered later.

        :return: a Deferred; it fails with the error's own class. It never raises.
        """
        if self.reference is None:
            return fail(LoggedOut())
        return self.callOn(self.reference, method, *args, **kw)

    def callOn(self, reference: Any, method: str, *args: Any, **kw: Any) -> Deferred[Any]:
        """
        Call a method of another object, that the client has got from a call.

        :param reference: the `pb.RemoteReference`.
        :param method: without ``remote_``.
        :return: as that of `callRemote`.
        """
        d: Deferred[Any]
        try:
            d = reference.callRemote(method, *args, **kw)
        except Exception:
            d = fail(Failure())
        d.addErrback(_raised, self._server.allowed).addErrback(self._gone)
        return self._server.watchCall(d)

    def _gone(self, failure: Failure) -> Failure:
        # As a client of pbkit's has it. A stock one is told what stock tells.
        lost = failure.check(pb.DeadReferenceError, pb.PBConnectionLost)
        if failure.check(SessionEnded) and not failure.check(Disconnected):
            return failure
        if lost and not self.connection.link.connected and not self.connection.stock:
            told = self.session is not None and self.session.goodbye.told
            return Failure(self.session.endedWith.again() if told else Disconnected())
        return failure

    def logout(self) -> None:
        """Let go of the avatar, which is how a client of PB logs out. The connection stays."""
        self.reference = None
        self._server.flush()
        if self.session is not None and self.session.endedWith is None:
            gc.collect()  # A traceback may have it still.
            self._server.flush()


def now(d: Deferred[Any], what: str) -> Any:
    """
    What a Deferred has come to.

    :param what: what it is the result of, for the error.
    :raises AssertionError: it has not come to anything yet.
    """
    results: list[Any] = []
    d.addBoth(results.append)
    if not results:
        raise AssertionError(
            f"{what} waits for an answer: use the one that returns a Deferred, and server.advance(seconds) if it is "
            "time that it waits for"
        )
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


def _raised(failure: Failure, table: Mapping[str, type[Exception]]) -> Failure:
    """What the server raised, as the class that it was."""
    error = exceptionFrom(failure, table)
    return failure if error is None else Failure(error)


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8") if isinstance(text, str) else text
