"""
How long whoever has failed to log in waits to be told so.

Only the answer waits, and only one that says no: whoever has the right password is never slowed down, not even
while somebody else guesses at it.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

from pbkit.wire.profile import Door

#: Of how many pairs of address and name the failures are remembered; those that failed least recently are forgotten
#: first. 10,000 take 2.5 MB. To push his own out a guesser has to fail 10,000 times, which gains him one second.
PAIRS = 10_000

#: How often a delay is doubled at most: 2.0 ** 1024 is an OverflowError.
_MOST = 1000


class Patience:
    """
    The failed log-ins of a server, by address and name. Whether there is a user of that name makes no difference.

    :param door: how long the first failure waits, and the longest wait.
    :param pairs: how many are remembered.
    """

    def __init__(self, door: Door, pairs: int = PAIRS) -> None:
        self._door = door
        self._pairs = pairs
        self._fade = fadesAfter(door)
        # Of each: how often it has failed, and when that is forgotten. The one that failed last comes last.
        self._failed: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failed)

    def failed(self, group: str, name: bytes, now: float) -> float:
        """
        A login has failed.

        :param group: as `addressGroupOf` has it.
        :param name: the user name that was tried.
        :param now: the time, in seconds, by any clock that does not go back.
        :return: after how many seconds it is to be answered.
        """
        if not self._door.delay:
            return 0.0
        key = _key(group, name)
        times, until = self._failed.pop(key, (0, now))
        if until <= now:
            times = 0
        delay = _delay(self._door, times)
        self._failed[key] = times + 1, now + delay + self._fade
        self._forget(now)
        return delay

    def succeeded(self, group: str, name: bytes) -> None:
        """Somebody has logged in: his next failure is a first one."""
        self._failed.pop(_key(group, name), None)

    def _forget(self, now: float) -> None:
        while len(self._failed) > self._pairs:
            self._failed.popitem(last=False)
        while next(iter(self._failed.values()))[1] <= now:
            self._failed.popitem(last=False)


def fadesAfter(door: Door) -> float:
    """
    How long after its answer a failure is forgotten: for as long as it takes until to wait for that, and to begin anew
    with the shortest delay, is no faster than to go on with the longest. That is 25 s for delays of 1 to 10 s.
    """
    fade, times = 0.0, 0
    while door.delay and times < _MOST and (delay := _delay(door, times)) < door.longest:
        fade += door.longest - delay
        times += 1
    return fade


def _delay(door: Door, times: int) -> float:
    return min(door.longest, door.delay * 2.0 ** min(times, _MOST))


def _key(group: str, name: bytes) -> bytes:
    # Not the name itself: it may have 255 bytes, and people type passwords there.
    return blake2b(name, digest_size=16, key=group.encode("ascii")[:64]).digest()
