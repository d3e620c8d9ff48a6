"""
What a jelly expression holds, without unjellying it.
"""

from __future__ import annotations

from typing import Any

_SEQUENCES = frozenset((b"list", b"tuple", b"set", b"frozenset"))
_LEAVES = frozenset(
    b"unicode None boolean dereference local lcache unpersistable decimal datetime date time timedelta class module "
    b"function persistent".split()
)


def handles(sexp: Any) -> tuple[list[int], list[int]]:
    """
    The ids that whoever made an expression keeps something under, as often as each occurs.

    Only where jelly would make something of them: ``["dictionary", [b"remote", 5]]`` is an item of a dict, hence
    data. No class is looked up and nothing is made.

    :param sexp: as it came off the wire, or as `twisted.spread.jelly.jelly` makes it.
    :return: the ids of references, and those of Cacheables.
    """
    references: list[int] = []
    caches: list[int] = []
    todo = [sexp]
    while todo:
        each = todo.pop()
        if not isinstance(each, list | tuple) or not each or not isinstance(each[0], bytes):
            continue
        kind, rest = each[0], each[1:]
        if kind in _SEQUENCES:
            todo.extend(rest)
        elif kind == b"dictionary":
            todo.extend(item for pair in rest if isinstance(pair, list | tuple) for item in pair)
        elif kind == b"reference":
            todo.extend(rest[1:])
        elif kind in (b"remote", b"cached"):
            if len(rest) == 1 and type(rest[0]) is int:
                (references if kind == b"remote" else caches).append(rest[0])
        elif kind not in _LEAVES:
            # An instance of some class. Its state comes last; a Cacheable's id comes before.
            if len(rest) == 2 and type(rest[0]) is int:
                caches.append(rest[0])
            todo.extend(rest[-1:])
    return references, caches


def lists(sexp: Any) -> int:
    """
    :return: how many lists an expression has, itself included.
    """
    todo, count = [sexp], 0
    while todo:
        each = todo.pop()
        if type(each) is list:
            count += 1
            todo += each
    return count
