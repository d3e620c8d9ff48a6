"""
The failed logins of a server, and how long the answer to the next one is delayed.

Only answers that refuse are delayed: a client with the right password is never slowed down, even while another one
guesses at it.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

from pbkit.wire.profile import Door

#: For how many pairs of address and user name failures are remembered; the pair that failed least recently is forgotten
#: first. 10,000 take 2.5 MB. To push out the entry of its own pair, a guesser has to fail 10,000 times, which gains it
#: one second.
PAIRS = 10_000

#: How often a delay is doubled at most: 2.0 ** 1024 is an OverflowError.
_MOST = 1000


class LoginThrottle:
    """
    The failed logins of a server, by address and user name. Whether that user exists makes no difference.

    :param door: the delay after the first failure, and the longest delay.
    :param pairs: how many pairs are remembered.
    """

    def __init__(self, door: Door, pairs: int = PAIRS) -> None:
        self._door = door
        self._pairs = pairs
        self._resetsAfter = resetsAfter(door)
        # By pair: the number of failures, and when they are forgotten. The pair that failed last comes last.
        self._failed: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failed)

    def failed(self, group: str, name: bytes, now: float) -> float:
        """
        Count a failed login.

        :param group: as `addressGroupOf` returns it.
        :param name: the user name that was tried.
        :param now: the time in seconds, by any clock that does not go back.
        :return: after how many seconds to answer.
        """
        if not self._door.delay:
            return 0.0
        key = _key(group, name)
        times, until = self._failed.pop(key, (0, now))
        if until <= now:
            times = 0
        delay = _delay(self._door, times)
        self._failed[key] = times + 1, now + delay + self._resetsAfter
        self._forget(now)
        return delay

    def succeeded(self, group: str, name: bytes) -> None:
        """Reset the failure count of this address and user after a successful login."""
        self._failed.pop(_key(group, name), None)

    def _forget(self, now: float) -> None:
        while len(self._failed) > self._pairs:
            self._failed.popitem(last=False)
        while next(iter(self._failed.values()))[1] <= now:
            self._failed.popitem(last=False)


def resetsAfter(door: Door) -> float:
    """
    Return how many seconds after the answer a failure is forgotten. The value is chosen so that waiting for the reset
    is never faster than continuing to guess at the longest delay. It is 25 s for delays of 1 to 10 s.
    """
    seconds, times = 0.0, 0
    while door.delay and times < _MOST and (delay := _delay(door, times)) < door.longest:
        seconds += door.longest - delay
        times += 1
    return seconds


def _delay(door: Door, times: int) -> float:
    return min(door.longest, door.delay * 2.0 ** min(times, _MOST))


def _key(group: str, name: bytes) -> bytes:
    # Store a hash, not the name: a name can take 255 bytes, and people sometimes type their password into it.
    return blake2b(name, digest_size=16, key=group.encode("ascii")[:64]).digest()
