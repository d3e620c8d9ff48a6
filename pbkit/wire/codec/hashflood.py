"""
Hash flooding: find keys that would make a dict or set take more time than in proportion to their number.

`pbkit.wire.codec` has this compiled as well; both give the same answer for the same keys.

Hashes of text are secret; those of numbers, and of tuples of numbers, are not. ``k * (2**61 - 1)`` has the hash 0 for
each k. Numbers with different hashes can also be chosen so that CPython looks for them in the same places, one after
the other: a dict of 28,000 such numbers, sent in 220 kB, took 1.9 s where as many other numbers took 1 ms.

So this module does with the hashes alone what CPython is going to do with the keys, and gives up when it takes too
long. It counts the places that are looked at, and does not guess from the look of the numbers: many honest ones look
odd, such as ids with a time in their upper bits, and CPython handles these well.

The algorithms are those of ``Objects/dictobject.c`` and ``Objects/setobject.c`` of CPython 3.11 to 3.13. The tests
compare them with the order of sets and the sizes of dicts in the Python that runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Hashable, Sequence

# The compiled codec reads the constants without an underscore at import, so that each limit is defined once.

#: How many keys of one container may have a hash that another of them has. Honest keys hardly ever do: hashes of text
#: are random, those of small numbers differ. 33 keys that all collide need 33 * 32 / 2 = 528 comparisons, about as
#: many as a dict of 500 keys that do not collide.
COLLISIONS = 32

#: How many occupied places may be looked at for each key, on average. The most that was measured with honest numbers
#: was 37, of ``3 * i << 32`` in a dict that is as full as it can be; random numbers have 1 or 2.
PLACES = 64

#: How many more places are allowed in total: with a few hundred keys, the worst case does not matter.
FREE_PLACES = 4096

#: A set looks at nine neighbours of a place before it goes elsewhere. The ten lie in three cache lines, and count as 4.
NEIGHBOURS, NEIGHBOURS_COST = 9, 4

#: Smaller dicts, of up to 42 keys, are not checked.
SMALLEST_DICT = 128

_BITS = 2 * sys.maxsize + 1
_SECRET_HASHES = frozenset((str, bytes))
#: Marks a free place: no hash is -1.
_FREE = -1
_PRIME = 2**89 - 1
#: Multiplies hashes. A peer cannot guess it, so it cannot choose keys that collide after the multiplication.
_FACTOR = int.from_bytes(os.urandom(11), "big") % (_PRIME - 1) + 1


class _Crowded(Exception):
    """The keys would take too long."""


def crowded(keys: Sequence[Hashable], members: bool) -> bool:
    """
    Return True if a container of these keys should not be built. Takes time in proportion to their number.

    :param keys: in the order in which they are added; some may be equal.
    :param members: True for a set or frozenset, False for a dict.
    :raises TypeError: a key is not hashable.
    """
    if len(keys) <= COLLISIONS or _SECRET_HASHES.issuperset(map(type, keys)):
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


def _distinct(keys: Sequence[Hashable]) -> list[int]:
    """
    Return the hashes of the keys that differ, in their order.
    """
    hashes = [hash(key) for key in keys]
    # A set of the hashes themselves may be what has to be prevented.
    mixed = [number * _FACTOR % _PRIME for number in hashes]
    if len(set(mixed)) == len(mixed):
        return hashes
    found: list[int] = []
    byHash: dict[int, list[Hashable]] = {}
    again = 0
    for key, number, mix in zip(keys, hashes, mixed, strict=True):
        others = byHash.setdefault(mix, [])
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
    Add keys to a dict of each size that it may have while it grows. A dict is filled to two thirds. When it grows, all
    keys are added to the next table in the same order. That table has twice the size; or once, when a number is added
    to texts, three places for each key.

    :param hashes: of keys that differ.
    :param most: how many keys there are.
    :raises _Crowded: it takes too long.
    """
    size = SMALLEST_DICT
    while size < 3 * most:
        size *= 2
    while size >= SMALLEST_DICT:
        taken = bytearray(size)
        mask = size - 1
        left = FREE_PLACES
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
    Add keys to a set, which grows when it is filled to three fifths. The keys are then added to the next table in the
    order of their places, so it is not enough to check the last table.

    :param hashes: of keys that differ.
    :return: the occupied places of the last table.
    :raises _Crowded: it takes too long.
    """
    done, size = 0, 8
    table: list[int] = []
    while True:
        # So many fit; the last of them makes it grow.
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
    Return the hashes in the order of their places in a set of this size.

    :raises _Crowded: it takes too long.
    """
    table = [_FREE] * size
    taken = bytearray(size)
    free = taken.find
    mask = size - 1
    left = FREE_PLACES
    for number in hashes:
        left += PLACES
        place = number & mask
        if taken[place]:
            perturb = number & _BITS
            while True:
                # The last places of the table have no neighbours.
                at = free(0, place, place + NEIGHBOURS + 1) if place + NEIGHBOURS <= mask else -1
                if at < 0 and not taken[place]:
                    at = place
                if at >= 0:
                    break
                left -= NEIGHBOURS_COST
                if left < 0:
                    raise _Crowded
                perturb >>= 5
                place = (place * 5 + 1 + perturb) & mask
            place = at
        taken[place] = 1
        table[place] = number
    return [number for number in table if number != _FREE]
