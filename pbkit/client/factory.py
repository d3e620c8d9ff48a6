"""
`ClientFactory`: stock's client factory, with a hello and str credentials.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.cred.credentials import IAnonymous
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.spread import pb
from twisted.spread.jelly import globalSecurity

from pbkit.client.instance import instanceId
from pbkit.wire.broker import Broker
from pbkit.wire.hello import ENTRIES, PROGRAM, checked, sayHello
from pbkit.wire.profile import CLIENT, Profile


class ClientFactory(pb.PBClientFactory):
    """
    A Perspective Broker client. The server can be stock.

    Before its first login with a user name, a connection sends the server its client instance id, as ``program`` in the
    hello: see `pbkit.client.instance`. To send another id, pass ``program`` in `hello`; "" sends none.

    :param unsafeTracebacks: as in stock.
    :param security: as in stock.
    :param hello: what this client declares to a pbkit server: a small dict of str to plain values.
    :param clock: for every deadline; by default the reactor that the transport belongs to.
    :param profile: the limits, and how strict the client is; by default that of the class.
    :raises Error: if the hello is invalid.
    """

    protocol: Any = Broker
    profile: Profile = CLIENT
    #: Whether to send the client instance id.
    introduces = True

    def __init__(
        self,
        unsafeTracebacks: bool = False,
        security: Any = globalSecurity,
        *,
        hello: Mapping[str, object] | None = None,
        clock: IReactorTime | None = None,
        profile: Profile | None = None,
    ) -> None:
        super().__init__(unsafeTracebacks, security)
        self.hello = None if hello is None else checked(hello)
        self.clock = clock
        if profile is not None:
            self.profile = profile
        self._introducedAlready = False

    def buildProtocol(self, addr: object) -> Any:
        """Build a broker with the limits of this factory."""
        broker = super().buildProtocol(addr)
        if isinstance(broker, Broker):
            broker.profile = self.profile
        return broker

    def clientConnectionMade(self, broker: Broker) -> None:
        """Send the hello before anything else. The server serves calls in order, so it precedes any login."""
        self._introducedAlready = False
        if self.hello is not None:
            sayHello(broker, self.hello)
        super().clientConnectionMade(broker)

    def login(self, credentials: Any, client: object = None) -> Deferred[Any]:
        """
        Log in. Unlike in stock, user name and password can be str.

        :param credentials: an `IUsernamePassword` or `IAnonymous`.
        :param client: the mind: a `pb.Referenceable` that the server can call, or None.
        :return: a Deferred of a `RemoteReference` to the avatar.
        """
        if IAnonymous.providedBy(credentials):
            d: Deferred[Any] = super().login(credentials, client)
            return d
        root: Deferred[Any] = self.getRootObject()
        name = _bytes(credentials.username)
        root.addCallback(self._introduced, name)
        return root.addCallback(self._cbSendUsername, name, _bytes(credentials.password), client)

    def _introduced(self, root: Any, name: bytes) -> Any:
        """Send the client instance id, once per connection, without waiting: the server serves calls in order."""
        broker: Any = self._broker
        said = self.hello or {}
        wanted = self.introduces and not self._introducedAlready and PROGRAM not in said and len(said) < ENTRIES
        if wanted and isinstance(name, bytes):
            self._introducedAlready = True
            sayHello(broker, {**said, PROGRAM: instanceId(broker, name)})
        return root


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8") if isinstance(text, str) else text
