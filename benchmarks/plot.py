"""
The picture: server CPU per operation, with a panel for each work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.contenders import CONTENDERS
from benchmarks.figures import Figures
from benchmarks.works import Work

COLUMNS = 3
#: The colours, by the beginning of a contender's name.
COLOURS = {
    "stock": "#999999",
    "pbkit-pure": "#4c9be8",
    "pbkit-compiled": "#0b5394",
    "line": "#d9d9d9",
    "frames": "#d9d9d9",
}
OTHERS = "#e69f00"
#: The ratio above which a panel is logarithmic. On a linear scale the smallest bar would be invisible.
FAR_APART = 25


def canPlot() -> bool:
    """
    Return True if matplotlib is installed.
    """
    return find_spec("matplotlib") is not None


def plot(figures: Figures, works: Sequence[Work], to: Path) -> bool:
    """
    Draw the picture.

    :param to: the PNG file.
    :return: True if there was anything to draw.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn = [work for work in works if any(name == work.name for name, _ in figures.samples)]
    if not drawn:
        return False
    columns = min(COLUMNS, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(6.5 * columns, 4.2 * rows), squeeze=False)
    for panel, work in zip(axes.flat, drawn, strict=False):
        _panel(panel, figures, work)
    for panel in list(axes.flat)[len(drawn) :]:
        panel.set_visible(False)
    figure.tight_layout()
    figure.savefig(to, dpi=80)
    pyplot.close(figure)
    return True


def _panel(panel: Any, figures: Figures, work: Work) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    what, scale, unit = ("memory", 1e-3, "KB each") if work.kind == "memory" else ("cpu", 1e6, "server CPU each, µs")
    spreads = [(c, figures.spread(work, c.name, what)) for c in reversed(CONTENDERS)]
    # A logarithm needs a value above 0, and a very short run may have measured 0.
    found = [(c, spread) for c, spread in spreads if spread is not None and spread.least > 0]
    if not found:
        return
    names = [contender.name for contender, _ in found]
    medians = [spread.median * scale for _, spread in found]
    below = [(spread.median - spread.least) * scale for _, spread in found]
    above = [(spread.most - spread.median) * scale for _, spread in found]
    colours = [next((c for start, c in COLOURS.items() if name.startswith(start)), OTHERS) for name in names]
    panel.barh(names, medians, xerr=[below, above], color=colours, ecolor="#444444")
    panel.margins(x=0.2)
    if max(medians) / min(medians) < FAR_APART:
        panel.set_xlim(0, None)
    else:
        panel.set_xscale("log")
        # Start at a power of ten. The start of a logarithmic bar is arbitrary, so it should not favour a contender.
        panel.set_xlim(10 ** math.floor(math.log10(min(medians))), None)
        panel.xaxis.set_minor_formatter(NullFormatter())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,g}"))
    panel.set_xlabel(unit)
    panel.set_title(work.title)
    for n, median in enumerate(medians):
        panel.annotate(f" {median:,.3g}" if median < 1000 else f" {median:,.0f}", (median, n), va="bottom", fontsize=7)
