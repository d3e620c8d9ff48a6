"""
`PriorityMap`: a mapping that finds the item with the lowest priority.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


class PriorityMap(Generic[Item]):
    """
    Maps items to priorities. Each operation takes O(log n), amortized: it is a heap, in which entries that were removed
    or moved stay until they reach the top or outnumber the rest.

    Priorities must differ between items, because only they are compared, never the items.
    """

    __slots__ = ("_heap", "_priorities")

    def __init__(self) -> None:
        self._priorities: dict[Item, Any] = {}
        self._heap: list[tuple[Any, Item]] = []

    def __len__(self) -> int:
        return len(self._priorities)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._priorities)

    def __contains__(self, item: object) -> bool:
        return item in self._priorities

    def put(self, item: Item, priority: Any) -> None:
        """Add an item, or change its priority."""
        if self._priorities.get(item) == priority:
            return
        self._priorities[item] = priority
        heappush(self._heap, (priority, item))
        self._compact()

    def discard(self, item: Item) -> None:
        """Remove an item, if it is here."""
        if self._priorities.pop(item, None) is not None:
            self._compact()

    def lowest(self) -> tuple[Any, Item] | None:
        """
        :return: the lowest priority and its item, or None if the map is empty.
        """
        while self._heap:
            priority, item = self._heap[0]
            if self._priorities.get(item) == priority:
                return priority, item
            heappop(self._heap)
        return None

    def _compact(self) -> None:
        if not self._priorities:
            # Nobody would ask for the lowest soon, and what was removed would be kept.
            self._heap.clear()
        elif len(self._heap) > 2 * len(self._priorities) + 16:
            self._heap = [(priority, item) for item, priority in self._priorities.items()]
            heapify(self._heap)
