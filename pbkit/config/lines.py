"""
The line number of each key and value in a TOML file. The standard library's `tomllib` does not report them.

Only for text that `tomllib` has parsed: the scanner here validates nothing.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping

from pbkit.config.values import Path

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
#: The forms of a string, the longer quotes first: a string in three quotes may end in one or two quotes of its own.
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")'
    r"|'''.*?'{3,5}(?!')"
    r"""|"(?:[^"\\]|\\.)*"|'[^']*'""",
    re.DOTALL,
)
#: Numbers, dates and booleans. None contains one of the excluded characters.
_BARE = re.compile(r"[^,\]}#\n]*")


def locate(text: str) -> Mapping[Path, int]:
    """
    Return the line number, from 1, of each key, table and array element.

    :param text: TOML that `tomllib` can read.
    :return: by path; a path consists of keys and, within arrays, of indexes.
    :raises RecursionError: the text is nested too deeply.
    """
    return _Scanner(text).lines


class _Scanner:
    """Walks through TOML text once, from top to bottom, and notes where each key begins."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        #: The number of tables seen so far in each array of tables.
        self._counts: dict[Path, int] = {}
        table: Path = ()
        while self._skip():
            if self._take("[["):
                table = self._header(self._key(), True)
                self._take("]]")
            elif self._take("["):
                table = self._header(self._key(), False)
                self._take("]")
            else:
                self._pair(table)

    def _skip(self) -> bool:
        """Skip blanks and comments. Return True if there is more text."""
        self._match(_BLANK)
        return self._at < len(self._text)

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match[0]

    def _take(self, token: str) -> bool:
        self._skip()
        if not self._text.startswith(token, self._at):
            return False
        self._at += len(token)
        return True

    def _note(self, path: Path) -> None:
        # The first mention counts: a table that is only implied by its parts has the line of the first part.
        self.lines.setdefault(path, bisect_left(self._newlines, self._at) + 1)

    def _key(self) -> list[str]:
        self._skip()
        names: list[str] = []
        while True:
            token = self._match(_KEY)
            # A quoted key may contain escapes, so let the library decode it.
            names.append(tomllib.loads(f"k={token}")["k"] if token[:1] in ("'", '"') else token)
            if not self._match(_DOT):
                return names

    def _header(self, names: list[str], array: bool) -> Path:
        path: Path = ()
        for depth, name in enumerate(names, 1):
            path += (name,)
            if array and depth == len(names):
                self._note(path)
                self._counts[path] = self._counts.get(path, 0) + 1
            elif path not in self._counts:
                self._note(path)
            if path in self._counts:
                path += (self._counts[path] - 1,)
                self._note(path)
        return path

    def _pair(self, table: Path) -> None:
        path = table
        for name in self._key():
            path += (name,)
            self._note(path)
        self._take("=")
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip()
        if self._take("["):
            place = 0
            while not self._take("]"):
                self._note((*path, place))
                self._value((*path, place))
                self._take(",")
                place += 1
        elif self._take("{"):
            while not self._take("}"):
                self._pair(path)
                self._take(",")
        elif not self._match(_STRING):
            self._match(_BARE)
