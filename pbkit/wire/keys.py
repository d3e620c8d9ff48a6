"""
Keys of dictionaries and members of sets, before one is built of them.

Hashes of numbers are no secret: ``k * (2**61 - 1)`` has the hash 0 for each k, and a dictionary of such keys takes
time with the square of their number. So do tuples and Decimals of such numbers. And a tuple has its hash computed
anew each time, from all that is in it: with ``a = (x, x)``, ``b = (a, a)``, ``c = (b, b)`` and so on, sent by
reference in a dozen bytes each, the fiftieth takes years.

What is not seen here is keys of different hashes that CPython looks for in the same places, one after the other:
28,000 numbers that were chosen for that, in 220 kB, take 0.24 s. To find these costs as much in Python as they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pbkit.errors import BadValue

#: How many keys of one container may have a hash that another of them has. Honest ones have hardly any: hashes of text
#: are random, those of small numbers differ. 33 that all collide are compared 33 * 32 / 2 times, which is 528: as
#: often as a dictionary of 500 that do not.
COLLISIONS = 32

_WITHOUT_PARTS = frozenset((str, bytes, int, float, bool, type(None)))


class Keys:
    """
    Checks the keys of one message.

    :param most: how many parts all keys of the message may have, all in all: as many as it has items, if it
        refers to none twice.
    """

    def __init__(self, most: int) -> None:
        self._left = most

    def check(self, keys: Sequence[Any]) -> None:
        """
        See whether a container can be built of these, at a cost in proportion to their number.

        :raises BadValue: it cannot: too many collide, one is too large, or cannot be a key.
        """
        for key in keys:
            if type(key) not in _WITHOUT_PARTS:
                self._weigh(key)
        try:
            hashes = [hash(key) for key in keys]
        except TypeError:
            raise BadValue("a key that cannot be one") from None
        if len(keys) > COLLISIONS and len(hashes) - len(set(hashes)) > COLLISIONS:
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
