"""
How many connections may wait to be accepted.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Port

#: What a port is given that was given nothing, as pbkit's own listeners are. The system's ``somaxconn`` is above it.
BACKLOG = 4096

#: What Twisted gives it.
TWISTED = 50


def deepen(transport: Any) -> None:
    """
    Have the port that a connection came by let more of them wait, if it was left as Twisted makes it.

    A PB server speaks first. When hundreds connect at once, and more than 50 of them wait, Linux answers the next with
    a cookie and forgets them: such a client takes itself for connected, and waits for a greeting for ever.

    :param transport: of a connection of a server's; with TLS or without.
    """
    while hasattr(transport, "transport"):
        transport = transport.transport
    port = getattr(transport, "server", None)
    if isinstance(port, Port) and port.backlog == TWISTED:
        port.backlog = BACKLOG
        port.socket.listen(BACKLOG)
