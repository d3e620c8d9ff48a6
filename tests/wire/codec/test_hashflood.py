"""
Keys that are chosen to take long: they are found by CPython's own algorithm, so that honest keys are accepted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from itertools import islice, takewhile
from typing import Any
from unittest import skipIf

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.spread import jelly, pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import dropin
from pbkit.errors import BadValue
from pbkit.wire import codec
from pbkit.wire.broker import Broker
from pbkit.wire.codec import hashflood, pure
from pbkit.wire.codec.hashflood import COLLISIONS
from tests.wire.stockwire import stockBytes

try:
    core: Any = import_module("pbkit.wire.codec._codec")
except ImportError:
    core = None

CODECS: list[Any] = [each for each in (pure, core) if each is not None]
P = 2**61 - 1
tried = settings(max_examples=300, deadline=None, database=None)

#: Keys as programs use them.
HONEST: dict[str, Callable[[int], Iterable[Any]]] = {
    "numbers": range,
    "below zero": lambda n: range(-n, 0),
    "thousands": lambda n: range(0, 1024 * n, 1024),
    "millions": lambda n: range(0, n << 20, 1 << 20),
    "high": lambda n: range(0, n << 32, 1 << 32),
    "higher": lambda n: range(0, 3 * n << 38, 3 << 38),
    "highest": lambda n: range(0, n << 50, 1 << 50),
    "large": lambda n: [k << 100 for k in range(n)],
    "times and numbers": lambda n: [(1_700_000_000_000 + k // 7 << 22) + k % 7 for k in range(n)],
    "a grid": lambda n: [(k // 256 << 32) + k % 256 for k in range(n)],
    "floats": lambda n: [k * 0.1 for k in range(n)],
    "parts of two": lambda n: [k / 1024 for k in range(n)],
    "pairs": lambda n: [(k, k + 1) for k in range(n)],
    "mixed": lambda n: [k if k % 3 else str(k) for k in range(n)],
    "text first": lambda n: [str(k) if k < n // 2 else k << 20 for k in range(n)],
    "text and bytes": lambda n: [f(k) for k in range(n // 2) for f in (str, lambda k: str(k).encode())],
    "both signs": lambda n: [(k if k % 2 else -k - 2) << 44 for k in range(n)],
}


#: The places of the table in which the chosen keys collide.
SIZE = 2048


def _way(number: int) -> Iterator[int]:
    """Yield the places where CPython looks for a number in a table of a size."""
    place, perturb = number % SIZE, number
    while True:
        yield place
        perturb >>= 5
        place = (place * 5 + 1 + perturb) % SIZE


def forDict(count: int) -> list[int]:
    """
    Return keys as an attacker finds them: small numbers with different hashes that collide in the table of a dict.
    """
    # The places that the probes of all numbers reach in the end.
    found = list(islice(_way(0), count * 2 // 5))
    taken = set(found)
    number = SIZE
    while len(found) < count:
        number += 1
        way = list(takewhile(taken.__contains__, _way(number)))
        if len(way) > 200:
            taken.add(next(islice(_way(number), len(way), None)))
            found.append(number)
    return found


def forSet(count: int) -> list[int]:
    """
    Return the same for a set, which examines nine neighbours first. These numbers have up to 41 bits.
    """
    found: list[int] = []
    ends = []
    for place in _way(0):
        if len(found) >= count // 2:
            break
        ends.append(place)
        found += [near for near in range(place, min(place + 10, SIZE)) if near not in found]
    taken = set(found)
    full = {place for place in taken if place + 9 < SIZE and taken.issuperset(range(place, place + 10))}
    # Choose a place, then the bits that lead to another, and so on.
    todo = [(place, place, 0) for place in sorted(full)]
    goals = set(ends[: len(ends) // 2])
    while len(found) < count:
        number, place, steps = todo.pop()
        if steps < 6:
            for bits in range(32):
                more = number | bits << 11 + 5 * steps
                to = (place * 5 + 1 + (more >> 5 * steps + 5)) % SIZE
                if to in full:
                    todo.append((more, to, steps + 1))
            continue
        way = list(islice(_way(number), 10))
        if full.issuperset(way) and way[-1] in goals and number not in taken:
            found.append(number)
    return found


#: The number of keys that a table of this size holds.
BAD = {"dict": forDict(1365), "set": forSet(1228)}


def _expression(word: bytes, keys: Iterable[Any]) -> list[Any]:
    items = [jelly.jelly(key) for key in keys]
    return [word, *([item, 0] for item in items)] if word == b"dictionary" else [word, *items]


class CrowdedTests(SynchronousTestCase):
    """The verdict of both implementations about keys."""

    def says(self, keys: Iterable[Any], members: bool) -> bool:
        """Return the verdict, and assert that both agree."""
        found = list(keys)
        said = [each.crowded(found, members) for each in CODECS]
        self.assertEqual(said, said[:1] * len(said))
        return bool(said[0])

    def test_chosen(self) -> None:
        """Numbers with different hashes that collide in the table are found, in a dict or a set."""
        for members, keys in ((False, BAD["dict"]), (True, BAD["set"])):
            self.assertEqual(len({*map(hash, map(str, keys))}), len(keys))
            self.assertTrue(self.says(keys, members))

    def test_onItsWay(self) -> None:
        """Keys that take long only while the container grows are found."""
        more = [k << 12 | 1 for k in range(5000)]
        for count in (1, 500, 5000):
            self.assertTrue(self.says([*BAD["dict"], *more[:count]], False), count)
            self.assertTrue(self.says([*BAD["set"], *more[:count]], True), count)

    def test_shifted(self) -> None:
        """Duplicate keys, and text before the keys, do not prevent detection."""
        few = [0.0, 1.0, 2.0, *range(COLLISIONS - 4)]
        for members, keys in ((False, BAD["dict"]), (True, BAD["set"])):
            self.assertTrue(self.says([*few, *keys], members))
        # After 400 texts and a number the table has 2048 places, where 512 would suffice.
        self.assertEqual(
            sys.getsizeof(dict.fromkeys([*map(str, range(400)), 1])), sys.getsizeof(dict.fromkeys(range(1365)))
        )
        self.assertTrue(self.says([*map(str, range(400)), *BAD["dict"][:900]], False))

    def test_honest(self) -> None:
        """Keys as programs use them are accepted: they do not take long, whatever their pattern."""
        for name, made in HONEST.items():
            for count in (33, 100, 1365, 5000, 21845):
                keys = list(made(count))
                for members in (False, True):
                    self.assertFalse(self.says(keys, members), (name, count, members))

    def test_text(self) -> None:
        """Text is not examined, even if it is all the same: its hashes are secret."""
        self.assertFalse(self.says(["a"] * 1000, False))
        self.assertFalse(self.says([b"a"] * 1000, True))

    def test_collisions(self) -> None:
        """A limited number of keys may share a hash, equal or not."""
        for members in (False, True):
            for one in (lambda k: k * P, lambda k: (1, k * P), lambda k: 5 + k % 2 * P, lambda k: -1 - k % 2):
                least = len({hash(one(k)) for k in range(2)})
                self.assertEqual(least, 1)
                self.assertFalse(self.says([one(k) for k in range(COLLISIONS + 1)], members))
                self.assertTrue(self.says([one(k) for k in range(COLLISIONS + 2)], members))

    def test_unhashable(self) -> None:
        """An unhashable key is a TypeError."""
        for each in CODECS:
            for members in (False, True):
                self.assertRaises(TypeError, each.crowded, [*range(40), []], members)

    def test_comparing(self) -> None:
        """An exception in a key's own method is raised."""

        class Key:
            def __hash__(self) -> int:
                return 7

            def __eq__(self, other: object) -> bool:
                raise ZeroDivisionError

        for each in CODECS:
            for members in (False, True):
                self.assertRaises(ZeroDivisionError, each.crowded, [*range(40), Key()], members)
                self.assertFalse(each.crowded([*range(10, 50), Key()], members))

    @tried
    @given(
        st.lists(
            st.one_of(
                st.integers(-(2**70), 2**70),
                st.integers(0, 50),
                st.floats(),
                st.text(max_size=3),
                st.tuples(st.integers(0, 9), st.booleans()),
                st.sampled_from([k * P for k in range(9)]),
            ),
            max_size=120,
        ),
        st.sampled_from([0, 100, 400, 800, 1228, 1365]),
        st.integers(0, 400),
        st.booleans(),
        st.booleans(),
    )
    def test_same(self, keys: list[Any], bad: int, by: int, first: bool, members: bool) -> None:
        """Both implementations agree about any keys, also at the limit."""
        chosen = BAD["set" if members else "dict"]
        some = [*chosen[: bad // 2], *chosen[bad // 2 + by : bad + by]]
        self.says(keys + some if first else some + keys, members)


class AsPythonTests(SynchronousTestCase):
    """The tests above rely on the hash tables of this Python."""

    def order(self, keys: Iterable[Any]) -> None:
        """Return the members of a set in the order of their places."""
        found = list(keys)
        self.assertEqual(list(map(hash, set(found))), hashflood._intoSet(hashflood._distinct(found)))

    def test_sets(self) -> None:
        """Members of a set are at the expected places, at each size and after each growth."""
        for count in (1, 4, 5, 6, 18, 19, 20, 76, 77, 78, 307, 308, 1228, 1229, 1230, 5000, 19661, 50_000, 90_000):
            for name in ("numbers", "high", "floats", "times and numbers"):
                self.order(HONEST[name](count))
        # This may take long.
        self.patch(hashflood, "PLACES", 10_000)
        self.order(BAD["set"])

    @tried
    @given(st.lists(st.integers(-(2**61) + 2, 2**61 - 2), max_size=100, unique_by=hash), st.integers(0, 60))
    def test_anySet(self, keys: list[int], shift: int) -> None:
        """The same with any numbers, also if they differ only in their upper bits."""
        self.order(keys)
        self.order({hash(k << shift): k << shift for k in keys}.values())

    def test_dicts(self) -> None:
        """A dict is filled to two thirds of a power of two, and never has more than three places per key."""
        tables = {sys.getsizeof(dict.fromkeys(range(2**bits * 2 // 3))): 2**bits for bits in range(3, 16)}
        found: dict[int, None] = {}
        for k in range(15_000):
            found[k] = None
            size = tables[sys.getsizeof(found)]
            self.assertTrue(size == 8 or size // 2 * 2 // 3 < len(found) <= size * 2 // 3)
        for texts in (30, 31, 40, 42, 43, 85, 86, 341, 342, 5000, 5461, 5462):
            found = dict.fromkeys([*map(str, range(texts)), 5])  # type: ignore[list-item]
            size = tables[sys.getsizeof(found)]
            self.assertGreaterEqual(size * 2 // 3, len(found))
            self.assertTrue(size < 6 * texts, (size, texts))
            most = 128
            while most < 3 * len(found):
                most *= 2
            self.assertLessEqual(size, most)


class RefusedTests(SynchronousTestCase):
    """Messages with chosen keys."""

    def test_codecs(self) -> None:
        """The codec does not build such a container."""
        for word, keys in ((b"dictionary", BAD["dict"]), (b"set", BAD["set"]), (b"frozenset", BAD["set"])):
            data = stockBytes([b"answer", 1, _expression(word, keys)])
            deep = stockBytes([b"answer", 1, [b"list", 5, [b"tuple", _expression(word, keys)]]])
            fine = stockBytes([b"answer", 1, _expression(word, range(2000))])
            for each in CODECS:
                self.assertIsNone(each.decodePlain(data))
                self.assertIsNone(each.decodePlain(deep))
                self.assertEqual(len(each.decodePlain(fine)[2]), 2000)

    def test_unjellier(self) -> None:
        """The unjellier refuses it, for any peer; stock builds it."""
        for word, keys in ((b"dictionary", BAD["dict"]), (b"set", BAD["set"]), (b"frozenset", BAD["set"])):
            expression = _expression(word, keys)
            for broker in (Broker(0), dropin.Broker(0)):
                error = self.assertRaises(BadValue, broker.unserialize, expression)
                self.assertIn("collide", str(error))
            self.assertEqual(len(jelly.unjelly(expression, jelly.globalSecurity, None, pb.Broker(0))), len(keys))

    def test_decimals(self) -> None:
        """Decimals, which only stock's unjelly makes, are examined too: they have the hashes of numbers."""
        expression = [b"set", *([b"decimal", k, 0] for k in BAD["set"])]
        self.assertRaises(BadValue, Broker(0).unserialize, expression)
        self.assertEqual(len(Broker(0).unserialize([b"set", *([b"decimal", k, 0] for k in range(2000))])), 2000)

    @skipIf(core is None, "nothing is compiled here")
    def test_taken(self) -> None:
        """The compiled implementation is used if it exists."""
        self.assertIs(codec.crowded, core.crowded if codec.compiled else hashflood.crowded)
