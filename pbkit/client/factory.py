"""
The client's side.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.credentials import IAnonymous
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.spread import pb
from twisted.spread.jelly import globalSecurity

from pbkit.client.instance import seat
from pbkit.wire.broker import Broker
from pbkit.wire.hello import ENTRIES, PROGRAM, checked, sayHello
from pbkit.wire.profile import STRICT, Profile


class ClientFactory(pb.PBClientFactory):
    """
    A client of Perspective Broker. Servers may be stock.

    Before its first login with a name, a connection tells the server which running program it is, as ``program`` in its
    hello: see `pbkit.client.instance`. A ``program`` of one's own in `hello` stays, and "" says nothing.

    :param unsafeTracebacks: as stock's.
    :param security: as stock's.
    :param hello: what to declare of this client to a server of pbkit's: a small dict of str to plain values.
    :param clock: for every deadline; by default the reactor that the transport belongs to.
    :raises Error: the hello is something else.
    """

    protocol: Any = Broker
    profile: Profile = STRICT
    #: Whether it says which running program it is.
    introduces = True

    def __init__(
        self,
        unsafeTracebacks: bool = False,
        security: Any = globalSecurity,
        *,
        hello: dict[str, Any] | None = None,
        clock: IReactorTime | None = None,
    ) -> None:
        super().__init__(unsafeTracebacks, security)
        self.hello = None if hello is None else checked(hello)
        self.clock = clock
        self._introducedAlready = False

    def clientConnectionMade(self, broker: Any) -> None:
        """Says hello first, if there is something to say: calls are served in order, so before any login."""
        self._introducedAlready = False
        if self.hello is not None:
            sayHello(broker, self.hello)
        super().clientConnectionMade(broker)

    def login(self, credentials: Any, client: Any = None) -> Deferred[Any]:
        """
        Log in. As stock's, but user name and password may be str, where stock raises TypeError.

        :param credentials: an `IUsernamePassword` or `IAnonymous`.
        :param client: the mind: a `pb.Referenceable` that the server may call, or None.
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
        """Say which program this is, once for each connection. Nothing is waited for: calls are served in order."""
        broker: Any = self._broker
        said = self.hello or {}
        wanted = self.introduces and not self._introducedAlready and PROGRAM not in said and len(said) < ENTRIES
        if wanted and isinstance(name, bytes):
            self._introducedAlready = True
            sayHello(broker, {**said, PROGRAM: seat(broker, name)})
        return root


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8") if isinstance(text, str) else text
