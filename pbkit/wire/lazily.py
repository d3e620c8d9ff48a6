"""
What most connections never have: made when it is first looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Lazily:
    """
    An attribute that is made when it is first looked at. A server has thousands of connections at rest, and most of
    the tables that stock makes for each stay empty: 64 bytes for a dict, and 230 with one thing in it.

    From then on, or once it was set, it is the instance's own. To delete it brings back the beginning.

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
