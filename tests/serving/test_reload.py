"""`pbkit.serving.reload`: reloading the configuration of a running server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pbkit.errors import Kicked
from pbkit.serving.reload import Reload, Source
from pbkit.serving.service import Server
from tests.support import Wire

ROOT = Path(__file__).resolve().parents[2]

#: The timeout for expected output, in seconds. Far more than is ever needed.
PATIENCE = 60.0

FIRST = """
[server]
realm = "limited"
listen = ["tcp:1:interface=127.0.0.1", "tcp:2:interface=127.0.0.1"]
auth = ["memory:alice:sesame"]

[realm]
max = 1
"""


class Port:
    """A port that is open until it is closed."""

    def __init__(self, open_: set[int], number: int) -> None:
        self._open = open_
        self._number = number
        open_.add(number)

    def getHost(self) -> IPv4Address:
        """Return the address."""
        return IPv4Address("TCP", "127.0.0.1", self._number)

    def stopListening(self) -> None:
        """Close the port."""
        self._open.discard(self._number)


@implementer(IReactorFromThreads)
class Reactor(MemoryReactorClock):
    """A reactor that tracks its open ports and has one port in use."""

    running = True
    taken = 99

    def __init__(self) -> None:
        super().__init__()
        self.open: set[int] = set()
        self.opened: list[int] = []
        self.called: list[Any] = []

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """Listen, unless the port is in use."""
        if port == self.taken:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        self.opened.append(port)
        return Port(self.open, port)

    def callFromThread(self, callable: Any, *args: Any, **kw: Any) -> None:
        """Record the function."""
        self.called.append(callable)


class Terminal:
    """A terminal that ignores everything."""

    def say(self, text: str) -> None:
        """Ignore the line."""

    complain = say

    def close(self) -> None:
        """Do nothing."""


class ReloadTests(SynchronousTestCase):
    """`Reload`."""

    def setUp(self) -> None:
        """Create a directory for the file."""
        self.directory = os.path.abspath(self.mktemp())
        os.mkdir(self.directory)
        self.reactor = Reactor()

    def write(self, content: str, name: str = "pbkit.toml") -> None:
        """Write the file."""
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(content)
        # Otherwise there is a warning, as the file contains a password.
        os.chmod(path, 0o600)

    def serve(self, content: str = FIRST, **flags: Any) -> Any:
        """Start a server."""
        self.write(content)
        source = Source("pbkit.toml", flags, self.directory)
        server = Server(source.read(self.reactor), self.reactor, Terminal())
        self.reload = Reload(server, source, self.reactor)
        self.reload.setServiceParent(server)
        server.startService()
        self.addCleanup(server.stopService)
        return server

    def again(self, content: str) -> list[str]:
        """Change the file, reload it, and return the log lines."""
        self.write(content)
        with capturedLogs() as events:
            self.successResultOf(self.reload.reload())
        said = [str(formatEvent(event)) for event in events if event["log_namespace"] == "pbkit.serving.reload"]
        self.assertNotIn("sesame", " ".join(said))
        return said

    def login(self, server: Any, name: str = "alice", password: bytes = b"sesame") -> Any:
        """Log in. Return the client's reference, or the failure."""
        wire = Wire(server.factory)
        found: list[Any] = []
        wire.login(name, password=password).addBoth(found.append)
        wire.flush()
        if not found:
            # A wrong password is answered after a second.
            self.reactor.advance(1)
            wire.flush()
        (result,) = found
        return result

    def refused(self, *args: Any) -> str:
        """Return the reason why a login is refused."""
        result = self.login(*args)
        self.assertIsInstance(result, Failure)
        return str(result.getErrorMessage())

    def test_nothingChangedIsSaid(self) -> None:
        """An equivalent file changes nothing, opens no port, and logs one line."""
        server = self.serve()
        self.assertEqual(self.again("# a comment\n" + FIRST), ["configuration pbkit.toml reloaded: no changes"])
        self.assertEqual(self.reactor.opened, [1, 2])
        self.assertEqual(len(list(server)), 3)

    def test_newcomersMeetTheNewLimits(self) -> None:
        """New parameters apply to new logins. Existing sessions stay."""
        server = self.serve()
        held = [self.login(server)]
        self.assertIn("1 of 1", self.refused(server))
        said = self.again(FIRST.replace("max = 1", "max = 2"))
        self.assertEqual(said, ["configuration pbkit.toml reloaded: realm.max 1 -> 2"])
        held.append(self.login(server))
        self.assertIn("2 of 2", self.refused(server))
        said = self.again(FIRST.replace("max = 1", "conflict = 'kick'"))
        self.assertEqual(
            said, ["configuration pbkit.toml reloaded: realm.max 2 -> 3, realm.conflict 'refuse' -> 'kick'"]
        )
        self.assertEqual(len(server.plan.realm.roster), 2)

    def test_limitsByUser(self) -> None:
        """A table by user can be set and removed, and the log says so."""
        server = self.serve()
        held = [self.login(server)]
        said = self.again(FIRST.replace("max = 1", "max = { default = 1, alice = 2 }"))
        self.assertEqual(said, ["configuration pbkit.toml reloaded: realm.max 1 -> {'default': 1, 'alice': 2}"])
        held.append(self.login(server))
        self.assertIn("2 of 2", self.refused(server))
        again = FIRST.replace("max = 1", "max = { alice = 2, default = 1 }")
        self.assertEqual(self.again(again), ["configuration pbkit.toml reloaded: no changes"])
        self.assertEqual(
            self.again(FIRST), ["configuration pbkit.toml reloaded: realm.max {'default': 1, 'alice': 2} -> 1"]
        )
        del held

    def test_limitsForEverybody(self) -> None:
        """With enforce = "everybody", the oldest sessions above the new limit are ended, and the log says how many."""
        first = FIRST.replace("max = 1", "max = 3")
        server = self.serve(first)
        held = [self.login(server) for _ in range(3)]
        told = FIRST.replace("[server]", '[server]\nenforce = "everybody"')
        oldest = list(server.plan.realm.roster)[:2]
        said = self.again(told)
        self.assertEqual(
            said, ["configuration pbkit.toml reloaded: realm.max 3 -> 1, sessions ended by the new limits: 2"]
        )
        self.assertEqual([type(session.endedWith) for session in oldest], [Kicked, Kicked])
        self.assertEqual(len(server.plan.realm.roster), 1)
        self.assertEqual(self.again(told), ["configuration pbkit.toml reloaded: no changes"])
        del held

    def test_nobodyGoesWhereNotAllIsApplied(self) -> None:
        """If a new listener fails, no session is ended by limits that do not apply."""
        server = self.serve(FIRST.replace("max = 1", "max = 3"))
        held = [self.login(server) for _ in range(3)]
        told = FIRST.replace("[server]", '[server]\nenforce = "everybody"')
        self.again(told.replace("tcp:1:", "tcp:99:"))
        self.assertEqual((len(server.plan.realm.roster), server.plan.realm.max), (3, 3))
        del held

    def test_newcomersMeetTheNewCheckers(self) -> None:
        """Checkers are replaced without logging users or passwords. Existing sessions stay."""
        server = self.serve()
        held = self.login(server)
        said = self.again(FIRST.replace('"memory:alice:sesame"', '"memory:bob:sesame", "memory:carol:sesame"'))
        self.assertEqual(said, ["configuration pbkit.toml reloaded: auth: checkers replaced (2 now)"])
        self.assertIn("unknown user", self.refused(server))
        others = [self.login(server, "bob"), self.login(server, "carol")]
        self.assertEqual(len(server.plan.realm.roster), 3)
        del held, others

    def test_listenersComeAndGo(self) -> None:
        """New listeners are opened, removed ones are closed, and the others are untouched."""
        server = self.serve()
        said = self.again(FIRST.replace("tcp:1:", "tcp:3:"))
        self.assertEqual(
            said,
            [
                "configuration pbkit.toml reloaded: listening on tcp:3:interface=127.0.0.1, "
                "no longer listening on tcp:1:interface=127.0.0.1"
            ],
        )
        self.assertEqual((self.reactor.open, self.reactor.opened), ({2, 3}, [1, 2, 3]))
        self.successResultOf(server.stopService())
        self.assertEqual(self.reactor.open, set())

    def test_aListenerThatCannotBeOpenedLeavesAllAsItWas(self) -> None:
        """If a listener fails, the new listeners are closed again and no other change is applied."""
        server = self.serve()
        changed = FIRST.replace("max = 1", "max = 2").replace("alice", "bob")
        said = self.again(changed.replace('["tcp:1:', '["tcp:3:interface=127.0.0.1", "tcp:99:'))
        self.assertEqual(
            said,
            [
                "configuration not reloaded, cannot listen on 127.0.0.1:99: Address already in use; another process "
                "uses it: stop that process, or choose another port; keeping the current settings"
            ],
        )
        self.assertEqual(self.reactor.open, {1, 2})
        self.assertEqual((server.plan.realm.max, len(list(server))), (1, 3))
        held = self.login(server)
        self.assertIn("1 of 1", self.refused(server))
        del held

    def test_aWrongFileLeavesAllAsItWas(self) -> None:
        """Each error of the file is one log line, and no change is applied."""
        server = self.serve()
        wrong = FIRST.replace("max = 1", "max = 2\nmaxx = 3").replace("[server]", "[server]\nlisen = 1")
        first, second, last = self.again(wrong.replace("tcp:1:", "tcp:3:"))
        self.assertIn("configuration error: pbkit.toml:3: unknown key server.lisen, did you mean 'listen'?", first)
        self.assertIn(
            "configuration error: pbkit.toml:10: unknown parameter 'maxx' of realm limited, did you mean 'max'?", second
        )
        self.assertEqual(last, "configuration not reloaded, 2 errors; keeping the current settings")
        self.assertEqual((self.reactor.opened, server.plan.realm.max), ([1, 2], 1))
        self.assertIn("no changes", self.again(FIRST)[0])

    def test_aFileThatIsGoneLeavesAllAsItWas(self) -> None:
        """If the file is missing, no change is applied."""
        server = self.serve()
        os.remove(os.path.join(self.directory, "pbkit.toml"))
        with capturedLogs() as events:
            self.successResultOf(self.reload.reload())
        self.assertIn("no such file", str(formatEvent(events[0])))
        self.assertNotIsInstance(self.login(server), Failure)

    def test_whatNeedsARestartIsSaid(self) -> None:
        """Realm, avatar, profile and fixed parameters stay, and each reload says that they need a restart."""
        server = self.serve()
        realm = server.plan.realm
        changed = (
            FIRST.replace("[server]", "[server]\navatar = 'pbkit.Avatar'\nprofile = 'drop-in'")
            .replace("limited", "single")
            .replace("max = 1", "linger = 3")
        )
        for _ in range(2):
            said = self.again(changed)
            self.assertEqual(
                said,
                [
                    "configuration change needs a restart: realm limited -> realm single",
                    "configuration change needs a restart: avatar None -> pbkit.Avatar",
                    "configuration change needs a restart: profile strict -> drop-in",
                    "configuration pbkit.toml reloaded: no changes",
                ],
            )
        said = self.again(FIRST + "linger = 3\n[profile]\nraiseOnDead = true\n")
        self.assertEqual(
            said,
            [
                "configuration change needs a restart: profile strict -> strict {'raiseOnDead': True}",
                "configuration change needs a restart: realm.linger 0.0 -> 3.0",
                "configuration pbkit.toml reloaded: no changes",
            ],
        )
        self.assertIs(server.plan.realm, realm)
        self.assertEqual((server.factory.profile.name, realm.linger), ("strict", 0.0))

    def test_checkersOfAnotherRealmWait(self) -> None:
        """Checkers for another realm are not applied to the current one."""
        server = self.serve()
        other = FIRST.replace("limited", "anonymous").replace("memory:alice:sesame", "anonymous")
        said = self.again(other)
        self.assertIn("configuration change needs a restart: auth, because it belongs to the realm", said)
        self.assertNotIsInstance(self.login(server), Failure)

    def test_guestsAreNotLetInFromElsewhere(self) -> None:
        """A server without --auth does not listen to other machines before its checkers are applied."""
        server = self.serve("[server]\nrealm = 'anonymous'\nlisten = ['tcp:1:interface=127.0.0.1']\n")
        for _ in range(2):
            said = self.again("[server]\nrealm = 'limited'\nlisten = ['tcp:3']\nauth = ['memory:alice:sesame']\n")
            self.assertIn("configuration change needs a restart: listen, because it depends on auth", said)
        self.assertEqual((self.reactor.open, server.plan.config.listen), ({1}, ("tcp:1:interface=127.0.0.1",)))

    def test_checkersAreThereBeforeTheListeners(self) -> None:
        """New checkers are applied before a new listener opens."""
        server = self.serve("[server]\nlisten = ['tcp:1:interface=127.0.0.1']\n")
        guests, seen = server.plan.checkers, []
        listen = self.reactor.listenTCP

        def listening(*args: Any, **kw: Any) -> Any:
            seen.append(set(server.portal.checkers.values()) & set(guests))
            return listen(*args, **kw)

        self.patch(self.reactor, "listenTCP", listening)
        self.again("[server]\nlisten = ['tcp:3']\nauth = ['memory:alice:sesame']\n")
        self.assertEqual((seen, self.reactor.open), ([set()], {3}))
        self.assertNotIsInstance(self.login(server), Failure)

    def test_aPortalIsLeftAlone(self) -> None:
        """A portal and its checkers stay. Another portal, or a realm instead, needs a restart."""
        content = "[server]\nportal = 'tests.serving.test_service.aPortal'\nlisten = ['tcp:1']\n"
        server = self.serve(content)
        checkers = dict(server.portal.checkers)
        self.assertIn("no changes", self.again(content)[0])
        self.assertIn("listening on tcp:2", self.again(content.replace("tcp:1", "tcp:2"))[0])
        said = self.again(FIRST)
        self.assertIn("needs a restart: portal tests.serving.test_service.aPortal -> realm limited", said[0])
        self.assertEqual(said[1], "configuration change needs a restart: auth, because it belongs to the realm")
        self.assertEqual(server.portal.checkers, checkers)
        self.assertIn("no changes", self.again(FIRST)[-1])

    def test_withoutCheckersTheOldOnesStay(self) -> None:
        """If the file has no checkers any more, the old ones stay."""
        server = self.serve()
        said = self.again(FIRST.replace('auth = ["memory:alice:sesame"]', ""))
        self.assertIn("auth: no checker is left", said[0])
        self.assertNotIsInstance(self.login(server), Failure)

    def test_theGuestStaysUntilThereIsAChecker(self) -> None:
        """The guest's password survives a reload, until the file names a checker."""
        guests = FIRST.replace('auth = ["memory:alice:sesame"]', "")
        server = self.serve(guests)
        guest = server.plan.guest
        assert guest is not None
        self.again(guests.replace("max = 1", "max = 2"))
        held = self.login(server, guest.name, guest.password.encode())
        self.assertNotIsInstance(held, Failure)
        self.again(FIRST)
        self.assertIn("unknown user", self.refused(server, guest.name, guest.password.encode()))

    def test_flagsStayAboveTheFile(self) -> None:
        """The flags given at the start still take precedence."""
        server = self.serve(realm="limited:max=5", grace="9")
        self.assertIn("no changes", self.again(FIRST.replace("max = 1", "max = 7"))[0])
        self.assertEqual((server.plan.realm.max, server.plan.config.grace), (5, 9.0))

    def test_graceIsThatOfTheLastFile(self) -> None:
        """The grace can be changed."""
        server = self.serve()
        self.assertIn("grace 5.0 -> 1.0", self.again(FIRST.replace("[server]", "[server]\ngrace = 1"))[0])
        self.assertEqual(server.plan.config.grace, 1.0)

    def test_aRealmThatIsMadeAlreadyIsNotMadeAgain(self) -> None:
        """A reload calls no constructor and imports nothing again."""
        made = FIRST.replace("limited", "tests.serving.test_service.aRealm").replace("[realm]\nmax = 1", "")
        server = self.serve(made)
        before = server.plan.realm
        self.assertIn("no changes", self.again(made)[0])
        self.assertIs(server.plan.realm, before)
        self.assertIn("is an object", self.again(made + "[realm]\nmax = 3\n")[0])

    def test_theSignalIsTakenWhileItRuns(self) -> None:
        """SIGHUP triggers a reload while the server runs. The previous handler is restored afterwards."""
        mine: list[int] = []
        before = signal.signal(signal.SIGHUP, lambda number, _: mine.append(number))
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        server = self.serve()
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual((self.reactor.called, mine), ([self.reload.reload], []))
        self.successResultOf(server.stopService())
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual((len(self.reactor.called), mine), (1, [signal.SIGHUP]))
        with capturedLogs() as events:
            self.successResultOf(self.reload.reload())
        self.assertEqual(list(events), [])

    def test_onlyOneAtATime(self) -> None:
        """A signal during a reload causes another reload afterwards."""
        server = self.serve()
        closing: Deferred[None] = Deferred()
        self.patch(Port, "stopListening", lambda port: closing)
        self.write(FIRST.replace("tcp:1:", "tcp:3:"))
        first = self.reload.reload()
        self.write(FIRST.replace("tcp:1:", "tcp:3:").replace("max = 1", "max = 4"))
        second, third = self.reload.reload(), self.reload.reload()
        self.assertNoResult(first)
        self.assertEqual(server.plan.realm.max, 1)
        closing.callback(None)
        for each in [first, second, third]:
            self.successResultOf(each)
        self.assertEqual(server.plan.realm.max, 4)

    def test_whatBreaksIsLoggedAndTheNextIsServed(self) -> None:
        """An unexpected exception is logged, and the next reload works."""
        server = self.serve()

        def breaks(**parameters: Any) -> None:
            raise RuntimeError("broken policy")

        self.patch(server.plan.realm, "reconfigure", breaks)
        self.assertIn("broken policy", self.again(FIRST.replace("max = 1", "max = 2"))[0])
        self.assertIn("no changes", self.again(FIRST)[0])


