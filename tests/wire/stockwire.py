"""
Stock's Banana and jelly, with which the codec is compared, and the Hypothesis strategies for that.
"""

from __future__ import annotations

import math
import struct
from io import BytesIO
from typing import Any

from hypothesis import strategies as st
from twisted.spread.banana import Banana, BananaError
from twisted.spread.jelly import globalSecurity, jelly, unjelly

WORDS = sorted(Banana.outgoingVocabulary)
ATOMS = [b"unicode", b"boolean", b"set", b"frozenset", b"true", b"false"]


class StockBanana(Banana):
    """
    Stock's, without a connection.

    :ivar got: the expressions that were received.
    """

    def __init__(self, vocabulary: bool) -> None:
        super().__init__()
        self.setPrefixLimit(64)
        self.currentDialect = b"pb" if vocabulary else b"none"
        self.got: list[Any] = []

    def expressionReceived(self, obj: Any) -> None:
        """Receive an expression."""
        self.got.append(obj)


def stockBytes(expression: Any, vocabulary: bool = True) -> bytes:
    """Return the bytes of an expression."""
    out = BytesIO()
    StockBanana(vocabulary)._encode(expression, out.write)
    return out.getvalue()


def stockExpression(data: bytes, vocabulary: bool = True) -> Any:
    """Return the expression of one message."""
    banana = StockBanana(vocabulary)
    banana.dataReceived(data)
    (got,) = banana.got
    return got


def stockCall(values: tuple[Any, ...], vocabulary: bool = True, prefix: bytes = b"") -> bytes:
    """Return the bytes of a call: ids, name, whether an answer is wanted, args, kw."""
    *head, args, kw = values
    expression = [prefix + b"message", *head, jelly(args, globalSecurity), jelly(kw, globalSecurity)]
    return stockBytes(expression, vocabulary)


def stockValue(expression: Any) -> Any:
    """Return what jelly makes of an expression."""
    return unjelly(expression, globalSecurity)


def shape(value: Any) -> Any:
    """
    Return all that distinguishes plain values: types, the bits of floats, order, and which parts are the same object.
    """
    seen: dict[int, int] = {}

    def of(value: Any) -> Any:
        kind = type(value)
        if kind is float:
            return ("float", struct.pack("!d", value))
        if kind in (list, tuple, dict, set, frozenset):
            # Empty immutable containers may be one object or two; that is up to Python.
            if id(value) in seen and (value or kind not in (tuple, frozenset)):
                return ("again", seen[id(value)])
            seen[id(value)] = len(seen)
            # NaNs are hashed by identity, so they come in any order in a set.
            order = sorted(value, key=lambda each: repr(shape(each))) if kind in (set, frozenset) else value
            inner = [(of(k), of(v)) for k, v in value.items()] if kind is dict else [of(each) for each in order]
            return (kind.__name__, inner)
        return (kind.__name__, value)

    return of(value)


def _parts(value: Any) -> list[Any]:
    return [*value, *value.values()] if type(value) is dict else list(value)


_CONTAINERS = (list, tuple, dict, set, frozenset)


def inKeys(*scopes: Any) -> bool:
    """Return whether a container comes again, in one of the scopes, in a key or in a member of a set."""

    def walk(value: Any, key: bool) -> None:
        if type(value) not in _CONTAINERS:
            return
        if id(value) in seen:
            found.append(key)
            return
        seen.add(id(value))
        # In the order in which they are sent.
        for each in value:
            walk(each, key or type(value) not in (list, tuple))
            if type(value) is dict:
                walk(value[each], key)

    found: list[bool] = []
    for scope in scopes:
        seen: set[int] = set()
        walk(scope, False)
    return any(found)


def endless(value: Any) -> bool:
    """Return whether a value holds itself."""

    def walk(value: Any) -> bool:
        if type(value) not in _CONTAINERS or id(value) in done:
            return False
        if id(value) in around:
            return True
        around.add(id(value))
        found = any(walk(each) for each in _parts(value))
        around.discard(id(value))
        done.add(id(value))
        return found

    around: set[int] = set()
    done: set[int] = set()
    return walk(value)


integers = st.one_of(
    st.integers(-200, 20_000),
    st.integers(-(2**64), 2**64),
    st.builds(
        lambda power, by, sign: sign * (2**power + by),
        st.sampled_from([7, 14, 21, 28, 31, 35, 56, 62, 63, 64, 70, 447, 448]),
        st.integers(-2, 2),
        st.sampled_from([1, -1]),
    ),
)
floats = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, math.inf, -math.inf, math.nan, -math.nan]))
texts = st.one_of(st.text(max_size=8), st.sampled_from([word.decode() for word in WORDS + ATOMS]), st.just("ü" * 90))
strings = st.one_of(st.binary(max_size=8), st.sampled_from(WORDS + ATOMS), st.just(b"x" * 200))
scalars = st.one_of(st.none(), st.booleans(), integers, floats, texts, strings)
hashables = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)),
    max_leaves=4,
)
#: Plain values. No container comes twice, except those that Python itself has once, such as ``()``.
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(st.integers(0, 300_000_000), min_size=7, max_size=30),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(hashables, inner, max_size=5),
        st.dictionaries(texts, inner, max_size=5),
        st.sets(hashables, max_size=5),
        st.frozensets(hashables, max_size=4),
    ),
    max_leaves=12,
)


