"""
`MemoryServerMixin`: for trial's test cases.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pbkit.testing.memory import MemoryServer

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as Base
else:
    Base = object


class MemoryServerMixin(Base):
    """
    To be put before trial's `TestCase` or `SynchronousTestCase`. ::

        class GameRealmTests(MemoryServerMixin, SynchronousTestCase):
            def test_moveCounts(self):
                alice = self.serve(GameRealm()).login("alice")
                self.assertEqual(alice.call("move", 2), 102)
    """

    def serve(self, realm: Any, **kw: Any) -> MemoryServer:
        """
        A server for this test. It is closed when the test is over, which fails if something is not as it should be.

        :param kw: as for `MemoryServer`.
        """
        server = MemoryServer(realm, **kw)
        self._pbkitServers().append(server)
        self.addCleanup(server.close)
        return server

    def flushLoggedErrors(self, *errorTypes: Any) -> Any:
        """As trial's; the servers of this test take no offence at these errors either."""
        for server in self._pbkitServers():
            server.flushLoggedErrors(*errorTypes)
        flush: Callable[..., Any] = super().flushLoggedErrors
        return flush(*errorTypes)

    def _pbkitServers(self) -> list[MemoryServer]:
        servers: list[MemoryServer] = self.__dict__.setdefault("_pbkitServersOfThisTest", [])
        return servers
