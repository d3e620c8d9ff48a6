"""`pbkit.serving.exposure`: secrets that other users of the machine can read."""

from __future__ import annotations

import os
from io import StringIO
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pbkit.serving.reload import Source
from pbkit.serving.service import Server
from pbkit.tap import Options
from tests.serving.test_service import Terminal
from tests.test_process import selfSigned


class ExposureTests(SynchronousTestCase):
    """The warnings of a plan."""

    def setUp(self) -> None:
        """Create a directory with a password file that only its owner can read."""
        self.directory = os.path.abspath(self.mktemp())
        os.mkdir(self.directory)
        self.write("passwd", "alice:hunter2\n", 0o600)

    def write(self, name: str, content: str, mode: int) -> None:
        """Write a file with these permissions."""
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
        os.chmod(path, mode)

    def plan(self, content: str | None = None, mode: int = 0o600, **flags: Any) -> Any:
        """Return the plan for a file with these permissions, and flags."""
        if content is not None:
            self.write("pbkit.toml", content, mode)
        return Source(None if content is None else "pbkit.toml", flags, self.directory).read(MemoryReactorClock())

    def warnings(self, content: str | None = None, mode: int = 0o600, **flags: Any) -> tuple[str, ...]:
        """Return the warnings of such a plan. They never contain a password."""
        found: tuple[str, ...] = self.plan(content, mode, **flags).warnings
        self.assertNotIn("hunter2", str(found))
        return found

    def test_none(self) -> None:
        """There is no warning without a secret, and for secrets that only the owner can read."""
        self.assertEqual(self.warnings(), ())
        self.assertEqual(self.warnings(auth=("file:passwd",)), ())
        self.assertEqual(self.warnings("[server]\nauth = ['memory:alice:hunter2']\n"), ())
        self.assertEqual(self.warnings("[server]\nauth = ['file:passwd']\n", 0o644), ())
        self.assertEqual(self.warnings("[server]\nauth = ['anonymous']\nrealm = 'anonymous'\n", 0o644), ())

    def test_passwordFile(self) -> None:
        """A password file that others can read or change is one warning, however often it is named."""
        for mode, verbs in [(0o644, "read"), (0o602, "change"), (0o666, "read and change")]:
            self.write("passwd", "alice:hunter2\n", mode)
            (found,) = self.warnings(auth=("file:passwd", "file:passwd"))
            path = os.path.join(self.directory, "passwd")
            said = f"password file {path} has mode {mode:04o}: every user of this machine can {verbs} it; use mode 0600"
            self.assertEqual(found, said)

    def test_configurationFile(self) -> None:
        """A configuration file with a password is one warning if others can read it."""
        content = "[server]\nauth = ['memory:alice:hunter2', 'memory:bob:hunter2']\n"
        (found,) = self.warnings(content, 0o644)
        self.assertIn("configuration file pbkit.toml contains a password and has mode 0644", found)

    def test_commandLine(self) -> None:
        """A password on the command line is a warning, also if it replaces that of a file."""
        for content in (None, "[server]\nauth = ['file:passwd']\n"):
            (found,) = self.warnings(content, auth=("memory:alice:hunter2", "file:passwd"))
            self.assertIn("--auth memory: every user of this machine can read a password on the command line", found)
            self.assertIn("use --auth file:PATH", found)

    def test_privateKey(self) -> None:
        """A private key that others can read is a warning."""
        for mode, count in [(0o600, 0), (0o644, 1)]:
            self.write("key.pem", selfSigned().decode("ascii"), mode)
            listen = "ssl:1:privateKey=key.pem:certKey=key.pem:interface=127.0.0.1"
            found = self.warnings(listen=(listen,))
            self.assertEqual(len(found), count)
        self.assertIn("private key key.pem has mode 0644", found[0])

    def test_loggedAtStart(self) -> None:
        """Each warning is one log line at the start, and one more only if a reload adds a warning."""
        server = Server(self.plan(auth=("memory:alice:hunter2",)), MemoryReactorClock(), Terminal())
        with capturedLogs() as events:
            server.startService()
        self.addCleanup(server.stopService)
        warned = [str(formatEvent(event)) for event in events if event["log_level"].name == "warn"]
        self.assertEqual(warned, list(server.plan.warnings))
        self.assertEqual(len(warned), 1)

    def test_checkConfig(self) -> None:
        """--check-config prints the warnings on standard error, and still exits with status 0."""
        out, err = StringIO(), StringIO()
        self.patch(__import__("sys"), "stdout", out)
        self.patch(__import__("sys"), "stderr", err)
        options = ["--auth", "memory:alice:hunter2", "--check-config"]
        self.assertEqual(self.assertRaises(SystemExit, Options().parseOptions, options).code, 0)
        self.assertEqual(out.getvalue(), "command line: OK\n")
        self.assertRegex(err.getvalue(), "^warning: --auth memory: .*\n$")
