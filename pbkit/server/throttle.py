"""
The throttle: how fast one client may guess the password of one user.

A failed login delays the next check of the same user from the same source. The throttle counts by pairs of these two,
so a client with the right password at another address is not held up.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from math import ceil
from secrets import randbelow
from typing import TypeAlias

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from pbkit.errors import TooManyAttempts
from pbkit.wire.profile import Door

#: For how many pairs failures are remembered; the pair that failed least recently is forgotten first. 10,000 take 3 MB.
#: To push out the entry of its own pair, a guesser has to fail 10,000 times, which gains it one second.
PAIRS = 10_000

#: How many checks of a pair may wait for the delay of its last failure. They are taken in random order, so that a
#: guesser cannot stay ahead of the client with the right password.
WAITING = 3

#: How many checks of a pair run at once if it has no failure. Otherwise all guesses sent before the first is decided
#: would be checked. After a failure there is one at a time.
CONCURRENT = 3

#: After how many seconds a check that is not decided no longer keeps others of its pair waiting.
CHECK_TIMEOUT = 30.0

#: How often a delay is doubled at most: 2.0 ** 1024 is an OverflowError.
_MOST = 1000

#: How far the sums of a clock's times may be off, in seconds.
_PRECISION = 1e-6

#: A source, see `LoginThrottle`, and a user name.
Pair: TypeAlias = tuple[str, bytes]


@attrs.define(eq=False)
class Failures:
    """
    The failed logins of one pair.

    :ivar times: how many there were.
    :ivar spelling: a hash of the name as it was spelled each time; None if it was spelled in several ways.
    :ivar until: when the delay after the last one is over.
    :ivar forgottenAt: when they are forgotten.
    """

    times: int = 0
    spelling: bytes | None = None
    until: float = 0.0
    forgottenAt: float = 0.0


@attrs.define(eq=False)
class Checks:
    """
    The checks of one pair that run or wait.

    :ivar running: how many run.
    :ivar since: when the last one was started.
    :ivar waiting: fire when the check may run.
    :ivar timer: runs while checks wait.
    :ivar moving: True while waiting checks are being started.
    """

    since: float
    running: int = 0
    waiting: list[Deferred[None]] = attrs.field(factory=list)
    timer: IDelayedCall | None = None
    moving: bool = False


class LoginThrottle:
    """
    The logins of a server by source and user name. Whether that user exists makes no difference.

    A source is what counts as one client: an address, an IPv6 /64 network, or a connection where there is no address.

    :param door: the delay after the first failure, and the longest delay. Without a delay there is no throttle.
    :param pairs: for how many pairs failures are remembered.
    """

    def __init__(self, door: Door, pairs: int = PAIRS) -> None:
        self._door = door
        self._pairs = pairs
        self._resetsAfter = resetsAfter(door)
        # The pair that failed last comes last. The keys contain no name.
        self._failed: OrderedDict[bytes, Failures] = OrderedDict()
        # While a check runs or waits.
        self._checks: dict[Pair, Checks] = {}

    def __len__(self) -> int:
        return len(self._failed)

    @property
    def checks(self) -> int:
        """For how many pairs checks run or wait."""
        return len(self._checks)

    def begin(self, pair: Pair, clock: IReactorTime | None) -> Deferred[None] | None:
        """
        Ask for a check. If it may run, call `failed`, `passed` or `undecided` when it is decided.

        :param clock: None means that there is no throttle.
        :return: None if the check may run now; else a Deferred that fires when it may. Cancel it if it is not needed.
        :raises TooManyAttempts: too many checks of the pair wait.
        """
        if clock is None or not self._door.delay:
            return None
        now = clock.seconds()
        checks = self._checks.get(pair)
        failures = self._failures(pair, now)
        if checks is None:
            checks = self._checks[pair] = Checks(now)
        if not checks.waiting and self._free(checks, failures, now):
            checks.running += 1
            checks.since = now
            return None
        if failures is not None and len(checks.waiting) >= WAITING:
            raise self._tooMany(failures, now)

        def cancelled(waiter: Deferred[None]) -> None:
            if waiter in checks.waiting:
                checks.waiting.remove(waiter)
                self._tidy(pair, checks)

        waiter: Deferred[None] = Deferred(cancelled)
        checks.waiting.append(waiter)
        self._arm(pair, checks, clock)
        return waiter

    def failed(self, pair: Pair, clock: IReactorTime, since: float | None = None, name: bytes = b"") -> float:
        """
        Count a failed login, and end its check.

        :param since: when the check began; now by default. The delay counts from then, so that it does not show how
            long the checker took: that may tell whether the user exists.
        :param name: the user name as the client spelled it.
        :return: after how many seconds to answer.
        """
        if not self._door.delay:
            return 0.0
        now = clock.seconds()
        began = now if since is None else since
        key = _key(pair)
        failures = self._failures(pair, now) or Failures()
        delay = _delay(self._door, failures.times)
        spelling = _key((pair[0], name))
        failures.spelling = spelling if not failures.times or failures.spelling == spelling else None
        failures.times += 1
        # The delays of checks that ran at the same time add up: guessing in parallel is not faster.
        until = max(failures.until, began) + delay
        failures.until = min(until, now + CONCURRENT * self._door.longest)
        failures.forgottenAt = failures.until + self._resetsAfter
        self._failed[key] = failures
        self._failed.move_to_end(key)
        self._forget(now)
        checks = self._checks.get(pair)
        if checks is not None:
            while len(checks.waiting) > WAITING:
                checks.waiting.pop(randbelow(len(checks.waiting))).errback(Failure(self._tooMany(failures, now)))
        self.undecided(pair, clock)
        return max(0.0, delay - (now - began))

    def passed(self, pair: Pair, clock: IReactorTime | None, name: bytes = b"") -> None:
        """
        Reset the failure count of a pair after a successful login, and end its check.

        Failures under another spelling stay: where case matters a guesser may own the account "Alice", and log in to
        it between two guesses at the password of "alice".

        :param name: the user name as the client spelled it.
        """
        failures = self._failed.get(_key(pair)) if self._failed else None
        if failures is not None and failures.spelling == _key((pair[0], name)):
            del self._failed[_key(pair)]
        self.undecided(pair, clock)

    def undecided(self, pair: Pair, clock: IReactorTime | None) -> None:
        """End a check that has not found out whether the password is right."""
        checks = self._checks.get(pair)
        if checks is not None and clock is not None:
            checks.running = max(0, checks.running - 1)
            self._start(pair, checks, clock)

    def _start(self, pair: Pair, checks: Checks, clock: IReactorTime) -> None:
        """Start as many waiting checks as may run."""
        if checks.moving:
            return  # The loop below goes on. Calling it again for each check that waits would recurse too deep.
        checks.moving = True
        now = clock.seconds()
        while checks.waiting and self._free(checks, self._failures(pair, now), now):
            checks.running += 1
            checks.since = now
            checks.waiting.pop(randbelow(len(checks.waiting))).callback(None)
        checks.moving = False
        self._arm(pair, checks, clock)

    def _arm(self, pair: Pair, checks: Checks, clock: IReactorTime) -> None:
        """Have the checks that wait looked at again when the delay is over, or when a check has run for too long."""
        self._disarm(checks)
        if checks.waiting:
            now = clock.seconds()
            failures = self._failures(pair, now)
            due = checks.since + CHECK_TIMEOUT if checks.running or failures is None else failures.until
            checks.timer = clock.callLater(max(0.0, due - now), self._due, pair, checks, clock)
        self._tidy(pair, checks)

    def _disarm(self, checks: Checks) -> None:
        if checks.timer is not None:
            checks.timer.cancel()
            checks.timer = None

    def _due(self, pair: Pair, checks: Checks, clock: IReactorTime) -> None:
        checks.timer = None
        if checks.running and clock.seconds() >= checks.since + CHECK_TIMEOUT - _PRECISION:
            checks.running = 0
        self._start(pair, checks, clock)

    def _tidy(self, pair: Pair, checks: Checks) -> None:
        if not checks.waiting:
            self._disarm(checks)
            if not checks.running and self._checks.get(pair) is checks:
                del self._checks[pair]

    def _free(self, checks: Checks, failures: Failures | None, now: float) -> bool:
        if failures is None:
            return checks.running < CONCURRENT
        return not checks.running and failures.until <= now + _PRECISION

    def _failures(self, pair: Pair, now: float) -> Failures | None:
        failures = self._failed.get(_key(pair)) if self._failed else None
        return None if failures is None or failures.forgottenAt <= now else failures

    def _tooMany(self, failures: Failures, now: float) -> TooManyAttempts:
        return TooManyAttempts.after(max(1, ceil(failures.until - now)))

    def _forget(self, now: float) -> None:
        while len(self._failed) > self._pairs:
            self._failed.popitem(last=False)
        while next(iter(self._failed.values())).forgottenAt <= now:
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


def _key(pair: Pair) -> bytes:
    # Store a hash, not the name: a name can take 255 bytes, and people sometimes type their password into it.
    source, name = pair
    return blake2b(name, digest_size=16, key=source.encode("utf-8", "surrogatepass")[:64]).digest()
