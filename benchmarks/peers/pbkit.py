"""
pbkit: its server, with a bare root object or with a realm and sessions, and its client.

As everywhere, ``PBKIT_PURE`` selects the codec.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import attrs
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred

import pbkit
from benchmarks import data
from benchmarks.onreactor import listen, main
from benchmarks.peers import stock
from benchmarks.perspective import Client, Root, WithoutDelay, checker
from pbkit.wire.profile import STRICT

#: The defaults, except for one limit: a list of 100,000 ints has more items than a message may have.
PROFILE = attrs.evolve(STRICT, limits=attrs.evolve(STRICT.limits, items=200_000))


class Broker(pbkit.Broker):
    """A Broker with that profile."""

    profile = PROFILE


def codec() -> str:
    """
    Return which codec this process uses.
    """
    try:
        module: Any = import_module("pbkit.wire.codec")
    except ModuleNotFoundError:
        return "stock's: there is no pbkit.wire.codec"
    return "compiled" if getattr(module, "compiled", False) else "pure Python"


class Avatar(pbkit.Avatar):
    """The avatar."""

    def perspective_echo(self, value: Any) -> Any:
        """Return the argument."""
        return value


def notifyAll(realm: pbkit.Realm, answered: bool) -> Deferred[Any]:
    """
    Send the notice to each session of a realm, as its users do.

    :return: a Deferred that fires when all have been told, or with answers, when all have answered.
    """
    what, details = data.NOTICE
    return realm.ask("notice", what, details) if answered else realm.tell("notice", what, details)


class Server:
    """
    The server.

    :param served: ``root`` or ``realm``.
    """

    def __init__(self, served: str) -> None:
        self.about = {"version": pbkit.__version__, "codec": codec()}
        self._root = Root()
        self._realm = pbkit.CachingRealm(Avatar) if served == "realm" else None
        root = self._root if self._realm is None else Portal(self._realm, [checker()])
        self._factory = pbkit.ServerFactory(root, profile=PROFILE)

    def start(self, reactor: Any) -> int:
        """As `onreactor.Server.start`."""
        return listen(reactor, self._factory)

    def broadcast(self, answered: bool) -> Deferred[Any] | None:
        """As `onreactor.Server.broadcast`."""
        if self._realm is None:
            return stock.notifyAll(self._root.minds, answered)
        return notifyAll(self._realm, answered)


class Factory(WithoutDelay, pbkit.ClientFactory):
    """pbkit's client factory."""

    protocol: Any = Broker
    profile = PROFILE


if __name__ == "__main__":
    main(Server, lambda served: Client(Factory, served))
