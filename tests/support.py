"""
What the tests share: a connection in memory, a portal with users, and an avatar that writes down what it is told.

::

    clock = Clock()
    realm = CachingRealm(Recorder, clock=clock)
    factory = serve(realm)                     # a ServerFactory; users alice, bob, carol; anonymous log-ins too
    wire = Wire(factory)                       # a stock client; Wire(factory, ClientFactory()) for pbkit's
    avatar = self.successResultOf(wire.login("alice", Client()))
    self.assertEqual(self.successResultOf(wire.call(avatar, "whoami")), "alice")
    wire.lose()                                # the client hangs up; wire.lose(server=True) for the server
    wire.cut()                                 # the server alone learns, at once, that the connection is gone

`Wire.login` and `Wire.call` move bytes both ways until nothing more moves, so a Deferred that they return has fired
unless the server makes it wait; then `wire.flush()` after whatever it waits for. Nothing here keeps a reference to
an avatar: ``del avatar`` and ``wire.flush()`` is a logout. `enter` logs in at a realm, without bytes.

`Recorder` is not a mock of anything: it is an `Avatar` like a user's, whose hooks and methods append to a list.
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

#: The users of `serve`, all with this password.
USERS = ("alice", "bob", "carol")
PASSWORD = b"sesame"

#: For tests in which many log-ins fail that are about something else: they are answered at once, and close nothing.
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
    A server factory over a portal with `USERS` and anonymous log-ins.

    :param realm: any cred realm.
    :param factory: the factory class, stock's `pb.PBServerFactory` too.
    :param kw: for the factory, such as ``clock=``.
    """
    users = InMemoryUsernamePasswordDatabaseDontUse(**dict.fromkeys(USERS, PASSWORD))
    return factory(Portal(IRealm(realm), [users, AllowAnonymousAccess()]), **kw)


class Wire(Link):
    """
    One connection in memory, between a client and a server factory.

    :param server: the server factory.
    :param client: the client factory; a stock `pb.PBClientFactory` by default.
    :param host: the client's IP address, for tests in which that matters.
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

        :param name: None for an anonymous login.
        :return: a Deferred of a `RemoteReference` to the avatar.
        """
        credentials = Anonymous() if name is None else UsernamePassword(name.encode("utf-8"), password)
        return self._moved(self.factory.login(credentials, mind))

    def call(self, reference: Any, method: str, *args: Any, **kw: Any) -> Deferred[Any]:
        """Call a method of the server's."""
        return self._moved(reference.callRemote(method, *args, **kw))

    def _moved(self, d: Deferred[Any]) -> Deferred[Any]:
        self.flush()
        return d

    def lose(self, server: bool = False) -> None:
        """The client, or the server, closes the connection in good order; both learn of it."""
        self.loseConnection(server)
        self.flush()


def enter(realm: Any, avatarId: object = "alice", wire: Wire | None = None, mind: Any = None) -> Deferred[Any]:
    """
    Log in at the realm itself, as stock's portal would: for tests that are about sessions and not about bytes.

    :param wire: the connection that is said to log in; without one there is none that could be lost.
    :param mind: a RemoteReference.
    :return: a Deferred of the `Session`.
    """
    login = StockLogin(mind, None if wire is None else wire.server.peer)
    entered: Deferred[Any] = realm.requestAvatar(avatarId, login, pb.IPerspective)
    return entered.addCallback(lambda result: result[1])


class Client(pb.Referenceable):
    """
    A client's own object, to be sent as the mind.

    :ivar told: what the server called, as (method, arguments).
    """

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        #: What `remote_ask` answers: a value, or a Deferred.
        self.answer: Any = None

    def remote_tell(self, *args: Any) -> None:
        """Write it down."""
        self.told.append(("tell", *args))

    def remote_notifyTime(self, seconds: float) -> None:
        """Write it down."""
        self.told.append(("notifyTime", seconds))

    def remote_ask(self) -> Any:
        """Give the answer, which may be a Deferred."""
        self.told.append(("ask",))
        return self.answer

    def remote_fail(self) -> None:
        """Fail with an error that no server knows."""
        raise LookupError("the client's own affair")


class Part(pb.Referenceable):
    """Something that an avatar hands out."""

    def remote_hi(self) -> str:
        """Answer."""
        return "hi"


class Recorder(Avatar):
    """
    Writes down what it is told.

    :ivar events: ("attached" or "detached", session), in order.
    :ivar part: what `perspective_part` hands out, each time the same.
    """

    def __init__(self, avatarId: str) -> None:
        super().__init__(avatarId)
        self.events: list[tuple[str, Session]] = []
        self.part = Part()
        self.waiting: list[Deferred[Any]] = []

    def attached(self, session: Session) -> Any:
        """Write it down."""
        self.events.append(("attached", session))

    def detached(self, session: Session) -> Any:
        """Write it down."""
        self.events.append(("detached", session))

    def told(self, what: str, session: Session) -> int:
        """How often it was told this of a session."""
        return self.events.count((what, session))

    def perspective_whoami(self) -> str:
        """The avatar id."""
        return self.avatarId

    def perspective_part(self) -> Part:
        """Something that outlives the avatar's own reference."""
        return self.part

    def perspective_wait(self) -> Deferred[Any]:
        """An answer that is made to wait: fire it in `waiting`."""
        d: Deferred[Any] = Deferred()
        self.waiting.append(d)
        return d


class Stubborn(Deferred[Any]):
    """A Deferred that pays no heed to being cancelled, as user code may: ``except CancelledError: pass``."""

    def cancel(self) -> None:
        """No."""


def collect() -> None:
    """Let references that went out of use be given back now."""
    gc.collect()


def needPytest() -> None:
    """
    For tests that run pytest: where that cannot be, they are skipped.

    :raises SkipTest: it cannot be.
    """
    if find_spec("pytest") is None:
        raise SkipTest("pytest is not installed")
    if int(version.partition(".")[0]) < 25:
        # It puts something into each Failure that PB then fails to send.
        raise SkipTest("pytest breaks the errors of PB with a Twisted before 25")
