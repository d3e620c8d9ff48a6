"""Short connections leave nothing behind, even if none of them lasts until the next sweep."""

from __future__ import annotations

import gc
from typing import Any

from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import Avatar, CachingRealm, ClientFactory, PerConnectionRealm
from tests.support import Wire, serve


class Quiet(Avatar):
    """Keeps nothing."""


class ShortTests(SynchronousTestCase):
    """The number of objects that are left."""

    def objects(self) -> int:
        """Count them."""
        gc.collect()
        gc.collect()
        return len(gc.get_objects())

    def left(self, server: Any, one: Any, many: int) -> int:
        """Return how many objects `many` connections leave behind, after 300 others."""
        for number in range(300):
            one(server, number)
        before = self.objects()
        for number in range(many):
            one(server, number)
        return self.objects() - before

    def connect(self, server: Any, number: int) -> None:
        """Connect and disconnect."""
        Wire(server, host=f"10.0.{number // 250}.{number % 250}").lose()

    def login(self, server: Any, number: int) -> None:
        """Connect, log in and disconnect."""
        wire = Wire(server, ClientFactory() if number % 2 else pb.PBClientFactory(), host=f"10.0.0.{number % 9}")
        avatar = self.successResultOf(wire.login("alice"))
        del avatar
        wire.lose()

    def test_connections(self) -> None:
        """10,000 connections of 2,500 addresses, with time standing still."""
        server = serve(CachingRealm(Quiet, clock=Clock()), clock=Clock())
        self.assertLess(self.left(server, self.connect, 10_000), 50)
        self.assertEqual(server.clock.getDelayedCalls(), [])

    def test_connectionsWhileTimePasses(self) -> None:
        """Connections that last for one sweep each, so that the next begins where the last has ended."""
        clock = Clock()
        server = serve(CachingRealm(Quiet, clock=clock), clock=clock)

        def one(server: Any, number: int) -> None:
            wire = Wire(server, host=f"10.0.0.{number % 250}")
            clock.advance(0.6)
            wire.lose()

        self.assertLess(self.left(server, one, 500), 50)

    def test_logins(self) -> None:
        """10,000 logins and logouts."""
        makers: list[Any] = [
            CachingRealm,
            lambda _, clock: PerConnectionRealm(lambda name, _: Quiet(name), clock=clock),
        ]
        for make in makers:
            clock = Clock()
            server = serve(make(Quiet, clock=clock), clock=clock)
            self.assertLess(self.left(server, self.login, 5_000), 50)
            self.assertEqual(clock.getDelayedCalls(), [])
