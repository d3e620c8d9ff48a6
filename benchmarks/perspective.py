"""
The part that stock PB and pbkit share: what is served, and the client's side of it.
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
#: There are so many users; the numbers of connections begin anew behind them.
USERS = 10_000


class Minds:
    """The clients' objects, as stock has them: bare references."""

    def __init__(self) -> None:
        self._live: dict[int, pb.RemoteReference] = {}
        self._next = 0

    def add(self, mind: pb.RemoteReference) -> int:
        """:return: what to `remove` it by: references of different connections cannot be compared."""
        self._next += 1
        self._live[self._next] = mind
        return self._next

    def remove(self, key: int) -> None:
        """Forget one."""
        del self._live[key]

    def __iter__(self) -> Any:
        return iter(self._live.values())


class Root(pb.Root):
    """Served without a login: an echo, and a place to leave a reference at."""

    def __init__(self) -> None:
        self.minds = Minds()

    def remote_echo(self, value: Any) -> Any:
        """The same again."""
        return value

    def remote_listen(self, mind: pb.RemoteReference) -> None:
        """Have its `remote_notice` called at each broadcast."""
        key = self.minds.add(mind)
        mind.notifyOnDisconnect(lambda _: self.minds.remove(key))


def checker() -> InMemoryUsernamePasswordDatabaseDontUse:
    """
    :return: one that knows all the users.
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
        """One broadcast."""
        self._heard()


class Connection:
    """
    One connection of a client's.

    :ivar reference: of the root object, or of the avatar.
    """

    def __init__(self, factory: Any, reference: pb.RemoteReference, mind: Mind) -> None:
        self._factory = factory
        self.reference = reference
        # The server has a reference to it, and the connection would let go of it otherwise.
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
    Stock's client, or pbkit's.

    :param makeFactory: its factory.
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
    """To be mixed into a client factory: without Nagle's delay, as the servers are."""

    def clientConnectionMade(self, broker: Any) -> None:
        """As stock's."""
        broker.transport.setTcpNoDelay(True)
        super().clientConnectionMade(broker)  # type: ignore[misc]


def answersOf(calls: list[Deferred[Any]]) -> Deferred[Any]:
    """
    :return: a Deferred that fires when all have answered, and fails when one does.
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
