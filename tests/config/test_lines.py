"""`pbkit.config.lines`: the line number of each value of a file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbkit.config.lines import locate
from pbkit.config.values import Path
from pbkit.serving.showconfig import tomlKey, tomlValue

#: Each line with keys ends in a comment with their paths.
CASES = r'''
top = 1                                 #> top
"quoted" = 2                            #> quoted
'li.teral' = 3                          #> li.teral
"esc\u0061ped\"" = 4                    #> escaped"
a.b . "c" = 5                           #> a a/b a/b/c
a.d = 6                                 #> a/d
"" = 7                                  #>

# comment = 1
[table]                                 #> table
key = "value # = [ ] { }"               #> table/key
literal = 'C:\'                         #> table/literal
long = """                              #> table/long
notakey = 1
[notatable]
\""" "" """
after = """one "quote" and two""""      #> table/after
after2 = """and two"""""                #> table/after2
empty = """"""                          #> table/empty
rawlong = QQQ                           #> table/rawlong
notakey = 1 \'QQQ
rawempty = ''                           #> table/rawempty
date = 1979-05-27 07:32:00              #> table/date
number = 1_000.5e3                      #> table/number
array = [                               #> table/array
    "a",                                #> table/array/0
    # b = 1
    [ 1,                                #> table/array/1 table/array/1/0
      2 ] , "]"                         #> table/array/1/1 table/array/2
    ,
    { x = 1, y.z = 2 },                 #> table/array/3 table/array/3/x table/array/3/y table/array/3/y/z
    { x = [0] },                        #> table/array/4 table/array/4/x table/array/4/x/0
]
none = []                               #> table/none
nothing = {}                            #> table/nothing

[table.sub."dotted.one"]                #> table/sub table/sub/dotted.one
x=1                                     #> table/sub/dotted.one/x

[[many]]                                #> many many/0
x = 1                                   #> many/0/x
[many.inner]                            #> many/0/inner
y = 1                                   #> many/0/inner/y
[[ many ]]                              #> many/1
x = 2                                   #> many/1/x
[[many.deep]]                           #> many/1/deep many/1/deep/0
z = 1                                   #> many/1/deep/0/z
[[many.deep]]                           #> many/1/deep/1
z = 2                                   #> many/1/deep/1/z
'''.replace("QQQ", "'" * 3)


def named(text: str) -> dict[str, int]:
    """Return the expected line number by path."""
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        _, mark, paths = line.partition("#>")
        if mark:
            found.update(dict.fromkeys(paths.split() or [""], number))
    return found


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of each value, table and array of a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        yield (*path, name)
        yield from paths(one, (*path, name))


KEYS = st.text(max_size=5) | st.sampled_from(["a", "b", "a.b", "#", "'", '"', "]", "="])
TEXTS = st.text(max_size=12) | st.sampled_from(["'''", '"""', "]", "# x = 1", "\\", "[a]\nb = 1"])
LEAVES = TEXTS | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
TABLES = st.dictionaries(KEYS, VALUES | st.lists(st.dictionaries(KEYS, LEAVES, max_size=2), min_size=1), max_size=4)
DOCUMENTS = st.dictionaries(KEYS, TABLES, max_size=4)


class Writer:
    """
    Writes a document down in TOML, with blanks and comments where there can be some, and knows where all stands.

    :param draw: chooses between the ways of writing.
    """

    def __init__(self, draw: Any) -> None:
        self._draw = draw
        self.text = ""
        self.lines: dict[Path, int] = {}

    def write(self, text: str) -> None:
        """Append text."""
        self.text += text

    def note(self, path: Path) -> None:
        """Note the current line for a path."""
        self.lines.setdefault(path, self.text.count("\n") + 1)

    def gap(self) -> None:
        """Write blanks and comments, as they may stand between lines and in arrays."""
        self.write(self._draw(st.sampled_from(["", " ", "\n", "\r\n", " # x = [1\n\t", "\n\n#]\n"])))

    def document(self, tables: dict[str, dict[str, Any]]) -> None:
        """Write a whole document."""
        for name, table in tables.items():
            self.gap()
            self.write("\n[ ")
            self.note((name,))
            self.write(tomlKey(name) + " ]\n")
            arrays = {}
            for inner, value in table.items():
                whole = isinstance(value, list) and value and all(isinstance(one, dict) for one in value)
                if whole and self._draw(st.booleans()):
                    arrays[inner] = value
                else:
                    self.pair((name, inner), value)
                    self.write("\n")
            for inner, elements in arrays.items():
                for place, element in enumerate(elements):
                    self.gap()
                    self.write("\n[[")
                    self.note((name, inner))
                    self.note((name, inner, place))
                    self.write(f"{tomlKey(name)} . {tomlKey(inner)}]] # [[x]]\n")
                    for last, value in element.items():
                        self.pair((name, inner, place, last), value)
                        self.write("\n")

    def pair(self, path: Path, value: Any) -> None:
        """Write a key and its value."""
        self.note(path)
        self.write(f"{tomlKey(str(path[-1]))} = ")
        self.value(path, value)

    def value(self, path: Path, value: Any) -> None:
        """Write a value in one of its possible forms."""
        if isinstance(value, list):
            self.write("[")
            for place, one in enumerate(value):
                self.gap()
                self.note((*path, place))
                self.value((*path, place), one)
                self.gap()
                self.write(",")
            self.gap()
            self.write("]")
        elif isinstance(value, dict):
            self.write("{")
            for place, (name, one) in enumerate(value.items()):
                self.write(", " if place else " ")
                self.pair((*path, name), one)
            self.write("}")
        elif isinstance(value, str) and (ways := list(longWays(value))) and self._draw(st.booleans()):
            self.write(self._draw(st.sampled_from(ways)))
        else:
            self.write(tomlValue(value))


def longWays(value: str) -> Iterator[str]:
    """Yield the triple-quoted forms of a string that need no escapes."""
    if all(character == "\n" or character.isprintable() for character in value):
        for quotes in ['"""', "'''"]:
            # TOML ignores a line end right after the quotes.
            if quotes not in value and not (quotes[0] == '"' and "\\" in value):
                yield f"{quotes}\n{value}{quotes}"


class LocateTests(SynchronousTestCase):
    """`locate`."""

    def test_everyWayOfWritingIsRead(self) -> None:
        """Each form of key, table and value is found on the line where it begins, and nothing else is found."""
        tomllib.loads(CASES)
        found = {"/".join(map(str, path)): line for path, line in locate(CASES).items()}
        self.assertEqual(found, named(CASES))

    def test_emptyTextHasNothing(self) -> None:
        """Blanks and comments alone yield no paths."""
        for text in ["", "\n", "# x = 1", " \t\r\n# x\n"]:
            self.assertEqual(dict(locate(text)), {})

    def test_firstLineIsOne(self) -> None:
        """Line numbers start at 1, with any line ends."""
        self.assertEqual(dict(locate("a = 1\r\nb = 2")), {("a",): 1, ("b",): 2})

    @settings(max_examples=300, deadline=None)
    @given(DOCUMENTS, st.data())
    def test_anyDocumentIsReadAsTheLibraryReadsIt(self, document: dict[str, dict[str, Any]], data: Any) -> None:
        """In any document with any layout, each value is found on its line."""
        writer = Writer(data.draw)
        writer.document(document)
        self.assertEqual(tomllib.loads(writer.text), document)
        found = locate(writer.text)
        self.assertEqual(dict(found), writer.lines)
        self.assertEqual(set(found), set(paths(document)))
