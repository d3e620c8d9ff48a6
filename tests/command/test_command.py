"""The `pbkit` command and `pbkit.connect` in real processes, with good and bad servers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.test_process import PATIENCE, PBKIT, ROOT, STOCK_SERVER, TWISTD, Running, selfSigned

#: A realm whose avatar calls its other clients, ends their sessions, and lets a caller wait.
TELLING = """
from twisted.internet.defer import Deferred
from pbkit import CachingRealm, errors
from pbkit.demo import DemoAvatar

class Telling(DemoAvatar):
    def detached(self, session):
        print("left", type(session.endedWith).__name__, flush=True)

    def perspective_tell(self, method, *args, **kw):
        return [session.mind.callRemote(method, *args, **kw) and None for session in self.sessions if session.mind]

    def perspective_kick(self):
        for session in self.sessions:
            if session.mind:
                session.mind.tell("goodbye", "Kicked", "cheating\\x1b[31m")

    def perspective_wait(self):
        print("waiting", flush=True)
        return Deferred()

class TellingRealm(CachingRealm):
    avatarClass = Telling
"""

#: A server that does not speak PB: accepts connections, sends its argument, and waits.
ODD_SERVER = """
import socket, sys
listening = socket.create_server(("127.0.0.1", 0))
print("port=%d" % listening.getsockname()[1], flush=True)
held = []
while True:
    held.append(listening.accept()[0])
    held[-1].sendall(sys.argv[1].encode())
    if sys.argv[1:] == ["bye"]:
        held.pop().close()
"""

#: A pbkit client that prints the answer, or the class of the error.
CLIENT = """
import sys
import pbkit
from twisted.cred.credentials import UsernamePassword
from twisted.internet import task
from twisted.internet.defer import Deferred

async def main(reactor, *calls):
    for where, method, timeout in zip(*[iter(calls)] * 3):
        try:
            async with pbkit.connect(where, UsernamePassword("alice", "sesame"), timeout=float(timeout)) as me:
                print(await me.callRemote(method))
        except Exception as error:
            print(type(error).__name__)
        assert reactor.getDelayedCalls() == []

