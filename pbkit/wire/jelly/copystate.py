"""
Checks of the state that a peer sends for a copy.

Stock's `setCopyableState` makes that state the `__dict__` of the copy. A key that is the name of a method then hides
the method, and the next call of it is a TypeError, or worse.
"""

from __future__ import annotations

from inspect import getattr_static

from twisted.spread import pb

from pbkit.errors import BadValue


def takesAny(cls: type) -> bool:
    """
    Return True if a class has its own `setCopyableState`, which decides what to do with a state.
    """
    return cls.setCopyableState is not pb.RemoteCopy.setCopyableState  # type: ignore[attr-defined]


def checkState(cls: type, state: object) -> None:
    """
    Check that a state can become the attributes of a copy. A wrong key refuses the whole state: no program expects a
    copy with a part of its state.

    :param cls: the class of the copy, a `pb.RemoteCopy`. One that has its own `setCopyableState` is not checked here.
    :raises BadValue: the state is not a dict, or a key is not text or names a method or property of the class.
    """
    if takesAny(cls) or state is None:
        return
    if type(state) is not dict:
        raise notADict(cls)
    for key in state:
        name = _text(key)
        if name is None:
            raise BadValue(f"the state of a {cls.__qualname__} has a key that is not text")
        if hides(cls, name):
            raise _hidden(cls, name)


def checkCopy(copy: pb.RemoteCopy, state: dict[object, object]) -> None:
    """
    Check a copy after its own `setCopyableState`, which may have passed the state on to stock's.

    :param state: as it was sent.
    :raises BadValue: a key of the state hides a method or property of the copy.
    """
    for key, value in state.items():
        name = _text(key)
        if name is not None and vars(copy).get(name, copy) is value and hides(type(copy), name):
            raise _hidden(type(copy), name)


def notADict(cls: type) -> BadValue:
    """
    Return the error for a state that is not a dict.
    """
    return BadValue(f"the state of a {cls.__qualname__} is not a dict")


def _text(key: object) -> str | None:
    try:
        name = key.decode("utf-8") if type(key) is bytes else key
    except UnicodeDecodeError:
        return None
    return name if type(name) is str else None


def _hidden(cls: type, name: str) -> BadValue:
    return BadValue(
        f"the state of a {cls.__qualname__} has the key {name[:100]!r}, which would hide a method or property"
    )


def hides(cls: type, name: str) -> bool:
    """
    Return True if an instance attribute of this name would hide a method or property of its class, or has a name that
    Python reserves. Hiding a default value of the class is allowed: defaults are there to be hidden.
    """
    if name.startswith("__") and name.endswith("__"):
        return True
    found = getattr_static(cls, name, None)
    return callable(found) or hasattr(type(found), "__get__")
