"""Broadcasts to clients in processes of their own: frozen, killed, raising, and healthy."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from pbkit import CachingRealm, Session, Summary, dropOldest, errors
from tests.support import Recorder, serve
from tests.transcripts import environment

#: The program of the clients.
AUDIENCE = Path(__file__).parent / "messaging" / "audience.py"
#: The number of messages, and the size of each: 40 MB in all, far more than the buffers of the system take.
TIMES, TEXT = 4000, "x" * 10_000


class BroadcastTests(TestCase):
    """`Realm.tell` and `Realm.ask`."""

    timeout = 120

    def setUp(self) -> None:
        """Use the installed reactor."""
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.realm = CachingRealm(Recorder, clock=self.reactor, slow=dropOldest(50))

    async def sleep(self, seconds: float) -> None:
        """Let the reactor run."""
        waiting: Deferred[None] = Deferred()
        self.reactor.callLater(seconds, waiting.callback, None)
        await waiting

    async def start(self, port: int, kind: str) -> tuple[subprocess.Popen[str], Session]:
        """Start one client, and wait until it has logged in."""
        process = subprocess.Popen(
            [sys.executable, str(AUDIENCE), str(port), kind],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait, 30)
        self.addCleanup(process.kill)
        before = {*self.realm.roster}
        self.assertEqual(await deferToThread(process.stdout.readline), "in\n")
        (session,) = {*self.realm.roster} - before
        return process, session

    async def test_whateverBecomesOfThem(self) -> None:
        """
        The healthy clients hear everything in order, whatever becomes of the others. The summaries are true. A frozen
        client hears, when it continues, what was queued for it, in order.
        """
        port = await TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1").listen(
            serve(self.realm, clock=self.reactor)
        )
        self.addCleanup(port.stopListening)
        number = port.getHost().port
        kinds = ("reader", "stock", "raiser", "frozen", "killed")
        clients = {kind: await self.start(number, kind) for kind in kinds}
        frozen, killed = clients["frozen"], clients["killed"]
        frozen[0].send_signal(signal.SIGSTOP)
        total = Summary()
        for n in range(TIMES):
            if n == TIMES // 2:
                killed[0].kill()
            present = len(self.realm.roster)
            summary = await self.realm.tell("number", n, TEXT)
            self.assertEqual(sum(summary), present)
            total = Summary(*(a + b for a, b in zip(total, summary, strict=True)))
            # Send no faster than the healthy clients read: on a busy machine they would be slow consumers as well.
            while any(clients[kind][1].outbox for kind in ("reader", "stock", "raiser")):
                await self.sleep(0)
            if n % 20 == 0:
                await self.sleep(0)
        self.assertIsNotNone(killed[1].endedWith)
        self.assertGreater(total.queued, 0)
        self.assertLessEqual(frozen[1].backlog.messages, 50)
        self.assertGreater(frozen[1].backlog.dropped, TIMES // 4)
        answers = await self.realm.ask("ready", pbtimeout=2)
        said = {kind: answers.get(session.sessionId) for kind, (_, session) in clients.items()}
        late = said.pop("frozen")
        assert isinstance(late, Failure)
        self.assertTrue(late.check(errors.CallTimedOut))
        self.assertEqual(said, {"reader": "reader", "stock": "stock", "raiser": "raiser", "killed": None})
        frozen[0].send_signal(signal.SIGCONT)
        self.realm.tell("over")
        heard = {kind: await self.heard(process) for kind, (process, _) in clients.items() if kind != "killed"}
        self.assertEqual(heard["reader"], [*range(TIMES)])
        self.assertEqual(heard["stock"], [*range(TIMES)])
        self.assertEqual(heard["frozen"], sorted({*heard["frozen"]}))
        self.assertEqual(heard["frozen"][-49:], [*range(TIMES - 49, TIMES)])
        self.assertLess(len(heard["frozen"]), TIMES * 3 // 4)
        while len(self.realm.roster):
            await self.sleep(0.01)

    async def heard(self, process: subprocess.Popen[str]) -> list[int]:
        """Return what a client reports that it was told."""
        output, _ = await deferToThread(process.communicate, None, 60)
        return [int(word) for word in output.split()[1:]]
