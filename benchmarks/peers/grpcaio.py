"""
gRPC on asyncio, with msgpack instead of protocol buffers.

Twisted's reactor runs on the same loop, but only for the orders of the run: the calls do not pass through it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import grpc
import msgpack
from grpc import aio
from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred

from benchmarks import data
from benchmarks.messages import Hub
from benchmarks.onreactor import HOST, Plain, main

ECHO, LISTEN = "/bench.Peer/Echo", "/bench.Peer/Listen"
#: Without this option, all channels of a process to one address share a connection.
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
#: The first message of a stream, and the prefix of messages that need an answer.
BEGIN, TO_ANSWER = b"", b"?"


def _deferred(work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
    return Deferred.fromFuture(asyncio.ensure_future(work))


def boxed(value: Any) -> list[Any]:
    """
    Wrap the argument of a call: grpc.aio would convert a str to bytes before serialising it.
    """
    return [value]


class Server:
    """The server."""

    about = {"version": grpc.__version__}

    def __init__(self) -> None:
        self._hub = Hub()

    def start(self, reactor: Any) -> Deferred[Any]:
        """As `onreactor.Server.start`."""
        return _deferred(self._start())

    async def _start(self) -> int:
        self._server = aio.server()
        echo = grpc.unary_unary_rpc_method_handler(self._echo, msgpack.unpackb, msgpack.packb)
        listen = grpc.stream_stream_rpc_method_handler(self._listen)
        handlers = {"Echo": echo, "Listen": listen}
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bench.Peer", handlers)])
        port: int = self._server.add_insecure_port(f"{HOST}:0")
        await self._server.start()
        return port

    async def _echo(self, value: Any, context: Any) -> Any:
        return value

    async def _listen(self, answers: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._hub.members[queue] = None
        counting = asyncio.ensure_future(self._count(answers))
        try:
            yield BEGIN
            while True:
                yield await queue.get()
        finally:
            del self._hub.members[queue]
            counting.cancel()

    async def _count(self, answers: AsyncIterator[bytes]) -> None:
        async for _ in answers:
            self._hub.answered()

    def broadcast(self, answered: bool) -> Deferred[Any] | None:
        """As `onreactor.Server.broadcast`. Encoded once."""
        notice = (TO_ANSWER if answered else b"!") + msgpack.packb(data.NOTICE)
        return self._hub.broadcast(lambda queue: queue.put_nowait(notice), answered)


class Connection:
    """A client's connection, with a stream of notices."""

    def __init__(self, address: int, heard: Callable[[], None]) -> None:
        self._channel = aio.insecure_channel(f"{HOST}:{address}", options=OWN_CONNECTION)
        self.echo = self._channel.unary_unary(ECHO, msgpack.packb, msgpack.unpackb)
        self._stream = self._channel.stream_stream(LISTEN)()
        self._heard = heard

    async def open(self) -> Connection:
        """Open the stream. Return when the server has accepted it."""
        begun = await self._stream.read()
        if begun != BEGIN:
            raise ConnectionError(f"the stream begins with {begun!r}")
        self._listening = asyncio.ensure_future(self._listen())
        return self

    async def _listen(self) -> None:
        while (notice := await self._stream.read()) is not aio.EOF:
            msgpack.unpackb(notice[1:])
            self._heard()
            if notice.startswith(TO_ANSWER):
                await self._stream.write(b".")

    def call(self, value: Any) -> Deferred[Any]:
        """As `onreactor.Connection.call`."""
        return _deferred(self._call(value))

    async def _call(self, value: Any) -> Any:
        return (await self.echo(boxed(value)))[0]


async def pumping(call: Callable[[], Awaitable[Any]], inFlight: int, seconds: float) -> dict[str, Any]:
    """As `onreactor.Pump`, without Twisted in between."""
    began = now = time.perf_counter()
    count = 0

    async def some() -> None:
        nonlocal count, now
        while True:
            await call()
            count += 1
            now = time.perf_counter()
            if now >= began + seconds:
                return

    await asyncio.gather(*(some() for _ in range(inFlight)))
    return {"count": count, "seconds": now - began}


class Client(Plain):
    """The client."""

    def connect(self, reactor: Any, address: Any, number: int, heard: Callable[[], None]) -> Deferred[Connection]:
        """As `onreactor.Client.connect`."""
        # The channel can only be created in the running loop.
        return _deferred(self._connect(address, heard))

    async def _connect(self, address: Any, heard: Callable[[], None]) -> Connection:
        return await Connection(address, heard).open()

    def pump(self, connection: Any, value: Any, inFlight: int, seconds: float) -> Deferred[dict[str, Any]]:
        """As `onreactor.Client.pump`."""
        request = boxed(value)
        return _deferred(pumping(lambda: connection.echo(request), inFlight, seconds))


if __name__ == "__main__":
    loop = asyncio.new_event_loop()
    # The first futures are created before the loop runs.
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)
    main(Server, Client)
