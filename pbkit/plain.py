"""
Plain data: what of it is small enough to be declared, what it weighs, and copies that nobody else can change.
"""

from __future__ import annotations

from typing import Any

from pbkit.errors import Error

#: How much a peer may declare of itself: entries, and characters in each key and text.
ENTRIES, LENGTH = 32, 256
#: And how large its whole numbers are. Stock's Banana sends those of up to 448 bits, and JSON takes any.
WHOLE = 2**64
#: What an object that is not plain is taken to weigh, in bytes: a reference to it does.
OBJECT = 64


def checked(features: object, what: str = "hello") -> dict[str, Any]:
    """
    What may be declared, in a hello or of a session.

    :param what: what is being said, for the error.
    :raises Error: it is something else than a small dict of short texts to plain values.
    """
    right = isinstance(features, dict) and len(features) <= ENTRIES
    if isinstance(features, dict) and right:
        right = all(type(key) is str and _plain(key) for key in features)
        right = right and all(_plain(value) for value in features.values())
    if not right:
        raise Error(f"{what} takes a dict of at most {ENTRIES} short texts to plain values")
    assert isinstance(features, dict)
    return features


def _plain(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= LENGTH and _isText(value)
    if type(value) is int:
        return abs(value) < WHOLE
    return value is None or type(value) in (bool, float)


def _isText(value: str) -> bool:
    """Whether it can be sent at all: half of a surrogate pair cannot, and JSON has them."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def weighed(value: Any) -> tuple[Any, int]:
    """
    A copy of what is to be sent later, and how many bytes that will be: an estimate, since encoding it would cost ten
    times as much. For plain data it is right to a third, for others low: what they hold is not looked at.

    Lists, tuples, dicts and sets are copied, those in them too, and a change to them later changes nothing here. Other
    objects are not: they are sent as they are by then.

    :raises RecursionError: it is too deep to be sent at all.
    """
    copies: dict[int, Any] = {}
    weight = 0

    def copy(value: Any) -> Any:
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
            # The same one twice, or in itself: sent once.
            return again
        return _COPIED[kind](value, copy, copies)

    return copy(value), weight


def _list(value: Any, copy: Any, copies: dict[int, Any]) -> Any:
    made: list[Any] = []
    copies[id(value)] = made
    made.extend(map(copy, value))
    return made


def _dict(value: Any, copy: Any, copies: dict[int, Any]) -> Any:
    made: dict[Any, Any] = {}
    copies[id(value)] = made
    for key, item in value.items():
        made[copy(key)] = copy(item)
    return made


def _tuple(value: Any, copy: Any, copies: dict[int, Any]) -> Any:
    made = copies[id(value)] = tuple(map(copy, value))
    return made


def _set(value: Any, copy: Any, copies: dict[int, Any]) -> Any:
    made = copies[id(value)] = type(value)(map(copy, value))
    return made


_COPIED: dict[type, Any] = {list: _list, dict: _dict, tuple: _tuple, set: _set, frozenset: _set}


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
