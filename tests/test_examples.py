"""
The examples of the docs, run as real processes, and the pages that show them.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from twisted.cred.portal import Portal
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from pbkit import Avatar, CachingRealm, ServerFactory
from tests.support import needPytest
from tests.transcripts import PATIENCE, ROOT, Terminal, environment, transcript

DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"

#: The commands at a prompt that send a signal to the program in that terminal.
KILL = "kill -9 %1"
SIGNALS = {"fg": signal.SIGCONT, "^C": signal.SIGINT, KILL: signal.SIGKILL}


def moduleOfDocs(name: str, directory: Path = DOCS) -> ModuleType:
    """
    Import a file of the docs, which are no package.

    :param name: the file, without its suffix.
    :param directory: where it is.
    """
    spec = importlib.util.spec_from_file_location(name, directory / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TranscriptTests(SynchronousTestCase):
    """
    Each transcript, played with real processes. Its test has its name.
    """

    def play(self, path: Path, tracebacks: int = 0) -> None:
        """
        Run the commands of a transcript and compare the output.

        :param path: the transcript.
        :param tracebacks: how many tracebacks the server logs.
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
        # Stop the server only after it has reported that the clients left. Otherwise it would end their sessions.
        server.waitForLines(len(steps[0].output))
        server.signal(signal.SIGTERM)
        server.waitForEnd()
        self.assertEqual(server.lines, expected[steps[0].terminal], server.text)
        self.assertEqual(server.text.count("Traceback"), tracebacks, server.text)

    def start(self, command: str, path: Path, port: str, keyboard: bool = False) -> Terminal:
        """Run one command of a transcript, and kill it at the end of the test."""
        terminal = Terminal(command, path.parent, port, keyboard)
        self.addCleanup(terminal.close)
        return terminal

    def test_admission(self) -> None:
        """A custom policy is a function."""
        self.play(EXAMPLES / "admission.txt")

    def test_anonymous(self) -> None:
        """Guests are numbered and do not affect each other."""
        self.play(EXAMPLES / "anonymous.txt")

    def test_caching(self) -> None:
        """The greeting counter continues from login to login."""
        self.play(EXAMPLES / "caching.txt")

    def test_chat_rooms(self) -> None:
        """A chat with rooms and presence."""
        self.play(EXAMPLES / "chat" / "rooms.txt")

    def test_chat_slow(self) -> None:
        """A slow consumer is disconnected, and nobody waits for it."""
        self.play(EXAMPLES / "chat" / "slow.txt")

    def test_clientless(self) -> None:
        """A clientless avatar lives on between its clients."""
        self.play(EXAMPLES / "clientless.txt")

    def test_clock(self) -> None:
        """The clock ticks with the period that is set, and stops at logout."""
        self.play(EXAMPLES / "clock.txt")

    def test_config(self) -> None:
        """The limited realm, from a configuration file."""
        self.play(EXAMPLES / "config.txt")

    def test_command(self) -> None:
        """The `pbkit` command calls a server."""
        self.play(EXAMPLES / "command.txt")

    def test_connect(self) -> None:
        """A client logs in, calls, is called, and leaves."""
        self.play(EXAMPLES / "connect.txt")

    def test_connect_callbacks(self) -> None:
        """The same client, with callbacks."""
        self.play(EXAMPLES / "connect_callbacks.txt")

    def test_connect_errors(self) -> None:
        """Each error has a class."""
        self.play(EXAMPLES / "connect_errors.txt")

    def test_connections(self) -> None:
        """The hooks count connections, whichever way they end."""
        self.play(EXAMPLES / "connections.txt")

    def test_cancel(self) -> None:
        """A waiting call is cancelled when its session ends."""
        self.play(EXAMPLES / "cancel.txt")

    def test_draining(self) -> None:
        """A drained server finishes the calls in progress and accepts nothing new."""
        self.play(EXAMPLES / "draining.txt")

    def test_ending(self) -> None:
        """A moderator kicks and bans."""
        self.play(EXAMPLES / "ending.txt")

    def test_door(self) -> None:
        """Guesses are delayed, other logins are not, and the connection is closed after too many failures."""
        self.play(EXAMPLES / "door.txt")

    def test_guests(self) -> None:
        """A realm serves users, and guests through an anonymous realm."""
        self.play(EXAMPLES / "guests.txt")

    def test_limited(self) -> None:
        """A login above the limit is refused."""
        self.play(EXAMPLES / "limited.txt")

    def test_limits(self) -> None:
        """A client that exceeds limits receives errors, or is disconnected; two tracebacks are logged."""
        self.play(EXAMPLES / "limits.txt", tracebacks=2)

    def test_moving(self) -> None:
        """A moved program serves old and new clients."""
        self.play(EXAMPLES / "moving.txt")

    def test_moving_stock(self) -> None:
        """A new client works with an old server."""
        self.play(EXAMPLES / "moving_stock.txt")

    def test_moving_twistd(self) -> None:
        """The moved realm runs without a program of its own."""
        self.play(EXAMPLES / "moving_twistd.txt")

    def test_multi(self) -> None:
        """All clients of an avatar are notified."""
        self.play(EXAMPLES / "multi.txt")

    def test_per_connection(self) -> None:
        """The avatars of one user share a model."""
        self.play(EXAMPLES / "per_connection.txt")

    def test_ponds_lily(self) -> None:
        """A copy of a class that the realm allows."""
        self.play(EXAMPLES / "ponds" / "lily.txt")

    def test_ponds_refused(self) -> None:
        """A copy of a class that is not allowed is refused, with stock's error class."""
        self.play(EXAMPLES / "ponds" / "refused.txt")

    def test_ponds_mended(self) -> None:
        """A copy of a class that the command line allows."""
        self.play(EXAMPLES / "ponds" / "mended.txt")

    def test_ponds_frog(self) -> None:
        """Both ends choose what is sent."""
        self.play(EXAMPLES / "ponds" / "frog.txt")

    def test_ponds_duck(self) -> None:
        """A cache is kept up to date until it is dropped."""
        self.play(EXAMPLES / "ponds" / "duck.txt")

    def test_single(self) -> None:
        """A second client is refused."""
        self.play(EXAMPLES / "single.txt")

    def test_single_exclusive(self) -> None:
        """A second client takes over after the first one's hooks have finished."""
        self.play(EXAMPLES / "single_exclusive.txt")

    def test_single_frozen(self) -> None:
        """A second client takes over from a frozen one at once."""
        self.play(EXAMPLES / "single_frozen.txt")

    def test_single_kick(self) -> None:
        """A second client takes over."""
        self.play(EXAMPLES / "single_kick.txt")

    def test_single_reclaim(self) -> None:
        """A client reclaims its place from its own dead connection."""
        self.play(EXAMPLES / "single_reclaim.txt")

    def test_single_stale(self) -> None:
        """A second client is refused while the first answers, and takes over from a frozen one."""
        self.play(EXAMPLES / "single_stale.txt")

    def test_stock_factory(self) -> None:
        """A pbkit realm under a stock factory."""
        self.play(EXAMPLES / "stock_factory.txt")

    def test_stock_realm(self) -> None:
        """A stock realm under pbkit's factory."""
        self.play(EXAMPLES / "stock_realm.txt")

    def test_users(self) -> None:
        """Limits per user, from a configuration file."""
        self.play(EXAMPLES / "users.txt")

    def test_unattachable(self) -> None:
        """An avatar refuses clients that it could not call."""
        self.play(EXAMPLES / "unattachable.txt")

    def test_watch(self) -> None:
        """The command prints the calls to its mind until Ctrl-C."""
        self.play(EXAMPLES / "watch.txt")

    def test_tutorial_game(self) -> None:
        """The tutorial's realm, with a parameter, hooks and a client with a mind."""
        self.play(EXAMPLES / "tutorial" / "game.txt")

    def test_tutorial_player(self) -> None:
        """The tutorial's first avatar."""
        self.play(EXAMPLES / "tutorial" / "player.txt")

    def test_tutorial_serve(self) -> None:
        """The tutorial's own server program."""
        self.play(EXAMPLES / "tutorial" / "serve.txt")

    def test_everyTranscriptIsPlayed(self) -> None:
        """Each transcript has a test here."""
        paths = [path.relative_to(EXAMPLES).with_suffix("") for path in EXAMPLES.rglob("*.txt")]
        names = ["test_" + "_".join(path.parts) for path in paths]
        self.assertGreater(len(names), 15)
        self.assertEqual([name for name in sorted(names) if not hasattr(self, name)], [])


