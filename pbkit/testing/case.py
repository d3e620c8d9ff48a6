"""
`MemoryServerMixin`: in-memory servers for trial's test cases.
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
    Adds in-memory servers to trial's `TestCase` or `SynchronousTestCase`. List it first among the base classes. ::

        class GameRealmTests(MemoryServerMixin, SynchronousTestCase):
            def test_moveCounts(self):
                alice = self.serve(GameRealm()).login("alice")
                self.assertEqual(alice.call("move", 2), 102)
    """

    def serve(self, realm: object, **kw: Any) -> MemoryServer:
        """
        Serve a realm for this test. The server is closed after the test, and the test fails if `MemoryServer.close`
        finds something wrong.

        :param kw: as for `MemoryServer`.
        """
        server = MemoryServer(realm, **kw)
        self._pbkitServers().append(server)
        self.addCleanup(server.close)
        return server

    def flushLoggedErrors(self, *errorTypes: type[BaseException]) -> list[Any]:
        """Return and forget logged errors, as trial does; the servers of this test forget them too."""
        for server in self._pbkitServers():
            server.flushLoggedErrors(*errorTypes)
        flush: Callable[..., list[Any]] = super().flushLoggedErrors
        return flush(*errorTypes)

    def _pbkitServers(self) -> list[MemoryServer]:
        servers: list[MemoryServer] = self.__dict__.setdefault("_pbkitServersOfThisTest", [])
        return servers
