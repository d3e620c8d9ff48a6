"""
What the tests share: a connection in memory, a portal with users, and an avatar that records its sessions.

::

    clock = Clock()
    realm = CachingRealm(Recorder, clock=clock)
    factory = serve(realm)                     # a ServerFactory with users alice, bob and carol; also anonymous logins
    wire = Wire(factory)                       # a stock client; Wire(factory, ClientFactory()) for pbkit's
    avatar = self.successResultOf(wire.login("alice", Client()))
    self.assertEqual(self.successResultOf(wire.call(avatar, "whoami")), "alice")
    wire.lose()                                # the client disconnects; wire.lose(server=True) for the server
    wire.cut()                                 # only the server learns that the connection is gone

`Wire.login` and `Wire.call` deliver bytes in both directions until none are left. A Deferred that they return has
fired, unless the server has not answered yet; call `wire.flush()` after the event that it waits for. Nothing here keeps
a reference to an avatar, so ``del avatar`` and ``wire.flush()`` log out. `enter` logs in at a realm, without bytes.

`Recorder` is not a mock: it is an `Avatar` like a user's, whose hooks and methods append to a list.
"""

from __future__ import annotations

import gc
from importlib.util import find_spec
from typing import Any

import attrs
from twisted.copyright import version
from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import Anonymous, UsernamePassword
from twisted.cred.portal import IRealm, Portal
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.spread import pb
from twisted.trial.unittest import SkipTest

from pbkit import Avatar, ServerFactory, Session
from pbkit.sessions.stocklogin import StockLogin
from pbkit.testing import Link
from pbkit.wire.keepalive import ConnectionMonitor
from pbkit.wire.profile import STRICT

#: The users of `serve`, and the password of all of them.
USERS = ("alice", "bob", "carol")
PASSWORD = b"sesame"

#: A profile for tests in which many logins fail: refusals are immediate and close no connection.
LENIENT = attrs.evolve(
    STRICT,
    door=attrs.evolve(STRICT.door, delay=0.0, failures=None),
    gate=attrs.evolve(
        STRICT.gate, memory=10_000_000, message=1_000_000, items=1000, messages=None, timeout=None, connections=None
    ),
    log=attrs.evolve(STRICT.log, lines=None),
)


def timers(clock: Any) -> list[Any]:
    """Return the delayed calls of a clock, without that of the keepalive, which runs while there are connections."""
    owners = ((call, getattr(call.func, "__self__", None)) for call in clock.getDelayedCalls())
    return [call for call, owner in owners if not isinstance(owner, ConnectionMonitor)]


def serve(realm: Any, factory: Any = ServerFactory, **kw: Any) -> Any:
    """
    Return a server factory over a portal with `USERS` and anonymous logins.

    :param realm: any cred realm.
    :param factory: the factory class, for example stock's `pb.PBServerFactory`.
    :param kw: arguments for the factory, such as ``clock=``.
    """
    users = InMemoryUsernamePasswordDatabaseDontUse(**dict.fromkeys(USERS, PASSWORD))
    return factory(Portal(IRealm(realm), [users, AllowAnonymousAccess()]), **kw)


class Wire(Link):
    """
    One connection in memory between a client and a server factory.

    :param server: the server factory.
    :param client: the client factory; a stock `pb.PBClientFactory` by default.
    :param host: the client's IP address, for tests that depend on it.
    :ivar client: the client's broker.
    :ivar server: the server's broker.
    """

    def __init__(self, server: Any, client: Any = None, host: str | None = None) -> None:
        self.factory = pb.PBClientFactory() if client is None else client
        kind = IPv6Address if host is not None and ":" in host else IPv4Address
        address = None if host is None else kind("TCP", host, 4711)
        super().__init__(server.buildProtocol(address), self.factory.buildProtocol(None), address)
        self.flush()

    def login(self, name: str | None = "alice", mind: Any = None, password: bytes = PASSWORD) -> Deferred[Any]:
        """
        Log in.

        :param name: the user name; None for an anonymous login.
        :return: a Deferred of a `RemoteReference` to the avatar.
        """
        credentials = Anonymous() if name is None else UsernamePassword(name.encode("utf-8"), password)
        return self._moved(self.factory.login(credentials, mind))

    def call(self, reference: Any, method: str, *args: Any, **kw: Any) -> Deferred[Any]:
        """Call a method of an object on the server."""
        return self._moved(reference.callRemote(method, *args, **kw))

    def _moved(self, d: Deferred[Any]) -> Deferred[Any]:
        self.flush()
        return d

    def lose(self, server: bool = False) -> None:
        """Close the connection from the client or the server; both are notified."""
        self.loseConnection(server)
        self.flush()


