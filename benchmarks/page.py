"""
The page of results, in Markdown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.figures import Figures, Spread
from benchmarks.works import Work

PLOT = "benchmarks.png"

INTRODUCTION = """\
The same work, done by pbkit, by stock Perspective Broker and by other libraries, in one run of `python -m benchmarks`.
`benchmarks/README.md` says how to repeat it.

In each round, each contender was measured once, in processes that were already warm. A figure is the median of the
rounds, followed by the minimum and maximum. *Server CPU* is the user and system time of the server's process per
operation. *Each second* is the number of operations that one client process completed, which is often limited by the
client and not by the server. *Times stock* is how many times better the median is than stock PB: above 1 means less
CPU, more operations, or less memory. Contenders with a realm, and the login of the raw lines, are compared with stock
PB logged in; all others with stock PB's root object. TCP_NODELAY is on for all, also for stock PB, whose default is
off. Log messages are created but not written, except where a log file is named. The drop-in classes run stock's own
program."""


def number(figure: float) -> str:
    """
    Return a figure with about three digits.
    """
    digits = 0 if figure >= 100 else 1 if figure >= 10 else 2
    return f"{figure:,.{digits}f}"


def spread(found: Spread | None, scale: float) -> str:
    """
    Return a median with minimum and maximum.

    :param scale: the factor for the unit.
    """
    if found is None:
        return ""
    median, least, most = (number(figure * scale) for figure in (found.median, found.least, found.most))
    return f"{median} ({least} to {most})"


def times(ratio: float | None) -> str:
    """
    Return the text of a ratio, or an empty string.
    """
    return "" if ratio is None else f"{number(ratio)}×"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """
    Return the lines of a table whose first column is left-aligned and whose others are right-aligned.
    """
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    lines.insert(1, "| --- |" + " ---: |" * (len(head) - 1))
    return [*lines, ""]


def _measured(figures: Figures, work: Work) -> list[Contender]:
    return [contender for contender in CONTENDERS if (work.name, contender.name) in figures.samples]


def overview(figures: Figures, works: Sequence[Work]) -> list[str]:
    """
    Return the table of server CPU in times stock, with all works side by side.
    """
    measured = [work for work in works if work.kind != "memory" and _measured(figures, work)]
    everyone = [c for c in CONTENDERS if any((work.name, c.name) in figures.samples for work in measured)]
    if not measured:
        return []
    rows = [[c.title, *(times(figures.ratio(work, c, "cpu")) for work in measured)] for c in everyone]
    return ["## Server CPU, times stock", "", *table(["", *(work.name for work in measured)], rows)]


def _oneWork(figures: Figures, work: Work) -> list[str]:
    contenders = _measured(figures, work)
    if not contenders:
        return []
    rows = []
    if work.kind == "memory":
        head = ["", "server memory each, KB", "times stock"]
        for c in contenders:
            rows.append(
                [c.title, spread(figures.spread(work, c.name, "memory"), 1e-3), times(figures.ratio(work, c, "memory"))]
            )
    else:
        head = ["", "server CPU each, µs", "times stock", "each second", "times stock"]
        for c in contenders:
            cpu, rate = (figures.spread(work, c.name, figure) for figure in ("cpu", "rate"))
            ratios = [times(figures.ratio(work, c, figure)) for figure in ("cpu", "rate")]
            rows.append([c.title, spread(cpu, 1e6), ratios[0], spread(rate, 1), ratios[1]])
    return [f"## {work.title}", "", *table(head, rows)]


def growth(figures: Figures, works: Sequence[Work]) -> list[str]:
    """
    Return the table of server CPU per int by the length of the list. It is constant if the cost is proportional.
    """
    lists = [work for work in works if work.payload.startswith("ints") and _measured(figures, work)]
    if len(lists) < 2:
        return []
    rows = []
    for c in CONTENDERS:
        found = [figures.spread(work, c.name, "cpu") for work in lists]
        cells = [
            "" if one is None else number(one.median * 1e9 / work.size) for one, work in zip(found, lists, strict=True)
        ]
        first, last = found[0], found[-1]
        if any(cells):
            both = first is not None and last is not None and first.median > 0
            ratio = last.median * lists[0].size / (first.median * lists[-1].size) if both and first and last else None
            rows.append([c.title, *cells, "" if ratio is None else number(ratio)])
    head = ["server CPU for each int, ns", *(f"{work.size:,} ints" for work in lists), "longest to shortest"]
    return ["## Growth with the length of a list", "", *table(head, rows)]


def notMeasured(figures: Figures) -> list[str]:
    """
    Return the list of what was left out, with the reasons.
    """
    titles = {contender.name: contender.title for contender in CONTENDERS}
    reasons: dict[tuple[str, str], list[str]] = {}
    for (work, name), why in figures.why.items():
        reasons.setdefault((titles[name], why), []).append(work)
    lines = []
    for (title, why), works in reasons.items():
        where = ", ".join(filter(None, works))
        lines.append(f"- {title}: {where}: {why}" if where else f"- {title}: {why}")
    return ["## Not measured", "", *lines, ""] if lines else []


def remarks(figures: Figures) -> list[str]:
    """
    Return the remarks about contenders.
    """
    here = {name for _, name in figures.samples}
    lines = [f"- {c.title}: {c.remark}" for c in CONTENDERS if c.remark and c.name in here]
    return ["## Remarks", "", *lines, ""] if lines else []


def codecs(figures: Figures) -> str:
    """
    Return which codec each pbkit server reported.
    """
    said: dict[str, str] = {}
    for contender in CONTENDERS:
        if "codec" in figures.about.get(contender.name, {}):
            # The middle of a title such as "pbkit, compiled, stock client".
            _, kind, _ = contender.title.split(", ")
            said[kind] = figures.about[contender.name]["codec"]
    return "; ".join(f"{title}: {codec}" for title, codec in said.items())


def page(figures: Figures, works: Sequence[Work], description: dict[str, str], command: str, plotted: bool) -> str:
    """
    Return the whole page.

    :param description: as `benchmarks.machine.description`.
    :param command: the command that made the page.
    :param plotted: True if the picture exists.
    """
    facts = description | {"pbkit's codec": codecs(figures) or "not measured", "command": f"`{command}`"}
    lines = ["# Benchmarks", "", INTRODUCTION, ""]
    lines += table(["", "this run"], ([name, fact] for name, fact in facts.items()))
    if plotted:
        lines += [f"![server CPU for one operation, by work and contender]({PLOT})", ""]
    lines += overview(figures, works)
    for work in works:
        lines += _oneWork(figures, work)
    lines += [*growth(figures, works), *notMeasured(figures), *remarks(figures)]
    return "\n".join(lines).rstrip() + "\n"
