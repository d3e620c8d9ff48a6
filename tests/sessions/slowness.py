"""
Connections whose clients do not keep up, in memory: what was sent is counted, and stays until the client reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pbkit import Session
from pbkit.wire.peer import Peer
from tests.support import Wire

#: As much waits before a connection counts as full.
FULL = 65536


class CountingPeer(Peer):
    """A `Peer` that knows what its client has not read."""

    wire: SlowWire

    def __init__(self, broker: Any) -> None:
        super().__init__(broker)
        self.waiters: dict[int, Callable[[], object]] = {}
        self._number = 0
        self.full = FULL

    @property
    def buffered(self) -> int:  # type: ignore[override]
        """As `IPeer`."""
        return self.wire.unread

    @property
    def writable(self) -> bool:  # type: ignore[override]
        """As `IPeer`."""
        return self.wire.unread <= self.full

    def onWritable(self, f: Callable[[], object]) -> Callable[[], None]:
        """As `IPeer`."""
        assert not self.writable
        self._number += 1
        number = self._number
        self.waiters[number] = f

        def stop() -> None:
            self.waiters.pop(number, None)

        return stop

    def drained(self) -> None:
        """Call those who wait, as long as there is room."""
        for number in tuple(self.waiters):
            if self.writable and number in self.waiters:
                self.waiters.pop(number)()


class SlowWire(Wire):
    """A connection whose client can be made not to keep up."""

    def __init__(self, server: Any, client: Any = None) -> None:
        super().__init__(server, client)
        self.peer = self.server._pbkitPeer = CountingPeer(self.server)
        self.peer.wire = self

    def fill(self, session: Session) -> None:
        """The client stops, and is told so much that the connection is full: 100,000 bytes of `remote_tell`."""
        self.stall()
        session.mind.tell("tell", "x" * 100_000)

    def read(self) -> None:
        """The client reads what is there for it, and stops again; the server fills the connection anew, once."""
        self.resume()
        self.flush()
        self.stall()
        self.peer.drained()

    def drain(self) -> None:
        """The client goes on, and reads all that there is for it."""
        self.resume()
        self.flush()
        while self.peer.waiters and self.peer.writable and self.connected:
            self.peer.drained()
            self.flush()


def slowWire(server: Any, client: Any = None) -> SlowWire:
    """A new connection."""
    return SlowWire(server, client)
