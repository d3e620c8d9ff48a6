"""
Transcripts of terminal sessions, as the docs show them, and terminals to run them in.

Each ``docs/examples/**/*.txt`` is a transcript of one or more terminals::

    server$ twistd -n pbkit --realm game.GameRealm --auth memory:alice:sesame
    watcher$ python watch.py
    the score is 50
    client$ python client.py
    score: 60
    watcher$
    the score is 60

- A prompt names its terminal. The lines after a command are everything that it prints. For ``twistd``, only the output
  of the realm is shown, without twistd's own lines.
- A command is ``twistd``, ``python`` or ``pbkit``, with variables such as ``PBKIT_PASSWORD=sesame`` before it. A line
  that ends with a backslash continues on the next line.
- ``alice> hello`` types a line into the program of the terminal ``alice``.
- A prompt alone returns to a terminal whose command is still running. ``^Z`` stops this command, like the key, and
  ``fg`` resumes it; ``^C`` interrupts it; ``kill -9 %1`` kills a stopped one.
- The address of an object is shown as ``0x...``.

Everything runs in processes of its own, on a free port.
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

#: How many seconds to wait for an expected line. Far more than it ever takes.
PATIENCE = 30.0

#: The port in the docs.
PORT = "8787"

TWISTD = ["-c", "from twisted.scripts.twistd import run; run()"]
PRINTED = re.compile(r"^\S+ \[stdout#info\] (.*)$")
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
LISTENING = re.compile(r"listening on (?:IPv4Address\(.*port=|port )(\d+)")


def environment() -> dict[str, str]:
    """
    Return the environment of a process that imports pbkit and leaves no files in the source tree.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@attrs.define
class Step:
    """
    A command and its output.

    :ivar terminal: the name of the terminal.
    :ivar command: the command; "" to wait for more output of the last one.
    :ivar typed: True if the command is a line typed into the running program.
    :ivar output: the expected lines.
    """

    terminal: str
    command: str
    typed: bool = attrs.field(default=False, kw_only=True)
    output: list[str] = attrs.field(factory=list)


def transcript(path: Path) -> list[Step]:
    """
    Read a transcript.

    :param path: the file.
    :raises ValueError: if it does not begin with a prompt.
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
    A running command and its output.

    :param command: the command, as in the docs.
    :param cwd: its working directory.
    :param port: the port that replaces the port in the docs; "0" lets a server choose a free one.
    :param keyboard: True to be able to type lines into it.
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
            raise ValueError(f"unknown command {command!r}: expected twistd, python or pbkit")
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
        """The complete output."""
        return self._text.decode("utf-8", "backslashreplace")

    @property
    def lines(self) -> list[str]:
        """The lines of the output that the docs show."""
        lines = [line.replace(f"port {self.port}", f"port {PORT}") for line in self.text.split("\n")[:-1]]
        lines = [ADDRESS.sub(" at 0x...", line) for line in lines]
        if self.isTwistd:
            return [printed[1] for printed in map(PRINTED.match, lines) if printed]
        return lines

    def read(self, deadline: float) -> bool:
        """
        Wait for more output.

        :param deadline: in seconds of `time.monotonic`.
        :return: False if the command has ended or the time is over.
        """
        ready, _, _ = select.select([self._pipe], [], [], max(0.0, deadline - time.monotonic()))
        more = os.read(self._pipe.fileno(), 65536) if ready else b""
        self._text += more
        return bool(more)

    def waitForLines(self, number: int) -> None:
        """Wait until the command has printed a number of lines, has ended, or the time is over."""
        deadline = time.monotonic() + PATIENCE
        while len(self.lines) < number and self.read(deadline):
            pass

    def waitForPort(self) -> None:
        """Wait until the server listens, and store its port in `port`."""
        deadline = time.monotonic() + PATIENCE
        while (found := LISTENING.search(self.text)) is None:
            if not self.read(deadline):
                raise AssertionError(f"the server does not listen:\n{self.text}")
        self.port = found[1]

    def waitForEnd(self) -> int:
        """
        Wait for the command to end.

        :return: its exit status.
        :raises AssertionError: if it does not end in time.
        """
        deadline = time.monotonic() + PATIENCE
        while self.read(deadline):
            pass
        try:
            return self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the command did not end in time:\n{self.text}") from None

    def type(self, line: str) -> None:
        """Type a line into the running program."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode("utf-8") + b"\n")
        self._process.stdin.flush()

    def signal(self, number: int) -> None:
        """Send a signal to the command."""
        self._process.send_signal(number)

    def close(self) -> None:
        """Kill the command if it still runs, and close its pipes."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE)
        self._pipe.close()
