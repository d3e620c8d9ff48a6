"""
What a jelly expression holds, without unjellying it.
"""

from __future__ import annotations

from typing import Any

# Expressions whose other items are expressions; those with pairs; and those with an id in front of one.
_SEQUENCES = frozenset((b"list", b"tuple", b"set", b"frozenset"))
_LEAVES = frozenset((b"unicode", b"None", b"boolean", b"dereference", b"local", b"cached", b"lcache", b"unpersistable"))


def remotes(sexp: Any) -> list[int]:
    """
    The ids of the references in a jelly expression, as often as each occurs.

    Only where jelly would make a reference: ``["dictionary", [b"remote", 5]]`` is an item of a dict, hence data. No
    class is looked up and nothing is made.

    :param sexp: as it came off the wire, or as `twisted.spread.jelly.jelly` makes it.
    """
    found: list[int] = []
    todo = [sexp]
    while todo:
        each = todo.pop()
        if not isinstance(each, list | tuple) or not each or not isinstance(each[0], bytes):
            continue
        kind, rest = each[0], each[1:]
        if kind == b"remote":
            if len(rest) == 1 and type(rest[0]) is int:
                found.append(rest[0])
        elif kind in _SEQUENCES:
            todo.extend(rest)
        elif kind == b"dictionary":
            todo.extend(item for pair in rest if isinstance(pair, list | tuple) for item in pair)
        elif kind not in _LEAVES:
            # An instance of some class: its state comes last, after an id if it is cached.
            todo.extend(rest[-1:])
    return found
