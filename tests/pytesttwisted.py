"""
pbkit's pytest plugin together with pytest-twisted: `python -m tests.pytesttwisted`.

Each check runs a small suite in a pytest of its own, with both plugins:

- the example in ``docs/examples/with_pytest_twisted``, on each reactor: synchronous tests beside asynchronous tests and
  fixtures;
- suites made up here, which show that the fixture `pbkit_server` keeps its promises beside pytest-twisted.

This module is not collected by pytest or trial. pytest-twisted starts the reactor and replaces `Failure.cleanFailure`
in each process where it is loaded, so the other tests run without it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import attrs

from tests.transcripts import ROOT, environment

EXAMPLE = ROOT / "docs" / "examples" / "with_pytest_twisted" / "test_game.py"

#: Seconds for one run of pytest, which takes a few.
TIMEOUT = 120.0

HEAD = """
import sys
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater
from pbkit import Avatar, CachingRealm
from pbkit.errors import InternalError


class Player(Avatar):
    def perspective_move(self, points):
        return 1 + points


def asserts(server):
    alice = server.login("alice")
    with pytest.raises(InternalError):
        alice.call("move", "far")
    assert len(server.flushLoggedErrors(TypeError)) == 1
    alice.logout()
    server.assertNoSessions()
"""


@attrs.frozen
class Suite:
    """
    A suite to run.

    :ivar name: what it shows.
    :ivar tests: its text, or the file that it is in.
    :ivar says: a regular expression that pytest's output matches.
    :ivar options: for pytest.
    :ivar status: pytest's exit status.
    """

    name: str
    tests: str | Path
    says: str
    options: tuple[str, ...] = ()
    status: int = 0

    def wrong(self, scratch: Path) -> str | None:
        """
        Run the suite.

        :param scratch: an empty directory.
        :return: what is wrong, or None.
        """
        text = self.tests.read_text(encoding="utf-8") if isinstance(self.tests, Path) else textwrap.dedent(self.tests)
        (scratch / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", encoding="utf-8")
        (scratch / "test_it.py").write_text(text, encoding="utf-8")
        plugins = ("-p", "pytest_pbkit", "-p", "no:cacheprovider", "-p", "no:xdist")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *plugins, *self.options, "test_it.py"],
            cwd=scratch,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        if done.returncode == self.status and re.search(self.says, done.stdout):
            return None
        return f"{self.name}: exit status {done.returncode}, no {self.says!r}\n{done.stdout}"


SUITES = (
    Suite("the example", EXAMPLE, "5 passed"),
    Suite("the example, on asyncio's reactor", EXAMPLE, "5 passed", ("--reactor=asyncio",)),
    Suite(
        "the plugin imports pbkit only for a test that uses its fixture",
        """
        import sys

        def test_before():
            assert [name for name in sys.modules if name.split(".")[0] == "pbkit"] == []

        def test_uses(pbkit_server):
            assert "pbkit" in sys.modules
        """,
        "2 passed",
    ),
    # pytest-twisted makes Failure.cleanFailure do nothing, so a Failure keeps frames with references to the avatar.
    Suite(
        "a client logs out after an error, in synchronous and asynchronous tests",
        HEAD
        + textwrap.dedent("""
        def test_synchronous(pbkit_server):
            asserts(pbkit_server(CachingRealm(Player)))

        @pytest_twisted.ensureDeferred
        async def test_asynchronous(pbkit_server):
            await deferLater(reactor, 0)
            asserts(pbkit_server(CachingRealm(Player)))

        @pytest_twisted.ensureDeferred
        async def test_awaited(pbkit_server):
            server = pbkit_server(CachingRealm(Player))
            alice = server.login("alice")
            with pytest.raises(InternalError):
                await alice.callRemote("move", "far")
            assert len(server.flushLoggedErrors(TypeError)) == 1
            alice.logout()
            server.assertNoSessions()
        """),
        "3 passed",
    ),
    Suite(
        "an asynchronous fixture uses the synchronous one, which is closed after it",
        HEAD
        + textwrap.dedent("""
        servers = []

        @pytest_twisted.async_yield_fixture
        async def alice(pbkit_server):
            servers.append(pbkit_server(CachingRealm(Player)))
            await deferLater(reactor, 0)
            yield servers[0].login("alice")
            assert len(servers[0].sessions) == 1

        @pytest_twisted.ensureDeferred
        async def test_moves(alice):
            assert await alice.callRemote("move", 2) == 3

        def test_closed():
            assert servers[0].sessions == ()
        """),
        "2 passed",
    ),
    Suite(
        "what is wrong when a server is closed fails the asynchronous test that used it",
        HEAD
        + textwrap.dedent("""
        @pytest_twisted.ensureDeferred
        async def test_error(pbkit_server):
            with pytest.raises(InternalError):
                await pbkit_server(CachingRealm(Player)).login("alice").callRemote("move", "far")

        @pytest_twisted.ensureDeferred
        async def test_timer(pbkit_server):
            pbkit_server(CachingRealm(Player)).clock.callLater(1, list)
        """),
        r"(?s)TypeError: .*timers are left.*2 passed, 2 errors",
        status=1,
    ),
)


def main() -> int:
    """
    Run the suites.

    :return: the exit status.
    """
    failed = 0
    for suite in SUITES:
        with tempfile.TemporaryDirectory(prefix="pbkit-pytest-twisted-") as scratch:
            wrong = suite.wrong(Path(scratch))
        failed += wrong is not None
        print(f"pytest-twisted: {'FAILED: ' + wrong if wrong else suite.name}", flush=True)
    print(f"pytest-twisted: {len(SUITES) - failed} of {len(SUITES)} suites are as expected")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
