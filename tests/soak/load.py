"""
A mixed load on a server, whose memory and pauses are watched: ``python -m tests.soak.load SECONDS SEED``.

The server is a process of its own. Two others hold its clients, of pbkit's and of stock's. These log in and out, and
call methods with small and large arguments; some read nothing for a while. The server tells everybody ten times a
second, and topics twenty times. The run fails if

- a call is answered wrongly, or fails although its client stays;
- one turn of the server's reactor takes more than `PAUSE` of CPU time;
- the server grows by more than `GROWTH` between the first third of the run and the last;
- a session, or a hook that did not run, is left when all clients have gone.
"""

from __future__ import annotations

import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.spread import pb

import pbkit
from pbkit import Avatar, Session
from tests.transcripts import ROOT, environment

HOST = "127.0.0.1"
CLIENT_PROCESSES, CLIENTS = 2, 30

#: The most CPU time that one turn of the reactor may take, in seconds.
PAUSE = 0.15

#: The most that the server may grow by, in MiB.
GROWTH = 16.0

#: Seconds for a process to answer, or for a call.
PATIENCE = 60.0

VALUES: tuple[Any, ...] = (
    7,
    "text " * 10,
    list(range(1000)),
    [{"name": f"record {n}", "values": [n, n / 3, None, True]} for n in range(20)],
    b"\x00\xff" * 50_000,
)


class Player(Avatar):
    """An avatar that echoes."""

    def perspective_echo(self, value: object) -> object:
        """Return the argument."""
        return value

    def perspective_part(self) -> object:
        """Return an object of the session's."""
        return Part()


class Part(pb.Referenceable):
    """An object that a session is given."""

    def remote_double(self, number: int) -> int:
        """Return a number twice as large."""
        return 2 * number


class LoadRealm(pbkit.MultiClientRealm):
    """Counts the hooks, and puts each session into a few topics."""

    def buildAvatar(self, avatarId: str) -> Any:
        """Make an avatar whose hooks are counted."""
        counts, topic = self.counts, self.topic

        class Counting(Player):
            def attached(self, session: Session) -> None:
                counts["attached"] += 1
                topic(f"topic{random.randrange(20)}").join(session)

            def detached(self, session: Session) -> None:
                counts["detached"] += 1

        return Counting(avatarId)

    counts: Counter[str] = Counter()


