"""
The contracts between the packages.

`pbkit.sessions` (who is logged in) and `pbkit.wire` (bytes) never import each other. What each needs of the other is
declared here, and `pbkit.server` connects the two. mypy checks the interfaces as types, by way of mypy-zope.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.spread import pb
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.logger import Logger
    from twisted.python.failure import Failure

    from pbkit.errors import LoginRefused, SessionEnded


class ICast(Interface):
    """One call that is sent to many clients and wants no answer."""

    def to(reference: pb.RemoteReference) -> bool:
        """
        Send the call to one object.

        :return: True if it was sent, False if the connection of the reference is lost.
        """


class IPeer(Interface):
    """A connection, as its sessions see it. There is one for each connection."""

    peerId: str = Attribute("A name for the connection, unique in this process.")
    address: IAddress | None = Attribute("The address of the other end, or None where the transport has none.")
    alive: bool = Attribute("False once the connection is lost.")
    closing: bool = Attribute("True once `close` was called: a login that ends now is too late.")
    clock: IReactorTime | None = Attribute("The clock of the connection, or None: then there are no deadlines.")
    hello: dict[str, object] = Attribute("What the other end declared about itself; empty for a stock peer.")
    buffered: int = Attribute("How many bytes of output wait to be read by the other end, as far as is known.")
    writable: bool = Attribute("False while so much output waits that no more should be sent. Always True under stock.")
    riders: int = Attribute(
        "How many sessions and pending logins use the connection. A login counts from the moment it is being served; a "
        "challenge that has not been answered does not count yet."
    )

    def fanOut(method: str, args: tuple[Any, ...], kw: dict[str, Any]) -> ICast:
        """
        Prepare a call that is sent to many clients, also on other connections, and wants no answer.

        :raises Exception: the arguments cannot be sent.
        """

    def onWritable(f: Callable[[], object]) -> Callable[[], None]:
        """
        Call `f` once when the connection is writable again. Use it only while it is not. Another callback may have
        filled the connection again by then, so `f` must check. After a loss `f` is not called.

        :return: a callable that unregisters `f`; harmless at any time.
        """

    def board() -> Callable[[], None]:
        """
        Count as a user of the connection, for one that the connection does not know of by itself: a login at a stock
        broker, or a goodbye that is being sent.

        :return: a callable that ends that; harmless at any time.
        """

    def onLost(f: Callable[[], object]) -> Callable[[], None]:
        """
        Call `f` when the connection is lost; at once if it is lost already.

        :return: a callable that unregisters `f`; harmless at any time.
        """

    def logFailure(log: Logger, format: str, failure: Failure, **fields: object) -> None:
        """
        Log an exception that this connection caused: with its text escaped and cut, and within the number of lines that
        one connection may cause in a second.

        :param log: the logger of the calling module.
        :param format: a constant text that names `fields`.
        """

    def ping(timeout: float) -> Deferred[bool]:
        """
        Ask the other end for a sign of life. Works with every PB peer, because a call on an object that does not exist
        is answered with an error.

        :param timeout: in seconds.
        :return: a Deferred that always fires, with True if anything came back in time.
        """

    def goodbye(reference: pb.RemoteReference | None, reason: str, detail: str, timeout: float) -> Deferred[bool]:
        """
        Tell a client that its session has ended: ``goodbye(reason, detail)``. The message does not use the session's
        references, which may be dead by now.

        :param reference: the mind. None: then the message goes to the object named ``pbkit``, and only to a client
            that declared ``{"goodbye": True}`` in its hello.
        :param reason: the name of a class of `pbkit.errors`.
        :param detail: a sentence for people.
        :param timeout: how many seconds the client has to answer. Without a clock there is no waiting.
        :return: a Deferred that always fires, with True if the client answered in time, be it with an error.
        """

    def close(abortAfter: float) -> Deferred[None]:
        """
        Close the connection once all output is sent. Idempotent; of several calls the shortest time counts.

        :param abortAfter: abort the connection if it is still open after this many seconds; 0 aborts it at once.
        :return: a Deferred that fires when the connection is lost, with None; never fails.
        """


class IChannel(Interface):
    """The part of a connection that belongs to one session."""

    session: ISession | None = Attribute("The session of this channel, or None before login.")
    busy: bool = Attribute("True while a call of the client is being served whose answer is still to come.")

    def drain(error: SessionEnded, idle: Callable[[], object]) -> None:
        """
        Answer new calls with `error` from now on; calls that are being served go on, and are answered.

        :param idle: called once when no call is being served, at once if none is now. Not called if the channel ends
            before.
        """

    def end(error: SessionEnded) -> None:
        """
        Invalidate every reference that was obtained through this channel: from now on each answers `error`.
        Idempotent: the first error stays.
        """

    def onReleased(f: Callable[[], object]) -> None:
        """
        Call `f` once when the client has released everything that it obtained through this channel and no call of its
        own is being served, or when the connection is lost.
        """


class ILogin(Interface):
    """
    One login, as a session realm receives it in place of the mind.

    A realm that does not provide `ISessionRealm` receives the raw mind, as from stock.
    """

    reference: pb.RemoteReference | None = Attribute("The mind. The realm refuses anything else with `BadMind`.")
    peer: IPeer | None = Attribute("The connection; None where stock PB does not tell (no mind was sent).")
    channel: IChannel = Attribute("The channel that the session will have.")
    hello: dict[str, object] = Attribute("What the client declared about itself; empty for a stock client.")
    lost: bool = Attribute("True once the connection is lost or about to be closed. Check it after each await.")
    reachedRealm: bool = Attribute("True once `credentialsAccepted` was called.")

    def credentialsAccepted() -> None:
        """
        The checker has accepted the credentials, and the realm takes the login over. The realm calls this first, and
        counts its own refusals from then on. Idempotent.
        """


class ISessionRealm(Interface):
    """Marks a realm whose `requestAvatar` takes an `ILogin` as its mind argument."""

    def loginRefused(error: LoginRefused) -> None:
        """
        Count a login that was refused before it reached the realm, for example by a checker.
        """


class ISession(pb.IPerspective):
    """One login. The client's reference points at the session, and the session is the only way to end it."""

    sessionId: str = Attribute("Unique in this process, and never used again.")
    avatarId: str = Attribute("The avatar id.")
    avatar: Any = Attribute("The object that acts for the avatar id.")
    peer: IPeer | None = Attribute("The connection of this session, or None under stock without a mind.")
    endedWith: SessionEnded | None = Attribute("None while the session lives, then the reason why it ended.")

    def end(reason: type[SessionEnded], detail: str = "") -> None:
        """
        End this session. Synchronous and idempotent; the first reason stays.

        :param reason: the class that later calls of the client raise.
        :param detail: a sentence for people.
        """

    def called() -> None:
        """Note that the client has called this session, or an object that it obtained through it."""

    def cancelAtEnd(running: Deferred[Any]) -> Deferred[Any]:
        """
        Cancel a call that is being served when this session ends; at once if it has ended.

        :param running: the Deferred that the method returned.
        :return: a Deferred of the same.
        """


#: The session whose call is being served. The wire sets it for every message, to None too: otherwise a timer that a
#: method started under asyncio would carry one user's session into another user's call.
current: ContextVar[ISession | None] = ContextVar("pbkit.currentSession", default=None)


def currentSession() -> Any:
    """
    Return the session whose call is being served, or None outside of one.

    The result is right in `perspective_*` and `remote_*` methods and, in `async def` ones, after each await. It is not
    in callbacks added to a bare Deferred: these run in the context of the code that fires it. Use it for logging and
    bookkeeping, never for authorization.

    :return: the `pbkit.sessions.session.Session`, or None.
    """
    return current.get()


__all__ = [
    "ICast",
    "IChannel",
    "ILogin",
    "IPeer",
    "ISession",
    "ISessionRealm",
    "current",
    "currentSession",
]
