"""
The server factory.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.interfaces import IReactorTime
from twisted.spread import pb
from twisted.spread.jelly import globalSecurity
from zope.interface import implementer

from pbkit.server.patience import Patience
from pbkit.server.root import LoginRoot
from pbkit.wire.broker import Broker
from pbkit.wire.profile import STRICT, Profile


class ServerFactory(pb.PBServerFactory):
    """
    A server of Perspective Broker with sessions. Clients may be stock.

    :param root: a cred `Portal`; or anything that provides or adapts to `pb.IPBRoot`, served as it is. A realm of
        pbkit's gets an `ILogin` in the place of the mind, any other the raw mind, as from stock.
    :param unsafeTracebacks: as stock's: whether tracebacks are sent to peers.
    :param security: as stock's.
    :param clock: for every deadline; by default the reactor that a connection's transport belongs to.
    :param profile: how strict it is, and its connections; by default that of the class.
    """

    protocol: Any = Broker
    profile: Profile = STRICT

    def __init__(
        self,
        root: Any,
        unsafeTracebacks: bool = False,
        security: Any = globalSecurity,
        *,
        clock: IReactorTime | None = None,
        profile: Profile | None = None,
    ) -> None:
        super().__init__(root, unsafeTracebacks, security)
        self.clock = clock
        if profile is not None:
            self.profile = profile
        if isinstance(root, Portal):
            self.root = _PortalRoot(root, self.profile, Patience(self.profile.door))

    def buildProtocol(self, addr: Any) -> Any:
        """As stock's; the connection is as strict as its factory."""
        broker = super().buildProtocol(addr)
        if isinstance(broker, Broker):
            broker.profile = self.profile
        return broker


@implementer(pb.IPBRoot)
class _PortalRoot:
    def __init__(self, portal: Portal, profile: Profile, patience: Patience) -> None:
        self.portal = portal
        self._profile = profile
        self._patience = patience

    def rootObject(self, broker: Any) -> LoginRoot:
        """`pb.IPBRoot`."""
        return LoginRoot(self.portal, self._profile, broker, self._patience)