task.react(lambda *args: Deferred.fromCoroutine(main(*args)), sys.argv[1:])
"""


class CommandTests(SynchronousTestCase):
    """The command as a process."""

    def setUp(self) -> None:
        """Create a working directory and a clean environment."""
        self.directory = tempfile.mkdtemp(prefix="pbkit-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "PBKIT_PASSWORD": "sesame"}

    def run_(self, *argv: str) -> Running:
        """Start a process that is ended with the test."""
        running = Running(list(argv), self.directory, self.env)
        self.addCleanup(running.stop)
        return running

    def write(self, name: str, text: str | bytes) -> str:
        """Write a file and return its path."""
        path = os.path.join(self.directory, name)
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode("utf-8"))
        return path

    def serve(self, listen: str = "tcp:0:interface=127.0.0.1") -> tuple[Running, str]:
        """Start a server with the user alice. Return it and its port."""
        self.write("telling.py", TELLING)
        realm = ["--realm", "telling.TellingRealm", "--auth", "memory:alice:sesame"]
        server = self.run_(*TWISTD, "--pidfile=", "-n", "pbkit", "--listen", listen, *realm)
        return server, server.port()

    def odd(self, text: str) -> str:
        """Start a server that does not speak PB. Return its port."""
        return self.run_(sys.executable, "-c", ODD_SERVER, text).port()

    def pbkit(self, *words: str, text: str = "") -> tuple[int, str, str]:
        """Run the command as alice. Return its exit status, standard output and standard error."""
        ran = subprocess.run(
            [*PBKIT, *words, *([] if "--anonymous" in words else ["--user", "alice"])],
            cwd=self.directory,
            env=self.env,
            input=text,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return ran.returncode, ran.stdout, ran.stderr

    def test_badServers(self) -> None:
        """Each bad server is reported within the timeout, by exit status and one line, and by connect's error class."""
        name = self.write("server.pem", selfSigned())
        _, plain = self.serve()
        _, tls = self.serve(f"ssl:0:interface=127.0.0.1:privateKey={name}:certKey={name}")
        http, silent, bye = self.odd("HTTP/1.1 400 No\r\n"), self.odd(""), self.odd("bye")
        cases = (
            ("tcp:127.0.0.1:1", 20, "ConnectFailed", 3, "is the server running"),
            ("unix:nosuch", 20, "ConnectFailed", 3, "cannot connect"),
            (f"tcp:127.0.0.1:{http}", 20, "ProtocolMismatch", 3, "it is an HTTP server"),
            (f"tcp:127.0.0.1:{bye}", 20, "ProtocolMismatch", 3, "does not speak Perspective Broker"),
            (f"tcp:127.0.0.1:{silent}", 0.4, "TimedOut", 6, "is it a Perspective Broker server"),
            (overTls(plain), 20, "TlsFailed", 3, "does the server use TLS"),
            (overTls(tls), 20, "TlsFailed", 3, "trustRoots="),
            (overTls(silent), 0.4, "TimedOut", 6, "exactly if the server does"),
            (f"tcp:127.0.0.1:{tls}", 0.4, "TimedOut", 6, "exactly if the server does"),
        )
        calls = [(where, "whoami", str(timeout)) for where, timeout, *_ in cases]
        client = self.run_(sys.executable, "-c", CLIENT, *(word for call in calls for word in call))
        for where, timeout, _, status, said in cases:
            got, out, err = self.pbkit("call", where, "whoami", f"--timeout={timeout}")
            self.assertEqual((got, out), (status, ""), (where, err))
            self.assertTrue(err.startswith("pbkit call: ") and err.count("\n") == 1, err)
            self.assertIn(said, err)
        self.assertEqual(client.wait(), 0, client.printed(errors=True))
        self.assertEqual(client.printed().split(), [kind for _, _, kind, _, _ in cases])
        os.mkdir(os.path.join(self.directory, "trusted"))
        shutil.copy(name, os.path.join(self.directory, "trusted"))
        for where in (f"ssl:127.0.0.1:{tls}", f"{overTls(tls)}:trustRoots=trusted"):
            self.assertEqual(self.pbkit("call", where, "whoami"), (0, '"alice"\n', ""))

    def test_serverIsKilled(self) -> None:
        """A pending call fails at once when the server is killed, in the command and in connect."""
        server, port = self.serve()
        where = f"tcp:127.0.0.1:{port}"
        client = self.run_(sys.executable, "-c", CLIENT, where, "wait", "20")
        call = self.run_(*PBKIT, "call", where, "wait", "--user", "alice")
        server.waitFor(r"\] waiting", 2)
        server.process.kill()
        self.assertEqual((client.wait(), client.printed()), (0, "Disconnected\n"))
        self.assertEqual(call.wait(), 3)
        self.assertIn("while calling wait", call.printed(errors=True))

    def test_callIsInterrupted(self) -> None:
        """Ctrl-C ends a pending call and logs out."""
        server, port = self.serve()
        call = self.run_(*PBKIT, "call", f"tcp:127.0.0.1:{port}", "wait", "--user", "alice")
        server.waitFor(r"\] waiting")
        call.process.send_signal(signal.SIGINT)
        self.assertEqual(call.wait(), 130)
        self.assertEqual(call.printed(errors=True), "pbkit call: interrupted while calling wait\n")
        server.waitFor(r"\] left ")

    def test_manyCalls(self) -> None:
        """Calls from standard input are answered in order, one line each, in one session."""
        server, port = self.serve()
        calls = 'greet\n\n# no call\necho "two words"\necho [1,2] \nnosuch\necho "open\nwhoami'
        status, out, err = self.pbkit("call", f"tcp:127.0.0.1:{port}", "-", text=calls)
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual(lines[:3], ["<1>hello alice", "two words", [1, 2]])
        self.assertIn("NoSuchMethod", lines[3]["error"])
        self.assertIn("no closing quotation", lines[4]["error"])
        self.assertEqual(lines[5:], ["alice"])
        self.assertEqual(status, 5)
        self.assertIn("pbkit call: line 6: nosuch failed: ", err)
        self.assertIn("pbkit call: line 7: no closing quotation; quote as in a shell", err)
        self.assertEqual(err.count("\n"), 2)
        server.waitFor(r"\] left LoggedOut")

    def test_manyCallsFromAFile(self) -> None:
        """Standard input may be a file, also an empty one."""
        _, port = self.serve()
        self.env["WHERE"] = f"tcp:127.0.0.1:{port}"
        for number in (0, 1000):
            self.write("calls", "echo 1\n" * number)
            command = f"exec {' '.join(PBKIT)} call $WHERE - --user alice <calls"
            call = self.run_("sh", "-c", command)
            self.assertEqual(call.wait(), 0, call.printed(errors=True))
            self.assertEqual(call.printed(), "1\n" * number)

    def test_answersComeAtOnce(self) -> None:
        """Each answer is printed as soon as it arrives, not at the end of the input."""
        server, port = self.serve()
        call = self.run_(*PBKIT, "call", f"tcp:127.0.0.1:{port}", "-", "--user", "alice")
        assert call.process.stdin is not None
        for number in (1, 2):
            call.process.stdin.write(b"greet\n")
            call.process.stdin.flush()
            call.waitFor(f'"<{number}>hello alice"\n')
        server.process.kill()
        server.wait()
        call.process.stdin.write(b"greet\n")
        call.process.stdin.flush()
        self.assertEqual(call.wait(), 3)
        self.assertIn("line 3: the connection of this session was lost", call.printed(errors=True))

    def test_passwordFile(self) -> None:
        """--password-file reads the first line of a file. A missing or empty file is an error."""
        _, port = self.serve()
        words = ["call", f"tcp:127.0.0.1:{port}", "whoami", "--password-file", "secret"]
        self.env["PBKIT_PASSWORD"] = "wrong"
        status, _, err = self.pbkit(*words)
        self.assertEqual((status, err[:45]), (2, "pbkit call: cannot read password file secret: N"[:45]))
        self.write("secret", "\n")
        self.assertIn("first line is empty", self.pbkit(*words)[2])
        self.write("secret", "sesame\nand more\n")
        self.assertEqual(self.pbkit(*words), (0, '"alice"\n', ""))
        self.write("secret", "sesam")
        self.assertEqual(self.pbkit(*words)[0], 4)
        status, _, err = self.pbkit(*words, "--anonymous")
        self.assertEqual((status, "an anonymous login has no password" in err), (2, True))

    def watch(self, port: str, *words: str) -> Running:
        """Start `pbkit watch` and wait until it is logged in."""
        watching = self.run_(*PBKIT, "watch", f"tcp:127.0.0.1:{port}", "--user", "alice", *words)
        deadline = time.monotonic() + PATIENCE
        while "logged in" not in watching.printed(errors=True):
            self.assertTrue(watching.process.poll() is None and time.monotonic() < deadline, watching.printed(True))
            time.sleep(0.02)
        return watching

    def test_watch(self) -> None:
        """Each call of the server is one line. Ctrl-C logs out."""
        server, port = self.serve()
        watching, asJson = self.watch(port), self.watch(port, "--json")
        where = f"tcp:127.0.0.1:{port}"
        for args in (["score", "50", '"a\\u001bb"'], ["any_thing"]):
            self.assertEqual(self.pbkit("call", where, "tell", *args)[0], 0)
        watching.waitFor('score 50 "a\\\\u001bb"\nany_thing\n')
        asJson.waitFor("any_thing.*\n")
        told = [json.loads(line) for line in asJson.printed().splitlines()]
        self.assertEqual(
            told,
            [
                {"method": "score", "args": [50, "a\x1bb"], "kw": {}},
                {"method": "any_thing", "args": [], "kw": {}},
            ],
        )
        for process, number in ((watching, signal.SIGINT), (asJson, signal.SIGTERM)):
            process.process.send_signal(number)
            self.assertEqual(process.wait(), 0)
            self.assertEqual(process.printed(errors=True), "pbkit watch: logged in, press Ctrl-C to exit\n")
        server.waitFor(r"\] left LoggedOut", 4)

    def test_watchIsEnded(self) -> None:
        """The reason of a session's end is printed on one escaped line, and the exit status is 3."""
        server, port = self.serve()
        watching = self.watch(port)
        self.pbkit("call", f"tcp:127.0.0.1:{port}", "kick")
        self.assertEqual(watching.wait(), 3)
        said = "pbkit watch: this session was ended by the server: cheating\\u001b[31m"
        self.assertEqual(watching.printed(errors=True).splitlines()[1:], [said])
        watching = self.watch(port)
        server.process.kill()
        self.assertEqual(watching.wait(), 3)
        self.assertIn("the connection of this session was lost", watching.printed(errors=True))
        status, _, err = self.pbkit("watch", f"tcp:127.0.0.1:{port}")
        self.assertEqual((status, err.count("\n")), (3, 1))

    def test_stockServer(self) -> None:
        """The command works with a stock server."""
        port = self.run_(sys.executable, "-c", STOCK_SERVER).port()
        status, out, _ = self.pbkit("call", f"tcp:127.0.0.1:{port}", "-", text="greet 1\nnosuch\ngreet\n")
        self.assertEqual((status, out.count("\n")), (5, 3))
        watching = self.watch(port)
        watching.process.send_signal(signal.SIGINT)
        self.assertEqual(watching.wait(), 0)

    def test_readerThatLeaves(self) -> None:
        """The command exits silently if the reader of its output, such as `head`, exits."""
        _, port = self.serve()
        self.write("calls", "echo 1\n" * 200)
        self.env["WHERE"] = f"tcp:127.0.0.1:{port}"
        command = f"{' '.join(PBKIT)} call $WHERE - --user alice <calls | head -n 1"
        call = self.run_("sh", "-c", command)
        self.assertEqual((call.wait(), call.printed(), call.printed(errors=True)), (0, "1\n", ""))


def overTls(port: str) -> str:
    """Return a TLS endpoint that checks the certificate. The short form has a bug in Twisted 24.10."""
    return rf"tls:localhost:{port}:endpoint=tcp\:127.0.0.1\:{port}"
