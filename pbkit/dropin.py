"""
pbkit's classes under stock's names, for swapping under an existing program::

    from pbkit import dropin as pb_   # pb_.PBServerFactory, pb_.PBClientFactory, pb_.Broker

Minds of any kind, exceptions' text, logging of refusals, raising on a dead reference and the old module globals are as
stock has them. Sessions that do not leak are not given up: a login that finishes after the connection is lost logs
out, so does one whose table is full, and a logout that raises drops nobody.
"""

from __future__ import annotations

from typing import Any

from pbkit import server
from pbkit.client import factory as client
from pbkit.wire import broker
from pbkit.wire.profile import DROPIN


class Broker(broker.Broker):
    """Stock's `pb.Broker`, to be swapped for it."""

    profile = DROPIN


class PBServerFactory(server.ServerFactory):
    """Stock's `pb.PBServerFactory`, to be swapped for it."""

    protocol: Any = Broker
    profile = DROPIN


class PBClientFactory(client.ClientFactory):
    """Stock's `pb.PBClientFactory`, to be swapped for it."""

    protocol: Any = Broker
    profile = DROPIN
    introduces = False
