"""Messages that exceed a limit are passed over: their ends, heads and references are found."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbkit.errors import Malformed, TooLarge
from pbkit.wire import codec
from pbkit.wire.jelly.expressions import handles
from pbkit.wire.oversized import CLOSING, DEPTH, HEAD, OversizedMessage

ERROR = TooLarge("items", 10)
WORDS = b"remote cached list tuple dictionary set frozenset reference unicode None boolean some.Class local".split()


def encoded(expression: Any, vocabulary: bool = True) -> bytes:
    """Encode an expression."""
    data: bytes = codec.encode(expression, vocabulary, 1 << 30, 64)
    return data


def passedOver(data: bytes, size: int | None = None, most: int = 1 << 30) -> tuple[OversizedMessage, bytes]:
    """Feed data in pieces of a size, and return the scanner, and the data after the message."""
    found = OversizedMessage(ERROR, most, True, 64)
    size = size or len(data)
    for start in range(0, len(data), size):
        rest = found.feed(data[start : start + size])
        if found.complete:
            return found, rest + data[start + size :]
        assert not rest
    return found, b""


texts = st.one_of(st.sampled_from(WORDS), st.binary(max_size=300))
atoms = st.one_of(texts, st.integers(-(2**80), 2**80), st.floats(allow_nan=False), st.integers(0, 5))
jellies: st.SearchStrategy[Any] = st.recursive(
    st.one_of(atoms, st.tuples(st.sampled_from([b"remote", b"cached"]), st.integers(0, 99)).map(list)),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(WORDS), st.lists(inner, max_size=6)).map(lambda both: [both[0], *both[1]]),
        st.lists(st.tuples(inner, inner).map(list), max_size=3).map(lambda pairs: [b"dictionary", *pairs]),
        st.tuples(st.just(b"some.Class"), st.integers(0, 9), inner).map(list),
        st.lists(st.integers(-200, 200), min_size=60, max_size=200).map(lambda each: [b"list", *each]),
    ),
    max_leaves=25,
)


class OversizedTests(SynchronousTestCase):
    """`OversizedMessage`."""

    @settings(deadline=None, max_examples=300)
    @given(st.lists(jellies, max_size=3), jellies, st.integers(1, 40), st.binary(max_size=20), st.booleans())
    def test_call(self, args: list[Any], kw: Any, size: int, behind: bytes, whole: bool) -> None:
        """The end, the head and the references of a call are found, in whatever pieces it arrives."""
        message = [b"message", 7, 12, b"hear", 1, [b"tuple", *args], kw]
        found, rest = passedOver(encoded(message) + behind, None if whole else size)
        self.assertTrue(found.complete)
        self.assertEqual(rest, behind)
        self.assertEqual(found.head, message[:HEAD])
        references, caches = handles([b"list", *message[5:]])
        self.assertEqual((sorted(found.references), sorted(found.caches)), (sorted(references), sorted(caches)))

    def test_whatIsNoReference(self) -> None:
        """Ids that jelly builds nothing from are not given back."""
        for kw in (
            [b"remote", [b"remote", 1]],
            [b"reference", [b"remote", 1]],
            [b"unicode", [b"remote", 1]],
            [5, [b"remote", 1]],
        ):
            found, _ = passedOver(encoded([b"message", 7, 12, b"hear", 1, [b"dictionary", [b"remote", 2]], kw]))
            self.assertEqual((found.complete, found.references, found.caches), (True, [], []))

    def test_answer(self) -> None:
        """The head and references of an answer and of an error are found, too."""
        for command in (b"answer", b"error"):
            message = [command, 5, [b"list", [b"remote", 3], [b"dictionary", [b"remote", 4], [1, [b"remote", 6]]]]]
            found, _ = passedOver(encoded(message), 3)
            self.assertEqual((found.head[:2], sorted(found.references)), ([command, 5], [3, 6]))

    def test_long(self) -> None:
        """Long strings, lists and numbers are passed over without being kept."""
        message = [b"message", 1, 2, b"x", 1, [b"tuple", b"y" * 100_000, [b"list", *range(10_000)]], [b"dictionary"]]
        data = encoded(message)
        for size in (1, 1000, len(data)):
            found, rest = passedOver(data + b"\x05\x81", size)
            self.assertEqual((found.complete, rest, found.head), (True, b"\x05\x81", message[:HEAD]))
            self.assertLessEqual(len(found._rest), 64)

    def test_deep(self) -> None:
        """Lists that are nested without end take no memory for each level."""
        for depth in (DEPTH - 1, DEPTH, DEPTH + 1, 100_000):
            data = b"\x03\x80" + encoded(b"answer") + b"\x01\x81" + b"\x02\x80" * depth + b"\x01\x81" * (depth + 1)
            found, rest = passedOver(data + b"rest", 1000)
            self.assertEqual((found.complete, rest), (True, b"rest"))
            self.assertLessEqual(len(found._lists), DEPTH)

    def test_tooLong(self) -> None:
        """A message that is far too long raises, as soon as its length is announced."""
        for data in (b"\x7f\x7f\x7f\x82", b"\x7f\x7f\x7f\x80", encoded([b"answer", 1, b"x" * 1000])):
            self.assertRaises(TooLarge, passedOver, data, None, 500)
        data = b"\x7f\x7f\x80" + b"\x01\x81" * 1000
        self.assertEqual(self.assertRaises(TooLarge, passedOver, data, 7, 1000).which, "message")
        self.assertEqual(CLOSING, 16)

    def test_malformed(self) -> None:
        """Data that is not Banana is recognized."""
        self.assertRaises(Malformed, passedOver, b"\x03\x80\x01\x81\x05\xff")
        self.assertRaises(TooLarge, passedOver, b"\x03\x80\x01\x81" + b"\x01" * 65 + b"\x81")
