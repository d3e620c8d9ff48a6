"""
Connections in memory whose clients can be made not to keep up.
"""

from __future__ import annotations

from typing import Any

from pbkit import Session
from tests.support import Wire

#: What fills a connection: more than the transport is given, and then more than may wait behind that.
MUCH = "x" * 100_000


class SlowWire(Wire):
    """A connection whose client can be made not to keep up."""

    @property
    def peer(self) -> Any:
        """As the sessions see it."""
        return self.server.peer

    @property
    def waiters(self) -> int:
        """How many wait for room."""
        return len(self.peer._onWritable or ())

    def fill(self, session: Session) -> None:
        """The client stops, and is told so much that the connection is full."""
        self.stall()
        while self.peer.writable:
            session.mind.tell("tell", MUCH)

    def read(self) -> None:
        """The client reads what is there for it at this moment, and stops again."""
        self.resume()
        self.pump()
        self.stall()

    def drain(self) -> None:
        """The client goes on, and reads all that there is for it."""
        self.resume()
        self.flush()