def enter(realm: Any, avatarId: object = "alice", wire: Wire | None = None, mind: Any = None) -> Deferred[Any]:
    """
    Log in at the realm directly, as stock's portal does, for tests about sessions rather than bytes.

    :param wire: the connection of the login, or None for a login without a connection.
    :param mind: a RemoteReference.
    :return: a Deferred of the `Session`.
    """
    login = StockLogin(mind, None if wire is None else wire.server.peer)
    entered: Deferred[Any] = realm.requestAvatar(avatarId, login, pb.IPerspective)
    return entered.addCallback(lambda result: result[1])


class Client(pb.Referenceable):
    """
    A client's own object, to send as the mind.

    :ivar told: the calls received, as (method, arguments).
    """

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        #: The answer of `remote_ask`: a value or a Deferred.
        self.answer: Any = None

    def remote_tell(self, *args: Any) -> None:
        """Record the call."""
        self.told.append(("tell", *args))

    def remote_notifyTime(self, seconds: float) -> None:
        """Record the call."""
        self.told.append(("notifyTime", seconds))

    def remote_ask(self) -> Any:
        """Return the answer, which may be a Deferred."""
        self.told.append(("ask",))
        return self.answer

    def remote_fail(self) -> None:
        """Fail with an error class that servers do not know."""
        raise LookupError("the client's own affair")


class Part(pb.Referenceable):
    """An object that an avatar returns."""

    def remote_hi(self) -> str:
        """Return a greeting."""
        return "hi"


class Recorder(Avatar):
    """
    An avatar that records its hooks.

    :ivar events: ("attached" or "detached", session), in order.
    :ivar part: the object that `perspective_part` returns.
    """

    def __init__(self, avatarId: str) -> None:
        super().__init__(avatarId)
        self.events: list[tuple[str, Session]] = []
        self.part = Part()
        self.waiting: list[Deferred[Any]] = []

    def attached(self, session: Session) -> Any:
        """Record the event."""
        self.events.append(("attached", session))

    def detached(self, session: Session) -> Any:
        """Record the event."""
        self.events.append(("detached", session))

    def told(self, what: str, session: Session) -> int:
        """Return how often an event was recorded for a session."""
        return self.events.count((what, session))

    def perspective_whoami(self) -> str:
        """Return the avatar id."""
        return self.avatarId

    def perspective_part(self) -> Part:
        """Return an object that can outlive the reference to the avatar."""
        return self.part

    def perspective_wait(self) -> Deferred[Any]:
        """Answer later: fire the Deferred in `waiting`."""
        d: Deferred[Any] = Deferred()
        self.waiting.append(d)
        return d


class Stubborn(Deferred[Any]):
    """A Deferred that ignores cancellation, as user code can: ``except CancelledError: pass``."""

    def cancel(self) -> None:
        """Do nothing."""


def collect() -> None:
    """Collect garbage, so that unused references are released now."""
    gc.collect()


def needPytest() -> None:
    """
    Skip the test if pytest cannot be run.

    :raises SkipTest: pytest is missing, or does not work with this Twisted.
    """
    if find_spec("pytest") is None:
        raise SkipTest("pytest is not installed")
    if int(version.partition(".")[0]) < 25:
        # pytest adds an attribute to each Failure that PB cannot send.
        raise SkipTest("pytest breaks the errors of PB with a Twisted before 25")
