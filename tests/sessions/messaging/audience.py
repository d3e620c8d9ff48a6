"""
A client in a process of its own: ``python audience.py PORT KIND``. It logs in as alice, with a mind. A "reader" prints,
when the server tells it to, which numbers it was told. A "raiser" raises at each. Other kinds stand for what the test
does to the process.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.internet import endpoints, reactor, task
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.spread import pb

from pbkit import ClientFactory


class Mind(pb.Referenceable):
    """The client's object."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.numbers: list[int] = []
        self.done: Deferred[None] = Deferred()

    def remote_number(self, number: int, text: str) -> None:
        """Note a number."""
        if self.kind == "raiser":
            raise LookupError("each time")
        self.numbers.append(number)

    def remote_ready(self) -> str:
        """Answer."""
        return self.kind

    def remote_over(self) -> None:
        """Stop."""
        self.done.callback(None)


async def main(port: str, kind: str) -> None:
    """Log in, and wait for the end."""
    factory: Any = ClientFactory() if kind == "reader" else pb.PBClientFactory()
    mind = Mind(kind)
    await endpoints.clientFromString(reactor, f"tcp:127.0.0.1:{port}").connect(factory)
    avatar = await factory.login(UsernamePassword(b"alice", b"sesame"), mind)
    print("in", flush=True)
    await mind.done
    print("numbers", *mind.numbers, flush=True)
    del avatar


if __name__ == "__main__":
    task.react(lambda _: ensureDeferred(main(*sys.argv[1:])))
