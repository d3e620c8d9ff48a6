"""
What to do with a message for a slow consumer: pure decisions.

A policy is a callable ``policy(waiting, message)``. It sees what is queued for the client and the new message, changes
nothing, and returns one of

- `Wait`: queue the message, perhaps in place of others;
- `Drop`: drop the message;
- `Kick`: end the session with `SlowConsumer`.

It is called only while the client is a slow consumer; otherwise a message is sent at once. A policy of your own sets
its own limits::

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
    A message to a client.

    :ivar method: the name of the method, without ``remote_``.
    :ivar args: its arguments.
    :ivar kw: its keyword arguments.
    :ivar size: an estimate of its size in bytes; see `pbkit.plain.weighed`.
    """

    method: str
    args: tuple[Any, ...]
    kw: dict[str, Any]
    size: int


class Waiting(Protocol):
    """
    What is queued for a client, as a policy sees it.

    :ivar messages: the number of messages.
    :ivar bytes: their estimated size.
    """

    messages: int
    bytes: int

    def keyed(self, key: Hashable) -> int | None:
        """Return the size of the message that is queued under a key, or None."""

    def droppable(self, key: Hashable | None = None) -> Iterator[int]:
        """Iterate over the sizes of the messages that may be dropped, oldest first, except for the one of a key."""


@attrs.frozen
class Wait:
    """
    Queue the message.

    :ivar oldest: how many droppable messages to drop for it, oldest first.
    :ivar key: drop the message that is queued under the same key too. The new message is queued behind all others. In
        the place of the old one it would overtake what was told in between: a position that was told after "left" and
        "joined again" would arrive before them.
    :ivar keep: True if it must not be dropped for others.
    :ivar seconds: end the session if it has not caught up this many seconds after it fell behind.
    """

    oldest: int = 0
    key: Hashable | None = None
    keep: bool = False
    seconds: float | None = None


@attrs.frozen
class Drop:
    """Drop the message."""


@attrs.frozen
class Kick:
    """End the session with `SlowConsumer`."""


Policy: TypeAlias = Callable[[Waiting, Message], Wait | Drop | Kick]


def _positive(instance: object, field: attrs.Attribute[Any], value: Any) -> None:
    if not value > 0:
        raise ValueError(f"invalid {field.alias}: got {value!r}, expected more than 0")


def _room(waiting: Waiting, size: int, messages: int, bytes: int, key: Hashable | None = None) -> Wait | Drop:
    """Drop as many of the oldest messages as make room for a new one; if none can make room, drop the new one."""
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
    """The policy of `dropOldest`."""

    messages: int = attrs.field(validator=_positive)
    bytes: int = attrs.field(validator=_positive)

    def __call__(self, waiting: Waiting, message: Message) -> Wait | Drop:
        return _room(waiting, message.size, self.messages, self.bytes)


@attrs.frozen
class Coalesce:
    """The policy of `coalesce`."""

    key: Any
    messages: int = attrs.field(validator=_positive)
    bytes: int = attrs.field(validator=_positive)

    def __call__(self, waiting: Waiting, message: Message) -> Wait | Drop:
        key = self.key(message.method, *message.args, **message.kw) if callable(self.key) else self.key
        return _room(waiting, message.size, self.messages, self.bytes, message.method if key is None else key)


@attrs.frozen
class KickAfter:
    """The policy of `kickAfter`."""

    seconds: float = attrs.field(validator=_positive)
    messages: int = attrs.field(validator=_positive)
    bytes: int = attrs.field(validator=_positive)

    def __call__(self, waiting: Waiting, message: Message) -> Wait | Kick:
        verdict = _room(waiting, message.size, self.messages, self.bytes)
        if isinstance(verdict, Drop):
            return Kick()
        return Wait(verdict.oldest, None, True, self.seconds)


def dropOldest(messages: int = 1000, bytes: int = MIB) -> Policy:
    """
    Queue messages up to a limit, then drop the oldest for the newest. This is the default policy of realms.

    :param messages: the limit on their number.
    :param bytes: the limit on their estimated size. A message that is larger than that is never queued.
    :raises ValueError: a limit is not more than 0.
    """
    return DropOldest(messages, bytes)


def coalesce(key: Any = None, messages: int = 1000, bytes: int = MIB) -> Policy:
    """
    Queue only the latest message of each key: for prices, positions, the time. Messages arrive in the order of telling.

    :param key: a hashable value, or a callable ``key(method, *args, **kw)`` that returns one. None stands for the name
        of the method.
    :param messages: as for `dropOldest`.
    :param bytes: as for `dropOldest`.
    :raises ValueError: a limit is not more than 0.
    """
    return Coalesce(key, messages, bytes)


def kickAfter(seconds: float, messages: int = 10_000, bytes: int = 8 * MIB) -> Policy:
    """
    Queue all messages and drop none. End a session with `SlowConsumer` if it has not caught up in time, or if a limit
    is exceeded.

    :param seconds: the time from when it fell behind.
    :param messages: the limit on the number of messages.
    :param bytes: the limit on their estimated size. The default of 8 MiB is Redis's for clients of pub/sub that lag for
        a minute.
    :raises ValueError: a limit is not more than 0.
    """
    return KickAfter(seconds, messages, bytes)
