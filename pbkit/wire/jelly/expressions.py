"""
What a jelly expression holds, found without building any object.
"""

from __future__ import annotations

SEQUENCES = frozenset((b"list", b"tuple", b"set", b"frozenset"))
LEAVES = frozenset(
    b"unicode None boolean dereference local lcache unpersistable decimal datetime date time timedelta class module "
    b"function persistent".split()
)
#: What holds plain data, or references to objects of the other end, and nothing else.
PLAIN = SEQUENCES | {b"unicode", b"None", b"boolean", b"remote", b"reference", b"dereference"}


def handles(sexp: object) -> tuple[list[int], list[int]]:
    """
    Find the ids of the sender's objects in an expression, each as often as it occurs: the sender counts that often.

    Only ids that jelly would build something from count: ``["dictionary", [b"remote", 5]]`` has an item
    ``b"remote": 5`` and no reference.

    :param sexp: as received, or as `twisted.spread.jelly.jelly` makes it.
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
        if kind in SEQUENCES:
            todo.extend(rest)
        elif kind == b"dictionary":
            todo.extend(item for pair in rest if isinstance(pair, list | tuple) for item in pair)
        elif kind == b"reference":
            todo.extend(rest[1:])
        elif kind in (b"remote", b"cached"):
            if len(rest) == 1 and type(rest[0]) is int:
                (references if kind == b"remote" else caches).append(rest[0])
        elif kind not in LEAVES:
            # An instance of some class. Its state comes last; the id of a Cacheable comes before the state.
            if len(rest) == 2 and type(rest[0]) is int:
                caches.append(rest[0])
            todo.extend(rest[-1:])
    return references, caches


def countItems(sexp: object) -> tuple[int, int]:
    """
    Return how many lists an expression has, including itself, and how many other items.
    """
    todo, lists, items = [sexp], 0, 0
    while todo:
        each = todo.pop()
        if type(each) is list:
            lists += 1
            inner = [part for part in each if type(part) is list]
            items += len(each) - len(inner)
            todo += inner
        else:
            items += 1
    return lists, items


def countLists(sexp: object) -> int:
    """
    Return how many lists an expression has, including itself.
    """
    todo, count = [sexp], 0
    while todo:
        each = todo.pop()
        if type(each) is list:
            count += 1
            todo += each
    return count


def isPlain(sexp: object) -> bool:
    """
    Return whether an expression has plain data and references to objects of the other end, and nothing else.

    :param sexp: as received. The caller has limited how large it is.
    """
    todo = [sexp]
    while todo:
        each = todo.pop()
        if type(each) is not list:
            continue
        kind = each[0] if each else None
        if kind == b"dictionary":
            for pair in each[1:]:
                if type(pair) is not list:
                    return False
                todo += pair
        elif type(kind) is bytes and kind in PLAIN:
            todo += each[1:]
        else:
            return False
    return True
