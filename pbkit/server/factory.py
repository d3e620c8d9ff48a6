"""
The server factory.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
from twisted.cred.portal import Portal
from twisted.internet.interfaces import IReactorTime
from twisted.spread import pb
from twisted.spread.jelly import globalSecurity
from zope.interface import implementer

from pbkit.server.root import LoginRoot
from pbkit.server.throttle import LoginThrottle
from pbkit.wire.broker import Broker
from pbkit.wire.jelly.registry import registryOf
from pbkit.wire.keepalive import ConnectionMonitor
from pbkit.wire.profile import STRICT, Gate, Profile


class ServerFactory(pb.PBServerFactory):
    """
    A server of Perspective Broker with sessions. Clients may be stock.

    :param root: a cred `Portal`; or anything that provides or adapts to `pb.IPBRoot`, served as it is. A realm of
        pbkit's gets an `ILogin` in the place of the mind, any other the raw mind, as from stock.
    :param unsafeTracebacks: as stock's: whether tracebacks are sent to peers.
    :param security: as stock's.
    :param clock: for every deadline; by default the reactor that a connection's transport belongs to.
    :param profile: how strict it is, and its connections; by default that of the class.
    :param allow: which classes of copyable and cacheable objects it accepts from clients: the senders' classes, those
        that are made of them, or the names that these are registered for with `pb.setUnjellyableForClass`. None accepts
        all that are registered in this process, as stock does; what twistd serves accepts those that are named.
    :raises ConfigError: nothing is registered for one that is allowed.
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
        allow: Iterable[type | str | bytes] | None = None,
    ) -> None:
        super().__init__(root, unsafeTracebacks, security)
        self.clock = clock
        self.registry = registryOf(allow)
        if profile is not None:
            self.profile = profile
        if isinstance(root, Portal):
            self.root = PortalRoot(root, self.profile, LoginThrottle(self.profile.door))
        #: Whether nothing but a login is served before one. A root of one's own has none.
        self.gated = isinstance(root, Portal) and self.profile.gate.closed
        self._monitor: ConnectionMonitor | None = None

    def buildProtocol(self, addr: Any) -> Any:
        """As stock's; the connection is as strict as its factory."""
        broker = self.protocol(isClient=False, security=self.security)
        broker.factory = self
        if isinstance(broker, Broker):
            broker.profile = self.profile
            broker.registry = self.registry
        if not isinstance(broker, Broker) or not self.gated:
            broker.setNameForLocal("root", self.root.rootObject(broker))
        return broker

    def loginRoot(self, broker: Broker) -> Any:
        """
        What a connection logs in at. It is made when somebody does, and forgotten when he is in.

        :return: None, if it is none of ours: a root of one's own is there from the beginning. So is it in drop-in use:
            what is in stock's tables counts for stock's bound.
        """
        return self.root.rootObject(broker) if self.gated else None

    def monitorOf(self, clock: IReactorTime) -> ConnectionMonitor:
        """
        The one watch over the connections of this server.

        :param clock: that of the connection that asks.
        """
        if self._monitor is None:
            profile = self.profile
            if not self.gated:
                profile = attrs.evolve(profile, gate=Gate(closed=False, timeout=None, again=None, connections=None))
            # In drop-in use there is no such bound, and no timer for it.
            bounded = profile.output.lasting < profile.output.most
            self._monitor = ConnectionMonitor(
                profile, clock, [lambda state: state.check(clock.seconds())] if bounded else ()
            )
        return self._monitor


def classesOf(realm: Any) -> frozenset[type | str | bytes]:
    """
    Which classes the clients of a realm may send, as it says itself.

    :param realm: of whatever kind. Looked at is its ``allow``, and that of the realm that it keeps for guests.
    :return: for the ``allow`` of `ServerFactory`.
    """
    realms = (realm, getattr(realm, "anonymous", None))
    return frozenset(one for each in realms for one in getattr(each, "allow", ()))


@implementer(pb.IPBRoot)
class PortalRoot:
    """
    What a factory serves to clients of a portal: a login root for each connection.

    :param portal: checks credentials, and asks the realm.
    :param profile: the limits of the server.
    :param throttle: the failed logins of the server.
    """

    def __init__(self, portal: Portal, profile: Profile, throttle: LoginThrottle) -> None:
        self.portal = portal
        self._profile = profile
        self._throttle = throttle

    def rootObject(self, broker: Any) -> LoginRoot:
        """`pb.IPBRoot`."""
        return LoginRoot(self.portal, self._profile, broker, self._throttle)
