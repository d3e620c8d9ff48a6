"""
`MemoryServer`: a realm served in memory, and the clients that log in there.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
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
from pbkit.testing.clients import MemoryClient, MemoryConnection, MemoryEndpoint, now
from pbkit.testing.link import ROUNDS
from pbkit.testing.logged import LoggedErrors
from pbkit.testing.mind import RecordingMind

#: How long `detached` hooks have when a server is closed, in seconds of its clock; as long as twistd gives them.
PATIENCE = 5.0

#: That of `pbkit.ServerFactory`, but that a failed login is answered at once: time stands still here.
_PROMPT = attrs.evolve(ServerFactory.profile, door=attrs.evolve(ServerFactory.profile.door, delay=0.0))


@implementer(ICredentialsChecker)
class TrustTheTest:
    """A checker that lets everybody in, under the name that he says."""

    credentialInterfaces = (IUsernameHashedPassword,)

    def requestAvatarId(self, credentials: Any) -> Any:
        """`ICredentialsChecker`."""
        return credentials.username


class MemoryServer:
    """
    A realm, served in memory to clients in memory: the real server and the real client, without a socket, a reactor
    or real time. ::

        server = MemoryServer(GameRealm())
        alice = server.login("alice", RecordingMind(scoreIs=lambda score: None))
        alice.call("move", 10)
        server.close()

    :param realm: a realm of pbkit's, or any other of cred's. To be made anew for each server.
    :param checkers: those of your own, to be tested as well. Without them everybody may log in, by any name and without
        a password, and as a guest, if the realm takes guests. Failed log-ins are answered at once.
    :param clock: for every deadline; by default the realm's, or else a new one.
    :param allow: exception classes of your own. When the server raises one, `MemoryClient.call` does too; others than
        these, pbkit's and Python's own come as `RemoteError`.
    :param classes: copyable and cacheable classes that clients may send, beside those that the realm has in its
        ``allow``: what the configuration's ``allow`` is to twistd. Others are refused, whatever is registered.
    :raises ConfigError: nothing is registered for one of these classes.
    :ivar realm: the realm.
    :ivar clock: a `twisted.internet.task.Clock`. Time stands still until `advance`.
    :ivar factory: the `pbkit.ServerFactory`.
    :ivar connections: every `MemoryConnection` that was made.
    """

    def __init__(
        self,
        realm: Any,
        *,
        checkers: Iterable[Any] | None = None,
        clock: Clock | None = None,
        allow: Iterable[type[Exception]] = (),
        classes: Iterable[type | str | bytes] = (),
    ) -> None:
        if getattr(realm, "closed", False):
            raise ValueError("this realm has been closed, with the server of another test say: make a new one for each")
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
        """``with MemoryServer(realm) as server:`` closes it in the end."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        try:
            self.close()
        except AssertionError:
            # What the test itself has found says more.
            if error is None:
                raise

    # Clients.

    def connect(self, *, stock: bool = False, address: IAddress | None = None) -> MemoryConnection:
        """
        Connect, without logging in.

        :param stock: whether the client is Twisted's own `pb.PBClientFactory`, and not pbkit's.
        :param address: what the server sees as the client's address.
        """
        return self.connectWith(pb.PBClientFactory() if stock else ClientFactory(clock=self.clock), address)

    def connectWith(self, factory: Any, address: IAddress | None = None) -> MemoryConnection:
        """
        Connect a client factory of your own.

        :param factory: a `pb.PBClientFactory` or the like.
        :param address: what the server sees as the client's address.
        """
        connection = MemoryConnection(self, factory, address)
        self.connections.append(connection)
        self.flush()
        return connection

    def endpoint(self, address: IAddress | None = None) -> MemoryEndpoint:
        """
        An `IStreamClientEndpoint` that leads here, for client code of your own: `pbkit.connect`, say, with `clock` for
        its reactor. Its bytes move at `flush` and `advance`; its connection is the last of `connections`.

        :param address: what the server sees as the client's address.
        """
        return MemoryEndpoint(self, address)

    def login(
        self, name: str | bytes, mind: Any = None, *, password: str | bytes = "", stock: bool = False
    ) -> MemoryClient:
        """
        Connect and log in, on a connection of its own. The client stays in until it logs out, though nobody keeps it.

        :param name: any, unless there are checkers of your own.
        :param mind: what the client lets the server call: a `RecordingMind`, any `pb.Referenceable`, or None.
        :param password: for checkers of your own.
        :param stock: whether the client is Twisted's own.
        :raises LoginRefused: the login is refused; it is the subclass that says why.
        :raises AssertionError: the server makes it wait. `MemoryConnection.login` is for those.
        """
        client: MemoryClient = now(self.connect(stock=stock).login(name, mind, password), f"the login of {name!r}")
        return client

    def anonymous(self, mind: Any = None, *, stock: bool = False) -> MemoryClient:
        """The same without a name, as a guest."""
        client: MemoryClient = now(self.connect(stock=stock).login(None, mind), "the anonymous login")
        return client

    # Time, and bytes.

    def flush(self) -> None:
        """
        Move bytes, on all connections and both ways, until nothing more moves.

        :raises AssertionError: a `RecordingMind` was told what it should not have been.
        """
        # Within itself it would bring a message before the one that is being served is through.
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
                raise AssertionError(f"after {ROUNDS} rounds the clients and the server still have things to say")
        finally:
            self._flushing = False
        complaints = [complaint for mind in self._minds for complaint in mind.takeComplaints()]
        if complaints:
            raise AssertionError("\n".join(complaints))

    def advance(self, seconds: float) -> None:
        """
        Let time go by: what is due comes in its order, and bytes move in between.

        :param seconds: how much.
        """
        until = self.clock.seconds() + seconds
        self.flush()
        while due := [t for call in self.clock.getDelayedCalls() if (t := call.getTime()) <= until]:
            self.clock.advance(max(0.0, min(due) - self.clock.seconds()))
            self.flush()
        self.clock.advance(max(0.0, until - self.clock.seconds()))
        self.flush()

    # Claims.

    @property
    def sessions(self) -> tuple[Any, ...]:
        """The live sessions of the realm and of its guests, if it is one of pbkit's."""
        return tuple(session for realm in self._realms() for session in realm.roster)

    def assertNoSessions(self) -> None:
        """
        Everybody is out: no session lives, and no login holds a place.

        :raises AssertionError: some do; it names them.
        """
        self.flush()
        live = [repr(session) for session in self.sessions]
        live += [f"{n} login(s) under way" for realm in self._realms() if (n := realm.roster.pending)]
        if live:
            raise AssertionError(f"nobody should be in: {', '.join(live)}")

    def flushLoggedErrors(self, *errorTypes: type[BaseException]) -> list[str]:
        """
        Errors that were logged as they should have been: from now on they are not unexpected.

        :param errorTypes: only these; without any, all.
        :return: their text.
        """
        return self._logged.flush(*errorTypes)

    def close(self) -> None:
        """
        End it: the clients hang up, then the realm closes, as when a server stops. Idempotent.

        :raises AssertionError: something is not as it should be: a session or login is left, a `detached` hook did not
            come to its end in 5 s of the clock, a timer is left, an error was logged, or a mind was told what it
            should not have been. It says all of them.
        """
        if self._closed:
            return
        self._closed = True
        problems: list[str] = []
        for waiting in tuple(self._waiting):
            # Whoever waits for it is told all the same; that nobody does is no error here.
            waiting.addErrback(lambda failure: None)
        for connection in self.connections:
            connection.hangUp()
        self._check(self.assertNoSessions, problems)
        close = getattr(self.realm, "close", None)
        if close is not None and self._realms():
            self._check(lambda: self._closeRealm(close), problems)
        left = [_named(call) for call in self.clock.getDelayedCalls() if not self._othersSweep(call)]
        if left:
            problems.append(f"timers are left when everybody is out: {', '.join(left)}")
        gc.collect()  # A Deferred that failed and that nobody looked at is only now logged.
        self._logged.stop()
        problems += [f"an error was logged: {text}" for text in self._logged.flush()]
        if problems:
            raise AssertionError("\n".join(problems))

    def _closeRealm(self, close: Any) -> None:
        # Its own patience is not to be tried: who is not through in ours is told of below.
        closing = close(timeout=10 * PATIENCE)
        self.flush()
        if not closing.called:
            self.advance(PATIENCE)
        if not closing.called:
            closing.cancel()
            raise AssertionError(f"a detached hook has not come to its end in {PATIENCE:g} s after its session has")

    def _othersSweep(self, call: Any) -> bool:
        """Whether that is how another server, which shares the clock, watches its connections."""
        ours, whose = self.factory.monitorOf(self.clock), getattr(call.func, "__self__", None)
        return isinstance(whose, type(ours)) and whose is not ours

    @staticmethod
    def _check(claim: Any, problems: list[str]) -> None:
        try:
            claim()
        except AssertionError as e:
            problems.append(str(e))

    def _realms(self) -> list[Any]:
        realms = [self.realm, getattr(self.realm, "anonymous", None)]
        return [realm for realm in realms if hasattr(realm, "roster")]

    def watchCall(self, d: Deferred[Any]) -> Deferred[Any]:
        """For clients: bring a call over, and remember that it waits."""
        self._waiting.add(d)
        self.flush()
        if d.called:
            self._waiting.discard(d)
        return d

    def watchMind(self, mind: Any) -> None:
        """A mind is in use here."""
        if isinstance(mind, RecordingMind) and mind not in self._minds:
            self._minds.append(mind)
            mind.onLook.append(self.flush)


def _named(call: Any) -> str:
    """What a timer would call."""
    try:
        name: str = fullyQualifiedName(call.func)
    except AttributeError:  # An object that can be called, such as a LoopingCall.
        name = repr(call.func)
    return name
