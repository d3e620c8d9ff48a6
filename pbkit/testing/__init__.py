"""
For the tests of programs that use pbkit: a realm served in memory, without a socket, a reactor or real time.

`MemoryServer` serves a realm, and clients log in under any name. In trial, use `MemoryServerMixin`; in pytest, the
fixture `pbkit_server`; elsewhere, create a `MemoryServer` and close it at the end.

The names in `__all__` are public.

::

    memory.py   MemoryServer: serves a realm in memory, and checks at the end that nothing is left behind
    clients.py  MemoryConnection, MemoryClient: connect, log in, call
    link.py     Link: one connection in memory, and the ways in which it can fail
    mind.py     RecordingMind: a mind that records the calls it receives and refuses what does not fit
    logged.py   collects the errors that are logged during a test
    case.py     MemoryServerMixin, for trial;  ../../pytest_pbkit.py: the fixture for pytest
"""

from pbkit.testing.case import MemoryServerMixin
from pbkit.testing.clients import MemoryClient, MemoryConnection
from pbkit.testing.link import Link
from pbkit.testing.memory import MemoryServer
from pbkit.testing.mind import RecordingMind

__all__ = ["Link", "MemoryClient", "MemoryConnection", "MemoryServer", "MemoryServerMixin", "RecordingMind"]
