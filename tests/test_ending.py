"""How sessions end between real processes: by kicks, with frozen clients, and when the server stops."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
import time

from twisted.trial.unittest import SynchronousTestCase

from pbkit.sessions.goodbye import ABORT, GRACE
from tests import test_process
from tests.test_process import PATIENCE, ROOT, TWISTD, Running

#: A realm whose avatars kick others, count, wait, and record the sessions that their hooks received.
REALM = """
import os
import time
from twisted.internet import reactor, task
from pbkit import Avatar, CachingRealm, errors

def tell(line):
    with open(os.environ["TOLD"], "a") as f:
        f.write(line + "\\n")

class Player(Avatar):
    count = 0

    def attached(self, session):
        tell("attached " + session.sessionId)

    def detached(self, session):
        tell("detached %s %s" % (session.sessionId, type(session.endedWith).__name__))

    def perspective_count(self):
        self.count += 1
        return self.count

    async def perspective_kick(self, name, reason, detail):
        began = time.monotonic()
        kicking = realm.kick(getattr(errors, reason), detail, avatarId=name)
        assert not realm.roster.ofAvatar(name)
        ids = await kicking
        return len(ids), time.monotonic() - began

    def perspective_sleep(self, seconds):
        return task.deferLater(reactor, seconds, lambda: "slept")

realm = CachingRealm(Player)
"""

#: The start and end of each client: it prints what it sees, and waits for lines of input.
COMMON = """
import sys
from twisted.cred.credentials import UsernamePassword
from twisted.internet import defer, endpoints, protocol, stdio, task
from twisted.protocols.basic import LineReceiver
from twisted.spread import pb

class Lines(LineReceiver):
    delimiter = b"\\n"
    def __init__(self):
        self.lines = defer.DeferredQueue()
    def lineReceived(self, line):
        self.lines.put(line)

def say(*words):
    print(*words, flush=True)

class Mind(pb.Referenceable):
    def remote_goodbye(self, reason, detail):
        say("goodbye:", reason, detail)

async def stock(reactor, where, names, minds):
    factory = pb.PBClientFactory()
    await endpoints.clientFromString(reactor, where).connect(factory)
    return [await factory.login(UsernamePassword(name.encode(), b"x"), mind) for name, mind in zip(names, minds)]

def run(main):
    lines = Lines()
    def start(reactor, *args):
        stdio.StandardIO(lines)
        return defer.ensureDeferred(main(reactor, lines.lines.get, *args))
    task.react(start, sys.argv[1:])
"""

#: Alice and bob on one connection; bob calls continuously until a line of input stops it.
TOGETHER = """
async def main(reactor, line, where):
    alice, bob = await stock(reactor, where, ["alice", "bob"], [Mind(), Mind()])
    say("ready")
    stop = line()
    counted = 0
    while not stop.called:
        counted += 1
        assert await bob.callRemote("count") == counted
    try:
        await alice.callRemote("count")
    except pb.RemoteError as e:
        say("alice:", e.remoteType.decode())
    say("bob:", "unbroken" if counted > 10 else counted)

run(main)
"""

#: A pbkit client that prints what its calls raise, with and without a mind.
REMEMBERING = """
import pbkit

async def main(reactor, line, where, name, mind):
    mind = Mind() if mind == "mind" else None
    me = await pbkit.connect(where, UsernamePassword(name, "x"), mind=mind, reactor=reactor)
    say("ready")
    say("ended:", repr(await me.whenEnded()))
    for _ in range(2):
        try:
            await me.callRemote("count")
        except pbkit.errors.SessionEnded as e:
            say("call:", type(e).__name__, e)
        await line()
    await me.close()

run(main)
"""

#: Many clients, each on its own connection; the first can have a call in progress.
MANY = """
async def main(reactor, line, where, name, count, seconds):
    avatars = []
    for number in range(int(count)):
        avatars += await stock(reactor, where, [name], [Mind()])
    sleeping = avatars[0].callRemote("sleep", float(seconds)) if seconds != "0" else defer.succeed("did not sleep")
    sleeping.addCallbacks(say, lambda failure: say("failed:", failure.type))
    say("ready")
    for avatar in avatars:
        gone = defer.Deferred()
        if avatar.broker.disconnected:
            continue
        avatar.broker.notifyOnDisconnect(lambda gone=gone: gone.callback(None))
        await gone
    say("all gone")

