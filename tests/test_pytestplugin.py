"""The pytest plugin `pytest_pbkit`, in a pytest of its own."""

from __future__ import annotations

import configparser
import importlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support import needPytest
from tests.transcripts import PATIENCE, ROOT, environment

#: pytest_pbkit by name, because without an installation no entry point tells pytest of it. Without pytest-twisted,
#: because that imports Twisted in every run: `tests.pytesttwisted` is the suite for both.
PLUGINS = ("-p", "pytest_pbkit", "-p", "no:twisted", "-p", "no:xdist", "-p", "no:cacheprovider")

REALM = textwrap.dedent("""
    from pbkit import Avatar, CachingRealm

    class Player(Avatar):
        score = 0

        def perspective_move(self, points):
            self.score += points
            return self.score
""")


class PytestPluginTests(SynchronousTestCase):
    """A user's suite, with pbkit installed."""

    def setUp(self) -> None:
        """Skip without pytest."""
        needPytest()

    def pytest(self, text: str, before: str = "", *options: str) -> tuple[int, str]:
        """
        Run a test module.

        :param text: the tests.
        :param before: the text before them.
        :param options: options for pytest.
        :return: pytest's exit status and output.
        """
        directory = Path(os.path.abspath(self.mktemp()))
        directory.mkdir(parents=True)
        (directory / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        (directory / "test_it.py").write_text(before + textwrap.dedent(text), encoding="utf-8")
        run = subprocess.run(
            [sys.executable, "-m", "pytest", *PLUGINS, *options, "test_it.py"],
            cwd=directory,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return run.returncode, run.stdout

    def test_serves(self) -> None:
        """The fixture makes any number of servers, with the options of `MemoryServer`."""
        text = """
            def test_moves(pbkit_server):
                alice = pbkit_server(CachingRealm(Player)).login("alice")
                assert alice.call("move", 2) == 2
                assert alice.call("move", 2) == 4

            def test_two(pbkit_server):
                from twisted.internet.task import Clock
                clock = Clock()
                one, other = (pbkit_server(CachingRealm(Player), clock=clock) for _ in range(2))
                one.login("alice")
                other.assertNoSessions()
                assert one.clock is other.clock is clock
        """
        status, said = self.pytest(text, REALM)
        self.assertIn("2 passed", said)
        self.assertEqual(status, 0)

    def test_closesThem(self) -> None:
        """After a test, all its servers are closed, and a problem fails the test."""
        text = """
            servers = []

            def test_leaves(pbkit_server):
                servers.extend(pbkit_server(CachingRealm(Player)) for _ in range(2))
                servers[0].login("alice")
                servers[1].clock.callLater(1, list)

            def test_closed():
                assert servers[0].sessions == ()
        """
        status, said = self.pytest(text, REALM)
        self.assertIn("AssertionError: timers are left after all clients have disconnected: builtins.list", said)
        self.assertIn("2 passed, 1 error", said)
        self.assertEqual(status, 1)

    def test_loggedErrors(self) -> None:
        """A logged error fails the test, although pytest does not read Twisted's log."""
        text = """
            import pytest
            from pbkit.errors import InternalError

            def test_fails(pbkit_server):
                with pytest.raises(InternalError):
                    pbkit_server(CachingRealm(Player)).login("alice").call("move", "far")

            def test_expected(pbkit_server):
                server = pbkit_server(CachingRealm(Player))
                with pytest.raises(InternalError):
                    server.login("alice").call("move", "far")
                assert len(server.flushLoggedErrors(TypeError)) == 1
        """
        status, said = self.pytest(text, REALM)
        self.assertIn("TypeError: ", said)
        self.assertIn("2 passed, 1 error", said)
        self.assertEqual(status, 1)

    def test_importsNothing(self) -> None:
        """In a suite that does not use the fixture, the plugin imports neither pbkit nor Twisted."""
        text = """
            import sys

            def test_imports():
                assert "pytest_pbkit" in sys.modules
                assert [name for name in sys.modules if name.split(".")[0] in ("pbkit", "twisted")] == []
        """
        status, said = self.pytest(text)
        self.assertIn("1 passed", said)
        self.assertEqual(status, 0)

    def test_isListed(self) -> None:
        """`pytest --fixtures` describes the fixture."""
        status, said = self.pytest("def test_nothing(): pass", "", "--fixtures")
        self.assertRegex(said, r"pbkit_server .*\n +Create in-memory servers")
        self.assertEqual(status, 0)

    def test_entryPoint(self) -> None:
        """The entry point has the name of the module, which is installed beside the package."""
        config = configparser.ConfigParser()
        config.read(ROOT / "setup.cfg", encoding="utf-8")
        name, _, target = config["options.entry_points"]["pytest11"].strip().partition(" = ")
        # With another name, "-p pytest_pbkit" would register the plugin a second time.
        self.assertEqual((name, target), ("pytest_pbkit", "pytest_pbkit"))
        self.assertIn(target, config["options"]["py_modules"].split())
        self.assertTrue(hasattr(importlib.import_module(target), "pbkit_server"))
