"""
The log lines about refused logins.

A guesser can cause thousands of refusals a second. For each source the first one is logged at once, then one line a
minute says how many there were. All sources together may cause `LINES` lines a second; then one line says how many were
left out. These lines do not count for the limits of `pbkit.wire.peerlog`.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict

import attrs
from twisted.logger import Logger

from pbkit.errors import LoginRefused
from pbkit.interfaces import IPeer
from pbkit.wire.peerlog import escaped
from pbkit.wire.profile import Log

#: The interval between two lines about the same source, in seconds.
INTERVAL = 60.0

#: How many lines all sources together may cause in a second.
LINES = 50

#: How many sources are remembered. 10,000 take 5 MB. If there are more, the count of the oldest one is logged early.
SOURCES = 10_000

log = Logger()


@attrs.define(eq=False)
class Refusals:
    """
    The refusals of one source that are not logged yet.

    :ivar who: names the source in the log.
    :ivar due: when to log how many there were.
    :ivar reasons: how many there were, by the name of the error.
    """

    who: str
    due: float
    reasons: Counter[str] = attrs.field(factory=Counter)


class RefusalLog:
    """
    The refused logins of one server.

    :param limits: with ``lines=None`` every refusal is logged.
    """

    def __init__(self, limits: Log) -> None:
        self._limits = limits
        # By source. The one that is due first comes first.
        self._sources: OrderedDict[str, Refusals] = OrderedDict()
        self._second = 0.0
        self._lines = self._leftOut = 0

    def __len__(self) -> int:
        return len(self._sources)

    def refused(self, peer: IPeer, source: str, refusal: LoginRefused) -> None:
        """
        Log or count a refusal.

        :param peer: the connection.
        :param source: what counts as one client, see `pbkit.server.attempts.sourceOf`.
        """
        reason = type(refusal).__name__
        if self._limits.lines is None:
            self._log(peer, reason, refusal)
            return
        clock = peer.clock
        now = time.monotonic() if clock is None else clock.seconds()
        self.report(now)
        refusals = self._sources.get(source)
        if refusals is not None:
            refusals.reasons[reason] += 1
            return
        host = getattr(peer.address, "host", None)
        refusals = self._sources[source] = Refusals(host if isinstance(host, str) else str(peer), now + INTERVAL)
        if self._admits(now):
            self._log(peer, reason, refusal)
        else:
            refusals.reasons[reason] += 1
        while len(self._sources) > SOURCES:
            self._reportOne(self._sources.popitem(last=False)[1], now)

    def report(self, now: float) -> None:
        """Log the counts that are due."""
        while self._sources:
            source, refusals = next(iter(self._sources.items()))
            if refusals.due > now:
                break
            del self._sources[source]
            if refusals.reasons:
                self._reportOne(refusals, now)
                self._sources[source] = Refusals(refusals.who, now + INTERVAL)
        self._reportLeftOut(now)

    def close(self) -> None:
        """Log all counts: the server stops."""
        while self._sources:
            _, refusals = self._sources.popitem(last=False)
            self._reportOne(refusals, self._second)
        self._reportLeftOut(self._second + 1)

    def _log(self, peer: IPeer, reason: str, refusal: LoginRefused) -> None:
        # Do not log the name that was tried: people sometimes type their password into it.
        log.info(
            "login refused: {reason} from {peer}: {text}",
            reason=reason,
            peer=str(peer),
            text=escaped(str(refusal), self._limits.cut),
        )

    def _reportOne(self, refusals: Refusals, now: float) -> None:
        if refusals.reasons and self._admits(now):
            log.info(
                "login refused: {count} more from {source} within {seconds:g} s: {reasons}",
                count=refusals.reasons.total(),
                source=refusals.who,
                seconds=INTERVAL,
                reasons=", ".join(f"{reason} {count}" for reason, count in sorted(refusals.reasons.items())),
            )

    def _admits(self, now: float) -> bool:
        self._reportLeftOut(now)
        if self._lines >= LINES:
            self._leftOut += 1
            return False
        self._lines += 1
        return True

    def _reportLeftOut(self, now: float) -> None:
        if now - self._second >= 1 or now < self._second:
            leftOut, self._leftOut = self._leftOut, 0
            self._second, self._lines = now, 0
            if leftOut:
                log.warn(
                    "{count} more lines about refused logins were left out: more than {lines} in a second",
                    count=leftOut,
                    lines=LINES,
                )
