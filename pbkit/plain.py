"""
Plain data: what a peer may declare about itself, and copies of values that are sent later, with their size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pbkit.errors import Error

#: The most entries that may be declared, and the most characters of each key and text.
ENTRIES, LENGTH = 32, 256
#: Declared integers are smaller than this. Stock's Banana sends integers of up to 448 bits, and JSON of any size.
WHOLE = 2**64
#: The assumed size of an object that is not plain, in bytes: that of a reference to it.
OBJECT = 64


def checked(features: object, what: str = "hello") -> dict[str, Any]:
    """
    Return what a peer or a session declares about itself, checked.

    :param what: the name of the declaration, for the error.
    :raises Error: it is not a small dict of short texts to plain values.
    """
    if (
        isinstance(features, dict)
        and len(features) <= ENTRIES
        and all(type(key) is str and _plain(key) for key in features)
        and all(map(_plain, features.values()))
    ):
        return features
    raise Error(f"{what} takes a dict of at most {ENTRIES} short texts to plain values")


def _plain(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= LENGTH and _isText(value)
    if type(value) is int:
        return abs(value) < WHOLE
    return value is None or type(value) in (bool, float)


def _isText(value: str) -> bool:
    """Return whether a text can be sent. Half of a surrogate pair cannot, and JSON can hold one."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def weighed(value: object) -> tuple[Any, int]:
    """
    Copy a value that is sent later, and estimate how many bytes that will be. Encoding it would cost ten times as much.
    For plain data the estimate is right to a third. For other objects it is low, as it does not look into them.

    Lists, tuples, dicts and sets are copied, at each level, so a later change to them has no effect on what is sent.
    Other objects are sent as they are by then.

    :raises RecursionError: the value is too deep to be sent.
    """
    copies: dict[int, object] = {}
    weight = 0

    def copy(value: Any) -> object:
        nonlocal weight
        kind = type(value)
        if kind is str:
            weight += 13 + (len(value) if value.isascii() else 2 * len(value))
            return value
        if kind is int:
            weight += 2 + value.bit_length() // 7
            return value
        if kind is bytes:
            weight += 3 + len(value)
            return value
        if kind is float:
            weight += 9
            return value
        if value is None or kind is bool:
            weight += 17 if kind is bool else 4
            return value
        if kind not in _COPIED:
            weight += OBJECT
            return value
        weight += 4 + (2 * len(value) if kind is dict else 0)
        again = copies.get(id(value))
        if again is not None:
            # A container that comes twice, or is part of itself, is sent once.
            return again
        return _COPIED[kind](value, copy, copies)

    return copy(value), weight


_Copy = Callable[[Any], object]


def _list(value: list[object], copy: _Copy, copies: dict[int, object]) -> list[object]:
    made: list[object] = []
    copies[id(value)] = made
    made.extend(map(copy, value))
    return made


def _dict(value: dict[object, object], copy: _Copy, copies: dict[int, object]) -> dict[object, object]:
    made: dict[object, object] = {}
    copies[id(value)] = made
    for key, item in value.items():
        made[copy(key)] = copy(item)
    return made


def _tuple(value: tuple[object, ...], copy: _Copy, copies: dict[int, object]) -> tuple[object, ...]:
    made = copies[id(value)] = tuple(map(copy, value))
    return made


def _set(value: set[object], copy: _Copy, copies: dict[int, object]) -> set[object]:
    made = copies[id(value)] = type(value)(map(copy, value))
    return made


_COPIED: dict[type, Callable[..., Any]] = {list: _list, dict: _dict, tuple: _tuple, set: _set, frozenset: _set}


#: The most bytes of a text for people, such as the detail of a goodbye. Stock's Banana sends up to 655,360.
TEXT = 65536


def sendable(text: str, most: int = TEXT) -> str:
    """
    Return a text that every peer can receive: what UTF-8 cannot express is escaped, and a long text is cut.

    :param most: the most bytes.
    """
    data = text[:most].encode("utf-8", "backslashreplace")
    if len(text) <= most and len(data) <= most:
        return data.decode("utf-8")
    return data[: most - 3].decode("utf-8", "ignore") + "..."
