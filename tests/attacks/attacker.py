"""
A client that can send anything.

::

    attacker = Attacker(serve(realm))            # in memory; stock's factories also work
    attacker.login()                             # optional
    attacker.call(attacker.avatar, "whoami")
    attacker.raw(b"...")
    attacker.heard()                             # what arrived, as expressions
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher, textFileLogObserver
from twisted.python.failure import Failure
from twisted.spread import pb

from pbkit.wire import codec
from tests.support import PASSWORD

#: An encoder without a limit on the size of a message.
HUGE = 1 << 40


def encoded(*expressions: Any, vocabulary: bool = True) -> bytes:
    """Return the bytes of some expressions."""
    return b"".join(codec.encode(each, vocabulary, HUGE) for each in expressions)


def called(luid: Any, name: Any, *args: Any, requestID: Any = 1, answer: int = 1, kw: Any = None) -> list[Any]:
    """Return the expression of a call. The arguments are jelly."""
    return [b"message", requestID, luid, name, answer, [b"tuple", *args], [b"dictionary"] if kw is None else kw]


class Attacker:
    """
    The client of a connection in memory.

    :param factory: the server's factory.
    :param reactor: for the server's end. Without one, the server serves everything immediately.
    :param greet: True to negotiate the dialect.
    :ivar server: the server's broker.
    :ivar transport: the server's transport.
    :ivar escaped: the exceptions that escaped from `dataReceived`. A reactor would close the connection.
    :ivar avatar: the id of the avatar, after `login`.
    """

    def __init__(self, factory: Any, reactor: Any = None, greet: bool = True) -> None:
        address = IPv4Address("TCP", "192.0.2.1", 4711)
        self.server = factory.buildProtocol(address)
        self.transport = StringTransport(peerAddress=address)
        if reactor is not None:
            self.transport.reactor = reactor  # type: ignore[attr-defined]
        self.escaped: Exception | None = None
        self.avatar = 0
        self.server.makeConnection(self.transport)
        if greet:
            self.raw(encoded(b"pb", vocabulary=False) + encoded([b"version", pb.Broker.version]))
            self.heard()

    @property
    def open(self) -> bool:
        """True while the server keeps the connection."""
        return self.escaped is None and not self.transport.disconnecting

    def raw(self, data: bytes, chunk: int = 65536) -> None:
        """Send bytes while the server accepts them."""
        for start in range(0, len(data), chunk):
            if not self.open:
                return
            try:
                self.server.dataReceived(data[start : start + chunk])
            except Exception as error:
                self.escaped = error

    def send(self, *expressions: Any) -> None:
        """Send some expressions in one chunk."""
        self.raw(encoded(*expressions))

    def call(self, luid: Any, name: Any, *args: Any, **kw: Any) -> Any:
        """
        Call a method.

        :return: the answer as an expression, or None.
        """
        self.send(called(luid, name, *args, **kw))
        said = [each for each in self.heard() if each[0] in (b"answer", b"error")]
        return said[-1] if said else None

    def heard(self) -> list[Any]:
        """Return the expressions that arrived since the last call."""
        data = self.transport.value()
        self.transport.clear()
        framer = codec.Framer(HUGE, HUGE, 1000, HUGE)
        framer.feed(data)
        return [codec.decode(message) for message in iter(framer.next, None)]

    def more(self) -> list[Any]:
        """Let the server send more, while it waits for that."""
        self.server.outbound.resumeProducing()
        return self.heard()

    def loginAs(self, name: str, mind: Any = (b"None",)) -> Attacker:
        """Log in under a name."""
        _, _, (_, challenge, challenger) = self.call(b"root", b"login", name.encode())
        answer = self.call(challenger[1], b"respond", pb.respond(challenge, PASSWORD), list(mind))
        self.avatar = answer[2][1]
        return self

    def login(self, mind: Any = (b"None",)) -> Attacker:
        """Log in as alice."""
        return self.loginAs("alice", mind)

    def lose(self) -> None:
        """Lose the connection."""
        self.server.connectionLost(Failure(ConnectionLost()))
        # Stock's references send a message when they are collected, which may be at any time.
        self.transport.write = lambda data: None  # type: ignore[method-assign]


@contextmanager
def logged() -> Iterator[Callable[[], str]]:
    """Collect the text of the log. Call the returned object to get it."""
    out = io.StringIO()
    observer = textFileLogObserver(out)
    globalLogPublisher.addObserver(observer)
    try:
        yield out.getvalue
    finally:
        globalLogPublisher.removeObserver(observer)
