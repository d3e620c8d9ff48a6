"""
Mistakes in an avatar class that would show at a login only, or never.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from inspect import getattr_static
from weakref import WeakSet

from twisted.logger import Logger
from twisted.spread import pb

from pbkit.dispatch import misfit
from pbkit.errors import ConfigError, shownValue

#: The hooks of avatars.
HOOKS = ("attached", "detached", "lagging")
#: Names that look like a hook and mean something else.
OTHERS = frozenset({"attacked", "logging"})
#: How similar to that of a hook a name must be to be taken for a mistake: ``detatched`` is by 0.94, ``detach`` by 0.86.
SIMILAR = 0.85

_checked: WeakSet[type] = WeakSet()

log = Logger()


def checkFactory(realm: str, name: str, factory: object, arguments: tuple[str, ...]) -> None:
    """
    Check what is called to make avatars or models.

    :param realm: the name of the realm's class, for the error.
    :param name: the name of the parameter.
    :param factory: its value.
    :param arguments: what it is called with.
    :raises ConfigError: it cannot be called with these.
    """
    if pb.IPerspective.providedBy(factory):
        kind = type(factory).__name__
        raise ConfigError.invalid(name, f"an instance of {kind}", "the class itself", f"{realm}({kind})")
    if not callable(factory):
        raise ConfigError.invalid(name, shownValue(factory), "a class or a function", f"{realm}(Player)")
    wrong = misfit(factory, *arguments)
    if wrong:
        shown = getattr(factory, "__qualname__", repr(factory))
        raise ConfigError(
            f"invalid {name}: {realm} calls {shown}({', '.join(arguments)}), which does not fit: {wrong}. "
            f"Accept these arguments, or override buildAvatar"
        )


def checkHooks(cls: type) -> None:
    """
    Warn about methods of an avatar class that look like a misspelled hook. Each class is checked once.
    """
    if cls in _checked:
        return
    _checked.add(cls)
    for name, hook in misspelled(cls):
        log.warn(
            "{cls}.{name} is never called as a hook: did you mean {hook}? Hooks of avatars: {hooks}",
            cls=cls.__qualname__,
            name=name,
            hook=hook,
            hooks=", ".join(HOOKS),
        )


def misspelled(cls: type) -> Iterator[tuple[str, str]]:
    """
    Iterate over the methods of a class that look like a misspelled hook, each with the hook.
    """
    for name in dir(cls):
        if name.startswith("__") or name in HOOKS or name in OTHERS:
            continue
        plain = name.replace("_", "").lower()
        # Other frameworks write onAttached or on_attached.
        plain = plain[2:] if plain.startswith("on") else plain
        for hook in HOOKS:
            # Comparing takes some 20 µs, so compare only what can be similar.
            if plain[:1] != hook[0] or abs(len(plain) - len(hook)) > 3 or hasattr(cls, hook):
                continue
            if SequenceMatcher(None, plain, hook).ratio() >= SIMILAR and callable(getattr_static(cls, name)):
                yield name, hook
