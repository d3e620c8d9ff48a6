"""
Which classes a connection builds from what the peer sends.

Stock has one registry for the whole process: a module that calls `pb.setUnjellyableForClass`, perhaps for a client in
the same process, opens its class to every client of every server in that process. In pbkit each server has its own
list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import attrs
from twisted.python.reflect import qual
from twisted.spread import jelly, pb

from pbkit.errors import ConfigError
from pbkit.wire.profile import Profile

#: The names of references. They are registered like classes, but nothing is copied.
_REFERENCES = (b"remote", b"local", b"cached", b"lcache")

#: The names of plain data in jelly.
_PLAIN = frozenset(b"None boolean unicode list tuple dictionary set frozenset".split())

#: The name that an error is sent under.
FAILURE = qual(pb.CopyableFailure).encode("ascii")


@attrs.frozen
class Registry:
    """
    What is built from which of the peer's classes.

    :ivar classes: by the name that is sent, what `pb.setUnjellyableForClass` was given.
    :ivar factories: by the name that is sent, what `pb.setUnjellyableFactoryForClass` was given.
    :ivar closed: True for an allow-list: a class that is not listed is refused, whatever the process has registered.
    """

    # What a program registers has no common type: stock calls whatever it is given.
    classes: dict[bytes, Any]
    factories: dict[bytes, Any]
    closed: bool = True


class JellySettings(Protocol):
    """
    The settings of a connection that jelly works by.
    """

    @property
    def profile(self) -> Profile:
        """How strict it is."""

    @property
    def registry(self) -> Registry:
        """Which classes it accepts."""


#: Stock's own registry: everything that is registered in this process, now or later.
STOCK = Registry(jelly.unjellyableRegistry, jelly.unjellyableFactoryRegistry, closed=False)  # type: ignore[arg-type]


def allowsPlain(security: object) -> bool:
    """
    Return True if plain data needs no check by jelly: the program has no taster of its own, and no class is registered
    under a name of plain data.

    :param security: the broker's `SecurityOptions`.
    """
    return (
        type(security) is jelly.SecurityOptions
        and security.allowedTypes.keys() >= _PLAIN
        and STOCK.classes.keys().isdisjoint(_PLAIN)
        and STOCK.factories.keys().isdisjoint(_PLAIN)
    )


def registryOf(allow: Iterable[type | str | bytes] | None) -> Registry:
    """
    Make the registry of a server.

    :param allow: the sender's classes, the classes that are built, or the names that are sent; each must be
        registered. None allows everything that is registered, now or later.
    :return: a registry that keeps what is registered now: a later registration under an allowed name changes nothing.
    :raises ConfigError: one of them is not registered.
    """
    if allow is None:
        return STOCK
    if isinstance(allow, str | bytes | type):
        raise ConfigError(f"allow takes a set of classes and names, not {allow!r}: write {{{_shown(allow)}}}")
    names = {name for one in allow for name in namesOf(one)}
    return Registry(
        {name: STOCK.classes[name] for name in (*_REFERENCES, *names) if name in STOCK.classes},
        {name: STOCK.factories[name] for name in names if name in STOCK.factories},
    )


def namesOf(one: type | str | bytes) -> set[bytes]:
    """
    Return the names under which something is sent that is to be accepted.

    :param one: a class of the sender's, a class that is built, or a name.
    :raises ConfigError: it is not registered.
    """
    if isinstance(one, str | bytes):
        name = one.encode("utf-8") if isinstance(one, str) else one
        found = {name} & {*STOCK.classes, *STOCK.factories}
    else:
        found = set(_registered(one))
    found -= {*_REFERENCES}
    if not found:
        raise ConfigError(
            f"allow {_shown(one)}: not registered. Call pb.setUnjellyableForClass(name, class) before the server is "
            "made, with the name that is sent: by default the qualified name of the sender's class"
        )
    return found


def _registered(one: type) -> Iterator[bytes]:
    for table in (STOCK.classes, STOCK.factories):
        yield from (name for name, made in table.items() if made is one)
        if isinstance(one, type):
            # The sender's class, where both ends import it.
            name = qual(one).encode("utf-8")
            if name in table:
                yield name


def _shown(one: object) -> str:
    return qual(one) if isinstance(one, type) else repr(one)


__all__ = ["FAILURE", "STOCK", "JellySettings", "Registry", "allowsPlain", "namesOf", "registryOf"]
