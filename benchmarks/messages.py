"""
Common code of the peers that only send messages: the connections, and the order of answers.

Answers arrive in the order of the calls, so no ids are needed. This is one reason why these peers are a lower bound.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory

from benchmarks.onreactor import HOST, Plain

#: The kinds of messages.
CALL, NOTICE, NOTICE_TO_ANSWER, ANSWER = range(4)


class Hub:
    """
    The connections of a server.

    :ivar members: the connections.
    """

    def __init__(self) -> None:
        self.members: dict[Any, None] = {}
        self._awaited = 0
        self._done: Deferred[None] | None = None

    def broadcast(self, send: Callable[[Any], object], answered: bool) -> Deferred[None] | None:
        """
        Send something to each connection.

        :return: with answers, a Deferred that fires when all have answered.
        """
        members = tuple(self.members)
        self._awaited = len(members)
        self._done = Deferred() if answered else None
        for member in members:
            send(member)
        if self._done is not None and not members:
            self._done.callback(None)
        return self._done

    def answered(self) -> None:
        """Count an answer."""
        self._awaited -= 1
        if not self._awaited and self._done is not None:
            self._done.callback(None)


class Caller:
    """
    The client's end of a connection.

    :param send: writes a call.
    :param leave: begins to close the connection.
    """

    def __init__(self, send: Callable[[Any], object], leave: Callable[[], object]) -> None:
        self._send = send
        self._leave = leave
        self._waiting: deque[Deferred[Any]] = deque()
        self._left: Deferred[None] = Deferred()

    def call(self, value: Any) -> Deferred[Any]:
        """As `onreactor.Connection.call`."""
        answer: Deferred[Any] = Deferred()
        self._waiting.append(answer)
        self._send(value)
        return answer

    def answer(self, value: Any) -> None:
        """Answer the oldest call."""
        self._waiting.popleft().callback(value)

    def close(self) -> Deferred[None]:
        """As `onreactor.Connection.close`."""
        self._leave()
        return self._left

    def lost(self, reason: Any) -> None:
        """Fail the calls that have no answer: the connection is lost."""
        while self._waiting:
            self._waiting.popleft().errback(reason)
        self._left.callback(None)


class Client(Plain):
    """
    A client of such a peer.

    :param makeProtocol: called with a callback for notices; returns a protocol that has a `Caller` as ``caller``.
    """

    def __init__(self, makeProtocol: Callable[[Callable[[], None]], Any]) -> None:
        self._makeProtocol = makeProtocol

    def connect(self, reactor: Any, address: Any, number: int, heard: Callable[[], None]) -> Deferred[Caller]:
        """As `onreactor.Client.connect`."""
        return Deferred.fromCoroutine(self._connect(reactor, address, heard))

    async def _connect(self, reactor: Any, address: Any, heard: Callable[[], None]) -> Caller:
        factory = Factory.forProtocol(lambda: self._makeProtocol(heard))
        factory.noisy = False
        protocol: Any = await TCP4ClientEndpoint(reactor, HOST, address).connect(factory)
        protocol.transport.setTcpNoDelay(True)
        caller: Caller = protocol.caller
        # Wait for the answer: before it, the server may not have accepted the connection.
        await caller.call(self.value("small"))
        return caller
