"""
The results.
"""

from __future__ import annotations

import statistics
from typing import Any

import attrs

from benchmarks.contenders import Contender
from benchmarks.works import Work

#: For each figure, True if less is better.
LESS_IS_BETTER = {"cpu": True, "rate": False, "memory": True}


@attrs.frozen
class Spread:
    """The samples of one figure: median, minimum and maximum."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, samples: list[float]) -> Spread:
        """Summarize one or more samples."""
        return cls(statistics.median(samples), min(samples), max(samples))


class Figures:
    """
    The samples by work and contender, or the reason why there are none.

    :ivar samples: the samples, in the order of the rounds.
    :ivar why: the reason why a contender, or one of its works, was left out.
    :ivar about: what each contender's processes reported about themselves.
    """

    def __init__(self) -> None:
        self.samples: dict[tuple[str, str], list[dict[str, float]]] = {}
        self.why: dict[tuple[str, str], str] = {}
        self.about: dict[str, dict[str, Any]] = {}

    def add(self, contender: Contender, work: Work, sample: dict[str, float]) -> None:
        """Add the sample of a round."""
        self.samples.setdefault((work.name, contender.name), []).append(sample)

    def leftOut(self, contender: Contender, work: Work | None, why: str) -> None:
        """Record that a contender was not measured, or failed. Discard its earlier samples."""
        self.why[work.name if work is not None else "", contender.name] = why
        if work is not None:
            self.samples.pop((work.name, contender.name), None)

    def met(self, contender: Contender, hello: dict[str, Any]) -> None:
        """Record what a contender's process reported about itself."""
        about = {key: said for key, said in hello.items() if key != "address"}
        self.about.setdefault(contender.name, {}).update(about)

    def spread(self, work: Work, contender: str, figure: str) -> Spread | None:
        """
        Return the spread of a figure, or None if it was not measured.

        :param contender: the name of the contender.
        :param figure: ``cpu``, ``rate`` or ``memory``.
        """
        samples = [sample[figure] for sample in self.samples.get((work.name, contender), ()) if figure in sample]
        return Spread.of(samples) if samples else None

    def ratio(self, work: Work, contender: Contender, figure: str) -> float | None:
        """
        Return how many times better than its baseline a contender is, by the medians: above 1 is better.

        :return: None if one of them was not measured.
        """
        mine, stock = (self.spread(work, name, figure) for name in (contender.name, contender.comparedAt(work)))
        if mine is None or stock is None or not (mine.median > 0 and stock.median > 0):
            return None
        return stock.median / mine.median if LESS_IS_BETTER[figure] else mine.median / stock.median
