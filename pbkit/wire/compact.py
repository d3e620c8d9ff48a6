"""
What keeps an idle session small: its limit is 5.5 KB, and a server may have thousands of them.

A stock connection makes twelve tables that mostly stay empty, and a channel would need seven of them again. Measured
on CPython 3.11, of the 4.0 KB that an idle session with its connection takes:

- the tables that are made when they are first used (`makeTable`) save 1.9 KB: 64 bytes for an empty dict, 56 for an
  empty list, 1.2 KB for the copy of Banana's vocabulary;
- `Few` in the place of a dict with one entry saves 184 bytes for each, 920 for the five of a session;
- `Invoker.releaseEmpty`, called every few seconds, saves the 230 bytes that a dict keeps once it had an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, Generic, TypeAlias, TypeVar

from twisted.spread import banana

Key = TypeVar("Key")
Value = TypeVar("Value")

#: How the attributes of an object are made, by name.
Makers: TypeAlias = Mapping[str, Callable[[], Any]]

#: The tables that stock's ``__init__`` gives to each Broker.
STOCK_TABLES: Makers = {
    "_localCleanup": dict,
    "disconnects": list,
    "failures": list,
    "listStack": list,
    "localObjects": dict,
    "locallyCachedObjects": dict,
    "luids": dict,
    "outgoingSymbols": banana.Banana.outgoingVocabulary.copy,
    "pageProducers": list,
    "remotelyCachedLUIDs": dict,
    "remotelyCachedObjects": dict,
    "waitingForAnswers": dict,
}


def makeTable(instance: object, name: str, makers: Makers) -> Any:
    """
    Make an attribute that an object does not have so far. For the object's ``__getattr__``.

    The attribute is an ordinary one from then on: private to the object, and free to be written to or replaced.

    :raises AttributeError: `makers` has none of this name.
    """
    make = makers.get(name)
    if make is None:
        # Also where a property raised it: this raises the property's own error again.
        return object.__getattribute__(instance, name)
    table = make()
    setattr(instance, name, table)
    return table


class Lazily:
    """
    An attribute that is made when it is first read.

    :param make: makes it.
    """

    __slots__ = ("_make", "_name")

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    # There is no __set__, so an attribute that was set is found before this descriptor.
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        made = self._make()
        setattr(instance, self._name, made)
        return made


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
