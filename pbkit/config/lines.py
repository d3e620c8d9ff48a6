"""
On which line of a TOML file each value stands, which the standard library's `tomllib` does not tell.

Only for a text that `tomllib` has taken: nothing is checked here.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
#: The forms of text, the longer quotes first: a text in three quotes may end in one or two of its own.
_TEXT = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")'
    r"|'''.*?'{3,5}(?!')"
    r"""|"(?:[^"\\]|\\.)*"|'[^']*'""",
    re.DOTALL,
)
#: Numbers, dates and truth values. None has any of these characters within.
_BARE = re.compile(r"[^,\]}#\n]*")


def locate(text: str) -> Mapping[Path, int]:
    """
    :param text: TOML that `tomllib` can read.
    :return: the line, from 1, on which the key of each value and each table stands, and each element of an array.
        A path goes from the top by keys and, within arrays, by places.
    :raises RecursionError: it is nested too deep.
    """
    return _Scan(text).lines


class _Scan:
    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        #: How many tables each array of tables has by now.
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
        """Pass over what says nothing; whether there is more."""
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
        # The first one that names it: a table that is made by its parts stands where the first of these does.
        self.lines.setdefault(path, bisect_left(self._newlines, self._at) + 1)

    def _key(self) -> list[str]:
        self._skip()
        names: list[str] = []
        while True:
            token = self._match(_KEY)
            # A key in quotes may have escapes, which the library knows how to read.
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
        elif not self._match(_TEXT):
            self._match(_BARE)
