"""
pbkit's plugin for pytest: the fixture `pbkit_server`.

Not in the package, and nothing of it is imported before the fixture is used: pytest loads this in every suite that runs
where pbkit is installed, and those that have no use for it are not to be slowed down, nor their coverage changed.
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
    """Makes in-memory servers: pbkit_server(GameRealm()) is a pbkit.testing.MemoryServer, closed after the test."""
    from pbkit.testing import MemoryServer

    with ExitStack() as servers:

        def serve(realm: Any, **kw: Any) -> MemoryServer:
            server = MemoryServer(realm, **kw)
            servers.callback(server.close)
            return server

        yield serve
