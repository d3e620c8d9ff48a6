"""
A table that knows its least.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Any, Generic, TypeVar

Thing = TypeVar("Thing")


class PriorityMap(Generic[Thing]):
    """
    Things, each with a key, and the thing whose key is least. Each operation is O(log n), on the average of many: a
    heap, in which what was taken out or moved stays until it comes up, or until there is more of that than of the rest.

    Keys must differ between things: they are compared, the things never are.
    """

    __slots__ = ("_heap", "_keys")

    def __init__(self) -> None:
        self._keys: dict[Thing, Any] = {}
        self._heap: list[tuple[Any, Thing]] = []

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Thing]:
        return iter(self._keys)

    def __contains__(self, thing: object) -> bool:
        return thing in self._keys

    def put(self, thing: Thing, key: Any) -> None:
        """Put a thing in, or move it."""
        if self._keys.get(thing) == key:
            return
        self._keys[thing] = key
        heappush(self._heap, (key, thing))
        self._tidied()

    def discard(self, thing: Thing) -> None:
        """Take a thing out, if it is in."""
        if self._keys.pop(thing, None) is not None:
            self._tidied()

    def _tidied(self) -> None:
        if len(self._heap) > 2 * len(self._keys) + 16:
            self._heap = [(key, thing) for thing, key in self._keys.items()]
            heapify(self._heap)

    def least(self) -> tuple[Any, Thing] | None:
        """
        :return: the least key and whose it is; None if there is nothing.
        """
        while self._heap:
            key, thing = self._heap[0]
            if self._keys.get(thing) == key:
                return key, thing
            heappop(self._heap)
        return None
