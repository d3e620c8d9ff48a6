"""Attacks on real processes over sockets: their memory, their log, and whether other clients are served."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.spread import pb
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from pbkit.wire import codec
from tests.attacks.attacker import HUGE, called, encoded
from tests.attacks.test_strangers import STRING
from tests.test_process import PATIENCE, ROOT, STOCK_SERVER, TWISTD, Running

MIB = 1024 * 1024


class Raw:
    """A socket to a server, and what it received so far."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._framer = codec.Framer(HUGE, HUGE, 1000, HUGE)
        self.next()
        self.socket.sendall(encoded(b"pb", vocabulary=False) + encoded([b"version", pb.Broker.version]))
        self.next()

    def next(self) -> Any:
        """Return the next expression."""
        while (message := self._framer.next()) is None:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._framer.feed(data)
        return codec.decode(message)

    def call(self, luid: Any, name: bytes, *args: Any) -> Any:
        """Call a method, and return the answer."""
        self.socket.sendall(encoded(called(luid, name, *args)))
        return self.next()

    def login(self) -> int:
        """Log in as alice, and return the id of the avatar."""
        _, _, (_, challenge, challenger) = self.call(b"root", b"login", b"alice")
        answer: Any = self.call(challenger[1], b"respond", pb.respond(challenge, b"sesame"), [b"None"])
        return int(answer[2][1])

    def closed(self) -> bool:
        """True if the server closes the connection within a second."""
        self.socket.settimeout(1)
        try:
            while self.socket.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True


class ProcessTests(SynchronousTestCase):
    """One attacker, with twistd and the plugin, and with a stock server."""

    def setUp(self) -> None:
        """Make a directory, and users."""
        if not os.path.exists("/proc/self/status"):
            raise SkipTest("how much a process holds is read from /proc")
        self.directory = tempfile.mkdtemp(prefix="pbkit-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}

    def serve(self, stock: bool = False) -> Running:
        """Start a server on a free port."""
        argv = [sys.executable, "-c", STOCK_SERVER]
        if not stock:
            listen = ["--listen", "tcp:0:interface=127.0.0.1"]
            argv = [*TWISTD, "--pidfile=", "-n", "pbkit", *listen, "--auth", "memory:alice:sesame"]
        running = Running(argv, self.directory, self.env)
        self.addCleanup(running.stop)
        return running

    def raw(self, server: Running) -> Raw:
        """Return a new connection."""
        raw = Raw(int(server.port()))
        self.addCleanup(raw.socket.close)
        return raw

    def holds(self, server: Running) -> int:
        """Return the memory of a process in bytes."""
        status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
        (kilobytes,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
        return int(kilobytes) * 1024

    def test_stringsWithoutEnd(self) -> None:
        """Stock keeps 30 MB of an unauthenticated client. pbkit closes the connection, with a line in the log."""
        for stock in (True, False):
            server = self.serve(stock)
            raw = self.raw(server)
            before = self.holds(server)
            with contextlib.suppress(OSError):
                raw.socket.sendall(b"\x7f\x80" + STRING * 48)
            self.assertEqual(raw.closed(), not stock)
            grown = self.holds(server) - before
            if stock:
                self.assertGreater(grown, 20 * MIB)
            else:
                self.assertLess(grown, 8 * MIB)
                self.assertEqual(server.printed().count("closed connection from "), 1)

    def test_othersAreServedMeanwhile(self) -> None:
        """Other clients are answered during 20,000 failing calls, and the log grows by ten lines per second."""
        server = self.serve()
        attacker, bystander = self.raw(server), self.raw(server)
        mine, his = attacker.login(), bystander.login()
        number = 20_000
        flood = encoded(*[called(mine, b"nothing", requestID=i) for i in range(2000)]) * (number // 2000)
        attacker.socket.setblocking(False)
        sent = heard = during = 0
        size = len(server.printed())
        framer = codec.Framer(HUGE, HUGE, 1000, HUGE)
        while heard < number:
            with contextlib.suppress(BlockingIOError):
                sent += attacker.socket.send(flood[sent : sent + 65536])
            with contextlib.suppress(BlockingIOError):
                framer.feed(attacker.socket.recv(65536))
                heard += sum(1 for _ in iter(framer.next, None))
            if heard < number:
                self.assertEqual(bystander.call(his, b"whoami")[0], b"answer")
                during += 1
        self.assertGreater(during, 10)
        self.assertLess(len(server.printed()) - size, len(flood))
        self.assertIsNone(server.process.poll())

    def test_unreadAnswers(self) -> None:
        """An unauthenticated client that does not read is disconnected, and used little memory."""
        server = self.serve()
        raw = self.raw(server)
        before = self.holds(server)
        with contextlib.suppress(OSError):
            for _ in range(200):
                raw.socket.sendall(encoded(*[called(1, b"")] * 500))
        self.assertTrue(raw.closed())
        self.assertLess(self.holds(server) - before, 4 * MIB)
