"""The parts of a soak, each in a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from tests.transcripts import ROOT, environment

#: How many times the usual number of examples each round of the property tests has. A short soak has one round.
FACTORS = (1.0, 3.0, 10.0)
SHORT, SHORT_FACTOR = 120.0, 0.1

#: Seconds that a part may take beyond its time: to start, to finish its last step, to look at what is left.
GRACE = 120.0


class PartFailed(Exception):
    """A part found something wrong; the text says what."""


def run(words: Sequence[str], seconds: float, env: dict[str, str] | None = None) -> str:
    """
    Run a part's process to its end.

    :param words: the arguments for Python.
    :param seconds: how long it should take.
    :param env: additions to the environment.
    :return: what it wrote.
    :raises PartFailed: if it failed or did not end.
    """
    try:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            env={**environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds + GRACE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        said = error.output or b""
        text = said.decode(errors="replace") if isinstance(said, bytes) else said
        raise PartFailed(f"it did not end within {seconds + GRACE:.0f} s\n{text[-5000:]}") from None
    if done.returncode:
        raise PartFailed(f"exit status {done.returncode} of python {' '.join(words)}\n{done.stdout[-20000:]}")
    return done.stdout


def properties(seconds: float, seed: int) -> str:
    """
    Run the property tests with more and new examples, again and again.

    :return: a line that sums up.
    """
    until = time.monotonic() + seconds
    count = rounds = 0
    factors = iter((SHORT_FACTOR,) if seconds < SHORT else FACTORS)
    factor = next(factors)
    files = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "hypothesis" in path.read_text()]
    plugins = ["-n", "0", "-p", "tests.soak.examples", "-p", "no:cacheprovider"]
    # The last round should have time for more than importing the tests.
    while not rounds or time.monotonic() < until - 5:
        left = max(until - time.monotonic(), 1)
        order = {"factor": factor, "seed": seed + rounds, "seconds": left}
        words = ["-m", "pytest", "-q", *plugins, f"--hypothesis-seed={seed + rounds}", *files]
        said = run(words, left, {"PBKIT_SOAK": json.dumps(order)})
        ran = re.search(r"soak: ran (\d+) property tests", said)
        if ran is None or not int(ran[1]):
            raise PartFailed(f"no property test ran\n{said[-5000:]}")
        count, rounds = count + int(ran[1]), rounds + 1
        factor = next(factors, factor)
    return f"{count} property tests in {rounds} round(s) with up to {factor:g} times the examples"


def faults(seconds: float, seed: int) -> str:
    """Break connections in every way."""
    return _last(run(["-m", "tests.soak.faults", str(seconds), str(seed)], seconds))


def load(seconds: float, seed: int) -> str:
    """Load a server, and watch its memory and its pauses."""
    return _last(run(["-m", "tests.soak.load", str(seconds), str(seed)], seconds))


def codec(seconds: float, seed: int) -> str:
    """Fuzz the compiled codec under sanitizers."""
    return _last(run(["-m", "tests.fuzzcodec", "--seconds", f"{seconds:.0f}", "--seed", str(seed)], seconds))


def _last(said: str) -> str:
    return said.strip().rpartition("\n")[2]


PARTS: dict[str, Callable[[float, int], str]] = {
    "properties": properties,
    "faults": faults,
    "load": load,
    "codec": codec,
}


def main(arguments: Sequence[str]) -> int:
    """
    Run the parts one after another, each for an equal share of the time.

    :return: the exit status: 1 if a part found something wrong.
    """
    options = argparse.ArgumentParser(
        prog=".ci/soak", description="Property tests, random faults, mixed load and fuzzing, for as long as you like."
    )
    options.add_argument("--seconds", type=float, default=600.0, help="how long in all (default: 600)")
    options.add_argument("--seed", type=int, help="repeat the run that printed this number")
    options.add_argument("--only", choices=[*PARTS], action="append", help="only this part; can be given again")
    chosen = options.parse_args(arguments)
    if chosen.seconds <= 0:
        options.error(f"--seconds {chosen.seconds:g}: expected a number above 0")
    seed = random.randrange(2**31) if chosen.seed is None else chosen.seed
    names = chosen.only or [*PARTS]
    print(f"soak: {chosen.seconds:g} s for {', '.join(names)}; --seed {seed}; pid {os.getpid()}", flush=True)
    failed = []
    for name in names:
        began = time.monotonic()
        try:
            said = PARTS[name](chosen.seconds / len(names), seed)
        except PartFailed as error:
            failed.append(name)
            said = f"FAILED: {error}"
        print(f"soak: {name}: {said} ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"soak: FAILED: {', '.join(failed)}" if failed else "soak: nothing wrong was found")
    return 1 if failed else 0
