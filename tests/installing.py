"""
Check that pbkit can be installed, served and removed: `python -m tests.installing [install] [readme]`.

Each check uses a clean copy of the tree and new virtual environments:

- after `pip install .`, `pip install -e .`, or the installation of a wheel built from the tree or from the source
  distribution, `twistd --help` lists the plugin, the command `pbkit` works, and every module is installed;
- after `pip uninstall`, Twisted has every file that it had before, and `twistd --help` works without pbkit;
- the compiled core of the codec is used if there is a C compiler; without one, everything else still holds;
- mypy sees the types of an installed pbkit: ``docs/examples/typed`` passes, and what is wrong in it is reported;
- the source distribution holds every file of the tree, and ``twine check`` accepts it and the wheel;
- the README's first command serves, also a second time, and the line that it prints calls the server.

pytest and trial do not collect this module: it takes minutes and needs a package index.
"""

from __future__ import annotations

import argparse
import configparser
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from pathlib import Path
from typing import IO, cast

ROOT = Path(__file__).resolve().parent.parent

#: Files and directories that tools create; they are not part of the tree.
MADE = (
    *(".git", ".venv", ".tox", "build", "dist", "_build", "htmlcov", ".hypothesis", ".coverage*"),
    *("*.egg-info", "__pycache__", "*.py[cod]", "*.so", ".*_cache", "dropin.cache"),
    *("_trial_temp*", "tests.*", "twistd.pid", "twistd.log*"),
)

#: The timeout of one command, in seconds. The longest installs half a dozen packages.
TIMEOUT = 600.0


class CheckFailed(Exception):
    """A check failed; the text says which and why."""


def check(holds: object, otherwise: str) -> None:
    """
    Raise an error unless a condition holds.

    :param holds: the condition.
    :param otherwise: the text of the error.
    :raises CheckFailed: if the condition is false.
    """
    if not holds:
        raise CheckFailed(otherwise)


def environment() -> dict[str, str]:
    """Return this process's environment without the variables that would let Python find another pbkit."""
    unwanted = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    return {key: value for key, value in os.environ.items() if key not in unwanted}


def run(*command: object, cwd: Path, env: dict[str, str]) -> str:
    """
    Run a command until it exits.

    :return: its standard output.
    :raises CheckFailed: if it failed, timed out or printed a traceback.
    """
    words = [str(word) for word in command]
    line = " ".join(words)
    try:
        done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise CheckFailed(f"more than {TIMEOUT:.0f} s: {line}") from None
    check(done.returncode == 0, f"exit status {done.returncode}: {line}\n{done.stdout}{done.stderr}")
    check("Traceback" not in done.stderr, f"a traceback from {line}\n{done.stderr}")
    return done.stdout


def copyOfTree(target: Path) -> Path:
    """
    Copy the tree without the files that tools create.

    :param target: the directory to create.
    :return: that directory.
    """
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*MADE), symlinks=True)
    return target


def filesIn(tree: Path) -> set[str]:
    """Return the paths of the files in a directory, relative to it."""
    return {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}


def compiler() -> bool:
    """Return True if a C extension can be built here."""
    command = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    return bool(shutil.which(command)) and Path(sysconfig.get_path("include"), "Python.h").exists()


def version() -> str:
    """Return the version in setup.cfg."""
    configuration = configparser.ConfigParser()
    configuration.read(ROOT / "setup.cfg")
    return configuration["metadata"]["version"]


