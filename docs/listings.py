"""
Keep the code on the pages equal to the files that the tests run.

A page contains the code that it explains, so that it can be read in the repository, without building anything. A
comment above each listing names the file::

    .. file: examples/tutorial/game.py, Player

    .. code-block:: python

       class Player(Avatar):
           ...

Run ``python docs/listings.py`` after a change to an example: it copies the files into the pages again. A test fails if
a page differs from a file. What may follow the path:

- nothing: the whole file;
- ``code``: the file without the docstring at its top;
- ``code before NAME``: the same, up to a class or function;
- ``NAME``: one class or function.

Paths are relative to ``docs/``. This module imports nothing outside the standard library.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from pathlib import Path

DOCS = Path(__file__).resolve().parent

#: How many columns of code fit beside the navigation, without a scroll bar.
WIDTH = 88

MARKER = re.compile(r"^( *)\.\. file: ([^\s,]+)(?:, (.+))?\n", re.M)

LANGUAGES = {"py": "python", "toml": "toml", "txt": "none", "out": "none"}


def select(text: str, part: str | None) -> str:
    """
    Return part of a Python file.

    :param text: the file.
    :param part: what a marker has after the path, or None for the whole file.
    :raises ValueError: if the file has no such class or function.
    """
    if part is None:
        return text
    lines = text.splitlines(keepends=True)
    body = ast.parse(text).body
    places: dict[str, tuple[int, int]] = {}
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            places[node.name] = (first - 1, node.end_lineno or first)
    first, last = 0, len(lines)
    name = part
    if part == "code" or part.startswith("code before "):
        if ast.get_docstring(ast.parse(text)) is not None:
            first = body[0].end_lineno or 0
        name = part.removeprefix("code").removeprefix(" before ")
        if name and name in places:
            last = places[name][0]
    elif name in places:
        first, last = places[name]
    if name and name not in places:
        raise ValueError(f"no class or function {name!r}: expected one of {', '.join(places)}")
    return "".join(lines[first:last]).strip("\n") + "\n"


def listing(path: str, part: str | None, indent: str = "") -> str:
    """
    Return the lines that a marker and its code block should have.

    :param path: the file, relative to ``docs/``.
    :param part: what the marker has after the path, or None for the whole file.
    :param indent: the spaces before the marker.
    :raises ValueError: if the file cannot be shown.
    """
    file = DOCS / path
    if not file.is_file():
        raise ValueError(f"no file {path}")
    suffix = file.name.removesuffix(".in").rpartition(".")[2]
    try:
        text = select(file.read_text(encoding="utf-8"), part)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    # What a program prints cannot be broken into shorter lines by hand, so the browser does it.
    options = "   :class: wrap\n" if suffix == "out" or file.name == "printed.toml" else ""
    marker = f".. file: {path}" + (f", {part}" if part else "")
    code = textwrap.indent(text, "   ")
    return textwrap.indent(f"{marker}\n\n.. code-block:: {LANGUAGES[suffix]}\n{options}\n{code}", indent)


def refreshed(page: str) -> str:
    """
    Return a page with each of its listings copied from the file again.

    :param page: the text of the page.
    :raises ValueError: if a marker names a file, class or function that does not exist.
    """
    pieces: list[str] = []
    end = 0
    for marker in MARKER.finditer(page):
        indent, path, part = marker.groups()
        pieces += [page[end : marker.start()], listing(path, part, indent)]
        # The old listing: a code block, which ends at the next line that is not further indented.
        old = re.compile(rf"(?:\n*{indent}\.\. code-block::[^\n]*\n(?:\n*{indent} +[^\n]+\n)*)?").match(
            page, marker.end()
        )
        assert old is not None
        end = old.end()
    return "".join([*pieces, page[end:]])


def shown(page: str) -> list[tuple[str, str | None]]:
    """
    Return the path and the part of each listing of a page.

    :param page: the text of the page.
    """
    return [(marker[2], marker[3]) for marker in MARKER.finditer(page)]


def pages() -> list[Path]:
    """Return the pages that may have listings."""
    return sorted(DOCS.rglob("*.rst"))


def main() -> None:
    """Copy the files into all pages, and print the names of the pages that changed."""
    for path in pages():
        page = path.read_text(encoding="utf-8")
        new = refreshed(page)
        if new != page:
            path.write_text(new, encoding="utf-8")
            print(path.relative_to(DOCS))


if __name__ == "__main__":
    sys.exit(main())
