"""Real processes: twistd with the plugin, stock clients, and the `pbkit` command."""

from __future__ import annotations

import datetime
import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from pbkit.wire.codec import compiled

#: The codec that servers log here: they run in the same installation and environment as the tests.
CODEC = f"profile strict, codec: {'compiled' if compiled else 'pure Python'}\\n"

ROOT = Path(__file__).resolve().parent.parent

#: The timeout for expected output, in seconds. Far more than is ever needed.
PATIENCE = 30.0

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
#: With -P, the current directory is not on sys.path, as with the installed command.
TWIST = [sys.executable, "-P", "-c", "from twisted.application.twist._twist import Twist; Twist.main()"]
PBKIT = [sys.executable, "-m", "pbkit.cli"]

#: A stock client: logs in a number of times, each time over a new connection, greets twice in each session, then waits
#: for the end of its input. Without a name it logs in anonymously.
CLIENT = """
import sys
from twisted.cred.credentials import Anonymous, UsernamePassword
from twisted.internet import defer, endpoints, stdio, task
from twisted.internet.protocol import Protocol
from twisted.spread import pb

class Input(Protocol):
    def connectionMade(self):
        self.over = defer.Deferred()
    def connectionLost(self, reason):
        self.over.callback(None)

async def main(reactor, where, times, name=None, password=None):
    credentials = Anonymous() if name is None else UsernamePassword(name.encode(), password.encode())
    held = []
    for _ in range(int(times)):
        factory = pb.PBClientFactory()
        await endpoints.clientFromString(reactor, where).connect(factory)
        login = factory.login(credentials)
        login.addErrback(lambda failure: print("refused:", failure.getErrorMessage(), flush=True))
        held.append(await login)
        if held[-1] is not None:
            for _ in range(2):
                print(await held[-1].callRemote("greet"), flush=True)
    print("ready", flush=True)
    waiting = Input()
    stdio.StandardIO(waiting)
    await waiting.over

task.react(lambda *args: defer.ensureDeferred(main(*args)), sys.argv[1:])
"""

#: A stock server, with a stock realm.
STOCK_SERVER = """
import sys
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor
from twisted.spread import pb
from zope.interface import implementer

class Greeter(pb.Avatar):
    def perspective_greet(self, *args):
        return (b"hello", args)

@implementer(IRealm)
class Realm:
    def requestAvatar(self, avatarId, mind, *interfaces):
        return pb.IPerspective, Greeter(), lambda: None

users = InMemoryUsernamePasswordDatabaseDontUse(alice=b"sesame")
factory = pb.PBServerFactory(Portal(Realm(), [users]))
port = reactor.listenTCP(0, factory, interface="127.0.0.1")
print("port=%d" % port.getHost().port, flush=True)
reactor.run()
"""

#: A realm that records its sessions in a file.
TELLING = """
import os
from pbkit import CachingRealm
from pbkit.demo import DemoAvatar

def tell(line):
    with open(os.environ["TOLD"], "a") as f:
        f.write(line + "\\n")

class Telling(DemoAvatar):
    def attached(self, session):
        tell("attached " + session.sessionId)

    def detached(self, session):
        tell("detached %s %s" % (session.sessionId, type(session.endedWith).__name__))

class TellingRealm(CachingRealm):
    avatarClass = Telling
"""


class Running:
    """
    A process, and what it has printed so far.

    :param argv: what to run.
    :param directory: where; its output is kept there too.
    :param env: beside the environment that there is.
    """

    def __init__(self, argv: list[str], directory: str, env: dict[str, str]) -> None:
        number = len(os.listdir(directory))
        self.out = os.path.join(directory, f"{number}.out")
        self.err = os.path.join(directory, f"{number}.err")
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(argv, cwd=directory, env=env, stdin=subprocess.PIPE, stdout=out, stderr=err)

    def printed(self, errors: bool = False) -> str:
        """Return the output so far."""
        with open(self.err if errors else self.out, encoding="utf-8") as f:
            return f.read()

    def waitFor(self, pattern: str, count: int = 1) -> list[re.Match[str]]:
        """
        Wait until it has printed something.

        :return: at least so many matches of a regular expression in its output.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            ended = self.process.poll() is not None
            found = list(re.finditer(pattern, self.printed()))
            if len(found) >= count:
                return found
            if ended or time.monotonic() > deadline:
                raise AssertionError(
                    f"no {count} times {pattern!r} in:\n{self.printed()}\nerrors:\n{self.printed(True)}"
                )
            time.sleep(0.02)

    def port(self) -> str:
        """Return the first port that a server logs."""
        return self.waitFor(r"port=(\d+)")[0][1]

    def wait(self) -> int:
        """Wait until the process exits. Return its exit status, negative for a signal."""
        return self.process.wait(PATIENCE)

    def stop(self) -> None:
        """Kill the process."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        assert self.process.stdin is not None
        self.process.stdin.close()


