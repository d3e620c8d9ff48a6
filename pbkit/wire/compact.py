"""
A table that mostly has one thing in it.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

_NOTHING: Any = object()
_MANY: Any = object()


class Few(MutableMapping[Key, Value], Generic[Key, Value]):
    """
    As a dict, in 48 bytes while there is one thing in it at most, where a dict takes 224. It is a dict behind that from
    the second thing on, until it is empty again.
    """

    __slots__ = ("_key", "_value")

    def __init__(self) -> None:
        # The one key, or that there is none, or that the value is a dict of them all.
        self._key: Any = _NOTHING
        self._value: Any = None

    def get(self, key: Any, default: Any = None) -> Any:
        """As a dict's. It is here, as of each call the owner is looked up."""
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
        """As a dict's. It is here, as each answer is looked for with it."""
        if self._key is not _MANY and self._key == key:
            value, self._key, self._value = self._value, _NOTHING, None
            return value
        return super().pop(key) if default is _NOTHING else super().pop(key, default)

    def __len__(self) -> int:
        return len(self._value) if self._key is _MANY else self._key is not _NOTHING

    def __iter__(self) -> Iterator[Key]:
        return iter(self._value if self._key is _MANY else () if self._key is _NOTHING else (self._key,))

    def __repr__(self) -> str:
        return f"Few({dict(self)!r})"
