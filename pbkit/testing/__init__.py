"""
For the tests of programs that use pbkit: a realm served in memory, without a socket, a reactor or real time.

`MemoryServer` serves a realm, and clients log in there as whoever they say. Under trial use `MemoryServerMixin`; under
pytest, the fixture `pbkit_server`; elsewhere make a `MemoryServer` and close it in the end.

What stands in `__all__` is public.
"""

from pbkit.testing.case import MemoryServerMixin
from pbkit.testing.clients import MemoryClient, MemoryConnection
from pbkit.testing.link import Link
from pbkit.testing.memory import MemoryServer
from pbkit.testing.mind import RecordingMind

__all__ = ["Link", "MemoryClient", "MemoryConnection", "MemoryServer", "MemoryServerMixin", "RecordingMind"]
