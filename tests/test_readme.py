"""The README keeps its word: its commands, its example, its links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pbkit.testing import MemoryServer

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


class ReadmeTests(SynchronousTestCase):
    """
    What a newcomer copies from the README. That its first command serves is for `tests.installing` to see,
    and that its second passes the tests for `.ci/run`: both take the commands from the README.
    """

    def blocks(self, language: str) -> list[str]:
        """
        :return: the texts of the code blocks in a language.
        """
        return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

    def example(self, name: str) -> Any:
        """
        :return: what the examples define under a name, when they are run as they stand.
        """
        names: dict[str, Any] = {"__name__": "game"}
        for example in self.blocks("python"):
            exec(compile(example, "README.md", "exec"), names)
        return names[name]

    def test_twoCommandsDoEverything(self) -> None:
        """One line makes an environment and serves, one line makes an environment and tests."""
        lines = [line for block in self.blocks("sh") for line in block.splitlines()]
        fresh = [line for line in lines if line.startswith("python3 -m venv .venv && ")]
        self.assertEqual([line.split()[-1] for line in fresh], ["caching", "pytest"])

    def test_exampleIsARealm(self) -> None:
        """The example runs as it stands, and its realm builds its avatars."""
        avatar = self.example("realm").buildAvatar("alice")
        coroutine = avatar.perspective_say("hello")
        self.assertEqual(self.successResultOf(coroutine), "alice says hello to 0")

    def test_exampleIsAClient(self) -> None:
        """The second example calls the first one's avatar."""
        with MemoryServer(self.example("realm")) as server:
            calling = Deferred.fromCoroutine(self.example("main")(server.clock, server.endpoint()))
            server.flush()
            self.assertEqual(self.successResultOf(calling), "alice says hello to 1")

    def test_linksLeadSomewhere(self) -> None:
        """Each file that the README points to is there."""
        targets = [t for t in re.findall(r"\]\(([^)]+)\)", README) if "://" not in t]
        self.assertGreater(len(targets), 3)
        self.assertEqual([target for target in targets if not (ROOT / target).exists()], [])

    def test_realmsAreAllNamed(self) -> None:
        """The table of realms has every short name, and no other."""
        from pbkit.sessions.realms import NAMED

        names = re.findall(r"^\| `([a-z-]+)[:`]", README, re.MULTILINE)
        self.assertEqual(sorted(names), sorted(NAMED))
