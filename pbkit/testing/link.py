"""
`Link`: one connection in memory, and every way in which it can go wrong.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport

#: How much a system takes off a server's hands for a client that reads nothing, in bytes. Buffers are larger or
#: smaller in life; what counts is that they are full at some time.
WINDOW = 65_536

#: How often bytes may go to and fro before it is taken for a conversation that never ends.
ROUNDS = 10_000


class Transport(FakeTransport):
    """One end. Twisted's own, but one that can be aborted: what has not been read by then is lost."""

    stream: list[bytes]
    aborted = False

    def abortConnection(self) -> None:
        """`ITCPTransport`."""
        self.aborted = True
        self.stream = []
        self.loseConnection()

    @property
    def unread(self) -> int:
        """How many bytes have been written here and not been read at the other end."""
        return sum(map(len, self.stream))


class Link:
    """
    One connection in memory.

    :param server: the server's protocol, fresh from its factory.
    :param client: the client's.
    :param address: what the server sees as the client's address.
    :ivar server: the server's protocol.
    :ivar client: the client's.
    :ivar stalled: whether nothing moves, see `stall`.
    :ivar vanished: whether the client is gone and the server has not been told, see `vanish`.
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
        """Whether both ends still have it."""
        return not (self._near.disconnected or self._far.disconnected)

    @property
    def unread(self) -> int:
        """How many bytes the server has sent that the client has not read."""
        return self._near.unread

    def pump(self) -> bool:
        """
        Move what is on its way at this moment, once.

        :return: whether anything moved, or an end was told that the connection is gone.
        """
        near, far = self._near, self._far
        if self.vanished:
            near.stream = []
        if self.vanished or self.stalled:
            # Closing in good order first sends what is waiting, and there may be no room for it.
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
        Move bytes both ways until nothing more moves.

        :return: whether anything moved.
        :raises AssertionError: it never ends.
        """
        for moved in range(ROUNDS):
            if not self.pump():
                return moved > 0
        raise AssertionError(f"after {ROUNDS} rounds there are still bytes on their way: does each answer make a call?")

    def loseConnection(self, server: bool = False) -> None:
        """
        The client, or the server, closes it in good order. Both learn of it at the next `flush`, the other end
        first.

        :raises AssertionError: the client, that is to close it, is stalled.
        """
        if self.stalled and not server:
            raise AssertionError("the client is stalled, so it closes nothing: resume it first, or cut the connection")
        (self._near if server else self._far).loseConnection()

    def cut(self, client: bool = False) -> None:
        """
        It breaks, with all that was on its way. The server is told in this very call and the client at the next
        `flush`; with `client`, the client is told now and the server then.
        """
        self._broken = True
        self.vanished = False
        for end in (self._near, self._far):
            end.stream = []
            # What is written from now on, by whoever has not been told, goes nowhere.
            end.disconnecting = True
        self._tell(self._far if client else self._near)

    def vanish(self) -> None:
        """
        The client is gone, as when its machine has lost power: half open. The server is not told, and what it sends
        goes nowhere. `cut` is how it hears of it in the end.
        """
        if self.connected:
            self.stalled, self.vanished, self._broken = False, True, True
            self._far.stream = []
            self._tell(self._far)

    def stall(self) -> None:
        """The client's program is stopped: it reads nothing and answers nothing, but the connection stands."""
        self.stalled = self.connected

    def resume(self) -> None:
        """
        The client's program goes on, with what has come for it meanwhile, at the next `flush`.

        :raises AssertionError: it has vanished.
        """
        if self.vanished:
            raise AssertionError("the client has vanished, and does not come back: let another log in")
        self.stalled = False

    def _tell(self, end: Transport) -> bool:
        """Tell an end that the connection is gone, once."""
        if end.disconnected:
            return False
        end.disconnecting = end.disconnected = True
        if end.aborted:
            reason: Exception = ConnectionAborted()
        else:
            broken = self._broken or self._near.aborted or self._far.aborted
            reason = ConnectionLost() if broken else ConnectionDone()
        cast(Any, end.protocol).connectionLost(Failure(reason))
        return True
