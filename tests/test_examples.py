"""
The examples in the docs do what the docs say: each is run, as real processes.
"""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support import needPytest
from tests.transcripts import PATIENCE, ROOT, Terminal, environment, transcript

DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"

#: What is said at a prompt to a program that runs there.
KILL = "kill -9 %1"
SIGNALS = {"fg": signal.SIGCONT, "^C": signal.SIGINT, KILL: signal.SIGKILL}


class TranscriptTests(SynchronousTestCase):
    """
    Each example, as real processes; its test is named after the transcript.
    """

    def play(self, path: Path, tracebacks: int = 0) -> None:
        """
        Do what a transcript says, and see whether the same comes of it.

        :param tracebacks: how many are in the server's log then.
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
            if step.command in SIGNALS:
                terminals[step.terminal].signal(SIGNALS[step.command])
            elif step.typed:
                terminals[step.terminal].type(step.command)
            elif step.command:
                keyboard = any(other.typed and other.terminal == step.terminal for other in steps)
                terminals[step.terminal] = self.start(step.command, path, server.port, keyboard)
                expected[step.terminal] = []
            terminal, lines = terminals[step.terminal], expected[step.terminal]
            lines += step.output
            later = next((other for other in steps[index + 1 :] if other.terminal == step.terminal), None)
            if later is not None and (later.typed or later.command in ("", "^Z", *SIGNALS)):
                terminal.waitForLines(len(lines))
                self.assertEqual(terminal.lines, lines, terminal.text)
            else:
                status = terminal.waitForEnd()
                self.assertEqual(terminal.lines, lines, server.text)
                self.assertEqual(status, -signal.SIGKILL if step.command == KILL else 0)
        # Only once it has seen all clients leave: it is to say so, not to say that it is stopping.
        server.waitForLines(len(steps[0].output))
        server.signal(signal.SIGTERM)
        server.waitForEnd()
        self.assertEqual(server.lines, expected[steps[0].terminal], server.text)
        self.assertEqual(server.text.count("Traceback"), tracebacks, server.text)

    def start(self, command: str, path: Path, port: str, keyboard: bool = False) -> Terminal:
        """Run one command of a transcript; it is gone when the test is over."""
        terminal = Terminal(command, path.parent, port, keyboard)
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

    def test_chat_rooms(self) -> None:
        """A chat: rooms, who comes and goes, and what each says."""
        self.play(EXAMPLES / "chat" / "rooms.txt")

    def test_chat_slow(self) -> None:
        """Who does not read is told of, and ended; nobody waits for him."""
        self.play(EXAMPLES / "chat" / "slow.txt")

    def test_clientless(self) -> None:
        """An avatar that is oblivious of its clients lives on between them."""
        self.play(EXAMPLES / "clientless.txt")

    def test_clock(self) -> None:
        """The clock ticks, in the period that it is told, and stops at logout."""
        self.play(EXAMPLES / "clock.txt")

    def test_config(self) -> None:
        """The limited realm, as a configuration file says it."""
        self.play(EXAMPLES / "config.txt")

    def test_command(self) -> None:
        """The command calls a server."""
        self.play(EXAMPLES / "command.txt")

    def test_connect(self) -> None:
        """A client logs in, calls, is called, and leaves."""
        self.play(EXAMPLES / "connect.txt")

    def test_connect_callbacks(self) -> None:
        """A client with callbacks does too."""
        self.play(EXAMPLES / "connect_callbacks.txt")

    def test_connect_errors(self) -> None:
        """What goes wrong is told by classes."""
        self.play(EXAMPLES / "connect_errors.txt")

    def test_connections(self) -> None:
        """Connections are counted, whichever way they end."""
        self.play(EXAMPLES / "connections.txt")

    def test_cancel(self) -> None:
        """A call that only waits ends with its session."""
        self.play(EXAMPLES / "cancel.txt")

    def test_draining(self) -> None:
        """A drained server finishes what it has begun, and takes nothing new."""
        self.play(EXAMPLES / "draining.txt")

    def test_ending(self) -> None:
        """A moderator kicks and bans."""
        self.play(EXAMPLES / "ending.txt")

    def test_door(self) -> None:
        """Who guesses waits, others do not, and in the end the connection is closed."""
        self.play(EXAMPLES / "door.txt")

    def test_guests(self) -> None:
        """Only certain log-ins are anonymous."""
        self.play(EXAMPLES / "guests.txt")

    def test_limited(self) -> None:
        """One login too many is refused."""
        self.play(EXAMPLES / "limited.txt")

    def test_limits(self) -> None:
        """Who runs into a bound is told, or cut off; what broke, and an answer that was too long, are in the log."""
        self.play(EXAMPLES / "limits.txt", tracebacks=2)

    def test_moving(self) -> None:
        """A program that was moved serves old clients and new ones."""
        self.play(EXAMPLES / "moving.txt")

    def test_moving_stock(self) -> None:
        """A new client works with an old server."""
        self.play(EXAMPLES / "moving_stock.txt")

    def test_moving_twistd(self) -> None:
        """The moved realm needs no program."""
        self.play(EXAMPLES / "moving_twistd.txt")

    def test_multi(self) -> None:
        """All clients of an avatar are told."""
        self.play(EXAMPLES / "multi.txt")

    def test_per_connection(self) -> None:
        """Avatars of one user share a model."""
        self.play(EXAMPLES / "per_connection.txt")

    def test_ponds_lily(self) -> None:
        """A copy is sent, of a class that the realm names."""
        self.play(EXAMPLES / "ponds" / "lily.txt")

    def test_ponds_refused(self) -> None:
        """One of a class that nobody names is refused, by stock's name for it."""
        self.play(EXAMPLES / "ponds" / "refused.txt")

    def test_ponds_mended(self) -> None:
        """One that the command line names is accepted."""
        self.play(EXAMPLES / "ponds" / "mended.txt")

    def test_ponds_frog(self) -> None:
        """Both ends say what of it crosses."""
        self.play(EXAMPLES / "ponds" / "frog.txt")

    def test_ponds_duck(self) -> None:
        """A copy is kept in step until it is dropped."""
        self.play(EXAMPLES / "ponds" / "duck.txt")

    def test_single(self) -> None:
        """A second client is refused."""
        self.play(EXAMPLES / "single.txt")

    def test_single_exclusive(self) -> None:
        """A second client takes over once the first one's hooks are through."""
        self.play(EXAMPLES / "single_exclusive.txt")

    def test_single_frozen(self) -> None:
        """A second client takes over from one that is frozen, at once."""
        self.play(EXAMPLES / "single_frozen.txt")

    def test_single_kick(self) -> None:
        """A second client takes over."""
        self.play(EXAMPLES / "single_kick.txt")

    def test_single_reclaim(self) -> None:
        """A client is not locked out by its own dead connection."""
        self.play(EXAMPLES / "single_reclaim.txt")

    def test_single_stale(self) -> None:
        """A second client is refused while the first is alive, and takes over from one that is frozen."""
        self.play(EXAMPLES / "single_stale.txt")

    def test_stock_factory(self) -> None:
        """A realm of pbkit's works under a stock factory."""
        self.play(EXAMPLES / "stock_factory.txt")

    def test_stock_realm(self) -> None:
        """A stock realm works under a factory of pbkit's."""
        self.play(EXAMPLES / "stock_realm.txt")

    def test_users(self) -> None:
        """Limits by user, from a configuration file."""
        self.play(EXAMPLES / "users.txt")

    def test_unattachable(self) -> None:
        """An avatar refuses clients that it has no use for."""
        self.play(EXAMPLES / "unattachable.txt")

    def test_watch(self) -> None:
        """The command prints what it is told, until it is ended."""
        self.play(EXAMPLES / "watch.txt")

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
    The tests that the tutorial and the page on testing show.
    """

    directory = EXAMPLES / "tutorial"

    def passed(self, number: str, *command: str) -> None:
        """Run tests of the tutorial's; all of them have to be found, and to pass."""
        run = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.directory,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertIn(number, run.stdout)
        self.assertEqual(run.returncode, 0)

    def written(self, *modules: str) -> int:
        """How many tests there are."""
        texts = [(self.directory / f"{module}.py").read_text(encoding="utf-8") for module in modules]
        return sum(len(re.findall(r"^ *def test_", text, re.M)) for text in texts)

    def test_tutorialsTestsPass(self) -> None:
        """All of them are found, and pass."""
        scratch = f"--temp-directory={os.path.abspath(self.mktemp())}"
        modules = ("test_game", "test_trouble")
        self.passed(f"PASSED (successes={self.written(*modules)})", "twisted.trial", scratch, *modules)

    def test_underPytest(self) -> None:
        """So do they under pytest, and those that are written for it."""
        needPytest()
        modules = ("test_game", "test_trouble", "test_with_pytest")
        options = ["-p", "no:cacheprovider", "-p", "pytest_pbkit", "-c", os.devnull, "--rootdir=."]
        files = [f"{module}.py" for module in modules]
        self.passed(f" {self.written(*modules)} passed", "pytest", *options, *files)


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
        found = {EXAMPLES / "tutorial" / f"{name}.py" for name in ("test_game", "test_trouble", "test_with_pytest")}
        for path in EXAMPLES.rglob("*.txt"):
            for command in [step.command for step in transcript(path) if step.command and not step.typed]:
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