class Orders(Protocol):
    """The server's standard input: each line is answered by a line of JSON."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def dataReceived(self, data: bytes) -> None:
        """Answer one order."""
        self.transport.write(json.dumps(self.answer()).encode() + b"\n")  # type: ignore[union-attr]


async def server(reactor: Any) -> None:
    """Serve until the standard input is closed."""
    users: Any = {f"user{n}": b"sesame" for n in range(CLIENT_PROCESSES * CLIENTS)}
    checkers = [InMemoryUsernamePasswordDatabaseDontUse(**users), AllowAnonymousAccess()]
    realm = LoadRealm(None)
    port = reactor.listenTCP(0, pbkit.ServerFactory(Portal(realm, checkers)), interface=HOST)
    longest = [0.0]
    last = [time.thread_time()]

    def turn() -> None:
        # The reactor calls this once in a turn, so the CPU time since the last call is that of one turn.
        now = time.thread_time()
        longest[0] = max(longest[0], now - last[0])
        last[0] = now
        reactor.callLater(0, turn)

    def tell() -> None:
        realm.tell("notice", [1, 2, "three"])

    def tellTopic() -> None:
        realm.topic(f"topic{random.randrange(20)}").tell("notice", "topic")

    def answer() -> dict[str, Any]:
        found = {"pause": longest[0], "sessions": len(realm.roster), "pending": realm.roster.pending, **realm.counts}
        longest[0] = 0.0
        last[0] = time.thread_time()
        return found

    reactor.callLater(0.5, turn)
    LoopingCall(tell).start(0.1)
    LoopingCall(tellTopic).start(0.05)
    over: Deferred[None] = Deferred()
    orders = Orders(answer)
    orders.connectionLost = lambda *args: over.callback(None)  # type: ignore[method-assign]
    StandardIO(orders)
    print(port.getHost().port, flush=True)
    await over


class Ear(pb.Referenceable):
    """A mind."""

    told = 0

    def remote_notice(self, *args: object) -> None:
        """Count a message."""
        Ear.told += 1

    def remote_goodbye(self, reason: str, detail: str) -> None:
        """Take leave."""


async def client(reactor: Any, port: str, first: str, seconds: str, seed: str) -> None:
    """Hold some clients that come and go, and print what they did."""
    chance = random.Random(int(seed))
    until = time.monotonic() + float(seconds)
    done: Counter[str] = Counter()

    async def calls(me: Any, transport: Any) -> None:
        for _ in range(chance.randrange(1, 30)):
            action = chance.random()
            if action < 0.1:
                transport.pauseProducing()
                await deferLater(reactor, chance.random())
                transport.resumeProducing()
            elif action < 0.2:
                part = await me.callRemote("part")
                assert await part.callRemote("double", 21) == 42
            else:
                value = chance.choice(VALUES)
                answer = await me.callRemote("echo", value)
                assert answer == value, f"the echo of {value!r:.100} was {answer!r:.100}"
            done["calls"] += 1
            await deferLater(reactor, chance.random() * 0.02)

    async def one(number: int) -> None:
        credentials = UsernamePassword(f"user{number}".encode(), b"sesame")
        while time.monotonic() < until:
            if number % 3:
                async with pbkit.connect(f"tcp:{HOST}:{port}", credentials, mind=Ear(), timeout=PATIENCE) as me:
                    await calls(me, me.reference.broker.transport)
            else:
                factory: Any = pb.PBClientFactory()
                factory.noisy = False
                reactor.connectTCP(HOST, int(port), factory)
                reference = await factory.login(credentials, Ear())
                await calls(reference, reference.broker.transport)
                factory.disconnect()
            done["logins"] += 1

    await gatherResults([Deferred.fromCoroutine(one(int(first) + n)) for n in range(CLIENTS)], consumeErrors=True)
    print(json.dumps({**done, "told": Ear.told}))


def start(*words: str) -> subprocess.Popen[str]:
    """Start a process of this module."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.soak.load", *words],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def resident(pid: int) -> float:
    """Return the memory of a process, in MiB."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def ask(serving: subprocess.Popen[str]) -> dict[str, Any]:
    """Ask the server for what it counted since it was asked last."""
    assert serving.stdin is not None and serving.stdout is not None
    serving.stdin.write("\n")
    serving.stdin.flush()
    found: dict[str, Any] = json.loads(serving.stdout.readline())
    return found


def load(seconds: float, seed: int) -> list[str]:
    """
    Run the server and its clients.

    :return: what is wrong.
    """
    serving = start("server")
    assert serving.stdout is not None
    port = serving.stdout.readline().strip()
    clients = [start("client", port, str(n * CLIENTS), str(seconds), str(seed + n)) for n in range(CLIENT_PROCESSES)]
    began, sizes, pauses = time.monotonic(), list[tuple[float, float]](), list[float]()
    wrong = []
    try:
        while any(process.poll() is None for process in clients):
            time.sleep(0.2)
            sizes.append((time.monotonic() - began, resident(serving.pid)))
            pauses.append(ask(serving)["pause"])
            if time.monotonic() - began > seconds + PATIENCE:
                return ["the clients did not end"]
        done: Counter[str] = Counter()
        for process in clients:
            assert process.stdout is not None
            said = process.stdout.read().strip()
            if process.returncode:
                wrong.append(f"a client process failed: see above\n{said}")
            else:
                done.update(json.loads(said.rpartition("\n")[2]))
        left = ask(serving)
        until = time.monotonic() + PATIENCE
        while (left["sessions"] or left["pending"]) and time.monotonic() < until:
            time.sleep(0.1)
            left = ask(serving)
    finally:
        for process in (*clients, serving):
            if process.poll() is None:
                process.kill()
            process.wait()
    if left["sessions"] or left["pending"] or left.get("attached") != left.get("detached"):
        wrong.append(f"left on the server: {left}")
    # The first second is for what grows once.
    third = (sizes[-1][0] - 1) / 3
    early = statistics.median([size for at, size in sizes if 1 < at <= 1 + third] or [sizes[0][1]])
    late = statistics.median([size for at, size in sizes if at > sizes[-1][0] - third])
    if late - early > GROWTH:
        wrong.append(f"the server grew from {early:.1f} to {late:.1f} MiB; at most {GROWTH:g} MiB are expected")
    # Clients log in all at once at the beginning.
    longest = max(pauses, default=0.0)
    if longest > PAUSE:
        wrong.append(
            f"a turn of the server's reactor took {longest * 1000:.0f} ms of CPU time, over {PAUSE * 1000:.0f}"
        )
    for problem in wrong:
        print(problem)
    print(
        f"{done['logins']:,} logins, {done['calls']:,} calls, {done['told']:,} messages told; "
        f"memory {early:.1f} to {late:.1f} MiB, longest turn {longest * 1000:.0f} ms of CPU time"
    )
    return wrong


def failed(failure: Any) -> None:
    """Print why a process failed: `react` only logs it."""
    failure.printTraceback(sys.stderr)
    sys.stderr.flush()
    os._exit(1)


def main(arguments: list[str]) -> int:
    """Run one of the processes, or all of it."""
    role, *words = arguments
    roles: dict[str, Any] = {"server": server, "client": client}
    if role not in roles:
        return 1 if load(float(role), int(words[0])) else 0
    react(lambda reactor: Deferred.fromCoroutine(roles[role](reactor, *words)).addErrback(failed), ())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
