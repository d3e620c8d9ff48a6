"""
Run Twisted's own PB test suites with the drop-in classes in place of stock's: `python -m tests.twistedsuites`.

The suites run twice, each time in a process of its own: unchanged, and with `pb.Broker`, `pb.PBServerFactory` and
`pb.PBClientFactory` replaced by those of `pbkit.dropin` before a test module is imported. The exit status is 0 if

- each test that passes with stock passes with pbkit, compared by name, and none fails;
- the replacement worked: with pbkit, every broker and factory that the suites created was pbkit's, and they created
  about as many as with stock.

pytest and trial do not collect this module, because the replacement would affect the other tests of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

SUITES = ("twisted.spread.test", "twisted.words.test.test_service", "twisted.web.test.test_distrib")
WORSE = ("success", "skip", "todo", "failure")
SWAPPED = ("Broker", "PBServerFactory", "PBClientFactory")

#: The timeout of one run of the suites, in seconds. A run takes a second or two.
TIMEOUT = 240.0

#: Twisted 24.7.0 has this many tests. A stock run of fewer has not found all the suites.
FEWEST = 170


def run(classes: str, report: Path) -> int:
    """
    Run the suites in this process, and write each test's outcome to a file.

    :param classes: "stock" or "dropin".
    :param report: the file, for JSON.
    :return: 0 if every test passed.
    """
    from twisted.spread import pb

    made: Counter[str] = Counter()
    ours: dict[str, type] = {}
    stock = {name: getattr(pb, name) for name in SWAPPED}
    if classes == "dropin":
        from pbkit import dropin

        ours = {name: getattr(dropin, name) for name in SWAPPED}
        for name, swapped in ours.items():
            setattr(pb, name, swapped)
    for name, cls in {**stock, **ours}.items():
        _count(cls, name, tuple(ours.values()), made)
    for name in ours:
        _count(stock[name], name, tuple(ours.values()), made)

    # Import these only now: they import the test modules, which import names from pb.
    from twisted.trial import reporter, runner

    outcomes: dict[str, str] = {}

    class Recording(reporter.TextReporter):
        """Trial's reporter, which also records each test's worst outcome."""

    def record(method: str, outcome: str) -> None:
        tell = getattr(reporter.TextReporter, method)

        def add(self: Recording, test: Any, *args: Any) -> None:
            tell(self, test, *args)
            outcomes[test.id()] = max(outcomes.get(test.id(), "success"), outcome, key=WORSE.index)

        setattr(Recording, method, add)

    record("addSuccess", "success")
    record("addSkip", "skip")
    record("addExpectedFailure", "todo")
    record("addError", "failure")
    record("addFailure", "failure")

    trial = runner.TrialRunner(Recording, stream=sys.stdout, workingDirectory=f"trial_{classes}")
    result: Any = trial.run(runner.TestLoader().loadByNames(list(SUITES), recurse=True))
    passed = result.wasSuccessful()
    found = {"outcomes": outcomes, "made": made, "ran": result.testsRun, "passed": passed}
    report.write_text(json.dumps(found))
    return 0 if passed else 1


def _count(cls: Any, name: str, ours: tuple[type, ...], made: Counter[str]) -> None:
    """
    Count each instance of `cls` under "ours Broker" or "stock Broker". Count it once, although pbkit's constructor may
    call stock's, which counts too.
    """
    construct = cls.__init__
    marked = "_pbkitCounted"

    def counting(self: Any, *args: Any, **kw: Any) -> None:
        if not getattr(self, marked, False):
            made[f"{'ours' if isinstance(self, ours) else 'stock'} {name}"] += 1
        try:
            setattr(self, marked, True)
        except AttributeError:  # A class with slots: only its own constructor counts.
            pass
        construct(self, *args, **kw)

    cls.__init__ = counting


def judge(stock: dict[str, Any], dropin: dict[str, Any]) -> list[str]:
    """
    Compare the two runs.

    :param stock: the report of `run` with stock's classes.
    :param dropin: the report with pbkit's.
    :return: the problems, one line each.
    """
    wrong = []
    before, after = stock["outcomes"], dropin["outcomes"]
    if stock["ran"] < FEWEST:
        wrong.append(f"only {stock['ran']} tests ran with stock's classes: expected at least {FEWEST}")
    for test in sorted({*before, *after}):
        was, now = before.get(test, "not there"), after.get(test, "not there")
        if was == "failure":
            wrong.append(f"fails with stock's classes too, so this environment is unsuitable: {test}")
        elif now == "failure" or (was == "success" and now != "success"):
            wrong.append(f"{was} with stock's classes, {now} with pbkit's: {test}")
    if not dropin["passed"] and not wrong:
        wrong.append("trial reports that the run with pbkit's classes failed: see its output above")
    if dropin["ran"] < stock["ran"]:
        wrong.append(f"{dropin['ran']} tests ran with pbkit's classes, {stock['ran']} with stock's")
    for name in SWAPPED:
        theirs, ours = stock["made"].get(f"stock {name}", 0), dropin["made"].get(f"ours {name}", 0)
        if dropin["made"].get(f"stock {name}", 0):
            wrong.append(f"the replacement did not work: a stock {name} was created")
        # Tests with timers can create one more or less.
        if ours < max(1, theirs - 3):
            wrong.append(f"the replacement did not work: {ours} {name} of pbkit's were created, {theirs} of stock's")
    return wrong


def child(classes: str, scratch: Path) -> dict[str, Any]:
    """
    Run the suites in a process of their own.

    :param classes: "stock" or "dropin".
    :param scratch: the working directory.
    :return: the report of `run`.
    :raises SystemExit: if there is no report, or the run took more than `TIMEOUT` seconds.
    """
    report = scratch / f"{classes}.json"
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-m", "tests.twistedsuites", "--run", classes, "--report", str(report)]
    try:
        done = subprocess.run(
            command,
            cwd=scratch,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired as error:
        raise SystemExit(f"{error.output}\nthe suites took more than {TIMEOUT:.0f} s with {classes}") from None
    if done.returncode or not report.exists():
        print(done.stdout)
    if not report.exists():
        raise SystemExit(f"the suites did not run with {classes}: exit status {done.returncode}")
    outcome: dict[str, Any] = json.loads(report.read_text())
    return outcome


def main() -> int:
    """
    Run the suites both ways, compare, and print the result.

    :return: the exit status.
    """
    options = argparse.ArgumentParser(description="Run Twisted's own PB suites with the drop-in classes")
    options.add_argument("--run", choices=["stock", "dropin"], help="run the suites once, in this process")
    options.add_argument("--report", type=Path, help="the file for the outcomes of that run")
    chosen = options.parse_args()
    if chosen.run:
        return run(chosen.run, chosen.report)
    with tempfile.TemporaryDirectory() as scratch:
        stock, dropin = (child(classes, Path(scratch)) for classes in ("stock", "dropin"))
    for line in (wrong := judge(stock, dropin)):
        print(line)
    passed = Counter(dropin["outcomes"].values())["success"]
    made = ", ".join(f"{count} {name}" for name, count in sorted(dropin["made"].items()))
    print(f"Twisted's own suites: {stock['ran']} tests with stock; {dropin['ran']} with pbkit, {passed} passed")
    print(f"created in the run with pbkit: {made}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
