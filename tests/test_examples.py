"""
The examples in the docs do what the docs say.

Each ``docs/examples/**/*.txt`` is a transcript of some terminals, as the docs show it::

    server$ twistd -n pbkit --realm game.GameRealm --auth memory:alice:sesame
    watcher$ python watch.py
    the score is 50
    client$ python client.py
    score: 60
    watcher$
    the score is 60

A prompt names its terminal. What follows a command is all that it prints; of ``twistd``, what its realm prints, without
twistd's own lines. A prompt alone comes back to a terminal whose command is still running; ``^Z`` stops that, as the
key does, and ``fg`` has it go on. Everything is run here just so, in processes of its own, but on a free port.
"""

from __future__ import annotations

import ast
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"

#: How long to wait for a line that has to come, in seconds. Far more than it ever takes.
PATIENCE = 30.0

#: The port that the docs speak of.
PORT = "8787"

TWISTD = ["-c", "from twisted.scripts.twistd import run; run()"]
PRINTED = re.compile(r"^\S+ \[stdout#info\] (.*)$")
LISTENING = re.compile(r"listening on (?:IPv4Address\(.*port=|port )(\d+)")


@attrs.define
class Step:
    """
    What is typed at a prompt, and what comes of it.

    :ivar terminal: the prompt's name.
    :ivar command: what is typed there; "" to go on looking.
    :ivar output: the lines that are to be seen then.
    """

    terminal: str
    command: str
    output: list[str] = attrs.field(factory=list)


def transcript(path: Path) -> list[Step]:
    """
    Read a transcript.

    :raises ValueError: it does not begin with a prompt.
    """
    steps: list[Step] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        prompt = re.match(r"(\w+)\$(?: (.*))?$", line)
        if prompt:
            steps.append(Step(prompt[1], prompt[2] or ""))
        elif steps:
            steps[-1].output.append(line)
        else:
            raise ValueError(f"{path}: should begin with a prompt, not with {line!r}")
    return steps


