"""
Common code of stock PB and pbkit: the served objects, and the client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred
from twisted.spread import pb

from benchmarks.onreactor import HOST, Plain

PASSWORD = b"sesame"
#: The number of users. Connections beyond that reuse the user names.
USERS = 10_000


class Minds:
    """The clients' objects, as stock's bare references."""

    def __init__(self) -> None:
        self._live: dict[int, pb.RemoteReference] = {}
        self._next = 0

    def add(self, mind: pb.RemoteReference) -> int:
        """Add a reference. Return a key for `remove`: references of different connections cannot be compared."""
        self._next += 1
        self._live[self._next] = mind
        return self._next

    def remove(self, key: int) -> None:
        """Remove a reference."""
        del self._live[key]

    def __iter__(self) -> Any:
        return iter(self._live.values())


class Root(pb.Root):
    """The root object, served without a login: an echo, and a method that registers a reference."""

    def __init__(self) -> None:
        self.minds = Minds()

    def remote_echo(self, value: Any) -> Any:
        """Return the argument."""
        return value

    def remote_listen(self, mind: pb.RemoteReference) -> None:
        """Register an object whose `remote_notice` is called for each broadcast."""
        key = self.minds.add(mind)
        mind.notifyOnDisconnect(lambda _: self.minds.remove(key))


def checker() -> InMemoryUsernamePasswordDatabaseDontUse:
    """
    Return a checker that knows all users.
    """
    users = InMemoryUsernamePasswordDatabaseDontUse()
    for number in range(USERS):
        users.addUser(b"user%d" % number, PASSWORD)
    return users


class Mind(pb.Referenceable):
    """A client's own object."""

    def __init__(self, heard: Callable[[], None]) -> None:
        self._heard = heard

    def remote_notice(self, what: str, details: dict[str, int]) -> None:
        """Count a notice."""
        self._heard()


class Connection:
    """
    A client's connection.

    :ivar reference: the reference to the root object or the avatar.
    """

    def __init__(self, factory: Any, reference: pb.RemoteReference, mind: Mind) -> None:
        self._factory = factory
        self.reference = reference
        # Keep the mind alive: the server has a reference to it.
        self._mind = mind

    def call(self, value: Any) -> Deferred[Any]:
        """As `onreactor.Connection.call`."""
        answer: Deferred[Any] = self.reference.callRemote("echo", value)
        return answer

    def close(self) -> Deferred[Any]:
        """As `onreactor.Connection.close`."""
        lost: Deferred[Any] = Deferred()
        self.reference.notifyOnDisconnect(lost.callback)
        self._factory.disconnect()
        return lost


class Client(Plain):
    """
    A stock client or a pbkit client.

    :param makeFactory: makes the client factory.
    :param served: ``root`` or ``realm``.
    """

    def __init__(self, makeFactory: Callable[[], Any], served: str) -> None:
        self._makeFactory = makeFactory
        self._served = served

    def connect(self, reactor: Any, address: Any, number: int, heard: Callable[[], None]) -> Deferred[Connection]:
        """As `onreactor.Client.connect`."""
        return Deferred.fromCoroutine(self._connect(reactor, address, number, Mind(heard)))

    async def _connect(self, reactor: Any, address: Any, number: int, mind: Mind) -> Connection:
        factory = self._makeFactory()
        factory.noisy = False
        reactor.connectTCP(HOST, address, factory)
        if self._served == "root":
            reference = await factory.getRootObject()
            await reference.callRemote("listen", mind)
        else:
            credentials = UsernamePassword(b"user%d" % (number % USERS), PASSWORD)
            reference = await factory.login(credentials, mind)
        return Connection(factory, reference, mind)


class WithoutDelay:
    """A mixin for client factories that sets TCP_NODELAY, as the servers do."""

    def clientConnectionMade(self, broker: Any) -> None:
        """Set the option."""
        broker.transport.setTcpNoDelay(True)
        super().clientConnectionMade(broker)  # type: ignore[misc]


def answersOf(calls: list[Deferred[Any]]) -> Deferred[Any]:
    """
    Return a Deferred that fires when all have answered, and fails if one fails.
    """
    done: Deferred[Any] = Deferred()
    waiting = len(calls)
    if not waiting:
        done.callback(None)

    def answered(_: object) -> None:
        nonlocal waiting
        waiting -= 1
        if not waiting:
            done.callback(None)

    def failed(failure: Any) -> None:
        if not done.called:
            done.errback(failure)

    for call in calls:
        call.addCallbacks(answered, failed)
    return done