#: Logs in a hundred times, each over a connection of its own, and then greets by each over and over until the end of
#: its input. A stock client.
CLIENTS = """
import sys
from twisted.cred.credentials import UsernamePassword
from twisted.internet import defer, endpoints, stdio, task
from twisted.internet.protocol import Protocol
from twisted.spread import pb

class Input(Protocol):
    over = False
    def connectionLost(self, reason):
        self.over = True

async def main(reactor, where):
    held, lost = [], []
    for _ in range(100):
        factory = pb.PBClientFactory()
        await endpoints.clientFromString(reactor, where).connect(factory)
        held.append(await factory.login(UsernamePassword(b"alice", b"sesame")))
        held[-1].notifyOnDisconnect(lost.append)
    print("ready", flush=True)
    waiting, greeted = Input(), 0
    stdio.StandardIO(waiting)
    while not waiting.over:
        await defer.gatherResults([one.callRemote("greet") for one in held])
        greeted += 1
        if greeted == 1:
            print("greeting", flush=True)
    await defer.gatherResults([one.callRemote("greet") for one in held])
    print("lost", len(lost), flush=True)

task.react(lambda *args: defer.ensureDeferred(main(*args)), sys.argv[1:])
"""

SERVED = """
[server]
realm = "limited"
listen = ["tcp:0:interface=127.0.0.1"]
auth = ["memory:alice:sesame"]
[realm]
max = 100
"""


