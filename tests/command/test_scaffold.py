"""`pbkit init`, and the project that it writes: as a user would, in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from pbkit.cli import main
from pbkit.command.scaffold import CannotInit, makeProject, template
from tests.support import needPytest
from tests.transcripts import PATIENCE, ROOT, TWISTD, Terminal, environment

FILES = ["README.md", "game.py", "pbkit.toml", "test_game.py"]


class ScaffoldTests(SynchronousTestCase):
    """`makeProject`."""

    def setUp(self) -> None:
        """A place for it."""
        self.directory = Path(os.path.abspath(self.mktemp()))

    def found(self) -> list[str]:
        """What is there."""
        return sorted(path.name for path in self.directory.iterdir())

    def refusal(self, directory: Path) -> str:
        """What is said."""
        with self.assertRaises(CannotInit) as caught:
            makeProject(directory)
        return str(caught.exception)

    def test_writes(self) -> None:
        """All files of the project are there, in a directory that is made."""
        made = makeProject(self.directory / "deep" / "down")
        self.directory = self.directory / "deep" / "down"
        self.assertEqual(sorted(path.name for path in made), FILES)
        self.assertEqual(self.found(), FILES)
        self.assertEqual({path.name: path.read_text(encoding="utf-8") for path in made}, template())

    def test_besideOthers(self) -> None:
        """What is there already and is not in the way stays."""
        self.directory.mkdir(parents=True)
        (self.directory / "notes").write_text("mine", encoding="utf-8")
        makeProject(self.directory)
        self.assertEqual(self.found(), sorted([*FILES, "notes"]))
        self.assertEqual((self.directory / "notes").read_text(encoding="utf-8"), "mine")

    def test_overwritesNothing(self) -> None:
        """If any of the files is there, it is named, and nothing is written; a link that leads nowhere counts."""
        self.directory.mkdir(parents=True)
        (self.directory / "game.py").write_text("mine", encoding="utf-8")
        (self.directory / "pbkit.toml").symlink_to("nowhere")
        self.assertIn("already contains game.py, pbkit.toml; choose another directory", self.refusal(self.directory))
        self.assertEqual(self.found(), ["game.py", "pbkit.toml"])
        self.assertEqual((self.directory / "game.py").read_text(encoding="utf-8"), "mine")

    def test_aFileIsInTheWay(self) -> None:
        """A directory that is a file, or that lies below one, is refused, and says so."""
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        self.directory.write_text("mine", encoding="utf-8")
        for directory in (self.directory, self.directory / "game"):
            self.assertIn("is a file, or is inside one; choose a directory", self.refusal(directory))
        self.assertEqual(self.directory.read_text(encoding="utf-8"), "mine")

    def test_mayNotWrite(self) -> None:
        """Where one may not write, the reason is told, with the place."""
        if os.geteuid() == 0:
            raise SkipTest("root may write anywhere")
        self.directory.mkdir(parents=True, mode=0o500)
        self.assertRegex(self.refusal(self.directory), "README.md: Permission denied")
        self.assertEqual(self.found(), [])

    def test_allOrNone(self) -> None:
        """If a file cannot be written, those before it are gone again."""
        self.directory.mkdir(parents=True)

        class Full(type(Path())):  # type: ignore[misc]
            def open(self, *args: object, **kw: object) -> object:
                if self.name == "test_game.py":
                    raise OSError(28, "No space left on device", str(self))
                return super().open(*args, **kw)

        self.assertRegex(self.refusal(Full(self.directory)), "test_game.py: No space left on device")
        self.assertEqual(self.found(), [])


class CommandTests(SynchronousTestCase):
    """``pbkit init``."""

    def run_(self, *argv: str) -> tuple[object, str, str]:
        """
        :return: the exit status, standard output and standard error.
        """
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                status: object = main(["init", *argv])
            except SystemExit as e:
                status = e.code
        return status, out.getvalue(), err.getvalue()

    def test_says(self) -> None:
        """It says what it has written and what to do next; the second time it says why not, on one line."""
        directory = self.mktemp()
        status, out, err = self.run_(directory)
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(out.splitlines()[:4], [f"wrote {directory}/{name}" for name in FILES])
        self.assertIn("    twistd -n pbkit --config pbkit.toml", out)
        status, out, err = self.run_(directory)
        self.assertEqual((status, out), (1, ""))
        self.assertRegex(err, r"^pbkit init: .* already contains README.md, game.py, pbkit.toml, test_game.py; .*\n$")

    def test_usage(self) -> None:
        """Wrong usage is one line, and --help has the exit statuses; the command's own --help knows the word."""
        status, out, err = self.run_()
        self.assertEqual((status, out, err.count("\n")), (2, "", 1))
        self.assertIn("pbkit init: ", err)
        status, out, err = self.run_("--help")
        self.assertEqual((status, err), (0, ""))
        self.assertIn("exit status: 0 written", out)


class ProjectTests(SynchronousTestCase):
    """The project that is written."""

    def setUp(self) -> None:
        """A fresh one."""
        self.directory = Path(os.path.abspath(self.mktemp()))
        makeProject(self.directory)

    def run_(self, *command: str) -> str:
        """What it prints; it has to succeed."""
        run = subprocess.run(
            [sys.executable, *command],
            cwd=self.directory,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(run.returncode, 0, run.stdout)
        return run.stdout

    def written(self) -> int:
        """How many tests there are."""
        return template()["test_game.py"].count("    def test_")

    def test_passesUnderTrial(self) -> None:
        """Its tests pass under trial, all of them."""
        self.assertIn(f"PASSED (successes={self.written()})", self.run_("-m", "twisted.trial", "test_game"))

    def test_passesUnderPytest(self) -> None:
        """Its tests pass under pytest, all of them, with each warning an error."""
        needPytest()
        (self.directory / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        self.assertIn(f"{self.written()} passed", self.run_("-m", "pytest", "-W", "error", "-p", "no:cacheprovider"))

    def test_configurationIsRight(self) -> None:
        """What twistd makes of its configuration is OK."""
        self.assertIn("OK", self.run_(*TWISTD, "pbkit", "--config", "pbkit.toml", "--check-config"))

    def test_startsAtOnce(self) -> None:
        """Its server starts, and the line that it prints, with what the README says for METHOD, calls it."""
        server = Terminal("twistd -n pbkit --config pbkit.toml", self.directory, "0")
        self.addCleanup(server.close)
        server.waitForPort()
        deadline = time.monotonic() + PATIENCE
        while "--user guest" not in server.text:
            self.assertTrue(server.read(deadline), server.text)
        password = server.text.partition("PBKIT_PASSWORD=")[2].split()[0]
        self.assertIn(" METHOD --user guest", server.text)
        for call, answer in ((["greet"], '"hello guest"\n'), (["move", "10"], "110\n"), (["move", "1"], "111\n")):
            run = subprocess.run(
                [sys.executable, "-m", "pbkit.cli", "call", f"tcp:127.0.0.1:{server.port}", *call, "--user", "guest"],
                env={**environment(), "PBKIT_PASSWORD": password},
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            self.assertEqual((run.stdout, run.returncode), (answer, 0))
        server.signal(signal.SIGTERM)
        server.waitForEnd()
        self.assertNotIn("Traceback", server.text)
