"""
All the measurements, interleaved: in each round every contender is measured once, in turn.

Whatever else the machine does in a minute, it does to all of them. Each work has processes of its own, which are warm
when it is measured and gone before the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from benchmarks.contenders import Contender
from benchmarks.figures import Figures
from benchmarks.measuring import KINDS, Measurement
from benchmarks.process import NotHere, PeerFailed
from benchmarks.works import Work

#: Memory is measured so many times at most.
MEMORY_ROUNDS = 3


def measure(
    works: Iterable[Work], contenders: Iterable[Contender], rounds: int, seconds: float, say: Callable[[str], None]
) -> Figures:
    """
    Measure.

    :param rounds: how many samples of each; one more comes first, to warm up, and is thrown away.
    :param seconds: how long one takes, about.
    :param say: told how far it is.
    :return: what was found.
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
        # For memory each sample has new processes: there is nothing to warm, and they hardly differ.
        memory = work.kind == "memory"
        last = min(rounds, MEMORY_ROUNDS) if memory else rounds
        for number in range(1 if memory else 0, last + 1):
            say(f"{work.name}: round {number} of {last}" if number else f"{work.name}: warming up")
            # The other way round each time: else the same one always comes after the same other.
            for contender in list(running)[:: 1 if number % 2 else -1]:
                attempt(contender, partial(sample, contender, number > 0))
    finally:
        for measurement in running.values():
            measurement.close()
