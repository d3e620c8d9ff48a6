"""
How long an avatar lives.

A lifecycle provides the avatar for each login, with a `Lease` that is released when the session has ended or the login
has failed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from typing import Any, Protocol, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from pbkit.errors import ConfigError, LoginTimedOut
from pbkit.sessions.sharedcall import MaybeDeferred, Returned, SharedCall, started, then

#: Seconds that building an avatar may take.
BUILD_TIMEOUT = 30.0

Build: TypeAlias = Callable[[str], Returned[Any]]


class Lease:
    """
    Keeps an avatar alive for one login.

    :ivar avatar: the avatar.
    """

    __slots__ = ("_onRelease", "avatar")

    def __init__(self, avatar: Any, onRelease: Callable[[], None] | None = None) -> None:
        self.avatar = avatar
        self._onRelease = onRelease

    @property
    def held(self) -> bool:
        """Whether releasing it makes a difference."""
        return self._onRelease is not None

    def release(self) -> None:
        """Release the avatar. Idempotent."""
        f, self._onRelease = self._onRelease, None
        if f is not None:
            f()


class Lifecycle(Protocol):
    """What a realm needs of a lifecycle."""

    def acquire(self, avatarId: str, build: Build, clock: IReactorTime | None) -> Returned[Lease]:
        """
        Provide the avatar for one login. May be asynchronous; if the avatar is there at once, return the lease itself.

        :param build: makes an avatar; returns it, a Deferred or a coroutine.
        :param clock: for deadlines and lingering; None means there are none.
        :raises LoginTimedOut: building took more than 30 s.
        """

    def close(self) -> None:
        """Forget the avatars and stop all timers."""


def _inTime(
    building: Deferred[Any], clock: IReactorTime | None, onFailure: Callable[[], None] = lambda: None
) -> SharedCall[Any]:
    """Give a build that takes a while its deadline."""
    return SharedCall(
        lambda: building,
        clock=clock,
        timeout=BUILD_TIMEOUT,
        onTimeout=LoginTimedOut,
        onFailure=onFailure,
    )


class PerLogin:
    """A new avatar for each login."""

    def acquire(self, avatarId: str, build: Build, clock: IReactorTime | None) -> MaybeDeferred[Lease]:
        """Provide the avatar, as `Lifecycle.acquire`."""
        avatar = started(build(avatarId))
        return then(_inTime(avatar, clock).wait() if isinstance(avatar, Deferred) else avatar, Lease)

    def close(self) -> None:
        """Forget the avatars, as `Lifecycle.close`."""


#: The avatar ids that are reserved for guests.
GUESTS = re.compile(r"anonymous#\d+\Z")


class Disposable(PerLogin):
    """
    A new avatar for each login, with a number that is never used again. No avatar is kept.

    :param prefix: the first part of the avatar ids; the number follows it.
    """

    def __init__(self, prefix: str = "anonymous") -> None:
        self._prefix = prefix
        self._numbers = count(1)

    def nextId(self) -> str:
        """Return the next avatar id, for example ``anonymous#7``."""
        return f"{self._prefix}#{next(self._numbers)}"


class Cached:
    """
    One avatar for each avatar id, for the life of the server. Logins during a build wait for that build; if it fails
    they all fail, and the next login builds again.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _CachedAvatar] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def acquire(self, avatarId: str, build: Build, clock: IReactorTime | None) -> MaybeDeferred[Lease]:
        """Provide the avatar, as `Lifecycle.acquire`."""
        entry = self._entries.get(avatarId)
        if entry is None:
            # Enter it before the build starts, because a build may log in others.
            entry = self._entries[avatarId] = _CachedAvatar()
            self._build(avatarId, entry, build, clock)
        if entry.building is None and not entry.built:
            raise RuntimeError(f"building the avatar {avatarId!r} needs that very avatar")
        # Count this login while it waits: the first that gets the avatar may release it before the next is told.
        self._taken(entry)
        if entry.building is None:
            return self._lease(avatarId, entry, clock)

        def built(avatar: Any) -> Lease:
            entry.got(avatar)
            return self._lease(avatarId, entry, clock)

        def failed(failure: Failure) -> Failure:
            self._released(avatarId, entry, clock)
            return failure

        return entry.building.wait().addCallbacks(built, failed)

    def _build(self, avatarId: str, entry: _CachedAvatar, build: Build, clock: IReactorTime | None) -> None:
        try:
            avatar = started(build(avatarId))
        except BaseException:
            self._forget(avatarId, entry)
            raise
        if isinstance(avatar, Deferred):
            entry.building = _inTime(avatar, clock, lambda: self._forget(avatarId, entry))
        else:
            entry.got(avatar)

    def _lease(self, avatarId: str, entry: _CachedAvatar, clock: IReactorTime | None) -> Lease:
        return Lease(entry.avatar)

    def close(self) -> None:
        """Forget the avatars, as `Lifecycle.close`."""
        for avatarId, entry in tuple(self._entries.items()):
            self._forget(avatarId, entry)

    def _forget(self, avatarId: str, entry: _CachedAvatar) -> None:
        entry.stopTimer()
        # By now the table may have another entry under this avatar id, which must stay.
        if self._entries.get(avatarId) is entry:
            del self._entries[avatarId]

    def _taken(self, entry: _CachedAvatar) -> None:
        """Count a login that uses the avatar."""

    def _released(self, avatarId: str, entry: _CachedAvatar, clock: IReactorTime | None) -> None:
        """Count a login that does not use the avatar any more."""


class Lingering(Cached):
    """
    As `Cached`, but an avatar is dropped some time after its last session has ended.

    :param seconds: the time; 0 drops the avatar at once.
    :raises ConfigError: it is less than 0.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        if not seconds >= 0:
            raise ConfigError.invalid("time", f"Lingering({seconds!r})", "0 seconds or more")
        self.seconds = seconds

    def _lease(self, avatarId: str, entry: _CachedAvatar, clock: IReactorTime | None) -> Lease:
        return Lease(entry.avatar, lambda: self._released(avatarId, entry, clock))

    def _taken(self, entry: _CachedAvatar) -> None:
        entry.users += 1
        entry.stopTimer()

    def _released(self, avatarId: str, entry: _CachedAvatar, clock: IReactorTime | None) -> None:
        entry.users -= 1
        # `close` may have forgotten the entry, because a `detached` may return long after it. Then start no timer.
        if entry.users or self._entries.get(avatarId) is not entry:
            return
        if clock is None or not self.seconds:
            self._forget(avatarId, entry)
        else:
            entry.timer = clock.callLater(self.seconds, self._expired, avatarId, entry)

    def _expired(self, avatarId: str, entry: _CachedAvatar) -> None:
        entry.timer = None
        self._forget(avatarId, entry)


class _CachedAvatar:
    """An avatar of a `Cached`, built or being built."""

    __slots__ = ("avatar", "building", "built", "timer", "users")

    def __init__(self) -> None:
        #: While it is being built, if that takes a while.
        self.building: SharedCall[Any] | None = None
        self.built = False
        self.avatar: Any = None
        self.users = 0
        self.timer: IDelayedCall | None = None

    def got(self, avatar: Any) -> None:
        """Keep the avatar, and forget the call that built it, which takes more memory than the rest of the entry."""
        self.avatar, self.built, self.building = avatar, True, None

    def stopTimer(self) -> None:
        """Stop the timer that drops the avatar."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
