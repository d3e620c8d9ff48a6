"""
Whether a dict or a set of these keys takes more time than in proportion to their number.

`pbkit.wire.codec` has it compiled where that is there; both say the same of the same keys.

Hashes of text are secret; those of numbers, and of tuples of numbers, are not. ``k * (2**61 - 1)`` has the hash 0 for
each k. And numbers of different hashes can be chosen so that CPython looks for them in the same places, one after the
other: 28,000 of them, a dict in 220 kB, took 1.9 s where as many others took 1 ms.

So what CPython is going to do is done here first, with hashes alone, and given up where it takes too long. The places
are counted, not guessed at from the look of the numbers: many honest ones look odd, such as ids with a time in their
upper bits, and CPython copes with these.

Where the numbers come from: ``Objects/dictobject.c`` and ``Objects/setobject.c`` of CPython 3.11 to 3.13. The tests
hold the order of sets and the sizes of dicts against those of the Python that runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

#: How many keys of one container may have a hash that another of them has. Honest ones have hardly any: hashes of text
#: are random, those of small numbers differ. 33 that all collide are compared 33 * 32 / 2 times, which is 528: as
#: often as a dictionary of 500 that do not.
COLLISIONS = 32

#: How many taken places may be looked at for each key, on the average. The most that was measured with honest numbers
#: was 37, of ``3 * i << 32`` in a dict that is as full as can be; random ones have 1 or 2.
PLACES = 64

#: That many more are free: of a few hundred keys the worst does not matter.
_FREE = 4096
#: A set looks at ten neighbours before it goes elsewhere. They lie in three cache lines, and count as four.
_NEIGHBOURS, _THEY_COUNT = 9, 4
#: Smaller dicts are not worth a look: they have 42 keys.
_SMALLEST = 128
_BITS = 2 * sys.maxsize + 1
_SECRET = frozenset((str, bytes))
#: No hash is -1.
_NONE = -1
_PRIME = 2**89 - 1
#: Nobody outside can guess it.
_OURS = int.from_bytes(os.urandom(11), "big") % (_PRIME - 1) + 1


class _Crowded(Exception):
    """It takes too long."""


def crowded(keys: Sequence[Any], members: bool) -> bool:
    """
    Takes time in proportion to the number of keys, whatever they are.

    :param keys: in the order in which they are put in; maybe some of them twice.
    :param members: whether it is for a set or frozenset; else for a dict.
    :return: whether it should not be built.
    :raises TypeError: one of them cannot be a key.
    """
    if len(keys) <= COLLISIONS or _SECRET.issuperset(map(type, keys)):
        return False
    try:
        hashes = _distinct(keys)
        if members:
            _intoSet(hashes)
        else:
            _intoDicts(hashes, len(keys))
    except _Crowded:
        return True
    return False


def _distinct(keys: Sequence[Any]) -> list[int]:
    """
    :return: the hashes of the keys that differ, in their order.
    """
    hashes = [hash(key) for key in keys]
    # A dict of the hashes themselves may be just what is to be prevented.
    mixed = [number * _OURS % _PRIME for number in hashes]
    if len(set(mixed)) == len(mixed):
        return hashes
    found: list[int] = []
    with_it: dict[int, list[Any]] = {}
    again = 0
    for key, number, mix in zip(keys, hashes, mixed, strict=True):
        others = with_it.setdefault(mix, [])
        if others:
            again += 1
            if again > COLLISIONS:
                raise _Crowded
            if any(key is other or other == key for other in others):
                continue
        others.append(key)
        found.append(number)
    return found


def _intoDicts(hashes: list[int], most: int) -> None:
    """
    Into a dict of each size that it may have on its way: at each it is filled to two thirds, and when it grows, all are
    put into the next in the same order. That next one has twice the size, or once, where a number comes to texts, three
    places for each key that is there.

    :param hashes: of which no two are of equal keys.
    :param most: how many keys there are.
    """
    size = _SMALLEST
    while size < 3 * most:
        size *= 2
    while size >= _SMALLEST:
        taken = bytearray(size)
        mask = size - 1
        left = _FREE
        for number in hashes[: size * 2 // 3]:
            place = number & mask
            left += PLACES
            if taken[place]:
                perturb = number & _BITS
                while taken[place]:
                    left -= 1
                    perturb >>= 5
                    place = (place * 5 + perturb + 1) & mask
                if left < 0:
                    raise _Crowded
            taken[place] = 1
        size //= 2


def _intoSet(hashes: list[int]) -> list[int]:
    """
    Into a set, which grows when it is filled to three fifths. Then they are put into the next in the order of their
    places, so it is not enough to look at the last.

    :param hashes: of which no two are of equal keys.
    :return: the table in the end, as far as it is filled.
    """
    done, size = 0, 8
    table: list[int] = []
    while True:
        # So many fit, and with the last of them it grows.
        most = (3 * (size - 1) + 4) // 5
        table = _placed(table + hashes[done:most], size)
        if len(hashes) < most:
            return table
        done = most
        wanted = most * (2 if most > 50_000 else 4)
        size = 8
        while size <= wanted:
            size *= 2


def _placed(hashes: list[int], size: int) -> list[int]:
    """
    :return: the hashes, in the order of their places in a set of some size.
    """
    table = [_NONE] * size
    taken = bytearray(size)
    free = taken.find
    mask = size - 1
    left = _FREE
    for number in hashes:
        left += PLACES
        place = number & mask
        if taken[place]:
            perturb = number & _BITS
            while True:
                # At the end of the table there are no neighbours.
                at = free(0, place, place + _NEIGHBOURS + 1) if place + _NEIGHBOURS <= mask else -1
                if at < 0 and not taken[place]:
                    at = place
                if at >= 0:
                    break
                left -= _THEY_COUNT
                if left < 0:
                    raise _Crowded
                perturb >>= 5
                place = (place * 5 + 1 + perturb) & mask
            place = at
        taken[place] = 1
        table[place] = number
    return [number for number in table if number != _NONE]
