"""
`Link`: one connection in memory, and the ways in which it can fail.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport

#: How many bytes the operating system buffers for a client that does not read. Real buffers are larger or smaller; what
#: matters is that they fill up.
WINDOW = 65_536

#: After how many rounds the exchange is taken for one that never ends.
ROUNDS = 10_000


class Transport(FakeTransport):
    """One end of a `Link`: Twisted's `FakeTransport`, which can also be aborted, and then loses what was not read."""

    stream: list[bytes]
    aborted = False

    def abortConnection(self) -> None:
        """Close the connection, and drop what has not been read."""
        self.aborted = True
        self.stream = []
        self.loseConnection()

    @property
    def unread(self) -> int:
        """How many bytes have been written here that the other end has not read."""
        return sum(map(len, self.stream))


class Link:
    """
    One connection in memory.

    :param server: the server's protocol, as built by its factory.
    :param client: the client's protocol.
    :param address: what the server sees as the client's address.
    :ivar server: the server's protocol.
    :ivar client: the client's.
    :ivar stalled: True while nothing moves: see `stall`.
    :ivar vanished: True while the client is gone and the server does not know: see `vanish`.
    """

    def __init__(self, server: Any, client: Any, address: IAddress | None = None) -> None:
        self.server = server
        self.client = client
        self.stalled = False
        self.vanished = False
        self._broken = False
        self._near = Transport(server, True, peerAddress=address)
        self._far = Transport(client, False, hostAddress=address)
        server.makeConnection(self._near)
        client.makeConnection(self._far)

    @property
    def connected(self) -> bool:
        """True while both ends are connected."""
        return not (self._near.disconnected or self._far.disconnected)

    @property
    def unread(self) -> int:
        """How many bytes the server has sent that the client has not read."""
        return self._near.unread

    def pump(self) -> bool:
        """
        Deliver once what both ends have sent by now.

        :return: True if bytes moved, or an end was told that the connection is lost.
        """
        near, far = self._near, self._far
        if self.vanished:
            near.stream = []
        if self.vanished or self.stalled:
            # An orderly close first sends what is buffered, which must fit into the operating system's buffer.
            heard = near.disconnecting and (near.aborted or near.unread <= WINDOW)
            return bool(heard) and self._tell(near)
        up, down = far.getOutBuffer(), near.getOutBuffer()
        far._checkProducer()
        near._checkProducer()
        if up and not near.disconnected:
            near.bufferReceived(up)
        if down and not far.disconnected:
            far.bufferReceived(down)
        if up or down:
            return True
        for end, other in ((near, far), (far, near)):
            if end.disconnecting:
                return self._tell(other) or self._tell(end)
        return False

    def flush(self) -> bool:
        """
        Deliver what both ends send, until neither sends any more.

        :return: True if bytes moved.
        :raises AssertionError: if the exchange does not end.
        """
        for moved in range(ROUNDS):
            if not self.pump():
                return moved > 0
        raise AssertionError(f"after {ROUNDS} rounds there are still bytes to deliver: does each answer cause a call?")

    def loseConnection(self, server: bool = False) -> None:
        """
        Close the connection in an orderly way, from the client's end or, with `server`, from the server's. Both ends
        are told at the next `flush`, the other end first.

        :raises AssertionError: if the client is to close it, but is stalled.
        """
        if self.stalled and not server:
            raise AssertionError(
                "the client is stalled and cannot close the connection: resume it first, or cut the connection"
            )
        (self._near if server else self._far).loseConnection()

    def cut(self, client: bool = False) -> None:
        """
        Break the connection; bytes that were not delivered are lost. The server is told in this call and the client at
        the next `flush`; with `client`, the client is told in this call and the server at the next `flush`.
        """
        self._broken = True
        self.vanished = False
        for end in (self._near, self._far):
            end.stream = []
            # Discard what an end writes that has not been told.
            end.disconnecting = True
        self._tell(self._far if client else self._near)

    def vanish(self) -> None:
        """
        Let the client vanish, as if its machine had lost power: the connection is half open. The server is not told,
        and what it sends is discarded. Call `cut` to tell the server.
        """
        if self.connected:
            self.stalled, self.vanished, self._broken = False, True, True
            self._far.stream = []
            self._tell(self._far)

    def stall(self) -> None:
        """Stall the client, as if its program were stopped: it reads and sends nothing, but the connection stays."""
        self.stalled = self.connected

    def resume(self) -> None:
        """
        Let a stalled client go on, with what has arrived meanwhile, at the next `flush`.

        :raises AssertionError: if the client has vanished.
        """
        if self.vanished:
            raise AssertionError("the client has vanished and cannot resume: log in with another client")
        self.stalled = False

    def _tell(self, end: Transport) -> bool:
        """Tell an end, once, that the connection is lost."""
        if end.disconnected:
            return False
        end.disconnecting = end.disconnected = True
        if end.aborted:
            reason: Exception = ConnectionAborted()
        else:
            broken = self._broken or self._near.aborted or self._far.aborted
            reason = ConnectionLost() if broken else ConnectionDone()
        cast(Protocol, end.protocol).connectionLost(Failure(reason))
        return True