run(main)
"""


class EndingTests(SynchronousTestCase):
    """A server process, and client processes."""

    def setUp(self) -> None:
        """Start a server."""
        self.directory = tempfile.mkdtemp(prefix="pbkit-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.told = os.path.join(self.directory, "told")
        with open(os.path.join(self.directory, "ending.py"), "w", encoding="utf-8") as f:
            f.write(REALM)
        path = os.pathsep.join(filter(None, [str(ROOT), self.directory, os.environ.get("PYTHONPATH")]))
        self.env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "TOLD": self.told}
        auth = [word for name in ("alice", "bob", "carol", "root") for word in ("--auth", f"memory:{name}:x")]
        listen = ["--listen", "tcp:0:interface=127.0.0.1"]
        self.server = self.start(*TWISTD, "--pidfile=", "-n", "pbkit", *listen, "--realm", "ending.realm", *auth)
        self.where = f"tcp:127.0.0.1:{self.server.port()}"

    def start(self, *argv: str) -> Running:
        """Start a process, and kill it at the end of the test."""
        running = Running(list(argv), self.directory, self.env)
        self.addCleanup(running.stop)
        return running

    def client(self, script: str, *words: str) -> Running:
        """Start a client, and wait until it is logged in."""
        client = self.start(sys.executable, "-c", COMMON + script, self.where, *words)
        client.waitFor("ready")
        return client

    def line(self, client: Running) -> None:
        """Send a line of input to a client."""
        assert client.process.stdin is not None
        client.process.stdin.write(b"\n")
        client.process.stdin.flush()

    def kick(self, name: str, reason: str, detail: str) -> tuple[int, float]:
        """Kick a user, and return the number of sessions and how many seconds it took to end them."""
        self.env["PBKIT_PASSWORD"] = "x"
        who = ["--user", "root"]
        call = self.start(*test_process.PBKIT, "call", self.where, *who, "kick", name, reason, detail)
        self.assertEqual(call.wait(), 0, call.printed(errors=True))
        count, seconds = re.findall(r"[\d.]+", call.printed())
        return int(count), float(seconds)

    def ends(self) -> list[str]:
        """Return how the attached sessions ended, each once."""
        with open(self.told, encoding="utf-8") as f:
            lines = [line.split() for line in f]
        attached = [line[1] for line in lines if line[0] == "attached"]
        detached = {line[1]: line[2] for line in lines if line[0] == "detached"}
        self.assertEqual(len(set(attached)), len(attached))
        self.assertEqual(len([line for line in lines if line[0] == "detached"]), len(detached))
        self.assertLessEqual(detached.keys(), set(attached))
        return [detached.get(each, "lives") for each in attached]

    def test_twoBehindOneConnection(self) -> None:
        """One of two stock users on one connection is kicked and told; all calls of the other are answered."""
        client = self.client(TOGETHER)
        self.assertEqual(self.kick("alice", "Kicked", "go home")[0], 1)
        client.waitFor(r"goodbye: Kicked go home\n")
        self.line(client)
        client.waitFor("alice: pbkit.errors.Kicked\n")
        client.waitFor("bob: unbroken\n")
        self.assertEqual(client.wait(), 0)

    def test_reasonIsRemembered(self) -> None:
        """Every later call of a pbkit client raises the reason, with and without a mind."""
        for mind in ("mind", "no mind"):
            client = self.client(REMEMBERING, "alice", mind)
            self.assertEqual(self.kick("alice", "Banned", "for cheating")[0], 1)
            for _ in range(2):
                self.line(client)
            self.assertEqual(client.wait(), 0, client.printed(errors=True))
            said = client.printed().splitlines()
            self.assertEqual([line for line in said if "goodbye" in line] != [], mind == "mind")
            self.assertEqual(len([line for line in said if re.match("call: Banned .*: for cheating$", line)]), 2, said)

    def test_frozenClient(self) -> None:
        """A client frozen by SIGSTOP loses its session at once, and its connection within the grace and 5 s."""
        client = self.client(MANY, "alice", "1", "0")
        client.process.send_signal(signal.SIGSTOP)
        count, seconds = self.kick("alice", "Kicked", "")
        self.assertEqual(count, 1)
        self.assertGreater(seconds, GRACE - 0.1)
        self.assertLess(seconds, GRACE + ABORT + 1)
        client.process.send_signal(signal.SIGCONT)
        client.waitFor("all gone")
        self.assertIn("goodbye: Kicked", client.printed())

    def test_stopping(self) -> None:
        """
        SIGTERM with 30 clients, five of them frozen and one with a call in progress: the call is answered, the others
        are told, each `detached` runs, and the server ends within 5 s.
        """
        clients = self.client(MANY, "alice", "25", "0.7")
        frozen = self.client(MANY, "bob", "5", "0")
        frozen.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        self.server.process.send_signal(signal.SIGTERM)
        clients.waitFor("all gone")
        self.assertIn("slept\n", clients.printed())
        self.assertEqual(len(re.findall("goodbye: Shutdown", clients.printed())), 25)
        self.assertEqual(self.server.wait(), -signal.SIGTERM)
        # The time that the process takes to exit does not concern its clients.
        self.assertLess(time.monotonic() - began, 5 + PATIENCE / 6)
        self.assertEqual(self.ends(), ["Shutdown"] * 30)
        self.assertIn("'Shutdown': 30", self.server.printed())
        self.assertNotIn("Traceback", self.server.printed())
        frozen.process.send_signal(signal.SIGCONT)
        frozen.waitFor("all gone")
        self.assertEqual(len(re.findall("goodbye: Shutdown", frozen.printed())), 5)
