"""
Stock Perspective Broker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from twisted.spread import pb
from zope.interface import implementer

import twisted
from benchmarks import data
from benchmarks.onreactor import listen, main
from benchmarks.perspective import Client, Minds, Root, WithoutDelay, answersOf, checker


class Avatar(pb.Avatar):
    """The avatar."""

    def perspective_echo(self, value: Any) -> Any:
        """Return the argument."""
        return value


@implementer(IRealm)
class Realm:
    """A realm with a new avatar per login. It keeps the minds of the logged-in clients."""

    def __init__(self) -> None:
        self.minds = Minds()

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> tuple[Any, Avatar, Callable[[], None]]:
        """As `IRealm.requestAvatar`."""
        key = self.minds.add(mind)
        return pb.IPerspective, Avatar(), lambda: self.minds.remove(key)


def notifyAll(minds: Iterable[pb.RemoteReference], answered: bool) -> Deferred[Any] | None:
    """
    Send the notice to each client.

    :return: with answers, a Deferred that fires when all have answered.
    """
    what, details = data.NOTICE
    if answered:
        return answersOf([mind.callRemote("notice", what, details) for mind in minds])
    for mind in minds:
        mind.callRemote("notice", what, details, pbanswer=False)
    return None


class Server:
    """
    The server.

    :param served: ``root`` or ``realm``.
    """

    about = {"version": twisted.__version__}
    factory: Any = pb.PBServerFactory

    def __init__(self, served: str) -> None:
        self._root = Root()
        self._realm = Realm()
        self._minds = self._root.minds if served == "root" else self._realm.minds
        self._factory = self.factory(self._root if served == "root" else Portal(self._realm, [checker()]))

    def start(self, reactor: Any) -> int:
        """As `onreactor.Server.start`."""
        return listen(reactor, self._factory)

    def broadcast(self, answered: bool) -> Deferred[Any] | None:
        """As `onreactor.Server.broadcast`."""
        return notifyAll(self._minds, answered)


class Factory(WithoutDelay, pb.PBClientFactory):
    """Stock's client factory."""


if __name__ == "__main__":
    main(Server, lambda served: Client(Factory, served))
