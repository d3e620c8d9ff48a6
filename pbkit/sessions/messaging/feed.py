"""
Numbered changes, the latest of which are kept for clients that reconnect.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Generic, TypeVar

E = TypeVar("E")


class Feed(Generic[E]):
    """
    A sequence of changes. A client that knows a version can be told what has changed since, while that is kept.

    :param keep: how many changes are kept.
    :ivar version: the number of the last change; they have no gaps.
    """

    def __init__(self, keep: int) -> None:
        self._kept: deque[E] = deque(maxlen=keep)
        #: Stands for this run of the server: versions of an earlier run mean nothing.
        self._epoch = secrets.token_hex(4)
        self.version = 0

    def __len__(self) -> int:
        """Return how many changes are kept."""
        return len(self._kept)

    def add(self, change: E) -> None:
        """Append the change whose number is ``version + 1``."""
        self.version += 1
        self._kept.append(change)

    @property
    def oldest(self) -> int:
        """The oldest version since which all changes are kept."""
        return self.version - len(self._kept)

    def since(self, version: int) -> Iterator[E]:
        """
        Iterate over the changes since a version.

        :param version: not older than `oldest`.
        """
        return islice(self._kept, version - self.oldest, None)

    def named(self, version: int) -> str:
        """Return a version as clients know it."""
        return f"{self._epoch}.{version}"

    def parse(self, name: object) -> int | None:
        """
        Return the version that a client knows.

        :param name: what the client sent.
        :return: None if it is not a version of this run of the server, or older than `oldest`.
        """
        epoch, _, number = name.partition(".") if isinstance(name, str) else ("", "", "")
        if epoch != self._epoch or not (number.isascii() and number.isdecimal()) or len(number) > 20:
            return None
        version = int(number)
        return version if self.oldest <= version <= self.version else None