class TutorialTests(SynchronousTestCase):
    """
    The tests shown in the tutorial and on the page on testing.
    """

    directory = EXAMPLES / "tutorial"

    def passed(self, number: str, *command: str) -> None:
        """Run the tutorial's tests, and check the summary and the exit status."""
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
        """Return the number of tests in some modules."""
        texts = [(self.directory / f"{module}.py").read_text(encoding="utf-8") for module in modules]
        return sum(len(re.findall(r"^ *def test_", text, re.M)) for text in texts)

    def test_tutorialsTestsPass(self) -> None:
        """All tests are found and pass."""
        scratch = f"--temp-directory={os.path.abspath(self.mktemp())}"
        modules = ("test_game", "test_trouble")
        self.passed(f"PASSED (successes={self.written(*modules)})", "twisted.trial", scratch, *modules)

    def test_underPytest(self) -> None:
        """They also pass under pytest, with the tests that are written for it."""
        needPytest()
        modules = ("test_game", "test_trouble", "test_with_pytest")
        options = ["-p", "no:cacheprovider", "-p", "pytest_pbkit", "-c", os.devnull, "--rootdir=."]
        files = [f"{module}.py" for module in modules]
        self.passed(f" {self.written(*modules)} passed", "pytest", *options, *files)


class SnippetTests(SynchronousTestCase):
    """
    The short pieces of code on the pages, which are no programs.
    """

    #: Those that are tested here, without a transcript.
    modules: ClassVar[tuple[str, ...]] = ("limits_profile", "door_profile", "backlog")

    def factory(self, name: str) -> ServerFactory:
        """Return the factory that a snippet makes."""
        module = moduleOfDocs(name, EXAMPLES)
        factory: ServerFactory = module.makeFactory(Portal(CachingRealm(Avatar)))
        return factory

    def test_limitsProfile(self) -> None:
        """A factory with a larger limit on messages."""
        self.assertEqual(self.factory("limits_profile").profile.limits.message, 16 * 1024 * 1024)

    def test_doorProfile(self) -> None:
        """A factory that allows more failed logins."""
        self.assertEqual(self.factory("door_profile").profile.door.failures, 5)

    def test_backlog(self) -> None:
        """A listener with a long backlog."""
        reactor = MemoryReactorClock()
        moduleOfDocs("backlog", EXAMPLES).listen(reactor, self.factory("limits_profile"))
        port, _, backlog, _ = reactor.tcpServers[0]
        self.assertEqual((port, backlog), (8787, 4096))


