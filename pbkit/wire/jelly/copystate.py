"""
The state of a copy, as its sender has chosen it.

Stock's `setCopyableState` makes it the `__dict__` of the copy: a key that is called as a method hides the method, and
the next call of it is a TypeError, or worse.
"""

from __future__ import annotations

from inspect import getattr_static
from typing import Any

from twisted.spread import pb

from pbkit.errors import BadValue


def takesAny(cls: type) -> bool:
    """
    :return: whether a class has a `setCopyableState` of its own, which knows what it gets.
    """
    return cls.setCopyableState is not pb.RemoteCopy.setCopyableState  # type: ignore[attr-defined]


def checkState(cls: type, state: Any) -> None:
    """
    See whether a state can be that of a copy.

    Refused, not left out: a copy that lacks some of its state is one that nobody has thought of.

    :param cls: of the copy, a `pb.RemoteCopy`.
    :raises BadValue: it is no dictionary, or one of its keys is no text, or is called as a method or property of the
        class. Of a class with a `setCopyableState` of its own nothing is asked here: that says what goes where.
    """
    if takesAny(cls) or state is None:
        return
    if type(state) is not dict:
        raise BadValue("a state that is no dictionary")
    for key in state:
        name = _text(key)
        if name is None:
            raise BadValue(f"a state of {cls.__qualname__} with a name that is no text")
        if hides(cls, name):
            raise _hidden(cls, name)


def checkCopy(copy: pb.RemoteCopy, state: dict[Any, Any]) -> None:
    """
    See what a `setCopyableState` of the user's has made of a state: it may have handed it on to stock's.

    :param state: as it was sent.
    :raises BadValue: a method of the copy is hidden by what was sent under that name.
    """
    for key, value in state.items():
        name = _text(key)
        if name is not None and vars(copy).get(name, copy) is value and hides(type(copy), name):
            raise _hidden(type(copy), name)


def _text(key: Any) -> str | None:
    try:
        name = key.decode("utf-8") if type(key) is bytes else key
    except UnicodeDecodeError:
        return None
    return name if type(name) is str else None


def _hidden(cls: type, name: str) -> BadValue:
    return BadValue(f"a state of {cls.__qualname__} with {name[:100]!r}, by which the class has a method or property")


def hides(cls: type, name: str) -> bool:
    """
    :return: whether an attribute of an instance would stand before a method or a property of its class, or is called
        as only Python's own are. A default value in the class is there to be hidden.
    """
    if name.startswith("__") and name.endswith("__"):
        return True
    found = getattr_static(cls, name, None)
    return callable(found) or hasattr(type(found), "__get__")
