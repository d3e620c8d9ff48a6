"""What the arguments of calls in flight are taken to weigh: not much less than what memory grows by."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pbkit import Broker
from pbkit.wire import codec
from pbkit.wire.inbound import weight
from tests.attacks.attacker import called, encoded
from tests.wire.copies import PLAIN, state

COUNT = 600


def many(one: Any) -> list[Any]:
    """A list of the same, many times."""
    return [b"list", *[one] * COUNT]


def text(value: str) -> list[Any]:
    """A str in jelly."""
    return [b"unicode", value.encode()]


def numbers(kind: str, members: Iterable[int]) -> list[Any]:
    """A container of numbers."""
    if kind == "dictionary":
        return [b"dictionary", *([each, each] for each in members)]
    return [kind.encode(), *members]


VALUES: dict[str, Any] = {
    **{f"number {n}": many(n) for n in (0, 1, -1, -2, 300, -300, 2**40, -(2**40), 2**400, -(2**400))},
    **{
        f"numbers from {n}": [b"list", *range(n, n + COUNT)]
        for n in (0, 300, -5000, 2**40, -(2**40), 2**400, -(2**400))
    },
    **{
        f"{kind} of {count} numbers from {first}": numbers(kind, range(first, first + count))
        for kind in ("set", "frozenset", "dictionary")
        # A table that has just grown is the emptiest.
        for count in (1229, 5462)
        for first in (300, -30_000, 2**40)
    },
    **{
        f"many {kind} of {count}": many(numbers(kind, range(-count, 0)))
        for kind in ("list", "tuple", "set", "frozenset", "dictionary")
        for count in (0, 1, 5, 6, 19)
    },
    "floats": [b"list", *(n * 0.5 for n in range(COUNT))],
    "no bytes": many(b""),
    "byte": many(b"x"),
    "bytes": [b"list", *(b"%d" % n for n in range(COUNT))],
    "blob": b"x" * 100_000,
    "words": many(b"list"),
    "none": many([b"None"]),
    "true": many([b"boolean", b"true"]),
    "texts": [b"list", *(text(str(n)) for n in range(COUNT))],
    **{f"text of {letter!a}": text(letter * 10_000) for letter in ("é", "€", "\U0001f600")},
    **{f"text with {letter!a}": text("x" * 30_000 + letter) for letter in ("é", "€", "\U0001f600")},
    **{f"texts with {letter!a}": many(text("x" * 50 + letter)) for letter in ("é", "€", "\U0001f600")},
    "the same again": [b"list", [b"reference", 1, [b"list"]], *[[b"dereference", 1]] * COUNT],
    "decimals": many([b"decimal", 5, 1]),
    "datetimes": many([b"datetime", b"2020 1 1 0 0 0 0"]),
    "dates": many([b"date", b"2020 1 1"]),
    "times": many([b"time", b"0 0 0 0"]),
    "timedeltas": many([b"timedelta", b"0 0 0"]),
    "objects": many([PLAIN, state()]),
    "objects with something": many([PLAIN, state(a=-1)]),
    "references": [b"list", *([b"remote", n] for n in range(COUNT))],
    "numbers in jelly": [b"list", [b"decimal", 5, 1], *range(-COUNT, 0)],
}


class WeightTests(SynchronousTestCase):
    """`weight`."""

    def setUp(self) -> None:
        """Without a collection of garbage, which takes as long as all else."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)

    def read(self, data: bytes) -> Any:
        """The arguments of a call."""
        plain = codec.decodePlain(data, True, 10**7)
        if plain is not None:
            return plain[5]
        broker: Any = Broker(0)
        broker.sendCall = lambda *message: None
        return broker.unserialize(codec.decode(data)[5])

    def grown(self, data: bytes) -> int:
        """How many bytes the memory grows by for the arguments of a call."""
        self.read(data)
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            kept = self.read(data)
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        del kept
        return grown

    def test_neverBelowHalf(self) -> None:
        """Whatever it is made of, a message weighs at least half of what memory grows by when it is read."""
        for name, value in VALUES.items():
            data = encoded(called(1, b"x", value))
            self.assertGreater(2 * weight(data), self.grown(data), name)

    def test_small(self) -> None:
        """So does a small one."""
        for count in (1, 2, 5, 19, 77):
            for kind in ("list", "tuple", "set", "frozenset", "dictionary"):
                data = encoded(called(1, b"x", numbers(kind, range(-count - 10, -10))))
                self.assertGreater(2 * weight(data), self.grown(data))

    def test_plausible(self) -> None:
        """Bytes and texts, of which large arguments mostly are, do not weigh more than four times what they take."""
        for value in (b"x" * 100_000, text("x" * 100_000), text("é" * 10_000), text("\U0001f600" + "x" * 100_000)):
            data = encoded(called(1, b"x", value))
            self.assertLess(weight(data), 4.1 * self.grown(data))

    def test_bytesThatLookLikeItems(self) -> None:
        """
        Nor do strings of bytes that would be lists or numbers outside of a string: 600 KB of a grey picture weighed 134
        MB, which is over ``limits.user``.
        """
        for value in (b"\x80" * 600_000, b"\x81" * 600_000, text("\u0100" * 300_000), text("\u0441\u0442" * 150_000)):
            data = encoded(called(1, b"x", value))
            self.assertLess(weight(data), 4.1 * self.grown(data))