class Environment:
    """
    A new virtual environment, and the checks of pbkit in it.

    :param directory: the directory to create.
    :param wheelhouse: a directory with the wheels that pbkit needs; pip uses no other source.
    :param compiles: False if the command for the C compiler should fail.
    :param typeChecks: True to check the types of an installed pbkit with mypy.
    """

    def __init__(self, directory: Path, wheelhouse: Path, compiles: bool = True, typeChecks: bool = False) -> None:
        self.directory = directory
        self.typeChecks = typeChecks
        self.compiles = compiles and compiler()
        # Run commands in another directory, so that they do not find pbkit in the current one.
        self.elsewhere = directory.with_name(directory.name + "-elsewhere")
        self.elsewhere.mkdir()
        self.env = environment()
        run(sys.executable, "-m", "venv", directory, cwd=self.elsewhere, env=self.env)
        self.env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheelhouse), "PIP_CONFIG_FILE": os.devnull}
        if not compiles:
            self.env["CC"] = "false"
        self.python = directory / "bin" / "python"

    def run(self, *command: object) -> str:
        """
        Run a command of this environment.

        :return: its standard output.
        """
        program, *words = command
        return run(self.directory / "bin" / str(program), *words, cwd=self.elsewhere, env=self.env)

    def plugins(self) -> set[str]:
        """Return the names of the plugins that `twistd --help` lists."""
        _, _, commands = self.run("twistd", "--help").partition("Commands:\n")
        return set(re.findall(r"^    (\S+)", commands, re.MULTILINE))

    def twisted(self) -> dict[str, str]:
        """Return the files of the distribution Twisted, with a digest of each."""
        script = (
            "import hashlib, json, importlib.metadata as m\n"
            "files = [f for f in m.files('twisted') if f.suffix != '.pyc']\n"
            "print(json.dumps({str(f): hashlib.sha256(f.locate().read_bytes()).hexdigest()\n"
            "                  if f.locate().exists() else 'gone' for f in files}))"
        )
        found: dict[str, str] = json.loads(self.run("python", "-c", script))
        return found

    def holdsPbkit(self, editable: bool) -> None:
        """
        Check an installed pbkit.

        :param editable: whether it was installed by `pip install -e`.
        :raises CheckFailed: if a part is missing.
        """
        listed = self.plugins()
        check("pbkit" in listed, f"twistd --help does not list pbkit, only {sorted(listed)}")
        check("web" in listed, f"twistd --help lists no plugin of Twisted's own, only {sorted(listed)}")
        run(self.directory / "bin" / "pbkit", "--help", cwd=self.elsewhere, env=self.env)
        script = "import pbkit as p, importlib.metadata as m; print(p.__version__, m.version('pbkit'), p.__file__)"
        ours, metadata, place = self.run("python", "-c", script).split(maxsplit=2)
        check(ours == metadata == version(), f"version {ours} says pbkit, {metadata} pip, {version()} setup.cfg")
        compiled = self.run("python", "-c", "from pbkit.wire import codec; print(codec.compiled)").strip() == "True"
        check(compiled == self.compiles, f"a C compiler: {self.compiles}; the compiled codec: {compiled}")
        self.serves()
        if editable:
            return
        installed = Path(place.strip()).parent
        check(self.directory in installed.parents, f"pbkit is not in the environment but at {installed}")
        lost = {path for path in filesIn(ROOT / "pbkit") if path.endswith((".py", "py.typed"))} - filesIn(installed)
        check(not lost, f"not installed (is the package listed in setup.cfg?): {sorted(lost)}")
        if self.typeChecks:
            self.typed()

    def typed(self) -> None:
        """
        Type-check the example with mypy against the installed pbkit, as its page says.

        :raises CheckFailed: if mypy reports anything but the errors that the example announces.
        """
        self.run("python", "-m", "pip", "install", "-qq", "mypy", "mypy-zope")
        example = self.directory.with_name(self.directory.name + "-typed")
        shutil.copytree(ROOT / "docs" / "examples" / "typed", example)
        command = [str(self.python), "-m", "mypy", "--no-error-summary"]
        run(*command, "game.py", cwd=example, env=self.env)
        done = subprocess.run(
            [*command, "wrong.py"], cwd=example, env=self.env, capture_output=True, text=True, timeout=TIMEOUT
        )
        said = done.stdout.splitlines()
        lines = (example / "wrong.py").read_text(encoding="utf-8").splitlines()
        wanted = [(n, line.partition("  # ")[2]) for n, line in enumerate(lines, 1) if "  # " in line]
        found = [f"wrong.py:{n}: " in line and part in line for (n, part), line in zip(wanted, said, strict=False)]
        check(len(said) == len(wanted) and all(found), f"mypy reported, in place of {wanted}:\n{done.stdout}")

    def serves(self) -> None:
        """
        Start a server with the installed pbkit, and call it with the installed command.

        :raises CheckFailed: if one of them fails.
        """
        words = ["twistd", "-n", "--pidfile=", "pbkit", "--realm", "caching", "--listen", "tcp:0:interface=127.0.0.1"]
        paths = os.pathsep.join([str(self.directory / "bin"), self.env["PATH"]])
        greeted([str(self.directory / "bin" / words[0]), *words[1:]], self.elsewhere, {**self.env, "PATH": paths})

    def survives(self, name: str, *words: object, editable: bool = False) -> None:
        """
        Install pbkit and check it; uninstall it and check Twisted.

        :param name: how to call this installation in the output.
        :param words: the arguments for `pip install`.
        """
        started = time.monotonic()
        self.run("python", "-m", "pip", "install", "-qq", "Twisted[tls]")
        before, own = self.twisted(), self.plugins()
        check("pbkit" not in own, "pbkit was there before it was installed")
        self.run("python", "-m", "pip", "install", "-qq", *words)
        self.holdsPbkit(editable)
        check(self.twisted() == before, "installing pbkit changed files of Twisted")
        self.run("python", "-m", "pip", "uninstall", "-qq", "-y", "pbkit")
        after = self.twisted()
        harmed = sorted(path for path, digest in before.items() if after.get(path) != digest)
        check(not harmed, f"uninstalling pbkit changed files of Twisted: {harmed}")
        left = self.plugins()
        check(left == own, f"after uninstalling, twistd --help lists {sorted(left)} and not {sorted(own)}")
        print(
            f"installing: {name}: works, complete, uninstalled cleanly ({time.monotonic() - started:.0f} s)",
            flush=True,
        )


