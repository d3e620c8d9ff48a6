"""
A login through a stock `pb.PBServerFactory`, which passes the raw mind and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.spread import pb
from zope.interface import implementer

from pbkit.errors import SessionEnded
from pbkit.interfaces import IChannel, ILogin, IPeer, ISession


@implementer(IChannel)
class StockChannel:
    """
    A channel under a stock factory. It counts the calls on the perspective. It does not know of calls on other objects,
    and cannot invalidate references.

    :param peer: the connection, or None. It does not know of the login by itself.
    """

    session: ISession | None = None

    def __init__(self, peer: IPeer | None) -> None:
        self._leave: Callable[[], None] | None = None if peer is None else peer.board()
        self._clock = None if peer is None else peer.clock
        self._calls = 0
        self._draining: tuple[SessionEnded, Callable[[], object]] | None = None

    @property
    def busy(self) -> bool:
        """True while a call on the perspective is being served."""
        return self._calls > 0

    def serving(self, serve: Callable[[], object]) -> object:
        """
        Serve a call on the perspective.

        :param serve: serves it.
        :raises SessionEnded: the session is draining.
        """
        if self._draining is not None:
            raise self._draining[0].again()
        self._calls += 1
        try:
            result = serve()
        except BaseException:
            self._served(None)
            raise
        if isinstance(result, Deferred):
            return result.addBoth(self._served)
        return self._served(result)

    def _served(self, result: object) -> object:
        self._calls -= 1
        self._tellIdle()
        return result

    def _tellIdle(self) -> None:
        if self._draining is not None and not self._calls:
            error, idle = self._draining
            self._draining = (error, lambda: None)
            if self._clock is None:
                idle()
            else:
                # The answer of the last call is sent after this returns, and has to come first.
                self._clock.callLater(0, idle)

    def drain(self, error: SessionEnded, idle: Callable[[], object]) -> None:
        """Answer new calls with an error, as `IChannel.drain`."""
        self._draining = (error, idle)
        self._tellIdle()

    def end(self, error: SessionEnded) -> None:
        """End the channel, as `IChannel.end`, except that references stay valid."""
        self._draining = None
        if self._leave is not None:
            self._leave()

    def onReleased(self, f: Callable[[], object]) -> None:
        """Never call `f`: stock's own logout ends the session."""


@implementer(ILogin)
@attrs.define
class StockLogin:
    """
    What a raw mind tells about its login. Without a mind the connection is unknown, and so is its loss.
    """

    reference: Any
    peer: Any
    channel: StockChannel = attrs.field(init=False, eq=False)
    hello: dict[str, object] = attrs.field(factory=dict)
    reachedRealm: bool = False

    def __attrs_post_init__(self) -> None:
        self.channel = StockChannel(self.peer)

    def credentialsAccepted(self) -> None:
        """Note it, as `ILogin.credentialsAccepted`. Under a stock factory nothing depends on it."""
        self.reachedRealm = True

    @property
    def lost(self) -> bool:
        """True once the connection is lost or about to be closed, as far as is known."""
        return self.peer is not None and (self.peer.closing or not self.peer.alive)


def loginOf(mind: object) -> ILogin:
    """
    Return the `ILogin` that a realm received, or make one of the raw mind that stock passes.
    """
    if ILogin.providedBy(mind):
        return mind
    peer = IPeer(mind.broker, None) if isinstance(mind, pb.RemoteReference) else None
    return StockLogin(mind, peer)
