"""
`MemoryServer`: serves a realm in memory.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

import attrs
from twisted.cred.checkers import AllowAnonymousAccess, ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.python.reflect import fullyQualifiedName
from twisted.spread import pb
from zope.interface import implementer

from pbkit.client.exceptions import allowed
from pbkit.client.factory import ClientFactory
from pbkit.server import ServerFactory
from pbkit.server.factory import classesOf
from pbkit.testing.clients import MemoryClient, MemoryConnection, MemoryEndpoint, Result, now
from pbkit.testing.link import ROUNDS
from pbkit.testing.logged import LoggedErrors
from pbkit.testing.mind import RecordingMind

#: How many seconds of its clock a closing server waits for `detached` hooks: as long as twistd does.
PATIENCE = 5.0

#: The strict profile without a delay for failed logins: time stands still here, so they would not be answered.
_PROMPT = attrs.evolve(ServerFactory.profile, door=attrs.evolve(ServerFactory.profile.door, delay=0.0))


@implementer(ICredentialsChecker)
class TrustTheTest:
    """A checker that accepts every user name with any password."""

    credentialInterfaces = (IUsernameHashedPassword,)

    def requestAvatarId(self, credentials: Any) -> Any:
        """Accept the login: see `ICredentialsChecker`."""
        return credentials.username


class MemoryServer:
    """
    Serves a realm in memory: the real server and real clients, without a socket, a reactor or real time. ::

        server = MemoryServer(GameRealm())
        alice = server.login("alice", RecordingMind(scoreIs=lambda score: None))
        alice.call("move", 10)
        server.close()

    :param realm: a realm of pbkit's, or any other cred realm. Create a new one for each server.
    :param checkers: your own checkers, to test them as well. Without them, clients may log in under any name without a
        password, and as a guest if the realm accepts guests. Failed logins are answered at once.
    :param clock: for every deadline; by default the realm's, else a new one.
    :param allow: your own exception classes. When the server raises one, `MemoryClient.call` raises it too. Exceptions
        that are neither these, nor pbkit's, nor built in arrive as `RemoteError`.
    :param classes: the copyable and cacheable classes that clients may send, in addition to those in the realm's
        ``allow``; they correspond to ``allow`` in a configuration file. Other classes are refused, even if registered.
    :raises ConfigError: if nothing is registered for one of these classes.
    :ivar realm: the realm.
    :ivar clock: a `twisted.internet.task.Clock`. Time stands still until `advance`.
    :ivar factory: the `pbkit.ServerFactory`.
    :ivar connections: every `MemoryConnection` that was made.
    """

    def __init__(
        self,
        realm: Any,
        *,
        checkers: Iterable[ICredentialsChecker] | None = None,
        clock: Clock | None = None,
        allow: Iterable[type[Exception]] = (),
        classes: Iterable[type | str | bytes] = (),
    ) -> None:
        if getattr(realm, "closed", False):
            raise ValueError("this realm was closed already, probably with another test's server: create a new realm")
        if clock is None:
            clock = realm.clock if isinstance(getattr(realm, "clock", None), Clock) else Clock()
        self.realm = realm
        self.clock = clock
        self.allowed = allowed(allow)
        self.connections: list[MemoryConnection] = []
        checkers = [TrustTheTest(), AllowAnonymousAccess()] if checkers is None else checkers
        portal, accepted = Portal(IRealm(realm), checkers), classesOf(realm).union(classes)
        self.factory = ServerFactory(portal, clock=clock, profile=_PROMPT, allow=accepted)
        self._minds: list[RecordingMind] = []
        self._flushing = False
        self._closed = False
        self._logged = LoggedErrors()
        self._waiting: WeakSet[Deferred[Any]] = WeakSet()

    def __enter__(self) -> Self:
        """Return the server; ``with MemoryServer(realm) as server:`` closes it at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.close()
        except AssertionError:
            # Prefer the error that the test itself raised.
            if error is None:
                raise

    # Clients.

    def connect(self, *, stock: bool = False, address: IAddress | None = None) -> MemoryConnection:
        """
        Connect without logging in.

        :param stock: use Twisted's own `pb.PBClientFactory` instead of pbkit's.
        :param address: the client's address, as the server sees it.
        """
        return self.connectWith(pb.PBClientFactory() if stock else ClientFactory(clock=self.clock), address)

    def connectWith(self, factory: pb.PBClientFactory, address: IAddress | None = None) -> MemoryConnection:
        """
        Connect your own client factory.

        :param factory: a `pb.PBClientFactory`, or a similar factory.
        :param address: the client's address, as the server sees it.
        """
        connection = MemoryConnection(self, factory, address)
        self.connections.append(connection)
        self.flush()
        return connection

    def endpoint(self, address: IAddress | None = None) -> MemoryEndpoint:
        """
        Return an `IStreamClientEndpoint` that connects here, for your own client code: for example `pbkit.connect`,
        with `clock` as its reactor. Its bytes are delivered by `flush` and `advance`. Each connection is added to
        `connections`.

        :param address: the client's address, as the server sees it.
        """
        return MemoryEndpoint(self, address)

    def login(
        self, name: str | bytes, mind: object = None, *, password: str | bytes = "", stock: bool = False
    ) -> MemoryClient:
        """
        Connect, log in, and return the client. It stays logged in until it logs out, even if the test drops it.

        :param name: the user name. Any name is accepted, unless you pass your own checkers.
        :param mind: the client's mind: a `RecordingMind`, any `pb.Referenceable`, or None.
        :param password: for your own checkers.
        :param stock: use Twisted's own client.
        :raises LoginRefused: if the login is refused; the subclass says why.
        :raises AssertionError: if the server does not answer at once. Use `MemoryConnection.login` then.
        """
        client: MemoryClient = now(self.connect(stock=stock).login(name, mind, password), f"the login of {name!r}")
        return client

    def anonymous(self, mind: object = None, *, stock: bool = False) -> MemoryClient:
        """Connect and log in as a guest: see `login`."""
        client: MemoryClient = now(self.connect(stock=stock).login(None, mind), "the anonymous login")
        return client

    # Time and bytes.

    def flush(self) -> None:
        """
        Deliver bytes on all connections, both ways, until nothing more is sent.

        :raises AssertionError: if a `RecordingMind` received a call that does not fit.
        """
        # Do not flush inside a flush: that would deliver a message before the current one has been served.
        if self._flushing:
            return
        self._flushing = True
        try:
            for _ in range(ROUNDS):
                self.clock.advance(0)
                moved = [connection.link.flush() for connection in self.connections]
                if not any(moved):
                    break
            else:
                raise AssertionError(f"after {ROUNDS} rounds the clients and the server still send messages")
        finally:
            self._flushing = False
        complaints = [complaint for mind in self._minds for complaint in mind.takeComplaints()]
        if complaints:
            raise AssertionError("\n".join(complaints))

    def advance(self, seconds: float) -> None:
        """
        Advance the clock: run what is due, in order, and deliver bytes in between.

        :param seconds: by how much.
        """
        until = self.clock.seconds() + seconds
        self.flush()
        while due := [t for call in self.clock.getDelayedCalls() if (t := call.getTime()) <= until]:
            self.clock.advance(max(0.0, min(due) - self.clock.seconds()))
            self.flush()
        self.clock.advance(max(0.0, until - self.clock.seconds()))
        self.flush()

    # What holds at the end.

    @property
    def sessions(self) -> tuple[Any, ...]:
        """The live sessions of the realm and of its guest realm; empty if the realm is not pbkit's."""
        return tuple(session for realm in self._realms() for session in realm.roster)

    def assertNoSessions(self) -> None:
        """
        Assert that no session is live and no login is pending.

        :raises AssertionError: if there are some; the error names them.
        """
        self.flush()
        live = [repr(session) for session in self.sessions]
        live += [f"{n} pending login(s)" for realm in self._realms() if (n := realm.roster.pending)]
        if live:
            raise AssertionError(f"there are still sessions: {', '.join(live)}")

    def flushLoggedErrors(self, *errorTypes: type[BaseException]) -> list[str]:
        """
        Return the text of the errors logged so far, and forget them: `close` no longer reports them.

        :param errorTypes: only errors of these classes. Without any, all.
        """
        return self._logged.flush(*errorTypes)

    def close(self) -> None:
        """
        Disconnect the clients, then close the realm, as a server that stops does. Idempotent.

        :raises AssertionError: if a session or login is left, a `detached` hook did not finish within 5 s of the clock,
            a timer is left, an error was logged, or a mind received a call that does not fit. The error lists all of
            these.
        """
        if self._closed:
            return
        self._closed = True
        problems: list[str] = []
        for waiting in tuple(self._waiting):
            # Pending calls fail now. A test that does not look at them does nothing wrong.
            waiting.addErrback(lambda failure: None)
        for connection in self.connections:
            connection.hangUp()
        self._check(self.assertNoSessions, problems)
        close = getattr(self.realm, "close", None)
        if close is not None and self._realms():
            self._check(lambda: self._closeRealm(close), problems)
        left = [_named(call) for call in self.clock.getDelayedCalls() if not self._othersSweep(call)]
        if left:
            problems.append(f"timers are left after all clients have disconnected: {', '.join(left)}")
        gc.collect()  # An unhandled error in a Deferred is logged when the Deferred is collected.
        self._logged.stop()
        problems += [f"an error was logged: {text}" for text in self._logged.flush()]
        if problems:
            raise AssertionError("\n".join(problems))

    def _closeRealm(self, close: Callable[..., Deferred[object]]) -> None:
        # Give the realm more time than is waited here, so that it is this method that reports a slow hook.
        closing = close(timeout=10 * PATIENCE)
        self.flush()
        if not closing.called:
            self.advance(PATIENCE)
        if not closing.called:
            closing.cancel()
            raise AssertionError(f"a detached hook did not finish within {PATIENCE:g} s after its session ended")

    def _othersSweep(self, call: object) -> bool:
        """Return True if this is the sweep of another server that shares the clock."""
        ours, whose = self.factory.monitorOf(self.clock), getattr(_function(call), "__self__", None)
        return isinstance(whose, type(ours)) and whose is not ours

    @staticmethod
    def _check(claim: Callable[[], object], problems: list[str]) -> None:
        try:
            claim()
        except AssertionError as e:
            problems.append(str(e))

    def _realms(self) -> list[Any]:
        realms = [self.realm, getattr(self.realm, "anonymous", None)]
        return [realm for realm in realms if hasattr(realm, "roster")]

    def watchCall(self, d: Deferred[Result]) -> Deferred[Result]:
        """Deliver a client's call; if it has no answer yet, remember it, to handle its error in `close`."""
        self._waiting.add(d)
        self.flush()
        if d.called:
            self._waiting.discard(d)
        return d

    def releaseFrames(self) -> None:
        """Release what the tracebacks of logged errors hold, such as a reference that a client wants to drop."""
        self._logged.releaseFrames()

    def watchMind(self, mind: object) -> None:
        """Check the calls that a mind receives, if it is a `RecordingMind`."""
        if isinstance(mind, RecordingMind) and mind not in self._minds:
            self._minds.append(mind)
            mind.onLook.append(self.flush)


def _function(call: object) -> object:
    """Return what a timer calls: a `DelayedCall` has it, which its interface does not say."""
    return getattr(call, "func", None)


def _named(call: object) -> str:
    """Return the name of what a timer calls."""
    try:
        name: str = fullyQualifiedName(_function(call))
    except AttributeError:  # A callable object, such as a LoopingCall.
        name = repr(_function(call))
    return name