class ListingTests(SynchronousTestCase):
    """
    The pages contain the code of the examples, and nothing else.
    """

    def setUp(self) -> None:
        """Import ``docs/listings.py``. The docs are no package."""
        self.listings = moduleOfDocs("listings")
        self.pages = {page: page.read_text(encoding="utf-8") for page in sorted(DOCS.rglob("*.rst"))}

    def shown(self) -> set[Path]:
        """
        :return: the files that pages show.
        """
        return {(DOCS / path).resolve() for text in self.pages.values() for path, _ in self.listings.shown(text)}

    def exercised(self) -> set[Path]:
        """
        :return: the example modules that a test above runs, and the modules that these import.
        """
        found = {EXAMPLES / "tutorial" / f"{name}.py" for name in ("test_game", "test_trouble", "test_with_pytest")}
        found |= {EXAMPLES / f"{name}.py" for name in SnippetTests.modules}
        # tests.pytesttwisted runs the first, tests.installing checks the types of the others.
        found |= {EXAMPLES / name for name in ("with_pytest_twisted/test_game.py", "typed/game.py", "typed/wrong.py")}
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

    def test_pagesHaveTheFiles(self) -> None:
        """Each listing equals its file. After a change to an example, run ``python docs/listings.py``."""
        self.assertGreater(len(self.shown()), 100)
        stale = [page.name for page, text in self.pages.items() if self.listings.refreshed(text) != text]
        self.assertEqual(stale, [])

    def test_staleListingIsReplaced(self) -> None:
        """A listing is replaced by its file, with the indentation of its marker; the text around it stays."""
        marker = "  .. file: examples/tutorial/player.py, code\n"
        old = "before\n\n" + marker + "\n  .. code-block:: python\n\n     x = 1\n\n     y = 2\n\nafter\n"
        new = self.listings.refreshed(old)
        self.assertEqual(new, self.listings.refreshed("before\n\n" + marker + "\nafter\n"))
        self.assertTrue(new.startswith("before\n\n" + marker + "\n  .. code-block:: python\n"))
        self.assertTrue(new.endswith("            return self.score\n\nafter\n"), new)
        self.assertIn("\n     from pbkit import Avatar\n", new)
        self.assertNotIn("x = 1", new)

    def test_unknownPartIsRefused(self) -> None:
        """A marker that names no class or function of its file is an error that lists them."""
        error = self.assertRaises(ValueError, self.listings.refreshed, ".. file: examples/tutorial/player.py, Plyer\n")
        expected = "examples/tutorial/player.py: no class or function 'Plyer': expected one of Player"
        self.assertEqual(str(error), expected)

    def test_everyExampleIsShown(self) -> None:
        """Each example and each transcript stands on a page."""
        examples = {path for pattern in ("*.py", "*.txt") for path in EXAMPLES.rglob(pattern)}
        self.assertEqual(sorted(examples - self.shown()), [])

    def test_everyExampleIsRun(self) -> None:
        """Each example is run by a test, or imported by one that is."""
        self.assertEqual(sorted(set(EXAMPLES.rglob("*.py")) ^ self.exercised()), [])

    def test_noPythonBesideTheExamples(self) -> None:
        """All Python on a page comes from a file that a test runs."""
        for page, text in self.pages.items():
            blocks = len(re.findall(r"^ *\.\. (?:code-block|code|sourcecode):: *python|^ *>>> ", text, re.M))
            files = [path for path, _ in self.listings.shown(text) if path.endswith((".py", ".py.in"))]
            self.assertEqual(blocks, len(files), page.name)
            self.assertNotRegex(text, r"(?m)^(?!\.\. ).*::$", page.name)

    def test_noLineIsScrolled(self) -> None:
        """No line of code, and no command, is wider than a page."""
        wide = []
        for path in [*EXAMPLES.rglob("*.py"), *EXAMPLES.rglob("*.toml"), *EXAMPLES.rglob("*.txt")]:
            for line in path.read_text(encoding="utf-8").splitlines():
                # What a program prints is as wide as it is; browsers wrap it.
                code = path.suffix != ".txt" or re.match(r"\w+[$>]", line)
                if code and len(line) > self.listings.WIDTH and path.name not in ("printed.toml", "ruff.toml"):
                    wide.append(f"{path.name}: {line}")
        self.assertEqual(wide, [])
