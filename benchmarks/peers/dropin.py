"""
pbkit's drop-in classes in the program of `benchmarks.peers.stock`: under stock's names, with stock's own realm.
"""

from __future__ import annotations

from typing import Any

import attrs

import pbkit
from benchmarks.onreactor import main
from benchmarks.peers import stock
from benchmarks.perspective import Client, WithoutDelay
from pbkit import dropin
from pbkit.wire.profile import DROPIN

#: The defaults, except for one limit: a list of 100,000 ints has more items than a message may have.
PROFILE = attrs.evolve(DROPIN, limits=attrs.evolve(DROPIN.limits, items=200_000))


class Broker(dropin.Broker):
    """A Broker with that profile."""

    profile = PROFILE


class ServerFactory(dropin.PBServerFactory):
    """A server factory with that profile."""

    protocol: Any = Broker
    profile = PROFILE


class Server(stock.Server):
    """Stock's program, with the other factory."""

    about = {"version": pbkit.__version__}
    factory: Any = ServerFactory


class Factory(WithoutDelay, dropin.PBClientFactory):
    """The client factory."""

    protocol: Any = Broker
    profile = PROFILE


if __name__ == "__main__":
    main(Server, lambda served: Client(Factory, served))
