"""
What keeps an idle session small: its limit is 5.5 KB, and a server may have thousands of them.

Measured on CPython 3.11:

- `LazyTable`: stock gives each Broker twelve tables, 1.9 KB in all, of which 1.2 KB are a copy of Banana's vocabulary.
  A connection needs few of them, and a channel would need seven of them again: 0.4 KB. What each session or each call
  needs is made at once, because reading a LazyTable takes 0.1 µs.
- `Few` takes 80 bytes for one entry, a dict 255. A session has five such tables: 0.9 KB.
- `Broker.tidy`, every few seconds: a dict that has had an entry keeps 232 bytes, and a session at rest has three.
- The login root and all that a login needs are dropped when the login is over: 1 KB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class LazyTable:
    """
    An attribute that is made when it is first used, and is an ordinary one from then on.

    :param slot: the name of the slot that holds it.
    :param make: makes it.
    """

    __slots__ = ("_make", "_slot")

    def __init__(self, slot: str, make: Callable[[], object]) -> None:
        self._slot = slot
        self._make = make

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if instance is None:
            return self
        try:
            return getattr(instance, self._slot)
        except AttributeError:
            table = self._make()
            setattr(instance, self._slot, table)
            return table

    def __set__(self, instance: object, value: object) -> None:
        setattr(instance, self._slot, value)

    def __delete__(self, instance: object) -> None:
        delattr(instance, self._slot)

    def releaseEmpty(self, instance: object) -> None:
        """Release the table of an object if it is empty: a dict that has had an entry stays large."""
        if not getattr(instance, self._slot, True):
            delattr(instance, self._slot)


_NOTHING: Any = object()
_MANY: Any = object()


class Few(MutableMapping[Key, Value], Generic[Key, Value]):
    """
    A mapping for which one entry is the usual case: 48 bytes up to one entry, where a dict takes 232.

    It holds a dict from the second entry on, until it is empty again.
    """

    __slots__ = ("_key", "_value")

    def __init__(self) -> None:
        # The only key, or _NOTHING, or _MANY; in that case the value is the dict.
        self._key: Any = _NOTHING
        self._value: Any = None

    def get(self, key: Any, default: Any = None) -> Any:
        """As a dict's. Defined here for speed: each call looks up the channel that it is for."""
        if self._key is _MANY:
            return self._value.get(key, default)
        return self._value if self._key == key else default

    def __getitem__(self, key: Key) -> Value:
        found: Any = self.get(key, _NOTHING)
        if found is _NOTHING:
            raise KeyError(key)
        value: Value = found
        return value

    def __contains__(self, key: object) -> bool:
        return key in self._value if self._key is _MANY else bool(self._key == key)

    def __setitem__(self, key: Key, value: Value) -> None:
        if self._key is _MANY:
            self._value[key] = value
        elif self._key is _NOTHING or self._key == key:
            self._key, self._value = key, value
        else:
            self._key, self._value = _MANY, {self._key: self._value, key: value}

    def __delitem__(self, key: Key) -> None:
        if self._key is _MANY:
            del self._value[key]
            if not self._value:
                self._key, self._value = _NOTHING, None
        elif self._key == key:
            self._key, self._value = _NOTHING, None
        else:
            raise KeyError(key)

    def pop(self, key: Any, default: Any = _NOTHING) -> Any:
        """As a dict's. Defined here for speed: each answer looks up the call that it is for."""
        if self._key is not _MANY and self._key == key:
            value, self._key, self._value = self._value, _NOTHING, None
            return value
        return super().pop(key) if default is _NOTHING else super().pop(key, default)

    def __len__(self) -> int:
        return len(self._value) if self._key is _MANY else self._key is not _NOTHING

    def __iter__(self) -> Iterator[Key]:
        return iter(self._value if self._key is _MANY else () if self._key is _NOTHING else (self._key,))

    def copy(self) -> dict[Key, Value]:
        """Return a dict of the entries."""
        return dict(self)

    def __repr__(self) -> str:
        return f"Few({dict(self)!r})"
