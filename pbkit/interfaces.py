"""
Where the two halves meet.

`pbkit.sessions` (who is here) and `pbkit.wire` (bytes) never import each other. What one needs of
the other stands here, and `pbkit.server` hands it over.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from twisted.spread import pb
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.logger import Logger
    from twisted.python.failure import Failure

    from pbkit.errors import LoginRefused, SessionEnded


class ILogin(Interface):
    """
    One attempt to log in, as a session realm sees it in the place of the mind.

    A realm that does not provide `ISessionRealm` gets the raw mind, as from stock.
    """

    reference = Attribute("The mind: a `RemoteReference`, or None; anything else is to be refused.")
    peer = Attribute("The `IPeer` that logs in; None where stock PB does not tell (no mind was sent).")
    channel = Attribute("The `IChannel` that the session will have; None under a stock factory.")
    hello = Attribute("What the client declared of itself, a dict; empty for a stock client.")
    lost = Attribute("True once the connection is gone. Look again after each await.")
    reachedRealm = Attribute("Set by a session realm, which counts its own refusals: he has shown who he is.")


class ISessionRealm(Interface):
    """Marks a realm whose `requestAvatar` takes an `ILogin` as its mind argument."""

    def loginRefused(error: LoginRefused) -> None:
        """
        A login ended before it reached the realm: a checker said no. For the realm's counters.
        """


class IPeer(Interface):
    """A connection, as the sessions that ride on it see it. One for each connection."""

    peerId = Attribute("A str, unique in this process.")
    address = Attribute("The `IAddress` of the other end, or None where the transport has none.")
    alive = Attribute("False once the connection is lost.")
    clock = Attribute("The `IReactorTime` of the connection, or None: then there are no deadlines.")
    hello = Attribute("What the other end declared of itself, a dict; empty for a stock peer.")

    def onLost(f: Callable[[], object]) -> Callable[[], None]:
        """
        Call `f` when the connection is lost; at once if it is lost already.

        :return: a callable that takes `f` off again, harmless at any time.
        """

    def logFailure(log: Logger, format: str, failure: Failure, **fields: Any) -> None:
        """
        Write down what was raised because of what this connection sent: its text escaped and cut, and no more of these
        in a second than one connection may cause.

        :param log: of the module that says so.
        :param format: a constant, with the names of `fields` in it.
        """

    def ping(timeout: float) -> Any:
        """
        Ask the other end for a sign of life. Works with every PB peer: a call on an object that
        nobody has is answered, with an error.

        :param timeout: in seconds.
        :return: a Deferred that always fires, with True if anything came back in time.
        """


class IChannel(Interface):
    """The part of a connection that is one session's."""

    session = Attribute("The `ISession` whose channel this is, or None before login.")

    def end(error: SessionEnded) -> None:
        """
        From now on every reference that was got through this channel is dead and answers `error`.
        Idempotent: the first error stays.
        """

    def onReleased(f: Callable[[], object]) -> None:
        """
        Call `f` once when the client has let go of everything that it got through this channel and no
        call of its own is being served, or when the connection is lost.
        """


class ISession(pb.IPerspective):
    """One login: what the client's reference really points at, and the only way out."""

    sessionId = Attribute("A str, unique in this process, never used again.")
    avatarId = Attribute("A str.")
    avatar = Attribute("The object that acts for the avatar id.")
    peer = Attribute("The `IPeer` that this session rides on, or None under stock without a mind.")

    def end(reason: type[SessionEnded], detail: str = "") -> None:
        """
        End this session. Synchronous, idempotent; the first reason stays.

        :param reason: the class that says why, as later calls of the client will be told.
        :param detail: a sentence for people.
        """

    def called() -> None:
        """The client has called: on this session, or on an object that it got through it."""


#: The session whose call is being served. Set at every entry of a message, to None too: a timer that
#: a handler armed under asyncio would otherwise carry one user's session into a stranger's call.
current: ContextVar[Any] = ContextVar("pbkit.currentSession", default=None)


def currentSession() -> Any:
    """
    The session whose call is being served, or None outside of one.

    Right in `perspective_*` and `remote_*` methods and, in `async def` ones, after each await. Not in
    callbacks added to a bare Deferred: these run in the context of whoever fires it. For logging
    and bookkeeping; never use it to authorise anything.

    :return: the `pbkit.sessions.session.Session`, or None.
    """
    return current.get()


__all__ = [
    "IChannel",
    "ILogin",
    "IPeer",
    "ISession",
    "ISessionRealm",
    "current",
    "currentSession",
]
