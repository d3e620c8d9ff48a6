"""
The data that is sent, the same to all contenders.
"""

from __future__ import annotations

import random
from typing import Any

#: The argument of the small call.
SMALL = "hello world"

#: Twenty records of ints, floats, strings and nested lists: 4 kB, or a little less, in most formats.
STRUCTURE: list[dict[str, Any]] = [
    {
        "id": 100_000 + 37 * n,
        "name": f"instrument number {n}",
        "price": 1000 / (n + 3),
        "live": n % 3 > 0,
        "tags": ["spot", "fx", f"desk {n % 4}"],
        "levels": [[n * 10 + step, step * 250, 99.5 + step / 8] for step in range(4)],
    }
    for n in range(20)
]

#: 64 KiB of all byte values.
BLOB = bytes(range(256)) * 256

#: A notice that is sent to every client: a str and a dict of five.
NOTICE: tuple[str, dict[str, int]] = ("moved", {"id": 4711, "x": 120, "y": 64, "z": 3, "speed": 15})


def ints(number: int) -> list[int]:
    """
    Return a list of ints below a million, the same each time.
    """
    drawn = random.Random(number)
    return [drawn.randrange(1_000_000) for _ in range(number)]


def value(payload: str) -> Any:
    """
    Return the value that is sent, and expected back.

    :param payload: as in a `benchmarks.works.Work`: ``small``, ``structure``, ``blob``, or ``ints-1000``.
    """
    kind, _, number = payload.partition("-")
    if kind == "ints":
        return ints(int(number))
    return {"small": SMALL, "structure": STRUCTURE, "blob": BLOB}[kind]


def frozen(value: Any) -> Any:
    """
    Convert lists to tuples and dicts to tuples of pairs, for a peer that sends nothing else by value.
    """
    if isinstance(value, dict):
        return tuple((key, frozen(item)) for key, item in value.items())
    return tuple(map(frozen, value)) if isinstance(value, list) else value
