"""
`connect`: connects to a server and logs in. It always fires, and its error says which step failed.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from twisted.cred.credentials import IAnonymous, IUsernamePassword
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from twisted.spread import pb

from pbkit.client.connection import SessionBroker, SessionFactory
from pbkit.client.endpoint import clientEndpoint
from pbkit.client.session import ClientSession, closing
from pbkit.errors import ConnectError, ConnectFailed, ProtocolMismatch, TimedOut, TlsFailed
from pbkit.wire.profile import Profile

#: The hint if a server accepts connections but does not send a PB greeting.
DOUBT = "is it a Perspective Broker server, and does the endpoint use TLS exactly if the server does?"

#: The hint if a TLS handshake fails.
SPEAKS = "does the server use TLS on this port?"

#: The modules that exceptions about TLS come from.
_TLS = ("OpenSSL", "service_identity", "twisted.internet._sslverify")


def connect(
    endpoint: IStreamClientEndpoint | str,
    credentials: object,
    *,
    mind: object = None,
    timeout: float = 30.0,
    reactor: Any = None,
    allow: Iterable[type[Exception]] = (),
    hello: Mapping[str, object] | None = None,
    profile: Profile | None = None,
) -> ConnectDeferred:
    """
    Connect to a Perspective Broker server, stock or pbkit's, and log in::

        async with pbkit.connect("tcp:localhost:8787", UsernamePassword("alice", "sesame")) as me:
            print(await me.callRemote("greet"))

    The result is also a Deferred: it can be awaited, cancelled, and returned to `task.react`. In that case close the
    `ClientSession` that it fires with yourself.

    :param endpoint: where the server is: an endpoint, or a description such as ``tls:example.org:8787``.
    :param credentials: a `UsernamePassword` of str or bytes, or `Anonymous`.
    :param mind: a `pb.Referenceable` that the server can call, or None. If the server calls its
        ``goodbye(reason, detail)``, the session has ended; the mind need not have such a method.
    :param timeout: how many seconds connecting and logging in may take together.
    :param reactor: the reactor; by default the installed one.
    :param allow: your own exception classes. When the server raises one, told by its qualified name, the client raises
        it too. pbkit's and Python's own exceptions are always raised as what they are.
    :param hello: what this client declares to a pbkit server: a small dict of str to plain values. The client instance
        id (``program``) is added: see `pbkit.client.instance`.
    :param profile: the limits, and how strict the client is; by default `pbkit.wire.profile.CLIENT`. An answer that
        exceeds one of ``profile.limits`` fails the call that it belongs to, and nothing else.
    :return: a Deferred of a `ClientSession`. It always fires. It fails with `ConnectFailed`, `TlsFailed`,
        `ProtocolMismatch`, `TimedOut`, a subclass of `LoginRefused`, or with `ConfigError`, `TypeError` or `ValueError`
        for invalid arguments. If it fails or is cancelled, nothing is left behind.
    """
    connecting = ConnectDeferred()
    try:
        if not (0 < timeout and math.isfinite(timeout)):
            raise ValueError(f"invalid timeout: got {timeout!r}, expected a number of seconds above 0")
        if reactor is None:
            # Import the reactor here, so that importing pbkit installs none.
            from twisted.internet import reactor
        factory = SessionFactory(reactor, _mind(mind), allow, connecting.lost, hello=hello, profile=profile)
        connecting.begin(reactor, _endpoint(reactor, endpoint), _credentials(credentials), factory, timeout)
    except Exception:
        connecting.errback(Failure())
    return connecting


def _endpoint(reactor: Any, endpoint: object) -> IStreamClientEndpoint:
    if IStreamClientEndpoint.providedBy(endpoint):
        found: IStreamClientEndpoint = endpoint
        return found
    if not isinstance(endpoint, str):
        raise TypeError(f"invalid endpoint: got {endpoint!r}, expected an IStreamClientEndpoint or a description")
    return clientEndpoint(reactor, endpoint)


def _credentials(credentials: object) -> IAnonymous | IUsernamePassword:
    if IAnonymous.providedBy(credentials):
        return credentials
    if IUsernamePassword.providedBy(credentials):
        # Do not show the values: one is the password.
        if all(isinstance(text, str | bytes) for text in (credentials.username, credentials.password)):
            return credentials
        raise TypeError("invalid credentials: expected a user name and a password that are each str or bytes")
    raise TypeError(
        f"invalid credentials: got {type(credentials).__name__}, expected UsernamePassword(name, password) or "
        "Anonymous() of twisted.cred.credentials"
    )


def _mind(mind: object) -> pb.Serializable | None:
    if mind is None or isinstance(mind, pb.Serializable):
        return mind
    if isinstance(mind, type):
        raise TypeError(f"invalid mind: got the class {mind.__name__}, expected an instance: mind={mind.__name__}()")
    raise TypeError(
        f"invalid mind: got {type(mind).__name__}, expected a pb.Referenceable: derive its class from pb.Referenceable"
    )


class ConnectDeferred(Deferred[ClientSession]):
    """
    A pending login: a Deferred of a `ClientSession`, and an async context manager that closes the session at its end.
    """

    def __init__(self) -> None:
        super().__init__(lambda _: self._cancelled())
        self._session: ClientSession | None = None
        self._settled = False
        self._broker: SessionBroker | None = None
        self._early: tuple[SessionBroker, Failure] | None = None
        self._gone: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._work: Deferred[object] | None = None

    async def __aenter__(self) -> ClientSession:
        session = await self
        # A Deferred that is awaited a second time gives None.
        return session or self._opened()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._opened().close()

    def _opened(self) -> ClientSession:
        assert self._session is not None
        return self._session

    def begin(
        self,
        reactor: Any,
        endpoint: IStreamClientEndpoint,
        credentials: object,
        factory: SessionFactory,
        timeout: float,
    ) -> None:
        """Start connecting. Call it once."""
        self._factory = factory
        self._timer = reactor.callLater(timeout, self._expired, timeout)
        work: Deferred[object] = Deferred.fromCoroutine(self._login(endpoint, credentials))
        self._work = work
        work.addCallbacks(self._succeeded, lambda failure: self._fail(failure.value))
        if self._settled:
            work.cancel()

    async def _login(self, endpoint: IStreamClientEndpoint, credentials: object) -> object:
        try:
            broker = await maybeDeferred(endpoint.connect, self._factory)
        except Exception as error:
            raise _unreachable(error) from error
        self._broker = broker if isinstance(broker, SessionBroker) else self._factory.newest
        if self._broker is None:
            raise ConnectFailed("cannot connect: the endpoint made no connection")
        if self._early is not None and self._early[0] is self._broker:
            raise _lost(*self._early)
        return await self._factory.login(credentials, self._factory.mind)

    def lost(self, broker: SessionBroker, reason: Failure) -> None:
        """Fail: the connection was lost before the login was answered."""
        if self._broker is None:
            # The endpoint has not returned this connection yet, and may return another one.
            self._early = (broker, reason)
        elif broker is self._broker:
            self._fail(_lost(broker, reason))

    def _expired(self, timeout: float) -> None:
        self._timer = None
        text = f"no answer within {timeout:g} s while "
        if self._broker is None:
            text += "connecting; is the host name right, and reachable from here?"
        elif self._broker.handshaking:
            text += f"waiting for the TLS handshake; {DOUBT}"
        elif not self._broker.greeted:
            text += f"waiting for a greeting; {DOUBT}"
        else:
            text += "logging in"
        self._fail(TimedOut(text))

    def _settle(self) -> bool:
        """Return True for the first outcome: an answer, an error, the loss of the connection or the timeout."""
        if self._settled:
            return False
        self._settled = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return True

    def _succeeded(self, reference: object) -> None:
        if self._settled:
            return
        if not isinstance(reference, pb.RemoteReference):
            kind = type(reference).__name__
            self._fail(
                ProtocolMismatch(f"the server gave an invalid answer to the login: expected a reference, got {kind}")
            )
            return
        assert self._broker is not None
        self._settle()
        self._session = ClientSession(reference, self._broker)
        self.callback(self._session)

    def _fail(self, error: BaseException) -> None:
        if not self._settle():
            return
        broker = self._abandon()
        if broker is None or broker.disconnected:
            self.errback(error)
            return
        # Fail once the connection is closed, a turn of the reactor later, so that nothing is left behind.
        self._gone = Deferred()
        self._factory.lost = self._closed
        closing(self._gone, broker).addBoth(lambda _: self._tell(error))
        broker.abort()

    def _tell(self, error: BaseException) -> None:
        self._factory.lost = None
        if not self.called:
            self.errback(error)

    def _closed(self, broker: SessionBroker, reason: Failure) -> None:
        if broker is self._broker and self._gone is not None and not self._gone.called:
            self._gone.callback(None)

    def _abandon(self) -> SessionBroker | None:
        self._factory.lost = None
        if self._work is not None:
            self._work.cancel()
        return self._broker

    def _cancelled(self) -> None:
        self._settle()
        broker = self._abandon()
        if self._gone is not None:
            # Stop waiting for the connection to close.
            gone, self._gone = self._gone, None
            gone.cancel()
        if broker is not None:
            broker.abort()


def _unreachable(error: Exception) -> Exception:
    if type(error).__module__.startswith(_TLS):
        return _tlsFailed(error)
    hint = ""
    if isinstance(error, ConnectionRefusedError):
        hint = "; is the server running on this port?"
    elif isinstance(error, DNSLookupError):
        hint = "; is the host name right?"
    elif getattr(error, "osError", None) == errno.ENOENT:
        hint = "; is the server running, and is this the path of its socket?"
    return ConnectFailed(f"cannot connect: {_text(error)}{hint}")


def _lost(broker: SessionBroker, reason: Failure) -> ConnectError:
    if broker.broken is not None:
        return broker.broken
    error: Any = reason.value
    if type(error).__module__.startswith(_TLS):
        return _tlsFailed(error)
    if broker.handshaking:
        # A plain server closes the connection when it cannot read a TLS handshake.
        return TlsFailed(f"TLS failed: {_text(error)}; {SPEAKS}")
    how = "the server closed the connection"
    if not reason.check(ConnectionDone):
        how = f"the connection was lost ({_text(error)})"
    if broker.greeted:
        return ConnectFailed(f"{how} while logging in")
    if broker.spoken:
        return ProtocolMismatch("the server does not speak Perspective Broker: it sent an incomplete greeting")
    return ConnectFailed(f"{how} before sending anything; {DOUBT}")


def _tlsFailed(error: BaseException) -> TlsFailed:
    if not type(error).__module__.startswith("OpenSSL"):
        # service_identity's VerificationError.
        ids = [getattr(one, "mismatched_id", None) for one in getattr(error, "errors", ())]
        names = [getattr(one, "hostname", None) or getattr(one, "ip", None) for one in ids]
        shown = [name.decode("ascii", "replace") if isinstance(name, bytes) else str(name) for name in names if name]
        return TlsFailed(
            f"TLS failed: the server's certificate is not valid for {' or '.join(shown) or 'this host'}"
            f"{'' if shown else ': ' + _text(error)}; connect to a name that the certificate contains"
        )
    told = error.args[0] if error.args and isinstance(error.args[0], list) else []
    reasons = ", ".join(str(each[-1]) for each in told if each) or _text(error)
    if "certificate verify failed" in reasons:
        return TlsFailed(
            f"TLS failed: {reasons}: the server's certificate is not trusted. If it should be, put it into a directory "
            "and add trustRoots=DIRECTORY to the endpoint"
        )
    return TlsFailed(f"TLS failed: {reasons or 'the handshake was interrupted'}; {SPEAKS}")


def _text(error: BaseException) -> str:
    return safe_str(error).rstrip(".") or type(error).__name__
