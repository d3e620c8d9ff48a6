"""
Buildbot with pbkit's classes in place of stock's: `python -m tests.buildbotbuilds [MASTER-WORKER ...]`.

A pair such as "strict-stock" says which classes the master and the worker use: "stock", "dropin" (`pbkit.dropin`) or
"strict" (those of `pbkit`). Without a pair, all nine are run. For each pair a master and a worker are started, and two
changes are sent to the master; each triggers a build that runs commands, downloads a file to the worker and uploads it
again. The pair passes if both builds succeed, no traceback is logged, and both ends used the classes of the pair.

pytest and trial do not collect this module. It needs ``pip install buildbot buildbot-worker``; tox -e buildbot has it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.transcripts import environment

KINDS = ("stock", "dropin", "strict")

#: Seconds for a process to start, and for a build.
TIMEOUT = 180.0

#: A file that the build transfers has this many bytes: more than one message.
SIZE = 300_000

#: Imported first by both processes: replaces the classes, and writes which factories are created.
SWAP = """
import os
from twisted.spread import pb

names = ("Broker", "PBServerFactory", "PBClientFactory")
if os.environ["KIND"] == "dropin":
    from pbkit import dropin
    for name in names:
        setattr(pb, name, getattr(dropin, name))
elif os.environ["KIND"] == "strict":
    import pbkit
    for name, ours in zip(names, (pbkit.Broker, pbkit.ServerFactory, pbkit.ClientFactory)):
        setattr(pb, name, ours)

def reporting(cls):
    construct = cls.__init__

    def __init__(self, *args, **kw):
        origin = next(base.__module__ for base in type(self).__mro__ if not base.__module__.startswith("buildbot"))
        with open(os.environ["MADE"], "a") as file:
            file.write(origin.partition(".")[0] + "\\n")
        construct(self, *args, **kw)

    cls.__init__ = __init__

for name in names[1:]:
    reporting(getattr(pb, name))
"""

MASTER = """
import swap
from buildbot.plugins import changes, schedulers, steps, util, worker

