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

from pbkit.errors import ConfigError
from pbkit.server.refusallog import RefusalLog
from pbkit.server.root import LoginRoot
from pbkit.server.throttle import LoginThrottle
from pbkit.wire.broker import Broker
from pbkit.wire.jelly.registry import registryOf
from pbkit.wire.keepalive import ConnectionMonitor
from pbkit.wire.prelogin.state import PreloginState
from pbkit.wire.profile import STRICT, Gate, Profile


class ServerFactory(pb.PBServerFactory):
    """
    A Perspective Broker server with sessions. Clients may be stock.

    :param root: a cred `Portal`; or an object that provides or adapts to `pb.IPBRoot`, which is served as it is. A
        realm of pbkit receives an `ILogin` in place of the mind, any other realm the raw mind, as from stock.
    :param unsafeTracebacks: whether tracebacks are sent to peers, as in stock.
    :param security: as in stock.
    :param clock: the clock for every deadline; by default the reactor of each connection's transport.
    :param profile: the limits of the server and its connections; by default those of the class.
    :param allow: the copyable and cacheable classes that clients may send: the senders' classes, the receiving classes,
        or the names that these are registered under with `pb.setUnjellyableForClass`. None accepts all that are
        registered in this process, as stock does; a server run by twistd accepts only those that are named.
    :raises ConfigError: an allowed class is not registered, or `protocol` is not a broker of pbkit's.
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
        self._refusalLog = RefusalLog(self.profile.log)
        self._checkProtocol()
        if isinstance(root, Portal):
            self.root = PortalRoot(root, self.profile, LoginThrottle(self.profile.door), self._refusalLog)
        #: Whether only a login is served before login. A root of the program's own is a login root if it derives from
        #: one of stock's. Of one that is made for each connection that is known when the first is made.
        self.gated = isinstance(root, Portal | pb._PortalRoot) and self.profile.gate.closed
        self._monitor: ConnectionMonitor | None = None

    def buildProtocol(self, addr: Any) -> Any:
        """Make the protocol of a connection. Unlike stock's, it gets the limits of the factory."""
        self._checkProtocol()
        broker = self.protocol(isClient=False, security=self.security)
        broker.factory = self
        if isinstance(broker, Broker):
            broker.profile = self.profile
            broker.registry = self.registry
        if not isinstance(broker, Broker) or not self.gated:
            root = self.root.rootObject(broker)
            broker.setNameForLocal("root", root)
            if isinstance(root, pb._JellyableAvatarMixin):
                self.gated = self.profile.gate.closed
        return broker

    def doStart(self) -> None:
        """As stock's, for a `protocol` that was set after the factory was made."""
        self._checkProtocol()
        super().doStart()

    def _checkProtocol(self) -> None:
        """
        Check the class of the connections.

        :raises ConfigError: it is not a broker of pbkit's, and the profile has a gate.
        """
        kind = self.protocol
        if self.profile.gate.closed and isinstance(kind, type) and not issubclass(kind, Broker):
            raise ConfigError(
                f"invalid protocol: got {kind.__module__}.{kind.__qualname__}, expected pbkit.Broker or a subclass: it "
                "keeps the limits of this server. Use pbkit.dropin.PBServerFactory to serve without limits"
            )

    def loginRoot(self, broker: Broker) -> Any:
        """
        Make the login root of a connection. It is made when a client logs in, and forgotten afterwards.

        :return: the login root; None if the connection has had its root from the beginning. That is so for a root of
            the program's own, and in drop-in use, where objects in stock's tables count for stock's limit.
        """
        return self.root.rootObject(broker) if self.gated else None

    def monitorOf(self, clock: IReactorTime) -> ConnectionMonitor:
        """
        Return the monitor of all connections of this server, which is made at the first call.

        :param clock: the clock of the calling connection.
        """
        if self._monitor is None:
            profile = self.profile
            if not self.gated:
                profile = attrs.evolve(profile, gate=Gate(closed=False, timeout=None, again=None, connections=None))
            # Drop-in use has no such limit, and no timer for it.
            bounded = profile.output.lasting < profile.output.most
            self._monitor = ConnectionMonitor(profile, clock, [self._check] if bounded else ())
        return self._monitor

    def _check(self, connection: PreloginState) -> str | None:
        """Check a connection, for its monitor. The refusals have no timer of their own, which would outlast a test."""
        assert self._monitor is not None
        now = self._monitor.seconds()
        self._refusalLog.report(now)
        return connection.check(now)

    def stopFactory(self) -> None:
        """Log what was counted: the server no longer listens."""
        super().stopFactory()
        self._refusalLog.close()


def classesOf(realm: Any) -> frozenset[type | str | bytes]:
    """
    Return the classes that the clients of a realm may send, for the ``allow`` of `ServerFactory`.

    :param realm: any realm. Its ``allow`` counts, and that of its realm for guests.
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
    :param refusalLog: the log of refused logins of the server.
    """

    def __init__(self, portal: Portal, profile: Profile, throttle: LoginThrottle, refusalLog: RefusalLog) -> None:
        self.portal = portal
        self._profile = profile
        self._throttle = throttle
        self._refusalLog = refusalLog

    def rootObject(self, broker: Any) -> pb.Referenceable:
        """As `pb.IPBRoot.rootObject`. A broker of stock's, in drop-in use, is given stock's."""
        if not isinstance(broker, Broker):
            return pb._PortalWrapper(self.portal, broker)
        return LoginRoot(self.portal, self._profile, broker, self._throttle, self._refusalLog)
