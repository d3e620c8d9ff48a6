"""
AMP, Twisted's other protocol for calls: each argument has a type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.protocols import amp

import twisted
from benchmarks import data
from benchmarks.onreactor import HOST, Plain, listen, main
from benchmarks.perspective import answersOf

LEVEL = [(b"place", amp.Integer()), (b"size", amp.Integer()), (b"price", amp.Float())]
RECORD = [
    (b"id", amp.Integer()),
    (b"name", amp.Unicode()),
    (b"price", amp.Float()),
    (b"live", amp.Boolean()),
    (b"tags", amp.ListOf(amp.Unicode())),
    (b"levels", amp.AmpList(LEVEL)),
]


class Small(amp.Command):
    """Echo a text."""

    arguments = [(b"value", amp.Unicode())]
    response = arguments


class Structure(amp.Command):
    """Echo records."""

    arguments = [(b"value", amp.AmpList(RECORD))]
    response = arguments


class Ints(amp.Command):
    """Echo a list of ints."""

    arguments = [(b"value", amp.ListOf(amp.Integer()))]
    response = arguments


class Notice(amp.Command):
    """A notice without an answer. AMP has no dicts, so it is a list of names and numbers."""

    arguments = [
        (b"what", amp.Unicode()),
        (b"details", amp.AmpList([(b"name", amp.Unicode()), (b"number", amp.Integer())])),
    ]
    requiresAnswer = False


class NoticeToAnswer(Notice):
    """A notice that each client answers."""

    requiresAnswer = True


class Serving(amp.AMP):
    """The server's end of a connection."""

    def __init__(self, members: dict[Serving, None]) -> None:
        super().__init__()
        self._members = members

    def connectionMade(self) -> None:
        """Count the connection."""
        super().connectionMade()
        self._members[self] = None

    def connectionLost(self, reason: Any = None) -> None:
        """Remove the connection."""
        del self._members[self]
        super().connectionLost(reason)

    def echo(self, value: Any) -> dict[str, Any]:
        """Return the argument."""
        return {"value": value}

    for _command in (Small, Structure, Ints):
        _command.responder(echo)


class Server:
    """The server."""

    about = {"version": twisted.__version__}

    def __init__(self) -> None:
        self._members: dict[Serving, None] = {}

    def start(self, reactor: Any) -> int:
        """As `onreactor.Server.start`."""
        factory = Factory.forProtocol(lambda: Serving(self._members))
        factory.noisy = False
        return listen(reactor, factory)

    def broadcast(self, answered: bool) -> Deferred[Any] | None:
        """As `onreactor.Server.broadcast`."""
        what, numbers = data.NOTICE
        details = [{"name": name, "number": number} for name, number in numbers.items()]
        if answered:
            calls = [member.callRemote(NoticeToAnswer, what=what, details=details) for member in self._members]
            return answersOf(calls)
        for member in self._members:
            member.callRemote(Notice, what=what, details=details)
        return None


class Calling(amp.AMP):
    """The client's end of a connection."""

    transport: Any

    def __init__(self, heard: Callable[[], None]) -> None:
        super().__init__()
        self._heard = heard
        self.left: Deferred[None] = Deferred()

    def notice(self, what: str, details: Any) -> dict[str, Any]:
        """Receive a notice."""
        self._heard()
        return {}

    Notice.responder(notice)
    NoticeToAnswer.responder(notice)

    def connectionLost(self, reason: Any = None) -> None:
        """Fail the calls that have no answer."""
        super().connectionLost(reason)
        self.left.callback(None)


class Connection:
    """A client's connection."""

    def __init__(self, protocol: Calling) -> None:
        self._protocol = protocol

    def call(self, value: tuple[type[amp.Command], Any]) -> Deferred[Any]:
        """As `onreactor.Connection.call`."""
        command, argument = value
        answer: Deferred[Any] = self._protocol.callRemote(command, value=argument)
        return answer.addCallback(lambda response: (command, response["value"]))

    def close(self) -> Deferred[None]:
        """As `onreactor.Connection.close`."""
        self._protocol.transport.loseConnection()
        return self._protocol.left


class Client(Plain):
    """The client."""

    def connect(self, reactor: Any, address: Any, number: int, heard: Callable[[], None]) -> Deferred[Connection]:
        """As `onreactor.Client.connect`."""
        return Deferred.fromCoroutine(self._connect(reactor, address, heard))

    async def _connect(self, reactor: Any, address: Any, heard: Callable[[], None]) -> Connection:
        factory = Factory.forProtocol(lambda: Calling(heard))
        factory.noisy = False
        protocol: Any = await TCP4ClientEndpoint(reactor, HOST, address).connect(factory)
        protocol.transport.setTcpNoDelay(True)
        connection = Connection(protocol)
        # Wait for the answer: before it, the server may not have accepted the connection.
        await connection.call(self.value("small"))
        return connection

    def value(self, payload: str) -> tuple[type[amp.Command], Any]:
        """As `onreactor.Client.value`, with the command that takes it."""
        value = data.value(payload)
        if payload == "structure":
            # AMP's lists have one type each, so mixed data needs names.
            names = [name.decode() for name, _ in LEVEL]
            levels = [[dict(zip(names, level, strict=True)) for level in record["levels"]] for record in value]
            return Structure, [record | {"levels": its} for record, its in zip(value, levels, strict=True)]
        return (Small if payload == "small" else Ints), value


if __name__ == "__main__":
    main(Server, Client)
