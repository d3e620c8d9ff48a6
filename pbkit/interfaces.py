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
    channel = Attribute("The `IChannel` that the session will have.")
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
    buffered = Attribute("How many bytes of ours wait to be read by the other end, as far as is known.")
    writable = Attribute("False while so much of ours waits that more had better not be sent. Under stock always true.")

    def fanOut(method: str, args: tuple[Any, ...], kw: dict[str, Any]) -> Any:
        """
        A call that is to go to many, also of other connections, and wants no answer.

        :return: an object whose ``to(reference)`` sends it to one and returns whether it did, which it does not to who
            is gone. It raises what is wrong with the arguments.
        """

    def onWritable(f: Callable[[], object]) -> Callable[[], None]:
        """
        Call `f` once when the connection is writable again; to be called while it is not. The connection may have been
        filled again by others by then: look. After a loss it is not called.

        :return: a callable that takes `f` off again, harmless at any time.
        """

    riders = Attribute(
        "How many sessions and pending log-ins ride on it. A login counts from the moment that it is being served: a "
        "challenge that has not been answered is none yet."
    )
    closing = Attribute("True once `close` was called: whoever logs in now is too late.")

    def board() -> Callable[[], None]:
        """
        Ride on it, for whom the connection itself does not know: a login at a stock broker, a goodbye under way.

        :return: a callable that ends that; harmless at any time.
        """

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

    def goodbye(reference: Any, reason: str, detail: str, timeout: float) -> Any:
        """
        Tell a client that its session is over: ``goodbye(reason, detail)``. It goes beside the session, whose own
        references may be dead by now.

        :param reference: the mind, a `RemoteReference`. None: then only a client is told that declared in its hello
            that it knows it, with ``{"goodbye": True}``; on the object named ``pbkit``.
        :param reason: the name of a class of `pbkit.errors`.
        :param detail: a sentence for people.
        :param timeout: how long it has to answer, in seconds. Without a clock it is not waited for.
        :return: a Deferred that always fires, with True if it answered in time, be it with an error.
        """

    def close(abortAfter: float) -> Any:
        """
        Close the connection once all that was written is sent. Idempotent; if asked for more than once, the
        soonest end counts.

        :param abortAfter: if it is still open then, in seconds, it is cut off; 0 does so at once.
        :return: a Deferred that fires when the connection is lost, with None; never fails.
        """


class IChannel(Interface):
    """The part of a connection that is one session's."""

    session = Attribute("The `ISession` whose channel this is, or None before login.")
    busy = Attribute("Whether a call of the client's is being served whose answer is still to come.")

    def drain(error: SessionEnded, idle: Callable[[], object]) -> None:
        """
        From now on new calls are answered `error`; those that are being served go on, and are answered.

        :param idle: called once when none is being served, at once if none is now; not if the channel ends before.
        """

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
    endedWith = Attribute("None while it lives, then the `SessionEnded` that says why it ended.")

    def end(reason: type[SessionEnded], detail: str = "") -> None:
        """
        End this session. Synchronous, idempotent; the first reason stays.

        :param reason: the class that says why, as later calls of the client will be told.
        :param detail: a sentence for people.
        """

    def called() -> None:
        """The client has called: on this session, or on an object that it got through it."""

    def cancelAtEnd(running: Any) -> Any:
        """
        Cancel a call that is being served when this session ends; at once if it has ended.

        :param running: the Deferred that the method returned.
        :return: a Deferred of the same.
        """


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