factory = util.BuildFactory([
    steps.ShellCommand(command=["seq", "1", "20000"]),
    steps.StringDownload("x" * {size}, workerdest="file.txt"),
    steps.ShellCommand(command=["wc", "-c", "file.txt"]),
    steps.FileUpload(workersrc="file.txt", masterdest="uploaded.txt"),
    steps.MakeDirectory(dir="build/directory"),
])
c = BuildmasterConfig = {{
    "buildbotNetUsageData": None,
    "buildbotURL": "http://localhost/",
    "builders": [util.BuilderConfig(name="builder", workernames=["worker"], factory=factory)],
    "change_source": changes.PBChangeSource(user="user", passwd="sesame"),
    "db": {{"db_url": "sqlite:///state.sqlite"}},
    "protocols": {{"pb": {{"port": "tcp:0:interface=127.0.0.1"}}}},
    "schedulers": [schedulers.AnyBranchScheduler(name="all", treeStableTimer=None, builderNames=["builder"])],
    "workers": [worker.Worker("worker", "sesame")],
}}
"""

TWISTD = ("-c", "from twisted.scripts.twistd import run; run()", "-n", "--no_save", "--pidfile=", "-y", "buildbot.tac")


class Failed(Exception):
    """A pair failed; the text says why."""


class Pair:
    """A master and a worker, in a directory of their own."""

    def __init__(self, directory: Path, master: str, worker: str) -> None:
        self.directory = directory
        self.kinds = {"master": master, "worker": worker}
        self._processes: list[subprocess.Popen[bytes]] = []
        (directory / "swap.py").write_text(SWAP, encoding="utf-8")

    def environment(self, end: str) -> dict[str, str]:
        """Return the environment of a process."""
        env = environment()
        paths = os.pathsep.join([str(self.directory), env["PYTHONPATH"]])
        return env | {"PYTHONPATH": paths, "KIND": self.kinds[end], "MADE": str(self.directory / f"{end}.made")}

    def command(self, end: str, *words: str) -> None:
        """Run a command of Buildbot's."""
        program = "buildbot" if end == "master" else "buildbot_worker"
        script = f"from {program}.scripts.runner import run; run()"
        done = subprocess.run(
            [sys.executable, "-c", script, *words],
            cwd=self.directory,
            env=self.environment(end),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        if done.returncode:
            raise Failed(f"{program} {words[0]}: exit status {done.returncode}\n{done.stdout}")

    def start(self, end: str) -> None:
        """Start the master or the worker."""
        with open(self.directory / f"{end}.out", "wb") as out:
            process = subprocess.Popen(
                [sys.executable, *TWISTD],
                cwd=self.directory / end,
                env=self.environment(end),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)

    def log(self, end: str) -> str:
        """Return the log of the master or the worker."""
        path = self.directory / end / "twistd.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def waitFor(self, end: str, pattern: str, count: int = 1) -> list[str]:
        """Wait until a pattern is in a log a number of times, and return the matches."""
        until = time.monotonic() + TIMEOUT
        while len(found := re.findall(pattern, self.log(end))) < count:
            if time.monotonic() > until:
                raise Failed(f"the {end} did not log {pattern!r}:\n{self.log(end)[-5000:]}")
            time.sleep(0.2)
        return found

    def run(self) -> None:
        """
        Run two builds.

        :raises Failed: a check failed.
        """
        self.command("master", "create-master", "master")
        (self.directory / "master" / "master.cfg").write_text(MASTER.format(size=SIZE), encoding="utf-8")
        self.command("master", "upgrade-master", "master")
        self.start("master")
        port = self.waitFor("master", r"Factory starting on (\d+)")[0]
        self.command("worker", "create-worker", "worker", f"localhost:{port}", "worker", "sesame")
        tac = self.directory / "worker" / "buildbot.tac"
        tac.write_text("import swap\n" + tac.read_text(encoding="utf-8"), encoding="utf-8")
        self.start("worker")
        self.waitFor("worker", "worker is ready")
        for number in (1, 2):
            words = ["-m", f"localhost:{port}", "-a", "user:sesame", "-W", "somebody <somebody@example.org>"]
            self.command("master", "sendchange", *words, "--vc", "git", "-c", f"change {number}", "file.txt")
            self.waitFor("master", "build finished", number)
        results = re.findall(r"results:(\w+)>: build finished", self.log("master"))
        if results != ["success", "success"]:
            raise Failed(f"the builds ended with {results}:\n{self.log('master')[-5000:]}")
        uploaded = (self.directory / "master" / "uploaded.txt").stat().st_size
        if uploaded != SIZE:
            raise Failed(f"the uploaded file has {uploaded} bytes, not {SIZE}")
        for end, kind in self.kinds.items():
            made = set((self.directory / f"{end}.made").read_text(encoding="utf-8").split())
            if made != {"twisted" if kind == "stock" else "pbkit"}:
                raise Failed(f"the {end} used classes of {', '.join(made)}")
            if "Traceback" in self.log(end):
                raise Failed(f"the {end} logged a traceback:\n{self.log(end)}")

    def stop(self) -> None:
        """Stop the processes, the worker first."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def main(pairs: list[str]) -> int:
    """
    Run the pairs.

    :return: the exit status: 1 if one failed.
    """
    if importlib.util.find_spec("buildbot") is None or importlib.util.find_spec("buildbot_worker") is None:
        print("buildbot: not installed: pip install buildbot buildbot-worker")
        return 1
    failed = 0
    for pair in pairs or [f"{master}-{worker}" for master in KINDS for worker in KINDS]:
        master, _, worker = pair.partition("-")
        with tempfile.TemporaryDirectory(prefix="pbkit-buildbot-") as directory:
            running = Pair(Path(directory), master, worker)
            began, said = time.monotonic(), "two builds succeeded"
            try:
                running.run()
            except Failed as error:
                failed += 1
                said = f"FAILED: {error}"
            finally:
                running.stop()
        print(f"buildbot: master {master}, worker {worker}: {said} ({time.monotonic() - began:.0f} s)", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
