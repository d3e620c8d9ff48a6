"""
What was found.
"""

from __future__ import annotations

import statistics
from typing import Any

import attrs

from benchmarks.contenders import Contender
from benchmarks.works import Work

#: Of each figure, whether less is better.
LESS_IS_BETTER = {"cpu": True, "rate": False, "memory": True}


@attrs.frozen
class Spread:
    """The samples of one figure: the median, and the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, samples: list[float]) -> Spread:
        """:param samples: one or more."""
        return cls(statistics.median(samples), min(samples), max(samples))


class Figures:
    """
    By work and contender: the samples, or why there are none.

    :ivar samples: in the order of the rounds.
    :ivar why: why a contender, or with a work's name that work of his, was left out.
    :ivar about: what each contender's processes said of themselves.
    """

    def __init__(self) -> None:
        self.samples: dict[tuple[str, str], list[dict[str, float]]] = {}
        self.why: dict[tuple[str, str], str] = {}
        self.about: dict[str, dict[str, Any]] = {}

    def add(self, contender: Contender, work: Work, sample: dict[str, float]) -> None:
        """One round's."""
        self.samples.setdefault((work.name, contender.name), []).append(sample)

    def leftOut(self, contender: Contender, work: Work | None, why: str) -> None:
        """It was not measured, or could not go on: what was found before that says nothing then."""
        self.why[work.name if work is not None else "", contender.name] = why
        if work is not None:
            self.samples.pop((work.name, contender.name), None)

    def met(self, contender: Contender, hello: dict[str, Any]) -> None:
        """What a process of its said."""
        about = {key: said for key, said in hello.items() if key != "address"}
        self.about.setdefault(contender.name, {}).update(about)

    def spread(self, work: Work, contender: str, figure: str) -> Spread | None:
        """
        :param contender: its name.
        :param figure: ``cpu``, ``rate`` or ``memory``.
        :return: None where it was not measured.
        """
        samples = [sample[figure] for sample in self.samples.get((work.name, contender), ()) if figure in sample]
        return Spread.of(samples) if samples else None

    def ratio(self, work: Work, contender: Contender, figure: str) -> float | None:
        """
        How many times better than its baseline a contender is, by the medians: above 1 is better.

        :return: None where one of them was not measured.
        """
        mine, stock = (self.spread(work, name, figure) for name in (contender.name, contender.comparedAt(work)))
        if mine is None or stock is None or not (mine.median > 0 and stock.median > 0):
            return None
        return stock.median / mine.median if LESS_IS_BETTER[figure] else mine.median / stock.median
