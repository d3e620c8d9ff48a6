"""
The command: ``python -m benchmarks``, from the top of the tree.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine, page, plot
from benchmarks.contenders import CONTENDERS
from benchmarks.rounds import measure
from benchmarks.works import WORKS, matches

#: A quick run only shows that everything works.
QUICK_ROUNDS, QUICK_SECONDS = 1, 0.05


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def parser() -> argparse.ArgumentParser:
    """
    Return the parser of the options.
    """
    options = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure pbkit, stock PB and other libraries in one run, interleaved.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="A prefix of a name, up to a dash or slash, selects all names with that prefix.\n\n"
        + "peers:\n"
        + "".join(f"  {contender.name:28} {contender.title}\n" for contender in CONTENDERS)
        + "\nwork:\n"
        + "".join(f"  {work.name:28} {work.title}\n" for work in WORKS),
    )
    options.add_argument(
        "--peers", type=_names, metavar="A,B", help="measure only these contenders (default: all that are installed)"
    )
    options.add_argument("--work", type=_names, metavar="A,B", help="do only this work")
    options.add_argument("--rounds", type=int, help="samples of each measurement (default: 5)")
    options.add_argument("--seconds", type=float, help="about how long one sample takes (default: 1)")
    options.add_argument(
        "--quick", action="store_true", help="one short round, without the work that takes long to set up"
    )
    options.add_argument(
        "--out", type=Path, metavar="DIR", help=f"write benchmarks.md and {page.PLOT} to this directory"
    )
    return options


def spoken(chosen: argparse.Namespace, rounds: int, seconds: float) -> str:
    """
    Return the command for the page: the options that affect the figures, without paths.
    """
    lists = [f" --{name} {','.join(names)}" for name in ("peers", "work") if (names := getattr(chosen, name))]
    quick = " --quick" if chosen.quick else ""
    return f"python -m benchmarks{''.join(lists)}{quick} --rounds {rounds} --seconds {seconds:g}"


def main(arguments: Sequence[str]) -> int:
    """
    Run the benchmarks. Return the exit status: 1 if nothing could be measured.
    """
    options = parser()
    chosen = options.parse_args(arguments)
    for what, wanted, known in (
        ("peers", chosen.peers, [contender.name for contender in CONTENDERS]),
        ("work", chosen.work, [work.name for work in WORKS]),
    ):
        for one in wanted or ():
            if not any(matches(name, [one]) for name in known):
                options.error(f"--{what} {one}: unknown name: expected one of {', '.join(known)}")
    rounds = chosen.rounds or (QUICK_ROUNDS if chosen.quick else 5)
    seconds = chosen.seconds or (QUICK_SECONDS if chosen.quick else 1.0)
    if rounds < 1 or seconds <= 0:
        options.error("invalid --rounds or --seconds: expected --rounds of 1 or more, --seconds above 0")
    if chosen.out is not None and not chosen.out.is_dir():
        options.error(f"--out {chosen.out}: no such directory")
    works = [w for w in WORKS if (matches(w.name, chosen.work) if chosen.work else w.quick or not chosen.quick)]
    contenders = [c for c in CONTENDERS if chosen.peers is None or matches(c.name, chosen.peers)]

    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", file=sys.stderr, flush=True)

    figures = measure(works, contenders, rounds, seconds, say)
    plotted = False
    if chosen.out is not None:
        if plot.canPlot():
            plotted = plot.plot(figures, works, chosen.out / page.PLOT)
        else:
            say("no picture: matplotlib is not installed")
    text = page.page(figures, works, machine.description(), spoken(chosen, rounds, seconds), plotted)
    print(text, end="")
    if chosen.out is not None:
        (chosen.out / "benchmarks.md").write_text(text, encoding="utf-8")
    return 0 if figures.samples else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
