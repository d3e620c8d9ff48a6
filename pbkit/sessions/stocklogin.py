"""
A login as it comes from a stock `pb.PBServerFactory`: all there is to go by is the raw mind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.spread import pb
from zope.interface import implementer

from pbkit.errors import SessionEnded
from pbkit.interfaces import IChannel, ILogin, IPeer


@implementer(IChannel)
class StockChannel:
    """
    What there is of a channel: calls on the perspective are counted. Of calls on other objects nobody knows, and none
    of the references ends.

    :param peer: that it rides on, which does not know of that by itself; or None.
    """

    session: Any = None

    def __init__(self, peer: Any) -> None:
        self._leave: Callable[[], None] | None = None if peer is None else peer.board()
        self._clock = None if peer is None else peer.clock
        self._calls = 0
        self._draining: tuple[SessionEnded, Callable[[], object]] | None = None

    @property
    def busy(self) -> bool:
        """As `IChannel.busy`."""
        return self._calls > 0

    def serving(self, serve: Callable[[], Any]) -> Any:
        """
        Serve a call on the perspective.

        :param serve: does so.
        :raises SessionEnded: no more are served.
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

    def _served(self, result: Any) -> Any:
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
                # The answer of the last is not sent yet.
                self._clock.callLater(0, idle)

    def drain(self, error: SessionEnded, idle: Callable[[], object]) -> None:
        """As `IChannel.drain`."""
        self._draining = (error, idle)
        self._tellIdle()

    def end(self, error: SessionEnded) -> None:
        """As `IChannel.end`, but that references live on."""
        self._draining = None
        if self._leave is not None:
            self._leave()

    def onReleased(self, f: Callable[[], object]) -> None:
        """Never: stock's own logout is what shows."""


@implementer(ILogin)
@attrs.define
class StockLogin:
    """
    What a raw mind tells of its login. Without a mind there is no peer, and a loss shows nowhere.
    """

    reference: Any
    peer: Any
    channel: StockChannel = attrs.field(init=False, eq=False)
    hello: dict[str, Any] = attrs.field(factory=dict)
    reachedRealm: bool = False

    def __attrs_post_init__(self) -> None:
        self.channel = StockChannel(self.peer)

    def credentialsAccepted(self) -> None:
        """As `ILogin.credentialsAccepted`. Under a stock factory nothing depends on it."""
        self.reachedRealm = True

    @property
    def lost(self) -> bool:
        """True once the connection is gone or about to be closed, as far as can be told."""
        return self.peer is not None and (self.peer.closing or not self.peer.alive)


def loginOf(mind: object) -> Any:
    """
    The `ILogin` that a realm was given, or one made of the raw mind that stock gives.
    """
    if ILogin.providedBy(mind):
        return mind
    peer = IPeer(mind.broker, None) if isinstance(mind, pb.RemoteReference) else None
    return StockLogin(mind, peer)
