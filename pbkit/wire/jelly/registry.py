"""
Which classes may be made of what the other end sends.

Stock's registry is one for the whole process: a module that calls `pb.setUnjellyableForClass`, for a client that it
also is, say, opens its class to each client of each server in that process. Here a server has a list of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import attrs
from twisted.python.reflect import qual
from twisted.spread import jelly, pb

from pbkit.errors import ConfigError

#: References, which are no copies of anything.
_REFERENCES = (b"remote", b"local", b"cached", b"lcache")

#: How what an answer fails with is called.
FAILURE = qual(pb.CopyableFailure).encode("ascii")


@attrs.frozen
class Registry:
    """
    What is made of which class of a sender's.

    :ivar classes: by the name that is sent, what `pb.setUnjellyableForClass` was given for it.
    :ivar factories: by that name, what `pb.setUnjellyableFactoryForClass` was given.
    :ivar closed: whether it is an allow-list: what is not in here is not made, whatever the process knows.
    """

    classes: dict[bytes, Any]
    factories: dict[bytes, Any]
    closed: bool = True


#: Stock's own: all that anybody in this process has registered, and will.
STOCK = Registry(jelly.unjellyableRegistry, jelly.unjellyableFactoryRegistry, closed=False)  # type: ignore[arg-type]


def registryOf(allow: Iterable[type | str | bytes] | None) -> Registry:
    """
    What a server accepts.

    :param allow: the sender's classes, the classes that are made of them, or the names that these were registered
        for; each has been registered. None: all that are, now or later.
    :return: a registry that does not change with stock's: a name stays with what was registered for it now.
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
    By which names something is sent that is to be accepted.

    :param one: a class of the sender's, a class that is made, or a name.
    :raises ConfigError: it is registered by none.
    """
    if isinstance(one, str | bytes):
        name = one.encode("utf-8") if isinstance(one, str) else one
        found = {name} & {*STOCK.classes, *STOCK.factories}
    else:
        found = set(_registered(one))
    found -= {*_REFERENCES}
    if not found:
        raise ConfigError(
            f"allow {_shown(one)}: nothing is registered for it: call pb.setUnjellyableForClass(name, class) before "
            "the server is made, with the name that is sent, which is by default that of the sender's class"
        )
    return found


def _registered(one: Any) -> Iterator[bytes]:
    for table in (STOCK.classes, STOCK.factories):
        yield from (name for name, made in table.items() if made is one)
        if isinstance(one, type):
            # The sender's class, where both ends have it.
            name = qual(one).encode("utf-8")
            if name in table:
                yield name


def _shown(one: Any) -> str:
    return qual(one) if isinstance(one, type) else repr(one)


__all__ = ["FAILURE", "STOCK", "Registry", "namesOf", "registryOf"]