class ProcessTests(SynchronousTestCase):
    """twistd with the plugin, as a process."""

    def setUp(self) -> None:
        """Create a working directory and a clean environment."""
        # Not trial's directory, whose path is long: the path of a Unix socket may have 107 bytes.
        self.directory = tempfile.mkdtemp(prefix="pbkit-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        self.env.pop("PBKIT_PASSWORD", None)

    def run_(self, *argv: str) -> Running:
        """Start a process that is ended with the test."""
        running = Running(list(argv), self.directory, self.env)
        self.addCleanup(running.stop)
        return running

    def twistd(self, *words: str, before: tuple[str, ...] = ("-n",)) -> Running:
        """Start twistd with the plugin."""
        return self.run_(*TWISTD, "--pidfile=", *before, "pbkit", *words)

    def serve(self, *words: str) -> tuple[Running, str]:
        """Start a server on a free port of this machine. Return it and the client endpoint."""
        server = self.twistd("--listen", "tcp:0:interface=127.0.0.1", *words)
        return server, f"tcp:127.0.0.1:{server.port()}"

    def client(self, where: str, times: int, *who: str) -> Running:
        """Start a stock client, and wait until it is ready."""
        client = self.run_(sys.executable, "-c", CLIENT, where, str(times), *who)
        client.waitFor("ready")
        return client

    def call(self, *words: str, password: str | None = None) -> tuple[int, str, str]:
        """Run ``pbkit call``. Return its exit status, standard output and standard error."""
        env = self.env if password is None else {**self.env, "PBKIT_PASSWORD": password}
        done = subprocess.run(
            [*PBKIT, "call", *words],
            cwd=self.directory,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def write(self, name: str, content: str | bytes) -> str:
        """Write a file in the working directory."""
        path = os.path.join(self.directory, name)
        with open(path, "wb") as f:
            f.write(content.encode() if isinstance(content, str) else content)
        return path

    def read(self, name: str) -> str:
        """Return the content of a file in the working directory."""
        with open(os.path.join(self.directory, name), encoding="utf-8") as f:
            return f.read()

    def terminate(self, server: Running) -> None:
        """Send SIGTERM to a server, and check that it exits by that signal, as twistd does."""
        server.process.send_signal(signal.SIGTERM)
        # After the cleanup, twistd ends itself by the same signal, so the status is the signal's, not 0 or 1.
        self.assertEqual(server.wait(), -signal.SIGTERM, server.printed())

    # Logins.

    def test_stockClientGreetsAndGreetsAgain(self) -> None:
        """A stock client over TCP is greeted by its cached avatar, and each step is one log line."""
        server, where = self.serve("--realm", "caching", "--auth", "memory:alice:sesame")
        client = self.client(where, 1, "alice", "sesame")
        self.assertEqual(client.printed().splitlines(), ["<1>hello alice", "<2>hello alice", "ready"])
        assert client.process.stdin is not None
        client.process.stdin.close()
        self.assertEqual(client.wait(), 0)
        server.waitFor(r"\] logout: ")
        again = self.client(where, 1, "alice", "sesame")
        self.assertEqual(again.printed().splitlines()[0], "<3>hello alice")
        refused = self.client(where, 1, "alice", "Sesame")
        self.assertEqual(refused.printed().splitlines(), ["refused: unknown user or wrong password", "ready"])
        self.terminate(server)
        log = server.printed()
        for pattern, count in [
            (r"pbkit \S+ starting: realm caching \{.*'linger': 0.0\}, avatar pbkit.demo.DemoAvatar, " + CODEC, 1),
            (r"\] listening on ", 1),
            (r"\] login: 'alice' from 127\.0\.0\.1:\d+, session \w+\n", 2),
            (r"\] login refused: BadCredentials from 127\.0\.0\.1:\d+: unknown user or wrong password\n", 1),
            (r"\] logout: 'alice', session \w+, (LoggedOut|Disconnected)\n", 1),
            (r"\] logout: 'alice', session \w+, Shutdown\n", 1),
            (r"\] pbkit stopped: 2 logins, 1 refused; ", 1),
        ]:
            self.assertEqual(len(re.findall(pattern, log)), count, f"{pattern}\n{log}")
        for secret in ["sesame", "Sesame", "Traceback"]:
            self.assertNotIn(secret, log)
            self.assertNotIn(secret, server.printed(errors=True))

    def test_twist(self) -> None:
        """`twist pbkit` serves, finds a realm in its directory, reloads on SIGHUP, and drains on SIGTERM."""
        self.write("telling.py", TELLING)
        listen = "tcp:0:interface=127.0.0.1"
        config = f'[server]\nrealm = "telling.TellingRealm"\nlisten = ["{listen}"]\nauth = ["file:passwd"]\n'
        self.write("passwd", "alice:sesame\n")
        self.write("pbkit.toml", config)
        self.env["TOLD"] = os.path.join(self.directory, "told")
        server = self.run_(*TWIST, "--log-format=text", "pbkit", "--config", "pbkit.toml")
        client = self.client(f"tcp:127.0.0.1:{server.port()}", 1, "alice", "sesame")
        self.assertEqual(client.printed().splitlines(), ["<1>hello alice", "<2>hello alice", "ready"])
        self.write("passwd2", "alice:swordfish\n")
        self.write("pbkit.toml", config.replace("passwd", "passwd2"))
        server.process.send_signal(signal.SIGHUP)
        server.waitFor("reloaded")
        again = self.client(f"tcp:127.0.0.1:{server.port()}", 1, "alice", "swordfish")
        self.assertEqual(again.printed().splitlines()[0], "<3>hello alice")
        self.terminate(server)
        self.assertEqual(re.findall("detached .* (.*)", self.read("told")), ["Shutdown", "Shutdown"])
        self.assertIn("pbkit stopped: 2 logins", server.printed())

    def test_checkersWorkTogether(self) -> None:
        """Users of a password file and of the command line log in to one server."""
        self.write("passwd", "bob:swordfish\n")
        _, where = self.serve("--auth", "memory:alice:sesame", "--auth", "file:passwd")
        self.assertEqual(self.client(where, 1, "alice", "sesame").printed().splitlines()[0], "<1>hello alice")
        self.assertEqual(self.client(where, 1, "bob", "swordfish").printed().splitlines()[0], "<1>hello bob")
        self.assertIn("refused:", self.client(where, 1, "bob", "sesame").printed())

    def test_fileIsFoundFromAnotherDirectory(self) -> None:
        """A relative path starts in the start directory, even with --rundir."""
        self.write("passwd", "bob:swordfish\n")
        words = ["--auth", "file:passwd", "--listen", "tcp:0:interface=127.0.0.1"]
        server = self.twistd(*words, before=("-n", "--rundir", "/"))
        port = server.port()
        client = self.client(f"tcp:127.0.0.1:{port}", 1, "bob", "swordfish")
        self.assertEqual(client.printed().splitlines()[0], "<1>hello bob")

    def test_anonymousClientsAreNumbered(self) -> None:
        """The anonymous realm numbers its clients, with --auth anonymous and without."""
        for words in [["--auth", "anonymous"], []]:
            server, where = self.serve("--realm", "anonymous", *words)
            client = self.client(where, 2)
            self.assertEqual(
                client.printed().splitlines()[:4],
                ["<1>hello anonymous#1", "<2>hello anonymous#1", "<1>hello anonymous#2", "<2>hello anonymous#2"],
            )
            self.terminate(server)

    # Listeners.

    def test_unixSocketIsServed(self) -> None:
        """A Unix socket works, and its file is removed when the server stops."""
        path = os.path.join(self.directory, "s")
        server = self.twistd("--listen", f"unix:{path}", "--auth", "memory:alice:sesame")
        server.waitFor("listening on UNIXAddress")
        client = self.client(f"unix:{path}", 1, "alice", "sesame")
        self.assertEqual(client.printed().splitlines()[0], "<1>hello alice")
        self.terminate(server)
        self.assertFalse(os.path.exists(path))

    def test_tlsIsServed(self) -> None:
        """An ssl: endpoint works. A client without TLS, or without a trusted root, gets an error that says so."""
        self.write("server.pem", selfSigned())
        listen = "ssl:0:privateKey=server.pem:certKey=server.pem:interface=127.0.0.1"
        server = self.twistd("--listen", listen, "--auth", "memory:alice:sesame")
        port = server.port()
        words = ["greet", "--user", "alice"]
        trusting = f"tls:localhost:{port}:trustRoots={self.directory}:endpoint=tcp\\:127.0.0.1\\:{port}"
        self.assertEqual(self.call(trusting, *words, password="sesame"), (0, '"<1>hello alice"\n', ""))
        self.assertEqual(self.call(f"ssl:127.0.0.1:{port}", *words, password="sesame"), (0, '"<2>hello alice"\n', ""))
        status, _, said = self.call(
            f"tls:localhost:{port}:endpoint=tcp\\:127.0.0.1\\:{port}", *words, password="sesame"
        )
        self.assertEqual((status, "certificate verify failed" in said), (3, True), said)
        status, _, said = self.call(f"tcp:127.0.0.1:{port}", *words, "--timeout=1", password="sesame")
        self.assertEqual((status, "use TLS exactly if" in said), (6, True), said)

    def test_otherProtocolsAreNamed(self) -> None:
        """The log says that a client on a plain port looks like TLS or HTTP."""
        server, where = self.serve("--auth", "memory:alice:sesame")
        port = int(where.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            context = ssl.create_default_context()
            with self.assertRaises((ssl.SSLError, ConnectionError)):
                context.wrap_socket(client, server_hostname="localhost")
        server.waitFor(r"closed connection from \S+ .looks like TLS")
        with self.assertRaises((http.client.HTTPException, ConnectionError)):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            self.addCleanup(connection.close)
            connection.request("GET", "/", headers={"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"})
            connection.getresponse()
        server.waitFor(r"closed connection from \S+ .looks like HTTP")

    def test_portInUseEndsTheStart(self) -> None:
        """If a port is in use, the process exits with status 1 and one line, and leaves no listener and no file."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            path = os.path.join(self.directory, "s")
            listen = ["--listen", f"unix:{path}", "--listen", f"tcp:{port}:interface=127.0.0.1"]
            server = self.twistd(*listen)
            self.assertEqual(server.wait(), 1)
        said = (
            f"pbkit could not start: cannot listen on 127.0.0.1:{port}: Address already in use; another process uses "
            "it: stop that process, or choose another port"
        )
        self.assertEqual(server.printed(errors=True), said + "\n")
        self.assertIn(said, server.printed())
        self.assertNotIn("Traceback", server.printed())
        self.assertNotIn("guest", server.printed())
        self.assertFalse(os.path.exists(path))

    def test_wrongUsageEndsTheStart(self) -> None:
        """Each error is one line on standard error, nothing else is printed, and the status is 1."""
        for words, lines in [
            (["--realm", "nonsense"], ["pbkit: unknown realm 'nonsense'. Named realms: clientless, caching"]),
            (["--auth", "unix"], ["pbkit: .*plaintext"]),
            (["--listen", "tcp:0"], ["pbkit: .*--auth file:passwd"]),
            (["--listen", "tcp:99999", "--realm", "limited:max=x"], ["pbkit: .*limited", "pbkit: .*99999"]),
            (["--nonsense"], ["pbkit: option --nonsense not recognized \\(see twistd pbkit --help\\)"]),
            (["nonsense"], ["pbkit: unexpected argument 'nonsense': .*--realm limited"]),
        ]:
            server = self.twistd(*words)
            self.assertEqual((server.wait(), server.printed()), (1, ""))
            said = server.printed(errors=True).splitlines()
            self.assertEqual(len(said), len(lines), said)
            for line, pattern in zip(said, lines, strict=True):
                self.assertRegex(line, pattern)

    # The guest user.

    def test_guestsLineIsPasted(self) -> None:
        """Without --auth the printed command works in a shell, more than once."""
        server = self.twistd("--listen", "tcp:0:interface=127.0.0.1", before=("-n", "--logfile", "log"))
        line = server.waitFor(r"(PBKIT_PASSWORD=\S+ .* greet --user guest)\n")[0][1]
        self.assertEqual(self.paste(line), '"<1>hello guest"\n')
        self.assertEqual(self.paste(line), '"<2>hello guest"\n')
        password = server.waitFor(r"password: (\S+)")[0][1]
        self.terminate(server)
        log = self.read("log")
        self.assertIn("login: 'guest'", log)
        self.assertNotIn(password, log)

    def test_daemonPrintsTheGuestsLineToo(self) -> None:
        """A daemon prints the command before it goes to the background."""
        server = self.run_(*TWISTD, "--pidfile=pid", "pbkit", "--listen", r"tcp6:0:interface=\:\:1")
        self.assertEqual(server.wait(), 0, server.printed(errors=True))
        pid = int(self.read("pid"))
        self.addCleanup(killed, pid)
        line = server.waitFor(r"(PBKIT_PASSWORD=\S+ .* greet --user guest)\n")[0][1]
        self.assertEqual(self.paste(line), '"<1>hello guest"\n')
        password = server.waitFor(r"password: (\S+)")[0][1]
        self.assertNotIn(password, self.read("twistd.log"))

    def paste(self, line: str) -> str:
        """Run a line in a shell, and return its output."""
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self.directory,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    # Stopping.

    def test_terminationEndsEverySession(self) -> None:
        """SIGTERM with 50 live sessions runs 50 `detached` hooks before the process exits."""
        self.write("telling.py", TELLING)
        self.env["TOLD"] = os.path.join(self.directory, "told")
        server, where = self.serve("--realm", "telling.TellingRealm", "--auth", "memory:alice:sesame")
        self.client(where, 50, "alice", "sesame")
        self.assertEqual(self.read("told").count("detached"), 0)
        self.terminate(server)
        told = self.read("told").split("\n")
        attached = sorted(line.split()[1] for line in told if line.startswith("attached"))
        detached = sorted(line.split()[1] for line in told if line.endswith(" Shutdown"))
        self.assertEqual(len(set(attached)), 50)
        self.assertEqual(detached, attached)
        self.assertIn("pbkit stopped: 50 logins, 0 refused", server.printed())

    # The command.

    def test_callsStatusSaysWhatHappened(self) -> None:
        """Each kind of failure has its exit status and one line. Only answers go to standard output."""
        _, where = self.serve("--auth", "memory:alice:sesame")
        user = ["--user", "alice"]
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            nowhere = f"tcp:127.0.0.1:{silent.getsockname()[1]}"
            for words, password, expected in [
                ([where, "whoami", *user], "sesame", (0, '"alice"\n', "")),
                ([where, "echo", '[1, "a", null]', *user], "sesame", (0, '[1, "a", null]\n', "")),
                ([where, "whoami", *user], "x", (4, "", "login refused: unknown user or wrong password")),
                ([where, "whoami", "--anonymous"], None, (4, "", "login refused: this server accepts no")),
                ([where, "nosuch", *user], "sesame", (5, "", "nosuch failed: pbkit.errors.NoSuchMethod: ")),
                (["tcp:127.0.0.1:1", "whoami", *user], "x", (3, "", "cannot connect: Connection was refused")),
                (["unix:nosuch", "whoami", *user], "x", (3, "", "cannot connect: ")),
                (["tcp:h:http", "whoami", *user], "x", (2, "", "invalid endpoint 'tcp:h:http': ")),
                ([nowhere, "whoami", *user, "--timeout=0.3"], "x", (6, "", "no answer within 0.3 s while wait")),
                ([where, "whoami", *user], None, (2, "", "no password: set PBKIT_PASSWORD")),
            ]:
                status, out, err = self.call(*words, password=password)
                self.assertEqual((status, out), expected[:2], err)
                self.assertEqual(err.count("\n"), 1 if expected[2] else 0, err)
                self.assertTrue(err.startswith(f"pbkit call: {expected[2]}" if expected[2] else ""), err)

    def test_callReachesAStockServer(self) -> None:
        """The command works with a stock server."""
        server = self.run_(sys.executable, "-c", STOCK_SERVER)
        where = f"tcp:127.0.0.1:{server.port()}"
        words = [where, "greet", "--user", "alice", "--", "-x"]
        answer = '{"tuple": [{"bytes": "aGVsbG8="}, {"tuple": ["-x"]}]}\n'
        self.assertEqual(self.call(*words, password="sesame"), (0, answer, ""))
        self.assertEqual(self.call(*words, password="x")[0], 4)
        self.assertEqual(self.call(where, "greet", "--anonymous")[0], 4)
        self.assertEqual(self.call(where, "nosuch", "--user", "alice", password="sesame")[0], 5)

    def test_callToldOfAServerThatDies(self) -> None:
        """If the server is killed during a call, the call fails at once."""
        self.write(
            "slow.py",
            "from twisted.internet.defer import Deferred\n"
            "from pbkit import Avatar\n"
            "class Slow(Avatar):\n"
            "    def perspective_wait(self):\n"
            "        print('waiting', flush=True)\n"
            "        return Deferred()\n",
        )
        server, where = self.serve("--avatar", "slow.Slow", "--auth", "memory:alice:sesame")
        self.env["PBKIT_PASSWORD"] = "sesame"
        call = self.run_(*PBKIT, "call", where, "wait", "--user", "alice")
        server.waitFor(r"\] waiting")
        server.process.kill()
        self.assertEqual(call.wait(), 3)
        self.assertRegex(call.printed(errors=True), "^pbkit call: the .* while calling wait")


def killed(pid: int) -> None:
    """Kill a daemon that a test has started."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def selfSigned() -> bytes:
    """Return a key and a certificate for localhost, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
