"""Connections in memory whose clients can become slow consumers."""

from __future__ import annotations

from typing import Any

from pbkit import Session
from tests.support import Wire

#: A text that fills a connection: more than the transport takes at once, and more than the outbound buffer's window.
MUCH = "x" * 100_000


class SlowWire(Wire):
    """A connection whose client can become a slow consumer."""

    @property
    def peer(self) -> Any:
        """The connection as its sessions see it."""
        return self.server.peer

    @property
    def waiters(self) -> int:
        """How many callbacks wait for the connection to become writable."""
        return len(self.peer._onWritable or ())

    def fill(self, session: Session) -> None:
        """Stop the client, and tell it so much that the connection is full."""
        self.stall()
        while self.peer.writable:
            session.mind.tell("tell", MUCH)

    def read(self) -> None:
        """Let the client read what has arrived, and stop it again."""
        self.resume()
        self.pump()
        self.stall()

    def drain(self) -> None:
        """Let the client read everything."""
        self.resume()
        self.flush()
