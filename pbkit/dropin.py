"""
pbkit's classes under stock's names, to swap under an existing program::

    from pbkit import dropin as pb_   # pb_.PBServerFactory, pb_.PBClientFactory, pb_.Broker

Minds of any kind, the texts of exceptions, the logging of refusals, raising on a dead reference and the old module
globals are as in stock. Sessions still do not leak: a login that finishes after the connection is lost is logged out,
as is one that finds the table of references full, and a logout that raises closes no connection.
"""

from __future__ import annotations

from typing import Any

from pbkit import server
from pbkit.client import factory as client
from pbkit.wire import broker
from pbkit.wire.profile import DROPIN


class Broker(broker.Broker):
    """A replacement for stock's `pb.Broker`."""

    profile = DROPIN


class PBServerFactory(server.ServerFactory):
    """A replacement for stock's `pb.PBServerFactory`."""

    protocol: Any = Broker
    profile = DROPIN


class PBClientFactory(client.ClientFactory):
    """A replacement for stock's `pb.PBClientFactory`."""

    protocol: Any = Broker
    profile = DROPIN
    introduces = False