class Terminal:
    """
    A running command and what it has printed.

    :param command: as the docs have it.
    :param cwd: where it runs.
    :param port: to be used for the docs' one; a server is given "0" for a free one.
    """

    def __init__(self, command: str, cwd: Path, port: str) -> None:
        words = shlex.split(command)
        self.isTwistd = words[0] == "twistd"
        if self.isTwistd:
            listen = ["--listen", f"tcp:{port}:interface=127.0.0.1"]
            arguments = [*TWISTD, "--pidfile=", *words[1:], *listen]
        elif words[0] == "python":
            arguments = [*words[1:], port]
        else:
            raise ValueError(f"the docs run twistd and python, not {command!r}")
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self.port = port
        self._text = b""
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._process.stdout is not None
        self._pipe = self._process.stdout

    @property
    def text(self) -> str:
        """All that it has printed."""
        return self._text.decode("utf-8", "backslashreplace")

    @property
    def lines(self) -> list[str]:
        """What the docs show of that."""
        lines = [line.replace(f"port {self.port}", f"port {PORT}") for line in self.text.split("\n")[:-1]]
        if self.isTwistd:
            return [printed[1] for printed in map(PRINTED.match, lines) if printed]
        return lines

    def read(self, deadline: float) -> bool:
        """
        Wait for it to print something more.

        :param deadline: in seconds of `time.monotonic`.
        :return: False if it has ended, or the time is up.
        """
        ready, _, _ = select.select([self._pipe], [], [], max(0.0, deadline - time.monotonic()))
        more = os.read(self._pipe.fileno(), 65536) if ready else b""
        self._text += more
        return bool(more)

    def waitForLines(self, number: int) -> None:
        """Wait until it has printed so many lines, or has ended, or for too long."""
        deadline = time.monotonic() + PATIENCE
        while len(self.lines) < number and self.read(deadline):
            pass

    def waitForPort(self) -> None:
        """Wait until it listens; from then on `port` says where."""
        deadline = time.monotonic() + PATIENCE
        while (found := LISTENING.search(self.text)) is None:
            if not self.read(deadline):
                raise AssertionError(f"the server does not listen:\n{self.text}")
        self.port = found[1]

    def waitForEnd(self) -> int:
        """
        Wait for it to end.

        :return: its exit status.
        :raises AssertionError: it does not.
        """
        deadline = time.monotonic() + PATIENCE
        while self.read(deadline):
            pass
        try:
            return self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it should have ended by itself:\n{self.text}") from None

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def close(self) -> None:
        """Leave nothing behind."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE)
        self._pipe.close()


class TranscriptTests(SynchronousTestCase):
    """
    Each example, as real processes; its test is named after the transcript.
    """

    def play(self, path: Path) -> None:
        """
        Do what a transcript says, and see whether the same comes of it.
        """
        steps = transcript(path)
        terminals: dict[str, Terminal] = {}
        expected: dict[str, list[str]] = {}
        server = self.start(steps[0].command, path, "0")
        server.waitForPort()
        terminals[steps[0].terminal] = server
        expected[steps[0].terminal] = steps[0].output
        for index, step in enumerate(steps[1:], 1):
            if step.command == "^Z":
                terminals[step.terminal].signal(signal.SIGSTOP)
                continue
            if step.command == "fg":
                terminals[step.terminal].signal(signal.SIGCONT)
            elif step.command:
                terminals[step.terminal] = self.start(step.command, path, server.port)
                expected[step.terminal] = []
            terminal, lines = terminals[step.terminal], expected[step.terminal]
            lines += step.output
            later = next((other for other in steps[index + 1 :] if other.terminal == step.terminal), None)
            if later is not None and later.command in ("", "^Z", "fg"):
                terminal.waitForLines(len(lines))
                self.assertEqual(terminal.lines, lines, terminal.text)
            else:
                status = terminal.waitForEnd()
                self.assertEqual(terminal.lines, lines, server.text)
                self.assertEqual(status, 0)
        # Only once it has seen all clients leave: it is to say so, not to say that it is stopping.
        server.waitForLines(len(steps[0].output))
        server.signal(signal.SIGTERM)
        server.waitForEnd()
        self.assertEqual(server.lines, expected[steps[0].terminal], server.text)
        self.assertNotIn("Traceback", server.text)

    def start(self, command: str, path: Path, port: str) -> Terminal:
        """Run one command of a transcript; it is gone when the test is over."""
        terminal = Terminal(command, path.parent, port)
        self.addCleanup(terminal.close)
        return terminal

    def test_admission(self) -> None:
        """A policy of one's own is a function."""
        self.play(EXAMPLES / "admission.txt")

    def test_anonymous(self) -> None:
        """Guests are numbered, and do not affect one another."""
        self.play(EXAMPLES / "anonymous.txt")

    def test_caching(self) -> None:
        """The greeting counter goes on from login to login."""
        self.play(EXAMPLES / "caching.txt")

    def test_clientless(self) -> None:
        """An avatar that is oblivious of its clients lives on between them."""
        self.play(EXAMPLES / "clientless.txt")

    def test_clock(self) -> None:
        """The clock ticks, in the period that it is told, and stops at logout."""
        self.play(EXAMPLES / "clock.txt")

    def test_connections(self) -> None:
        """Connections are counted, whichever way they end."""
        self.play(EXAMPLES / "connections.txt")

    def test_guests(self) -> None:
        """Only certain log-ins are anonymous."""
        self.play(EXAMPLES / "guests.txt")

    def test_limited(self) -> None:
        """One login too many is refused."""
        self.play(EXAMPLES / "limited.txt")

    def test_multi(self) -> None:
        """All clients of an avatar are told."""
        self.play(EXAMPLES / "multi.txt")

    def test_per_connection(self) -> None:
        """Avatars of one user share a model."""
        self.play(EXAMPLES / "per_connection.txt")

    def test_single(self) -> None:
        """A second client is refused."""
        self.play(EXAMPLES / "single.txt")

    def test_single_kick(self) -> None:
        """A second client takes over."""
        self.play(EXAMPLES / "single_kick.txt")

    def test_single_stale(self) -> None:
        """A second client is refused while the first is alive, and takes over from one that is frozen."""
        self.play(EXAMPLES / "single_stale.txt")

    def test_stock_factory(self) -> None:
        """A realm of pbkit's works under a stock factory."""
        self.play(EXAMPLES / "stock_factory.txt")

    def test_stock_realm(self) -> None:
        """A stock realm works under a factory of pbkit's."""
        self.play(EXAMPLES / "stock_realm.txt")

    def test_unattachable(self) -> None:
        """An avatar refuses clients that it has no use for."""
        self.play(EXAMPLES / "unattachable.txt")

    def test_tutorial_game(self) -> None:
        """The tutorial's realm, with its parameter, its hooks and a client that is told."""
        self.play(EXAMPLES / "tutorial" / "game.txt")

    def test_tutorial_player(self) -> None:
        """The tutorial's first avatar."""
        self.play(EXAMPLES / "tutorial" / "player.txt")

    def test_tutorial_serve(self) -> None:
        """The tutorial's program of one's own."""
        self.play(EXAMPLES / "tutorial" / "serve.txt")

    def test_everyTranscriptIsPlayed(self) -> None:
        """Each transcript has a test of its own here."""
        paths = [path.relative_to(EXAMPLES).with_suffix("") for path in EXAMPLES.rglob("*.txt")]
        names = ["test_" + "_".join(path.parts) for path in paths]
        self.assertGreater(len(names), 15)
        self.assertEqual([name for name in sorted(names) if not hasattr(self, name)], [])


