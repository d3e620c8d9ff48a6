"""
A login without a channel of its own, as in stock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pbkit.errors import SessionEnded
from pbkit.wire.lazily import EMPTY

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
        self._puid: Any = None

    def grant(self, avatar: Any) -> Any:
        """As `Channel.grant`."""
        jelly = self.connection.serialize(avatar)
        self._puid = avatar.processUniqueID()
        return jelly

    def onReleased(self, f: Callable[[], object]) -> None:
        """Call `f` when the client lets go of the avatar, or the connection is lost."""
        stop = self.connection.peer.onLost(f)
        if self.connection._localCleanup is EMPTY:
            self.connection._localCleanup = {}
        cleanups = self.connection._localCleanup
        # An avatar that is itself Referenceable may have been given by an earlier login, too.
        earlier = cleanups.get(self._puid)

        def released() -> None:
            stop()
            f()
            if earlier is not None:
                earlier()

        cleanups[self._puid] = released

    def end(self, error: SessionEnded) -> None:
        """Nothing of its own to end: stock has no way to mark a reference as dead."""