class ProcessTests(SynchronousTestCase):
    """SIGHUP in a twistd process."""

    def setUp(self) -> None:
        """Create a working directory."""
        self.directory = tempfile.mkdtemp(prefix="pbkit-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}

    def start(self, name: str, *argv: str) -> subprocess.Popen[bytes]:
        """Start a process that is ended with the test, with its output in a file of that name."""
        with open(os.path.join(self.directory, name), "wb") as out:
            process = subprocess.Popen(
                [sys.executable, *argv],
                cwd=self.directory,
                env=self.env,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.addCleanup(self.end, process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Kill the process."""
        process.kill()
        process.wait(PATIENCE)
        assert process.stdin is not None
        process.stdin.close()

    def waitFor(self, name: str, text: str) -> str:
        """Wait until a process has printed a text, and return all its output."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with open(os.path.join(self.directory, name), encoding="utf-8") as f:
                printed = f.read()
            if text in printed:
                return printed
            if time.monotonic() > deadline:
                raise AssertionError(f"no {text!r} in:\n{printed}")
            time.sleep(0.02)

    def write(self, content: str) -> None:
        """Write the file."""
        with open(os.path.join(self.directory, "pbkit.toml"), "w", encoding="utf-8") as f:
            f.write(content)

    def test_checkingEndsWithItsStatus(self) -> None:
        """--check-config exits with 0 or 1, and --print-config prints a file that can be loaded."""
        twistd = ["-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=", "pbkit"]
        right = SERVED.replace('"memory:alice:sesame"', '"file:passwd"')
        with open(os.path.join(self.directory, "passwd"), "w", encoding="utf-8") as f:
            f.write("alice:sesame\n")
        os.chmod(os.path.join(self.directory, "passwd"), 0o600)
        self.write(right)
        checking = self.start("checking", *twistd, "--config=pbkit.toml", "--check-config")
        self.assertEqual(checking.wait(PATIENCE), 0)
        self.assertEqual(self.waitFor("checking", "OK"), "pbkit.toml: OK\n")
        printing = self.start("printing", *twistd, "--config=pbkit.toml", "--print-config")
        self.assertEqual(printing.wait(PATIENCE), 0)
        self.write(self.waitFor("printing", "max = 100  # pbkit.toml:7\n"))
        checking = self.start("checking", *twistd, "--config=pbkit.toml", "--check-config")
        self.assertEqual(checking.wait(PATIENCE), 0, self.waitFor("checking", ""))
        self.write(right.replace("max", "maxx").replace("listen", "lisen"))
        checking = self.start("checking", *twistd, "--config=pbkit.toml", "--check-config")
        self.assertEqual(checking.wait(PATIENCE), 1)
        self.assertEqual(len(self.waitFor("checking", "maxx").splitlines()), 2)

    def test_noneOfAHundredClientsNotices(self) -> None:
        """A hundred clients lose no call while the file is changed, broken and restored."""
        self.write(SERVED)
        words = ["-n", "--pidfile=", "--rundir=/", "pbkit", f"--config={self.directory}/pbkit.toml"]
        server = self.start("server", "-c", "from twisted.scripts.twistd import run; run()", *words)
        port = self.waitFor("server", "port=").split("port=")[1].split(")")[0]
        clients = self.start("clients", "-c", CLIENTS, f"tcp:127.0.0.1:{port}")
        self.waitFor("clients", "greeting")
        for content, told in [
            (SERVED.replace("max = 100", "max = 50"), "realm.max 100 -> 50"),
            (SERVED.replace("memory:alice", "memory:bob"), "auth: checkers replaced (1 now)"),
            (SERVED.replace("max", "maxx"), "not reloaded, 1 error; keeping the current settings"),
            (SERVED.replace("127.0.0.1", "localhost"), "no longer listening on tcp:0:interface=127.0.0.1"),
        ]:
            self.write(content)
            server.send_signal(signal.SIGHUP)
            self.waitFor("server", told)
        assert clients.stdin is not None
        clients.stdin.close()
        self.assertEqual(clients.wait(PATIENCE), 0)
        self.assertEqual(self.waitFor("clients", "lost").splitlines()[-1], "lost 0")
        server.terminate()
        server.wait(PATIENCE)
        log = self.waitFor("server", "pbkit stopped: 100 logins, 0 refused")
        self.assertNotIn("Traceback", log)
        self.assertNotIn("sesame", log)
