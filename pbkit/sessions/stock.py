"""
A login as it comes from a stock `pb.PBServerFactory`: all there is to go by is the raw mind.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.spread import pb
from zope.interface import implementer

from pbkit.interfaces import ILogin, IPeer


@implementer(ILogin)
@attrs.define
class StockLogin:
    """
    What a raw mind tells of its login. Without a mind there is no peer, and a loss shows nowhere.
    """

    reference: Any
    peer: Any
    channel: None = None
    hello: dict[str, Any] = attrs.field(factory=dict)
    reachedRealm: bool = False

    @property
    def lost(self) -> bool:
        """True once the connection is gone, as far as can be told."""
        return self.peer is not None and not self.peer.alive


def loginOf(mind: object) -> Any:
    """
    The `ILogin` that a realm was given, or one made of the raw mind that stock gives.
    """
    if ILogin.providedBy(mind):
        return mind
    peer = IPeer(mind.broker, None) if isinstance(mind, pb.RemoteReference) else None
    return StockLogin(mind, peer)
