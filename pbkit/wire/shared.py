"""
A login without a channel of its own, as in stock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pbkit.errors import SessionEnded

if TYPE_CHECKING:
    from pbkit.wire.broker import Broker


class SharedTables:
    """
    A login that shares the connection's tables, as in stock: for realms that are not pbkit's, in a drop-in server.

    :param connection: the broker whose tables they are.
    """

    session: Any = None

    def __init__(self, connection: Broker) -> None:
        self.connection = connection
        self.unserialize = connection.unserialize
        self._avatar: Any = None

    def grant(self, avatar: Any) -> Any:
        """As `Channel.grant`."""
        jelly = self.connection.serialize(avatar)
        self._avatar = avatar
        return jelly

    def onReleased(self, f: Callable[[], object]) -> None:
        """Call `f` when the client lets go of the avatar, or the connection is lost."""
        stop = self.connection.peer.onLost(f)

        def released() -> None:
            stop()
            f()

        self.connection.onDropped(self._avatar, released)

    def end(self, error: SessionEnded) -> None:
        """Nothing of its own to end: stock has no way to mark a reference as dead."""
