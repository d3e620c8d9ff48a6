"""
pbkit's pytest plugin: the fixture `pbkit_server`.

pytest loads this module in every test run where pbkit is installed. It is therefore outside the package and imports
nothing of it before the fixture is used: test suites that do not use pbkit are not slowed down, and their coverage does
not change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pbkit.testing import MemoryServer


@pytest.fixture
def pbkit_server() -> Iterator[Callable[..., MemoryServer]]:
    """Create in-memory servers: pbkit_server(GameRealm()) is a pbkit.testing.MemoryServer, closed after the test."""
    from pbkit.testing import MemoryServer

    with ExitStack() as servers:

        def serve(realm: Any, **kw: Any) -> MemoryServer:
            server = MemoryServer(realm, **kw)
            servers.callback(server.close)
            return server

        yield serve
