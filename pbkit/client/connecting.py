"""
`connect`: the front door for clients. It always fires, and says which step failed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from twisted.cred.credentials import IAnonymous, IUsernamePassword
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import ConnectionDone, ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from twisted.spread import pb

from pbkit.client.connection import SessionBroker, SessionFactory
from pbkit.client.exceptions import allowed
from pbkit.client.session import ClientSession, closing
from pbkit.errors import ConfigError, ConnectError, ConnectFailed, ProtocolMismatch, TimedOut, TlsFailed

#: What to think of, if a server that takes connections says nothing that a PB server would.
DOUBT = "is it a Perspective Broker server, and with TLS or without as you said?"

#: And if what it says is no TLS.
SPEAKS = "does the server speak TLS there?"

#: Where exceptions about TLS come from.
_TLS = ("OpenSSL", "service_identity", "twisted.internet._sslverify")


def connect(
    endpoint: IStreamClientEndpoint | str,
    credentials: Any,
    *,
    mind: Any = None,
    timeout: float = 30.0,
    reactor: Any = None,
    allow: Iterable[type[Exception]] = (),
    hello: dict[str, Any] | None = None,
) -> Connecting:
    """
    Connect to a Perspective Broker server, stock or pbkit's, and log in::

        async with pbkit.connect("tcp:localhost:8787", UsernamePassword("alice", "sesame")) as me:
            print(await me.callRemote("greet"))

    What is returned is a Deferred, too: it can be awaited, given callbacks, cancelled and returned to `task.react`.
    Then the `ClientSession` that it fires with is yours to close.

    :param endpoint: where the server is: an endpoint, or a description such as ``tls:example.org:8787``.
    :param credentials: a `UsernamePassword` of str or bytes, or `Anonymous`.
    :param mind: a `pb.Referenceable` that the server may call, or None. If the server says
        ``goodbye(reason, detail)`` to it, the session is over; it need not have such a method.
    :param timeout: for all of it, in seconds.
    :param reactor: by default the one that is installed.
    :param allow: exception classes of yours that come back as what they were when the server raises them, told by
        their qualified names; pbkit's and Python's do anyway.
    :param hello: what to declare of this client to a server of pbkit's: a small dict of str to plain values. Which
        running program it is, is said besides (``program``): see `pbkit.client.instance`.
    :return: a Deferred of a `ClientSession`. It always fires, and fails with `ConnectFailed`, `TlsFailed`,
        `ProtocolMismatch`, `TimedOut`, a subclass of `LoginRefused`, or with `ConfigError`, `TypeError` or
        `ValueError` for arguments that cannot be. Nothing is left behind then, nor when it is cancelled.
    """
    connecting = Connecting()
    try:
        if not (0 < timeout and math.isfinite(timeout)):
            raise ValueError(f"timeout takes a number of seconds above 0, not {timeout!r}")
        if reactor is None:
            # Here, so that importing pbkit installs no reactor.
            from twisted.internet import reactor
        mine = tuple(allow)
        table = allowed(mine)
        factory = SessionFactory(reactor, _mind(mind), table, connecting.lost, hello=hello)
        factory.mine = frozenset(mine)
        connecting.begin(reactor, _endpoint(reactor, endpoint), _credentials(credentials), factory, timeout)
    except Exception:
        connecting.errback(Failure())
    return connecting


def _endpoint(reactor: Any, endpoint: Any) -> IStreamClientEndpoint:
    if IStreamClientEndpoint.providedBy(endpoint):
        found: IStreamClientEndpoint = endpoint
        return found
    if not isinstance(endpoint, str):
        raise TypeError(f"endpoint takes an IStreamClientEndpoint or a description, not {endpoint!r}")
    try:
        made: IStreamClientEndpoint = clientFromString(reactor, endpoint)
        return made
    except Exception as error:
        raise ConfigError(
            f"endpoint {endpoint!r}: {safe_str(error)}; it is written like tcp:localhost:8787, tls:example.org:8787 "
            "or unix:/path"
        ) from None


def _credentials(credentials: Any) -> Any:
    if IAnonymous.providedBy(credentials):
        return credentials
    if IUsernamePassword.providedBy(credentials):
        # Never what they are: that would be the password.
        if all(isinstance(text, str | bytes) for text in (credentials.username, credentials.password)):
            return credentials
        raise TypeError("a user name and a password are each a str or bytes")
    raise TypeError("credentials takes twisted.cred.credentials' UsernamePassword(name, password) or Anonymous()")


def _mind(mind: Any) -> Any:
    if mind is None or isinstance(mind, pb.Serializable):
        return mind
    raise TypeError(f"mind takes a pb.Referenceable, not {type(mind).__name__}: derive that from pb.Referenceable")


class Connecting(Deferred[ClientSession]):
    """
    A login under way: a Deferred of a `ClientSession`, and for ``async with``, which closes that at the end.
    """

    def __init__(self) -> None:
        super().__init__(lambda _: self._cancelled())
        self._session: ClientSession | None = None
        self._settled = False
        self._broker: SessionBroker | None = None
        self._early: tuple[SessionBroker, Failure] | None = None
        self._gone: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._work: Deferred[Any] | None = None

    async def __aenter__(self) -> ClientSession:
        session = await self
        # None to whoever awaits it a second time.
        return session or self._opened()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._opened().close()

    def _opened(self) -> ClientSession:
        assert self._session is not None
        return self._session

    def begin(
        self, reactor: Any, endpoint: IStreamClientEndpoint, credentials: Any, factory: SessionFactory, timeout: float
    ) -> None:
        """Start; once."""
        self._factory = factory
        self._timer = reactor.callLater(timeout, self._expired, timeout)
        work: Deferred[Any] = Deferred.fromCoroutine(self._login(endpoint, credentials))
        self._work = work
        work.addCallbacks(self._succeeded, lambda failure: self._fail(failure.value))
        if self._settled:
            work.cancel()

    async def _login(self, endpoint: IStreamClientEndpoint, credentials: Any) -> Any:
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
        """The connection is gone before the login was answered."""
        if self._broker is None:
            # The endpoint has not handed it over yet, and may be about to hand over another.
            self._early = (broker, reason)
        elif broker is self._broker:
            self._fail(_lost(broker, reason))

    def _expired(self, timeout: float) -> None:
        self._timer = None
        text = f"no answer within {timeout:g} s while "
        if self._broker is None:
            text += "connecting; is the host right, and reached from here?"
        elif self._broker.handshaking:
            text += f"agreeing on TLS; {DOUBT}"
        elif not self._broker.greeted:
            text += f"logging in, not even a greeting; {DOUBT}"
        else:
            text += "logging in"
        self._fail(TimedOut(text))

    def _settle(self) -> bool:
        """What comes first counts: an answer, an error, the end of the connection or of patience."""
        if self._settled:
            return False
        self._settled = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return True

    def _succeeded(self, reference: Any) -> None:
        if self._settled:
            return
        if not isinstance(reference, pb.RemoteReference):
            kind = type(reference).__name__
            self._fail(ProtocolMismatch(f"the server answered the login with no reference to call, but with {kind}"))
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
        # It is told when nothing is left behind, which is a turn of the reactor later.
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
            # Its end was being waited for: no more.
            gone, self._gone = self._gone, None
            gone.cancel()
        if broker is not None:
            broker.abort()


def _unreachable(error: Exception) -> Exception:
    if type(error).__module__.startswith(_TLS):
        return _tlsFailed(error)
    hint = ""
    if isinstance(error, ConnectionRefusedError):
        hint = "; is the server running, and on this port?"
    elif isinstance(error, DNSLookupError):
        hint = "; is the name of the host right?"
    return ConnectFailed(f"cannot connect: {_text(error)}{hint}")


def _lost(broker: SessionBroker, reason: Failure) -> ConnectError:
    if broker.broken is not None:
        return broker.broken
    error: Any = reason.value
    if type(error).__module__.startswith(_TLS):
        return _tlsFailed(error)
    if broker.handshaking:
        # Such as by a plain server: that hangs up on what it cannot read, maybe before its greeting is looked at.
        return TlsFailed(f"TLS failed: {_text(error)}; {SPEAKS}")
    how = "the server closed the connection"
    if not reason.check(ConnectionDone):
        how = f"the connection was lost ({_text(error)})"
    if broker.greeted:
        return ConnectFailed(f"{how} while logging in")
    if broker.spoken:
        return ProtocolMismatch("what answers there does not speak Perspective Broker: the greeting came to nothing")
    return ConnectFailed(f"{how} without a word of the server's; {DOUBT}")


def _tlsFailed(error: BaseException) -> TlsFailed:
    if not type(error).__module__.startswith("OpenSSL"):
        return TlsFailed(f"TLS failed: the server's certificate is not for this host: {_text(error)}")
    told = error.args[0] if error.args and isinstance(error.args[0], list) else []
    reasons = ", ".join(str(each[-1]) for each in told if each) or _text(error)
    if "certificate verify failed" in reasons:
        hint = "it is not trusted here; if it should be, put it into a directory and say trustRoots=DIRECTORY"
        return TlsFailed(f"TLS failed: {reasons}: the server's certificate: {hint}")
    return TlsFailed(f"TLS failed: {reasons or 'the handshake was broken off'}; {SPEAKS}")


def _text(error: BaseException) -> str:
    return safe_str(error).rstrip(".") or type(error).__name__
