"""
The README's commands, examples and links.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.transcripts import PATIENCE, PORT, Terminal, environment

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


class ReadmeTests(SynchronousTestCase):
    """
    What a reader copies from the README. `tests.installing` runs its first command and `.ci/run` its test command; both
    take the command from the README.
    """

    def blocks(self, language: str) -> list[str]:
        """
        :return: the texts of the code blocks in a language.
        """
        return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

    def test_twoCommandsDoEverything(self) -> None:
        """One command makes an environment and serves, and one makes an environment and tests."""
        lines = [line for block in self.blocks("sh") for line in block.splitlines()]
        fresh = [line for line in lines if line.startswith("python3 -m venv .venv && ")]
        self.assertEqual([line.split()[-1] for line in fresh], ["caching", "pytest"])

    def test_exampleIsARealm(self) -> None:
        """The first example runs as it is, and its realm builds its avatars."""
        names: dict[str, Any] = {"__name__": "game"}
        exec(compile(self.blocks("python")[0], "README.md", "exec"), names)
        avatar = names["realm"].buildAvatar("alice")
        coroutine = avatar.perspective_say("hello")
        self.assertEqual(self.successResultOf(coroutine), "alice says hello to 0")

    def test_serverAndClientRun(self) -> None:
        """Both examples run as they are, as two programs, and print what the README says."""
        directory = Path(self.mktemp())
        directory.mkdir()
        game, client = self.blocks("python")
        (directory / "game.py").write_text(game, encoding="utf-8")
        (command,) = re.findall(r"^\.venv/bin/(twistd .* game\.realm .*)$", README, re.MULTILINE)
        server = Terminal(command, directory, "0")
        self.addCleanup(server.close)
        server.waitForPort()
        # The only change: the test's server listens on a free port.
        (directory / "client.py").write_text(client.replace(PORT, server.port), encoding="utf-8")
        run = subprocess.run(
            [sys.executable, "client.py"],
            cwd=directory,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual((run.stdout, run.stderr), ("alice says hello to 1\n", ""))
        self.assertIn(f"It prints `{run.stdout.strip()}`.", README)

    def test_linksLeadSomewhere(self) -> None:
        """Each file that the README links to exists."""
        targets = [t for t in re.findall(r"\]\(([^)]+)\)", README) if "://" not in t]
        self.assertGreater(len(targets), 3)
        self.assertEqual([target for target in targets if not (ROOT / target).exists()], [])

    def test_realmsAreAllNamed(self) -> None:
        """The table of realms has exactly the named realms."""
        from pbkit.sessions.realms import NAMED

        names = re.findall(r"^\| `([a-z-]+)[:`]", README, re.MULTILINE)
        self.assertEqual(sorted(names), sorted(NAMED))