def wheelhouseIn(directory: Path) -> Path:
    """
    Fetch the wheels that pbkit needs at run time and to be built, once for all environments.

    :return: the directory.
    """
    configuration = configparser.ConfigParser()
    configuration.read(ROOT / "setup.cfg")
    needed = configuration["options"]["install_requires"].split()
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-qq",
        "-w",
        directory,
        "setuptools>=68",
        "wheel",
        "mypy",
        "mypy-zope",
        *needed,
    ]
    run(*command, cwd=directory.parent, env=environment())
    return directory


def checkInstalling(scratch: Path) -> None:
    """
    Check each kind of installation.

    :param scratch: an empty directory.
    :raises CheckFailed: if a check fails.
    """
    wheelhouse = wheelhouseIn(scratch / "wheelhouse")
    for compiles, without in ((True, ""), (False, " without a C compiler")):
        names = [scratch / f"{name}{'' if compiles else '-pure'}" for name in ("plain", "editable")]
        trees = [copyOfTree(name.with_name(name.name + "-tree")) for name in names]
        plain, editable = (Environment(name, wheelhouse, compiles) for name in names)
        plain.survives(f"pip install .{without}", trees[0])
        editable.survives(f"pip install -e .{without}", "-e", trees[1], editable=True)

    tree = copyOfTree(scratch / "built-tree")
    held = filesIn(tree)
    env = environment() | {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheelhouse),
        "PIP_CONFIG_FILE": os.devnull,
    }
    out = scratch / "dist"
    run(sys.executable, "-m", "build", "--sdist", "--wheel", "--outdir", out, tree, cwd=scratch, env=env)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    check(not held - packed, f"the source distribution lacks (see MANIFEST.in): {sorted(held - packed)}")
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist, cwd=scratch, env=env)
    print("installing: twine accepts the wheel and the source distribution", flush=True)
    Environment(scratch / "wheel", wheelhouse, typeChecks=True).survives("a wheel of the tree", wheel)

    again = scratch / "again"
    pip = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "-w", again, sdist]
    run(*pip, cwd=scratch, env=env)
    (wheel,) = again.glob("*.whl")
    Environment(scratch / "sdist", wheelhouse).survives("a wheel of the source distribution", wheel)


def lineFrom(process: subprocess.Popen[bytes], pattern: str) -> str:
    """
    Wait until a process prints a line.

    :param pattern: a regular expression to search for in each line.
    :return: the line.
    :raises CheckFailed: if there is no such line within `TIMEOUT` seconds or before the process exits.
    """
    check(process.stdout, "the process has no pipe for its output")
    output = cast(IO[bytes], process.stdout)
    deadline, said = time.monotonic() + TIMEOUT, b""
    while time.monotonic() < deadline:
        for line in said.decode(errors="replace").split("\n")[:-1]:
            if re.search(pattern, line):
                return line
        if select.select([output], [], [], 1.0)[0]:
            more = os.read(output.fileno(), 65536)
            check(more, f"the process exited before it printed {pattern!r}:\n{said.decode(errors='replace')}")
            said += more
    raise CheckFailed(f"no line like {pattern!r} within {TIMEOUT:.0f} s:\n{said.decode(errors='replace')}")


def greeted(command: list[str], cwd: Path, env: dict[str, str]) -> None:
    """
    Start a server, and run the command line that it prints.

    :param env: the environment; its PATH has the command `pbkit`.
    :raises CheckFailed: if the server does not answer.
    """
    server = subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        line = lineFrom(server, r"PBKIT_PASSWORD=\S+ .*\bcall\b").strip()
        said = run("sh", "-c", line, cwd=cwd, env=env)
        check("<1>hello guest" in said, f"the printed command line did not work: {line!r} printed {said!r}")
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate(timeout=30)
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.communicate()


def checkReadme(scratch: Path) -> None:
    """
    Run the README's first command on a free port, then the command line that it prints. Do it twice, because the second
    time the virtual environment exists.

    :param scratch: an empty directory.
    :raises CheckFailed: if it does not serve.
    """
    commands = re.findall(r"^python3 -m venv .*twistd -n pbkit.*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    check(len(commands) == 1, f"README.md should have one command that serves: {commands}")
    tree = copyOfTree(scratch / "readme-tree")
    env = environment()
    paths = os.pathsep.join([str(tree / ".venv" / "bin"), env["PATH"]])
    for attempt in ("first", "second"):
        greeted(["bash", "-c", f"{commands[0]} --listen tcp:0:interface=127.0.0.1"], tree, {**env, "PATH": paths})
        print(f"installing: the README's first command serves, {attempt} run", flush=True)


def main() -> int:
    """
    Run the chosen checks.

    :return: the exit status.
    """
    options = argparse.ArgumentParser(description="Check that pbkit can be installed, served and removed")
    options.add_argument("what", nargs="*", help='"install" or "readme" (default: both)')
    what = options.parse_args().what or ["install", "readme"]
    with tempfile.TemporaryDirectory(prefix="pbkit-installing-") as scratch:
        try:
            if "install" in what:
                checkInstalling(Path(scratch))
            if "readme" in what:
                checkReadme(Path(scratch))
        except CheckFailed as error:
            print(f"installing: FAILED: {error}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
