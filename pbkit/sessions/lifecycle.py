"""
How long an avatar lives.

A lifecycle is asked for the avatar of each login, and hands out a `Lease` on it that is released when the session
has ended or the login has failed.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, Protocol, TypeAlias

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pbkit.errors import ConfigError, LoginTimedOut
from pbkit.sessions.sharedcall import Attempt

#: How long building an avatar may take, in seconds.
BUILD_TIMEOUT = 30.0

Build: TypeAlias = Callable[[str], Awaitable[Any] | Any]


class Lease:
    """
    A hold on an avatar.

    :ivar avatar: the avatar.
    """

    __slots__ = ("_onRelease", "avatar")

    def __init__(self, avatar: Any, onRelease: Callable[[], None] | None = None) -> None:
        self.avatar = avatar
        self._onRelease = onRelease

    @property
    def held(self) -> bool:
        """Whether it makes a difference to let go of it."""
        return self._onRelease is not None

    def release(self) -> None:
        """Let go of it. Idempotent."""
        f, self._onRelease = self._onRelease, None
        if f is not None:
            f()


class Lifecycle(Protocol):
    """What a realm asks of a lifecycle."""

    async def acquire(self, avatarId: str, build: Build, clock: IReactorTime | None) -> Lease:
        """
        The avatar for one login.

        :param build: makes an avatar; plain, or returning a Deferred or coroutine.
        :param clock: for deadlines and lingering; None means there are none.
        :raises LoginTimedOut: building took more than 30 s.
        """

    def close(self) -> None:
        """Forget the avatars and stop all timers."""


def _attemptBuild(
    build: Build, avatarId: str, clock: IReactorTime | None, onFailure: Callable[[], None] = lambda: None
) -> Attempt[Any]:
    return Attempt(
        lambda: build(avatarId),
        clock=clock,
        timeout=BUILD_TIMEOUT,
        onTimeout=LoginTimedOut,
        onFailure=onFailure,
    )


class PerLogin:
    """A new avatar for each login."""

    async def acquire(self, avatarId: str, build: Build, clock: IReactorTime | None) -> Lease:
        """As `Lifecycle.acquire`."""
        return Lease(await _attemptBuild(build, avatarId, clock).wait())

    def close(self) -> None:
        """As `Lifecycle.close`."""


#: The avatar ids that are kept for guests.
GUESTS = re.compile(r"anonymous#\d+\Z")


class Disposable(PerLogin):
    """
    A new avatar for each login, under a number that is never used again; none is kept.

    :param prefix: what the numbers follow.
    """

    def __init__(self, prefix: str = "anonymous") -> None:
        self._prefix = prefix
        self._numbers = count(1)

    def nextId(self) -> str:
        """The next avatar id, such as ``anonymous#7``."""
        return f"{self._prefix}#{next(self._numbers)}"


class Cached:
    """
    One avatar for each avatar id, for the life of the server. Log-ins that come while it is being built wait
    for that one build; if it fails they all fail, and the next login tries anew.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    async def acquire(self, avatarId: str, build: Build, clock: IReactorTime | None) -> Lease:
        """As `Lifecycle.acquire`."""
        entry = self._entries.get(avatarId)
        if entry is None:
            entry = _Entry()
            # In the table before the build starts: a build may log in others, and a synchronous
            # failure has to find it there to take it out.
            self._entries[avatarId] = entry
            entry.attempt = _attemptBuild(build, avatarId, clock, lambda: self._forget(avatarId, entry))
        if entry.attempt is None and not entry.built:
            raise RuntimeError(f"building the avatar {avatarId!r} needs that very avatar")
        # Taken already while it waits: whoever gets the avatar first may let go of it before the next is told.
        self._taken(entry)
        if entry.attempt is not None:
            try:
                entry.avatar = await entry.attempt.wait()
            except BaseException:
                self._released(avatarId, entry, clock)
                raise
            # It is not needed any more, and takes more than the rest of the entry.
            entry.built, entry.attempt = True, None
        return self._lease(avatarId, entry, clock)

    def _lease(self, avatarId: str, entry: _Entry, clock: IReactorTime | None) -> Lease:
        return Lease(entry.avatar)

    def close(self) -> None:
        """As `Lifecycle.close`."""
        for avatarId, entry in tuple(self._entries.items()):
            self._forget(avatarId, entry)

    def _forget(self, avatarId: str, entry: _Entry) -> None:
        entry.stopTimer()
        # By now another entry may stand under this name; that one is not ours to take out.
        if self._entries.get(avatarId) is entry:
            del self._entries[avatarId]

    def _taken(self, entry: _Entry) -> None:
        """A login wants the avatar."""

    def _released(self, avatarId: str, entry: _Entry, clock: IReactorTime | None) -> None:
        """A login has let go of the avatar."""


class Lingering(Cached):
    """
    `Cached`, but an avatar is dropped that long after its last session has ended.

    :param seconds: how long; 0 drops it at once.
    :raises ConfigError: less than 0.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        if not seconds >= 0:
            raise ConfigError(f"Lingering({seconds!r}): the time is 0 seconds or more")
        self.seconds = seconds

    def _lease(self, avatarId: str, entry: _Entry, clock: IReactorTime | None) -> Lease:
        return Lease(entry.avatar, lambda: self._released(avatarId, entry, clock))

    def _taken(self, entry: _Entry) -> None:
        entry.users += 1
        entry.stopTimer()

    def _released(self, avatarId: str, entry: _Entry, clock: IReactorTime | None) -> None:
        entry.users -= 1
        # Forgotten meanwhile, by close say: a `detached` may end long after it. Then there is no timer to be made.
        if entry.users or self._entries.get(avatarId) is not entry:
            return
        if clock is None or not self.seconds:
            self._forget(avatarId, entry)
        else:
            entry.timer = clock.callLater(self.seconds, self._expired, avatarId, entry)

    def _expired(self, avatarId: str, entry: _Entry) -> None:
        entry.timer = None
        self._forget(avatarId, entry)


class _Entry:
    """One avatar of a `Cached`, being built or built."""

    __slots__ = ("attempt", "avatar", "built", "timer", "users")

    def __init__(self) -> None:
        #: While it is being built.
        self.attempt: Attempt[Any] | None = None
        self.built = False
        self.avatar: Any = None
        self.users = 0
        self.timer: IDelayedCall | None = None

    def stopTimer(self) -> None:
        """Stop lingering."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