@st.composite
def graphs(draw: st.DrawFn) -> Any:
    """Values that hold each other: more than once, and in cycles."""
    made: list[Any] = []
    for _ in range(draw(st.integers(1, 8))):
        inner: list[Any] = []
        for _ in range(draw(st.integers(0, 4))):
            if draw(st.booleans()) and made:
                inner.append(draw(st.sampled_from(made)))
            else:
                inner.append(draw(scalars))
        forms: list[Any] = [list, tuple, lambda inner: dict(enumerate(inner))]
        made.append(draw(st.sampled_from(forms))(inner))
    for _ in range(draw(st.integers(0, 2))):
        holder: Any = draw(st.sampled_from(made))
        if isinstance(holder, list):
            holder.append(draw(st.sampled_from(made)))
    return made[-1] if draw(st.booleans()) else made


heads = st.one_of(integers, strings)
names = st.one_of(strings, texts.map(str.encode))
calls = st.tuples(heads, heads, names, st.sampled_from([0, 1, True, False]), st.lists(values, max_size=3).map(tuple))
calls = st.tuples(calls, st.dictionaries(texts, values, max_size=3)).map(lambda both: (*both[0], both[1]))

#: Expressions of Banana, jelly or not, as a peer may send them.
expressions = st.recursive(
    st.one_of(integers, floats, strings), lambda inner: st.lists(inner, max_size=6), max_leaves=16
)
#: Nearly jelly: the words are right, what follows them often is not.
nearly = st.recursive(
    st.one_of(
        integers,
        floats,
        strings,
        st.just([b"None"]),
        st.sampled_from([b"true", b"false"]).map(lambda word: [b"boolean", word]),
        st.one_of(texts.map(str.encode), strings).map(lambda text: [b"unicode", text]),
        st.integers(1, 3).map(lambda number: [b"dereference", number]),
    ),
    lambda inner: st.one_of(
        st.builds(
            lambda word, rest: [word, *rest],
            st.sampled_from([b"list", b"tuple", b"set", b"frozenset", b"None", b"boolean", b"unicode", b"dictionary"]),
            st.lists(inner, max_size=4),
        ),
        st.lists(st.tuples(inner, inner).map(list), max_size=4).map(lambda pairs: [b"dictionary", *pairs]),
        st.tuples(st.integers(1, 3), inner).map(lambda both: [b"reference", *both]),
        st.lists(inner, max_size=3),
    ),
    max_leaves=16,
)


def sendable(expression: Any) -> bool:
    """Return whether stock can send an expression. It cannot send large ints."""
    try:
        stockBytes(expression)
    except BananaError:
        return False
    return True


#: Streams of messages, as stock writes them, in either dialect.
streams = st.lists(expressions.filter(sendable), max_size=4).flatmap(
    lambda found: st.booleans().map(lambda vocabulary: b"".join(stockBytes(each, vocabulary) for each in found))
)


def _callStream(call: tuple[Any, ...], answer: Any, vocabulary: bool) -> bytes:
    try:
        return stockCall(call, vocabulary) + stockBytes([b"answer", call[0], jelly(answer, globalSecurity)], vocabulary)
    except BananaError:
        return b""


#: A call and an answer.
callStreams = st.builds(_callStream, calls, values, st.booleans())


@st.composite
def mangled(draw: st.DrawFn, data: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of which a few are changed, added or removed."""
    stream = bytearray(draw(data))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(stream)))
        what = draw(st.integers(0, 3))
        byte = draw(st.one_of(st.integers(0, 255), st.integers(0x80, 0x88)))
        if what == 0:
            stream.insert(at, byte)
        elif what == 1:
            del stream[at : at + draw(st.integers(1, 5))]
        elif at < len(stream):
            stream[at] = byte
    return bytes(stream)


def chunked(draw: Any, stream: bytes) -> list[bytes]:
    """Return a stream in chunks, as a network might deliver it; no chunk is empty."""
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(stream) - 1)), max_size=8)))
    if draw(st.integers(0, 9)) == 0:
        cuts = list(range(1, len(stream)))
    return [chunk for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if (chunk := stream[a:b])]