class TutorialTests(SynchronousTestCase):
    """
    The test that the tutorial writes.
    """

    def test_tutorialsTestsPass(self) -> None:
        """All of them are found, and pass."""
        directory = EXAMPLES / "tutorial"
        scratch = os.path.abspath(self.mktemp())
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        run = subprocess.run(
            [sys.executable, "-m", "twisted.trial", f"--temp-directory={scratch}", "test_game"],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        written = len(re.findall(r"^    def test_", (directory / "test_game.py").read_text(encoding="utf-8"), re.M))
        self.assertIn(f"PASSED (successes={written})", run.stdout)
        self.assertEqual(run.returncode, 0)


class ListingTests(SynchronousTestCase):
    """
    The docs show what is run, and nothing else.
    """

    def included(self) -> set[Path]:
        """
        :return: the files that pages of the docs include.
        """
        found = set()
        for page in DOCS.rglob("*.rst"):
            for target in re.findall(r"^\s*\.\. (?:literal)?include:: (\S+)$", page.read_text(encoding="utf-8"), re.M):
                path = DOCS / target[1:] if target.startswith("/") else page.parent / target
                found.add(path.resolve())
        return found

    def exercised(self) -> set[Path]:
        """
        :return: the example modules that a test above runs, or that such a one imports.
        """
        found = {EXAMPLES / "tutorial" / "test_game.py"}
        for path in EXAMPLES.rglob("*.txt"):
            for command in [step.command for step in transcript(path) if step.command]:
                found |= {
                    path.parent / f"{name}.py" for name in re.findall(r"(?:python|--realm|--avatar) (\w+)\.", command)
                }
        seen: set[Path] = set()
        while found - seen:
            module = (found - seen).pop()
            seen.add(module)
            for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module is not None:
                    other = module.parent / f"{node.module}.py"
                    found |= {other} if other.exists() else set()
        return found

    def test_listingsAreThere(self) -> None:
        """Each file that a page includes exists."""
        included = self.included()
        self.assertGreater(len(included), 30)
        self.assertEqual([path for path in sorted(included) if not path.is_file()], [])

    def test_everyExampleIsShown(self) -> None:
        """Each example and each transcript stands in a page."""
        examples = {path for pattern in ("*.py", "*.txt") for path in EXAMPLES.rglob(pattern)}
        self.assertEqual(sorted(examples - self.included()), [])

    def test_everyExampleIsRun(self) -> None:
        """Each example is run by a test, or imported by one that is."""
        self.assertEqual(sorted(set(EXAMPLES.rglob("*.py")) ^ self.exercised()), [])

    def test_noPythonBesideTheExamples(self) -> None:
        """Python in a page comes from an example: it cannot go stale there."""
        stray = []
        for page in DOCS.rglob("*.rst"):
            text = page.read_text(encoding="utf-8")
            if re.search(r"^\s*\.\. (?:code-block|code|sourcecode):: *python|>>> ", text, re.M):
                stray.append(page)
        self.assertEqual(stray, [])
