"""
All measurements, interleaved: each round measures every contender once, in turn.

So other load on the machine affects all contenders alike. Each work has processes of its own, which are warm before it
is measured, and end before the next work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from benchmarks.contenders import Contender
from benchmarks.figures import Figures
from benchmarks.measuring import KINDS, Measurement
from benchmarks.process import NotHere, PeerFailed
from benchmarks.works import Work

#: The maximum number of measurements of memory.
MEMORY_ROUNDS = 3


def measure(
    works: Iterable[Work], contenders: Iterable[Contender], rounds: int, seconds: float, say: Callable[[str], None]
) -> Figures:
    """
    Measure everything.

    :param rounds: the number of samples. One more is taken first, to warm up, and discarded.
    :param seconds: the approximate length of a sample.
    :param say: called with the progress.
    :return: the results.
    """
    figures = Figures()
    going = []
    for contender in contenders:
        if contender.missing:
            figures.leftOut(contender, None, contender.missing)
        else:
            going.append(contender)
    for work in works:
        _measureOne(figures, work, going, rounds, seconds, say)
    return figures


def _measureOne(
    figures: Figures, work: Work, contenders: list[Contender], rounds: int, seconds: float, say: Callable[[str], None]
) -> None:
    running: dict[Contender, Measurement] = {}

    def attempt(contender: Contender, step: Callable[[], None]) -> None:
        try:
            step()
        except PeerFailed as error:
            say(f"  {contender.name}: {error}")
            if isinstance(error, NotHere):
                contenders.remove(contender)
                figures.leftOut(contender, None, str(error))
            else:
                figures.leftOut(contender, work, str(error))
            if contender in running:
                running.pop(contender).close()

    def begin(contender: Contender) -> None:
        running[contender] = KINDS[work.kind](contender, work)

    def sample(contender: Contender, warm: bool) -> None:
        found = running[contender].measure(seconds)
        for peer in running[contender].peers:
            figures.met(contender, peer.hello)
        if warm:
            figures.add(contender, work, found)

    say(f"{work.name}: starting")
    try:
        for contender in tuple(contenders):
            if contender.can(work):
                attempt(contender, partial(begin, contender))
            elif why := contender.whyNot(work):
                figures.leftOut(contender, work, why)
        # Each sample of memory has new processes, so there is nothing to warm up, and the samples hardly differ.
        memory = work.kind == "memory"
        last = min(rounds, MEMORY_ROUNDS) if memory else rounds
        for number in range(1 if memory else 0, last + 1):
            say(f"{work.name}: round {number} of {last}" if number else f"{work.name}: warming up")
            # Reverse the order in each round. Otherwise each contender would always follow the same other one.
            for contender in list(running)[:: 1 if number % 2 else -1]:
                attempt(contender, partial(sample, contender, number > 0))
    finally:
        for measurement in running.values():
            measurement.close()
