"""
The clients of a `MemoryServer`.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from twisted.cred.credentials import Anonymous, UsernamePassword
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, IProtocol, IStreamClientEndpoint
from twisted.python.failure import Failure
from twisted.spread import pb
from zope.interface import implementer

from pbkit.client.exceptions import exceptionFrom
from pbkit.client.factory import ClientFactory
from pbkit.errors import Disconnected, LoggedOut, SessionEnded
from pbkit.server import ServerFactory
from pbkit.testing.link import Link

Result = TypeVar("Result")


class ConnectsClients(Protocol):
    """
    What the clients need of their server: see `pbkit.testing.memory.MemoryServer`.

    :ivar factory: the server's factory.
    :ivar allowed: the exceptions that a client raises as what they are (`pbkit.client.exceptions.allowed`).
    """

    factory: ServerFactory
    allowed: dict[str, type[Exception]]

    def connectWith(self, factory: pb.PBClientFactory, address: IAddress | None = None) -> MemoryConnection:
        """Connect a client factory."""

    def flush(self) -> None:
        """Deliver bytes until nothing more is sent."""

    def watchCall(self, d: Deferred[Result]) -> Deferred[Result]:
        """Deliver a call, and handle its error if the test never does."""

    def watchMind(self, mind: object) -> None:
        """Check the calls that a mind receives."""

    def releaseFrames(self) -> None:
        """Release what the tracebacks of logged errors hold."""


class MemoryConnection:
    """
    A client's connection to a `MemoryServer`: see `MemoryServer.connect`.

    :ivar link: the `pbkit.testing.Link`, with both brokers.
    :ivar stock: True if the client is Twisted's own.
    """

    def __init__(self, server: ConnectsClients, factory: pb.PBClientFactory, address: IAddress | None) -> None:
        self._server = server
        self._factory = factory
        self._clients: list[MemoryClient] = []
        self.stock = not isinstance(factory, ClientFactory)
        self.link = Link(server.factory.buildProtocol(address), factory.buildProtocol(None), address)

    def login(
        self, name: str | bytes | None, mind: object = None, password: str | bytes = ""
    ) -> Deferred[MemoryClient]:
        """
        Log in. A connection can have any number of logins.

        :param name: the user name; None for a guest.
        :return: a Deferred of the `MemoryClient`. It fails with the exception that the server raised.
        """
        self._server.watchMind(mind)
        credentials: object = Anonymous()
        if name is not None:
            credentials = UsernamePassword(_bytes(name), _bytes(password))
        d: Deferred[Any] = self._factory.login(credentials, mind)
        d.addErrback(_raised, self._server.allowed)
        d.addCallback(lambda reference: MemoryClient(self._server, self, reference)).addCallback(self._loggedIn)
        return self._server.watchCall(d)

    def _loggedIn(self, client: MemoryClient) -> MemoryClient:
        # Keep the client. Otherwise it would log out as soon as the test drops it, though the test only means to log
        # in.
        self._clients.append(client)
        return client

    def loseConnection(self, server: bool = False) -> None:
        """
        Close the connection in an orderly way.

        :param server: True if the server closes it, False if the client does.
        """
        self.link.loseConnection(server)
        self._server.flush()

    def cut(self, client: bool = False) -> None:
        """
        Break the connection; bytes that were not delivered are lost.

        :param client: True if the client is told first, False if the server is.
        """
        self.link.cut(client)
        self._server.flush()

    def vanish(self) -> None:
        """
        Let the client vanish without the server's knowing: the connection is half open. The client's pending calls
        fail. The server finds out by a deadline of its own, or by `cut`.
        """
        self._server.flush()
        self.link.vanish()
        self._server.flush()

    def stall(self) -> None:
        """Let the client read and send nothing until `resume`, as if its program were stopped."""
        self._server.flush()
        self.link.stall()

    def resume(self) -> None:
        """Let a stalled client go on, with what has arrived meanwhile."""
        self.link.resume()
        self._server.flush()

    def hangUp(self) -> None:
        """Close the connection, whatever state it is in."""
        if self.link.stalled or self.link.vanished:
            self.link.cut()
            self.link.stalled = False
        elif self.link.connected:
            self.link.loseConnection()


@implementer(IStreamClientEndpoint)
class MemoryEndpoint:
    """
    The endpoint by which your own client code reaches a `MemoryServer`: see `MemoryServer.endpoint`.
    """

    def __init__(self, server: ConnectsClients, address: IAddress | None) -> None:
        self._server = server
        self._address = address

    def connect(self, factory: Any) -> Deferred[IProtocol]:
        """Connect a client factory: see `IStreamClientEndpoint`."""
        return succeed(self._server.connectWith(factory, self._address).link.client)


class MemoryClient:
    """
    A client that is logged in.

    :ivar connection: its `MemoryConnection`, which can be made to fail: ``client.connection.cut()``.
    :ivar reference: the client's `pb.RemoteReference` to the avatar; None after `logout`. A client whose reference is
        also kept elsewhere stays logged in.
    :ivar session: the server's `Session`; None if the realm is not one of pbkit's.
    """

    def __init__(self, server: ConnectsClients, connection: MemoryConnection, reference: pb.RemoteReference) -> None:
        self._server = server
        self.connection = connection
        self.reference: Any = reference
        channel = getattr(connection.link.server, "owners", {}).get(reference.luid)
        self.session: Any = getattr(channel, "session", None)

    @property
    def avatar(self) -> Any:
        """The server's avatar for this login; None if the realm is not one of pbkit's."""
        return None if self.session is None else self.session.avatar

    def call(self, method: str, *args: object, **kw: object) -> Any:
        """
        Call a method of the avatar, and return its answer.

        :param method: the name, without ``perspective_``.
        :raises Exception: what the method raised, of the same class; or the `SessionEnded` that says why the session
            has ended.
        :raises AssertionError: if there is no answer yet. Use `callRemote` then.
        """
        return now(self.callRemote(method, *args, **kw), f"{method}()")

    def callRemote(self, method: str, *args: object, **kw: object) -> Deferred[Any]:
        """
        Call a method of the avatar, whose answer can come later. Never raises.

        :return: a Deferred of the answer. It fails with the exception that the method raised.
        """
        if self.reference is None:
            return fail(LoggedOut())
        return self.callOn(self.reference, method, *args, **kw)

    def callOn(self, reference: pb.RemoteReference, method: str, *args: object, **kw: object) -> Deferred[Any]:
        """
        Call a method of another object that the client has received.

        :param reference: the `pb.RemoteReference`.
        :param method: the name, without ``remote_``.
        :return: as for `callRemote`.
        """
        d: Deferred[Any]
        try:
            d = reference.callRemote(method, *args, **kw)
        except Exception:
            d = fail(Failure())
        d.addErrback(_raised, self._server.allowed).addErrback(self._gone)
        return self._server.watchCall(d)

    def _gone(self, failure: Failure) -> Failure:
        # Fail with what `pbkit.connect` would fail with. A stock client gets stock's error.
        lost = failure.check(pb.DeadReferenceError, pb.PBConnectionLost)
        if failure.check(SessionEnded) and not failure.check(Disconnected):
            return failure
        if lost and not self.connection.link.connected and not self.connection.stock:
            told = self.session is not None and self.session.goodbye.told
            return Failure(self.session.endedWith.again() if told else Disconnected())
        return failure

    def logout(self) -> None:
        """Drop the avatar's reference, which is how a PB client logs out. The connection stays."""
        self.reference = None
        self._server.flush()
        if self.session is not None and self.session.endedWith is None:
            # A traceback may still hold the reference.
            self._server.releaseFrames()
            gc.collect()
            self._server.flush()


def now(d: Deferred[Result], what: str) -> Result:
    """
    Return the result of a Deferred that has fired, or raise its error.

    :param what: names what was asked for, for the error.
    :raises AssertionError: if it has not fired.
    """
    results: list[Any] = []
    d.addBoth(results.append)
    if not results:
        raise AssertionError(
            f"{what} has no answer yet: use the method that returns a Deferred, and server.advance(seconds) if the "
            "answer takes time"
        )
    if isinstance(results[0], Failure):
        results[0].raiseException()
    result: Result = results[0]
    return result


def _raised(failure: Failure, table: Mapping[str, type[Exception]]) -> Failure:
    """Replace what stock fails with by the exception that the server raised."""
    error = exceptionFrom(failure, table)
    return failure if error is None else Failure(error)


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8") if isinstance(text, str) else text
