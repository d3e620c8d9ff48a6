"""
Dicts, sets and tuples that a peer sends: checks of their keys, and those that are part of a cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.persisted.crefutil import NotKnown

from pbkit.errors import BadValue
from pbkit.wire.codec import crowded

_WITHOUT_PARTS = frozenset((str, bytes, int, float, bool, type(None)))


class KeyChecker:
    """
    Checks the keys of the dicts and sets of one message before they are built.

    Two kinds of keys take more time than in proportion to their size. Hashes of numbers are public, so a peer can
    choose numbers that collide, see `pbkit.wire.codec.hashflood`. And Python computes the hash of a tuple anew each
    time, from all that is in it: with ``a = (x, x)``, ``b = (a, a)``, ``c = (b, b)`` and so on, sent by reference in a
    dozen bytes each, the hash of the fiftieth takes years.

    :param most: how many parts all keys of the message may have in total. A message without references has no more
        parts than items.
    """

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def check(self, keys: Sequence[object], members: bool) -> None:
        """
        Check that a container can be built of these keys in time proportional to their number.

        :param members: True for a set or frozenset, False for a dict.
        :raises BadValue: too many keys collide, a key is too large, or a key cannot be hashed.
        """
        for key in keys:
            if type(key) not in _WITHOUT_PARTS:
                self._count(key)
        try:
            for key in keys:
                hash(key)
        except TypeError:
            raise BadValue("a key of a dict or a member of a set is not hashable") from None
        if crowded(keys, members):
            raise BadValue("too many keys of a dict or set collide")

    def _count(self, key: object) -> None:
        todo = [key]
        while todo:
            each = todo.pop()
            self._left -= 1
            if self._left < 0:
                raise BadValue(f"the keys of its dicts and sets have more than {self._most:,} parts (limits.items)")
            if isinstance(each, tuple | frozenset) and type(each) in (tuple, frozenset):
                todo.extend(each)


class PendingContainer(NotKnown):
    """
    A tuple or set that waits for some of its items, because it is part of a cycle. Stock's counts the missing items by
    removing numbers from a list: a tuple of 100,000 items that refers to itself takes stock 0.7 s, and this class 0.02.

    :param items: the items, of which at least one is missing.
    :param build: builds the container from them.
    """

    def __init__(self, items: list[Any], build: Callable[[list[Any]], object]) -> None:
        super().__init__()
        self._items = items
        self._build = build
        self._missing = 0
        for place, item in enumerate(items):
            if isinstance(item, NotKnown):
                self._missing += 1
                item.addDependant(self, place)

    def __setitem__(self, place: int, item: object) -> None:
        self._items[place] = item
        if not isinstance(item, NotKnown):
            self._missing -= 1
            if not self._missing:
                self.resolveDependants(self._build(self._items))


def byText(number: object) -> str:
    """
    Return what to look up a number by that the peer has chosen. Hashes of text are random, those of numbers are not.
    """
    return repr(number)
