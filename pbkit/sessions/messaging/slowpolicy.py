"""
What becomes of what is told to a client that does not keep up: pure decisions.

A policy is a callable ``policy(waiting, message)``. It sees what waits for the client already and what is to be told
now, changes nothing, and returns one of

- `Wait`: it waits too; maybe others go for it;
- `Drop`: it is not told;
- `Kick`: the session ends, with `SlowConsumer`.

It is asked only while a client does not keep up: what a client takes at once it is told at once. A policy of one's own
keeps its own bounds::

    def onlyAlarms(waiting, message):
        return Wait() if message.method == "alarm" and waiting.messages < 100 else Drop()
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, Protocol, TypeAlias

import attrs

MIB = 1024 * 1024


@attrs.frozen
class Message:
    """
    Something to be told.

    :ivar size: what it weighs on the wire, in bytes: an estimate, see `pbkit.plain.weighed`.
    """

    method: str
    args: tuple[Any, ...]
    kw: dict[str, Any]
    size: int


class Waiting(Protocol):
    """
    What waits for a client: what a policy sees of its `Outbox`.

    :ivar messages: how many.
    :ivar bytes: how much, by the same estimate.
    """

    messages: int
    bytes: int

    def keyed(self, key: Hashable) -> int | None:
        """The size of what waits under a key, or None."""

    def droppable(self, key: Hashable | None = None) -> Iterator[int]:
        """The sizes of those that may go for others, oldest first; but for the one of a key."""


@attrs.frozen
class Wait:
    """
    It waits.

    :ivar oldest: so many of those that may go for others do, oldest first.
    :ivar key: what waits under the same key goes, too. The new one waits behind all others, where the order of
        telling has it. In the old one's place it could overtake what was told in between: a position that came after
        "left" and "joined again" would come before them.
    :ivar keep: it does not go for others.
    :ivar seconds: the session ends when it has not caught up so long after it began to lag.
    """

    oldest: int = 0
    key: Hashable | None = None
    keep: bool = False
    seconds: float | None = None


@attrs.frozen
class Drop:
    """It is not told."""


@attrs.frozen
class Kick:
    """The session ends, with `SlowConsumer`."""


Policy: TypeAlias = Callable[[Waiting, Message], Wait | Drop | Kick]


def _bound(instance: object, field: Any, value: Any) -> None:
    if not value > 0:
        raise ValueError(f"{field.alias} is more than 0, not {value!r}")


def _room(waiting: Waiting, size: int, messages: int, bytes: int, key: Hashable | None = None) -> Wait | Drop:
    """As much of the oldest goes as makes room for a new one; if that cannot be, the new one does."""
    replaced = None if key is None else waiting.keyed(key)
    count = waiting.messages - (replaced is not None)
    total = waiting.bytes - (replaced or 0)
    oldest = 0
    if count >= messages or total + size > bytes:
        for other in waiting.droppable(key) if size <= bytes else ():
            oldest += 1
            count -= 1
            total -= other
            if count < messages and total + size <= bytes:
                break
        else:
            return Drop()
    return Wait(oldest, key)


@attrs.frozen
class DropOldest:
    """As `dropOldest`."""

    messages: int = attrs.field(validator=_bound)
    bytes: int = attrs.field(validator=_bound)

    def __call__(self, waiting: Waiting, message: Message) -> Wait | Drop:
        return _room(waiting, message.size, self.messages, self.bytes)


@attrs.frozen
class Coalesce:
    """As `coalesce`."""

    key: Any
    messages: int = attrs.field(validator=_bound)
    bytes: int = attrs.field(validator=_bound)

    def __call__(self, waiting: Waiting, message: Message) -> Wait | Drop:
        key = self.key(message.method, *message.args, **message.kw) if callable(self.key) else self.key
        return _room(waiting, message.size, self.messages, self.bytes, message.method if key is None else key)


@attrs.frozen
class KickAfter:
    """As `kickAfter`."""

    seconds: float = attrs.field(validator=_bound)
    messages: int = attrs.field(validator=_bound)
    bytes: int = attrs.field(validator=_bound)

    def __call__(self, waiting: Waiting, message: Message) -> Wait | Kick:
        verdict = _room(waiting, message.size, self.messages, self.bytes)
        if isinstance(verdict, Drop):
            return Kick()
        return Wait(verdict.oldest, None, True, self.seconds)


def dropOldest(messages: int = 1000, bytes: int = MIB) -> Policy:
    """
    Up to so many wait; then the oldest go, for the newest. It is what a realm does unless it is told otherwise.

    :param messages: how many, all in all.
    :param bytes: how much, by an estimate. One that is larger than that is never kept waiting.
    :raises ValueError: one is not more than 0.
    """
    return DropOldest(messages, bytes)


def coalesce(key: Any = None, messages: int = 1000, bytes: int = MIB) -> Policy:
    """
    Of each key only the latest waits: prices, positions, the time. What still arrives does so in the order in which it
    was told.

    :param key: anything that can be looked up in a dict; or a callable ``key(method, *args, **kw)`` that gives one.
        None is the name of the method.
    :param messages: as for `dropOldest`.
    :param bytes: as for `dropOldest`.
    :raises ValueError: one is not more than 0.
    """
    return Coalesce(key, messages, bytes)


def kickAfter(seconds: float, messages: int = 10_000, bytes: int = 8 * MIB) -> Policy:
    """
    All of it waits, nothing is dropped, and a client that has not caught up after so many seconds is ended, with
    `SlowConsumer`. So is one for which more than the bounds would have to wait.

    :param seconds: from when it began to lag.
    :param messages: how many, all in all. 8 MiB are Redis's for clients of pub/sub that lag for a minute.
    :param bytes: how much, by an estimate.
    :raises ValueError: one is not more than 0.
    """
    return KickAfter(seconds, messages, bytes)
