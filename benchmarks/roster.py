"""
Are lookup, login and logout O(1) in the number of live sessions?

    python benchmarks/roster.py [--rounds N]

This measures the same operations with 10, 1,000 and 100,000 live sessions, in one process and interleaved: each round
measures every size in turn, so that other load affects all sizes alike. It prints the median of the rounds with the
minimum and maximum, and the ratio of each median to the one with 10 sessions.

The subjects are the `Roster` alone, and a whole realm (`requestAvatar` with a real `ILogin`, then `session.end`): a
`CachingRealm`, and a `SingleClientRealm` with ``conflict=kick``, where each login replaces a session.

Lookups are measured twice: for the same ten sessions at every size, which shows the cost of the algorithm; and for
random sessions, which with 100,000 sessions are not in the processor's caches. The difference is the cost of memory.
"""

from __future__ import annotations

import argparse
import gc
import platform
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from twisted.spread import pb

from pbkit import Avatar, CachingRealm, Realm, Roster, Session, SingleClientRealm
from pbkit.sessions.roster import Place
from pbkit.sessions.stocklogin import StockLogin

#: The numbers of live sessions.
SIZES = (10, 1_000, 100_000)
#: The number of operations in one measurement: enough that the resolution of the timer does not matter.
BATCH = 500


class RosterSubject:
    """A `Roster` with a number of live sessions, ten on each connection, one for each user."""

    def __init__(self, size: int) -> None:
        self.roster: Roster[Session] = Roster()
        self.sessions = [self._begin(n)[1] for n in range(size)]
        self._random = random.Random(size)

    def _begin(self, n: int) -> tuple[Place, Session]:
        place = self.roster.reserve(f"user{n}", f"peer{n // 10}")
        session = Session(f"user{n}", None, None, None, None, lambda _: None)
        self.roster.begin(place, session)
        place.settle()
        return place, session

    def lookUp(self, among: int) -> float:
        """Look up by session id, by avatar id and by peer. Return the seconds for all three."""
        picked = [self._random.randrange(among) for _ in range(BATCH)]
        wanted = [(self.sessions[n].sessionId, f"user{n}", f"peer{n // 10}") for n in picked]
        roster = self.roster
        start = time.perf_counter()
        for sessionId, avatarId, peerId in wanted:
            roster.get(sessionId)
            roster.ofAvatar(avatarId)
            roster.ofPeer(peerId)
        return (time.perf_counter() - start) / BATCH

    def inAndOut(self) -> float:
        """Reserve, begin and release. Return the seconds for one session."""
        roster, sessions = self.roster, [Session("new", None, None, None, None, lambda _: None) for _ in range(BATCH)]
        start = time.perf_counter()
        for session in sessions:
            place = roster.reserve("new", "new peer")
            roster.begin(place, session)
            place.settle()
            roster.release(place)
        return (time.perf_counter() - start) / BATCH


class RealmSubject:
    """A realm with a number of live sessions, one for each user."""

    def __init__(self, make: Callable[[], Realm], size: int) -> None:
        self.realm = make()
        for n in range(size):
            self._login(f"user{n}")

    def _login(self, avatarId: str) -> Any:
        got: list[Any] = []
        self.realm.requestAvatar(avatarId, StockLogin(None, None), pb.IPerspective).addBoth(got.append)
        return got[0][1]

    def inAndOut(self) -> tuple[float, float]:
        """Log in new users, then log them out. Return the seconds for one login and for one logout."""
        login, names = self._login, [f"guest{n}" for n in range(BATCH)]
        start = time.perf_counter()
        sessions = [login(name) for name in names]
        middle = time.perf_counter()
        for session in sessions:
            session.end()
        return (middle - start) / BATCH, (time.perf_counter() - middle) / BATCH

    def takeOver(self) -> float:
        """Log in one user repeatedly, each time replacing the last session. Return the seconds for one login."""
        login = self._login
        start = time.perf_counter()
        for _ in range(BATCH):
            login("user3")
        return (time.perf_counter() - start) / BATCH


def measure(rounds: int) -> dict[str, dict[int, list[float]]]:
    """Measure. Return the seconds by subject, size and round."""
    rosters = {size: RosterSubject(size) for size in SIZES}
    caching = {size: RealmSubject(lambda: CachingRealm(Avatar), size) for size in SIZES}
    single = {size: RealmSubject(lambda: SingleClientRealm(Avatar, conflict="kick"), size) for size in SIZES}
    # Sessions live long. Without this, the garbage collector's traversals of them would dominate.
    gc.collect()
    gc.freeze()
    found: dict[str, dict[int, list[float]]] = {}

    def note(what: str, size: int, seconds: float) -> None:
        found.setdefault(what, {}).setdefault(size, []).append(seconds)

    for number in range(rounds + 1):
        for size in SIZES if number % 2 else reversed(SIZES):
            results = {
                "roster: look up one in three ways": rosters[size].lookUp(SIZES[0]),
                "  the same, of one at random": rosters[size].lookUp(size),
                "roster: reserve, begin, release": rosters[size].inAndOut(),
            }
            results["caching: login"], results["caching: logout"] = caching[size].inAndOut()
            results["single, kick: takeover"] = single[size].takeOver()
            # The first round warms up.
            for what, seconds in results.items() if number else ():
                note(what, size, seconds)
    return found


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=15, help="how many rounds (default: 15)")
    rounds = parser.parse_args().rounds
    found = measure(rounds)
    print(f"Python {platform.python_version()}, {rounds} rounds of {BATCH}; µs for one: median (least to most)")
    print(f"{'':34}" + "".join(f"{f'{size:,} live':>26}" for size in SIZES) + f"{'ratios':>16}")
    for what, bySize in found.items():
        medians = [statistics.median(bySize[size]) for size in SIZES]
        cells = [
            f"{median * 1e6:.2f} ({min(bySize[size]) * 1e6:.2f} to {max(bySize[size]) * 1e6:.2f})"
            for size, median in zip(SIZES, medians, strict=True)
        ]
        ratios = ", ".join(f"{median / medians[0]:.2f}" for median in medians[1:])
        print(f"{what:34}" + "".join(f"{cell:>26}" for cell in cells) + f"{ratios:>16}")


if __name__ == "__main__":
    main()
