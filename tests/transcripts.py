"""
Transcripts of terminals, as the docs show them, and the terminals to run them in.

Each ``docs/examples/**/*.txt`` is a transcript of some terminals, as the docs show it::

    server$ twistd -n pbkit --realm game.GameRealm --auth memory:alice:sesame
    watcher$ python watch.py
    the score is 50
    client$ python client.py
    score: 60
    watcher$
    the score is 60

A command may be ``pbkit`` too, with variables such as ``PBKIT_PASSWORD=sesame`` before it.

A prompt names its terminal. What follows a command is all that it prints; of ``twistd``, what its realm prints,
without twistd's own lines. An object's address is ``0x...``. ``alice> hello`` types a line into a terminal's program.
A prompt alone comes back to a terminal whose command is still running; ``^Z`` stops that, as the key does, and ``fg``
has it go on; ``^C`` ends it, and ``kill -9 %1`` ends one that is stopped. Everything is run here just so, in
processes of its own, but on a free port.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import subprocess
import sys
import time
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parent.parent

#: How long to wait for a line that has to come, in seconds. Far more than it ever takes.
PATIENCE = 30.0

#: The port that the docs speak of.
PORT = "8787"

TWISTD = ["-c", "from twisted.scripts.twistd import run; run()"]
PRINTED = re.compile(r"^\S+ \[stdout#info\] (.*)$")
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
LISTENING = re.compile(r"listening on (?:IPv4Address\(.*port=|port )(\d+)")


def environment() -> dict[str, str]:
    """
    :return: for a process that is to find pbkit, and to leave nothing behind in the tree.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@attrs.define
class Step:
    """
    What is typed at a prompt, and what comes of it.

    :ivar terminal: the prompt's name.
    :ivar command: what is typed there; "" to go on looking.
    :ivar typed: whether it is typed not at a prompt, but into the program that runs there.
    :ivar output: the lines that are to be seen then.
    """

    terminal: str
    command: str
    typed: bool = attrs.field(default=False, kw_only=True)
    output: list[str] = attrs.field(factory=list)


def transcript(path: Path) -> list[Step]:
    """
    Read a transcript.

    :raises ValueError: it does not begin with a prompt.
    """
    steps: list[Step] = []
    # A command may be continued on the next line, as in a shell.
    text = re.sub(r" \\\n *", " ", path.read_text(encoding="utf-8"))
    for line in text.splitlines():
        prompt = re.match(r"(\w+)(\$|>)(?: (.*))?$", line)
        if prompt:
            steps.append(Step(prompt[1], prompt[3] or "", typed=prompt[2] == ">"))
        elif steps:
            steps[-1].output.append(line)
        else:
            raise ValueError(f"{path}: expected a prompt on the first line, got {line!r}")
    return steps


class Terminal:
    """
    A running command and what it has printed.

    :param command: as the docs have it.
    :param cwd: where it runs.
    :param port: to be used for the docs' one; a server is given "0" for a free one.
    :param keyboard: whether lines will be typed into it.
    """

    def __init__(self, command: str, cwd: Path, port: str, keyboard: bool = False) -> None:
        words = shlex.split(command)
        variables: dict[str, str] = {}
        while re.match(r"[A-Z_]+=", words[0]):
            name, _, variables[name] = words.pop(0).partition("=")
        self.isTwistd = words[0] == "twistd"
        if self.isTwistd:
            listen = ["--listen", f"tcp:{port}:interface=127.0.0.1"]
            arguments = [*TWISTD, "--pidfile=", *words[1:], *listen]
        elif words[0] == "python":
            arguments = [*words[1:], port]
        elif words[0] == "pbkit":
            arguments = ["-m", "pbkit.cli", *(word.replace(f":{PORT}", f":{port}") for word in words[1:])]
        else:
            raise ValueError(f"the docs run twistd, python and pbkit, not {command!r}")
        self.port = port
        self._text = b""
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            env={**environment(), **variables},
            stdin=subprocess.PIPE if keyboard else subprocess.DEVNULL,
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
        lines = [ADDRESS.sub(" at 0x...", line) for line in lines]
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

    def type(self, line: str) -> None:
        """Type a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode("utf-8") + b"\n")
        self._process.stdin.flush()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def close(self) -> None:
        """Leave nothing behind."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE)
        self._pipe.close()
