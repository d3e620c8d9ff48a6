"""
Keys of dictionaries and members of sets, before one is built of them.

Hashes of numbers are no secret, so keys can be chosen that take time with the square of their number, see
`pbkit.wire.codec.hashflood`. And a tuple has its hash computed anew each time, from all that is in it: with
``a = (x, x)``, ``b = (a, a)``, ``c = (b, b)`` and so on, sent by reference in a dozen bytes each, the fiftieth
takes years.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pbkit.errors import BadValue
from pbkit.wire.codec import crowded

_WITHOUT_PARTS = frozenset((str, bytes, int, float, bool, type(None)))


class Keys:
    """
    Checks the keys of one message.

    :param most: how many parts all keys of the message may have, all in all: as many as it has items, if it
        refers to none twice.
    """

    def __init__(self, most: int) -> None:
        self._left = most

    def check(self, keys: Sequence[Any], members: bool) -> None:
        """
        See whether a container can be built of these, at a cost in proportion to their number.

        :param members: whether it is a set or frozenset; else it is a dictionary.
        :raises BadValue: it cannot: too many collide, one is too large, or cannot be a key.
        """
        for key in keys:
            if type(key) not in _WITHOUT_PARTS:
                self._weigh(key)
        try:
            for key in keys:
                hash(key)
        except TypeError:
            raise BadValue("a key that cannot be one") from None
        if crowded(keys, members):
            raise BadValue("keys that collide")

    def _weigh(self, key: Any) -> None:
        todo = [key]
        while todo:
            each = todo.pop()
            self._left -= 1
            if self._left < 0:
                raise BadValue("keys that are too large")
            if type(each) in (tuple, frozenset):
                todo.extend(each)
