"""
A contender's processes, seen from the run: a server, and one or more clients.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.contenders import Contender

ROOT = Path(__file__).resolve().parent.parent

#: The timeout in seconds for the first message of a process, and for an order that takes no time.
PATIENCE = 60.0


class PeerFailed(Exception):
    """A contender failed. The text is the reason."""


class NotHere(PeerFailed):
    """A contender cannot start, for any work."""


class Peer:
    """
    One process of a contender.

    :param words: the module in `benchmarks.peers`, and its arguments.
    :param role: ``server`` or ``client``.
    :param pure: as `Contender.pure`.
    :param logged: True if it writes its log to a file.
    :ivar hello: the first message of the process.
    """

    def __init__(self, words: tuple[str, ...], role: str, pure: bool | None, logged: bool = False) -> None:
        module, *rest = words
        env = {key: text for key, text in os.environ.items() if key != "PBKIT_PURE"} | (
            {"PBKIT_PURE": "1"} if pure else {}
        )
        if logged:
            env["BENCHMARKS_LOG"] = "1"
        self.name = f"{module} {role}"
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.peers.{module}", role, *rest],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
        )
        self._buffer = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]
        try:
            self.hello = self.answer(PATIENCE)
        except PeerFailed:
            self.close()
            raise

    def order(self, do: str, **details: Any) -> None:
        """Send an order. Its result is the next `answer`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **details}).encode() + b"\n")
        except OSError:
            raise PeerFailed(f"the {self.name} exited: {self._lastWords()}") from None

    def answer(self, timeout: float) -> dict[str, Any]:
        """
        Return the answer to an order.

        :param timeout: the timeout in seconds.
        :raises PeerFailed: if the order failed, the process ended, or the time is over.
        """
        assert self._process.stdout is not None
        until = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            if not self._selector.select(max(0.0, until - time.monotonic())):
                raise PeerFailed(f"the {self.name} did not answer within {timeout:.0f} s")
            chunk = os.read(self._process.stdout.fileno(), 65536)
            if not chunk:
                raise PeerFailed(f"the {self.name} ended: {self._lastWords()}")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerFailed(f"the {self.name}: {answer['error']}")
        return answer

    def ask(self, do: str, timeout: float = PATIENCE, **details: Any) -> dict[str, Any]:
        """Send an order, and return the answer."""
        self.order(do, **details)
        return self.answer(timeout)

    def _lastWords(self) -> str:
        self._process.wait(PATIENCE)
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), f"exit {self._process.returncode}")

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        self._selector.close()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                pipe.close()


class Team:
    """
    A contender's server and its clients.

    :param clients: the number of client processes.
    :param logged: True if the server writes its log to a file.
    :raises PeerFailed: if a process does not start.
    :raises NotHere: if pbkit does not use the requested codec.
    """

    def __init__(self, contender: Contender, clients: int = 1, logged: bool = False) -> None:
        self.clients: list[Peer] = []
        self.server = Peer(contender.server, "server", contender.pure, logged)
        try:
            compiled = str(self.server.hello.get("codec", "")).startswith("compiled")
            if contender.pure is not None and compiled == contender.pure:
                raise NotHere("PBKIT_PURE=1 had no effect" if compiled else "pbkit has no compiled core here")
            for _ in range(clients):
                self.clients.append(Peer(contender.client, "client", contender.pure))
        except PeerFailed:
            self.close()
            raise
        self.address = self.server.hello["address"]
        #: The number of the next connection.
        self.opened = 0

    def open(self, number: int) -> None:
        """Open more connections, shared among the clients. Return when all are logged in."""
        share, more = divmod(number, len(self.clients))
        for n, client in enumerate(self.clients):
            count = share + (n < more)
            client.order("open", address=self.address, count=count, first=self.opened)
            self.opened += count
        for client in self.clients:
            client.answer(PATIENCE + number / 20)

    def close(self) -> None:
        """Kill all processes."""
        for peer in (*self.clients, self.server):
            peer.close()
