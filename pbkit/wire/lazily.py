"""
What most connections never have. A server has thousands of them at rest, and most of the tables that stock makes for
each stay empty: 64 bytes for a dict, and 230 with one thing in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn


class Lazily:
    """
    An attribute that is made when it is first looked at; for what is rare. It is in the instance's `__dict__`, which
    Python makes as large as 30 attributes need once it is not like those of others: what each connection comes to have,
    sooner or later, is better in `__slots__`.

    :param make: makes it.
    """

    __slots__ = ("_make", "_name")

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    # No `__set__`: what was set is found before this.
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        made = self._make()
        # Not by way of its `__dict__`, which Python would make for that.
        setattr(instance, self._name, made)
        return made


class _Empty(dict[Any, Any]):
    __slots__ = ()

    def _refuse(self, *args: Any, **kw: Any) -> NoReturn:
        raise TypeError("this is everybody's empty table: put it into one that is new")

    __setitem__ = setdefault = update = __ior__ = _refuse


#: A table with nothing in it, for all who have nothing. Whoever puts something in makes one of his own first.
EMPTY: Any = _Empty()
