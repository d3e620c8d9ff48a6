"""
What is sent, to all peers the same.
"""

from __future__ import annotations

import random
from typing import Any

#: The small call's argument.
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

#: 64 KiB of every byte there is.
BLOB = bytes(range(256)) * 256

#: A notice, as it goes to every client: a str and a dict of five.
NOTICE: tuple[str, dict[str, int]] = ("moved", {"id": 4711, "x": 120, "y": 64, "z": 3, "speed": 15})


def ints(number: int) -> list[int]:
    """
    :return: so many ints below a million, the same each time.
    """
    drawn = random.Random(number)
    return [drawn.randrange(1_000_000) for _ in range(number)]


def value(payload: str) -> Any:
    """
    :param payload: what a `benchmarks.works.Work` names: ``small``, ``structure``, ``blob``, or ``ints-1000``.
    :return: what is sent, and expected back.
    """
    kind, _, number = payload.partition("-")
    if kind == "ints":
        return ints(int(number))
    return {"small": SMALL, "structure": STRUCTURE, "blob": BLOB}[kind]


def frozen(value: Any) -> Any:
    """
    The same of tuples only, dicts as tuples of pairs: for a peer that sends nothing else by value.
    """
    if isinstance(value, dict):
        return tuple((key, frozen(item)) for key, item in value.items())
    return tuple(map(frozen, value)) if isinstance(value, list) else value
