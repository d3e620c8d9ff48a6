"""`pbkit init`, and the project that it writes, in real processes."""

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
        """Choose a directory that does not exist."""
        self.directory = Path(os.path.abspath(self.mktemp()))

    def found(self) -> list[str]:
        """Return the names of the files in the directory."""
        return sorted(path.name for path in self.directory.iterdir())

    def refusal(self, directory: Path) -> str:
        """Return the text of the error."""
        with self.assertRaises(CannotInit) as caught:
            makeProject(directory)
        return str(caught.exception)

    def test_writes(self) -> None:
        """All files are written, and the directory is created."""
        made = makeProject(self.directory / "deep" / "down")
        self.directory = self.directory / "deep" / "down"
        self.assertEqual(sorted(path.name for path in made), FILES)
        self.assertEqual(self.found(), FILES)
        self.assertEqual({path.name: path.read_text(encoding="utf-8") for path in made}, template())

    def test_besideOthers(self) -> None:
        """Other files in the directory are kept."""
        self.directory.mkdir(parents=True)
        (self.directory / "notes").write_text("mine", encoding="utf-8")
        makeProject(self.directory)
        self.assertEqual(self.found(), sorted([*FILES, "notes"]))
        self.assertEqual((self.directory / "notes").read_text(encoding="utf-8"), "mine")

    def test_overwritesNothing(self) -> None:
        """Existing files are named in the error, and nothing is written. A dangling link counts as a file."""
        self.directory.mkdir(parents=True)
        (self.directory / "game.py").write_text("mine", encoding="utf-8")
        (self.directory / "pbkit.toml").symlink_to("nowhere")
        self.assertIn("already contains game.py, pbkit.toml; choose another directory", self.refusal(self.directory))
        self.assertEqual(self.found(), ["game.py", "pbkit.toml"])
        self.assertEqual((self.directory / "game.py").read_text(encoding="utf-8"), "mine")

    def test_aFileIsInTheWay(self) -> None:
        """A file in place of the directory or of its parent is an error."""
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        self.directory.write_text("mine", encoding="utf-8")
        for directory in (self.directory, self.directory / "game"):
            self.assertIn("is a file, or is inside one; choose a directory", self.refusal(directory))
        self.assertEqual(self.directory.read_text(encoding="utf-8"), "mine")

    def test_mayNotWrite(self) -> None:
        """A missing permission is an error that names the path."""
        if os.geteuid() == 0:
            raise SkipTest("root may write anywhere")
        self.directory.mkdir(parents=True, mode=0o500)
        self.assertRegex(self.refusal(self.directory), "README.md: Permission denied")
        self.assertEqual(self.found(), [])

    def test_allOrNone(self) -> None:
        """If a file cannot be written, the files before it are removed."""
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
        """The output lists the files and the next steps. A second run fails with one line."""
        directory = self.mktemp()
        status, out, err = self.run_(directory)
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(out.splitlines()[:4], [f"wrote {directory}/{name}" for name in FILES])
        self.assertIn("    twistd -n pbkit --config pbkit.toml", out)
        status, out, err = self.run_(directory)
        self.assertEqual((status, out), (1, ""))
        self.assertRegex(err, r"^pbkit init: .* already contains README.md, game.py, pbkit.toml, test_game.py; .*\n$")

    def test_usage(self) -> None:
        """A usage error is one line, and --help lists the exit statuses."""
        status, out, err = self.run_()
        self.assertEqual((status, out, err.count("\n")), (2, "", 1))
        self.assertIn("pbkit init: ", err)
        status, out, err = self.run_("--help")
        self.assertEqual((status, err), (0, ""))
        self.assertIn("exit status: 0 written", out)


class ProjectTests(SynchronousTestCase):
    """The project that `pbkit init` writes."""

    def setUp(self) -> None:
        """Write a project."""
        self.directory = Path(os.path.abspath(self.mktemp()))
        makeProject(self.directory)

    def run_(self, *command: str) -> str:
        """Run a command in the project, check that it succeeds, and return its output."""
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
        """Return the number of tests in the project."""
        return template()["test_game.py"].count("    def test_")

    def test_passesUnderTrial(self) -> None:
        """All its tests pass under trial."""
        self.assertIn(f"PASSED (successes={self.written()})", self.run_("-m", "twisted.trial", "test_game"))

    def test_passesUnderPytest(self) -> None:
        """All its tests pass under pytest, with warnings as errors."""
        needPytest()
        (self.directory / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        self.assertIn(f"{self.written()} passed", self.run_("-m", "pytest", "-W", "error", "-p", "no:cacheprovider"))

    def test_configurationIsRight(self) -> None:
        """--check-config accepts its configuration."""
        self.assertIn("OK", self.run_(*TWISTD, "pbkit", "--config", "pbkit.toml", "--check-config"))

    def test_startsAtOnce(self) -> None:
        """Its server starts, and the command that it prints works, with the methods that the README names."""
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
