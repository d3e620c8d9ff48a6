"""
Are look-up, login and logout O(1) in the number of live sessions?

    python benchmarks/roster.py [--rounds N]

Measures the same operations with 10, 1,000 and 100,000 sessions live, in one process and interleaved: each round
measures every size in turn, so that whatever else the machine does meets all sizes alike. Prints the median of the
rounds with the least and the most, and how the median at each size compares with that at the smallest.

The subjects: the `Roster` by itself, and a whole realm (`requestAvatar` with a real `ILogin`, then `session.end`): a
`CachingRealm`, and a `SingleClientRealm` under kick, where each login replaces a session.

Look-ups are measured twice: of the same ten sessions at every size, which is what the algorithm costs; and of sessions
picked at random, where with 100,000 of them each is out of the processor's caches. The difference is the memory's.
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

#: How many sessions are live.
SIZES = (10, 1_000, 100_000)
#: How many operations one measurement is made of: long enough for the timer's resolution not to matter.
BATCH = 500


class RosterSubject:
    """A `Roster` with so many live sessions, ten on each connection, one for each user."""

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
        """By session id, by avatar id and by peer, among so many sessions: seconds for the three of one."""
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
        """Reserve, begin and release: seconds for one."""
        roster, sessions = self.roster, [Session("new", None, None, None, None, lambda _: None) for _ in range(BATCH)]
        start = time.perf_counter()
        for session in sessions:
            place = roster.reserve("new", "new peer")
            roster.begin(place, session)
            place.settle()
            roster.release(place)
        return (time.perf_counter() - start) / BATCH


class RealmSubject:
    """A realm with so many live sessions, one for each user."""

    def __init__(self, make: Callable[[], Realm], size: int) -> None:
        self.realm = make()
        for n in range(size):
            self._login(f"user{n}")

    def _login(self, avatarId: str) -> Any:
        got: list[Any] = []
        self.realm.requestAvatar(avatarId, StockLogin(None, None), pb.IPerspective).addBoth(got.append)
        return got[0][1]

    def inAndOut(self) -> tuple[float, float]:
        """As many users come in, and go again: seconds for one login, seconds for one logout."""
        login, names = self._login, [f"guest{n}" for n in range(BATCH)]
        start = time.perf_counter()
        sessions = [login(name) for name in names]
        middle = time.perf_counter()
        for session in sessions:
            session.end()
        return (middle - start) / BATCH, (time.perf_counter() - middle) / BATCH

    def takeOver(self) -> float:
        """One user logs in again and again, each time in the place of his last session: seconds for one."""
        login = self._login
        start = time.perf_counter()
        for _ in range(BATCH):
            login("user3")
        return (time.perf_counter() - start) / BATCH


def measure(rounds: int) -> dict[str, dict[int, list[float]]]:
    """Seconds by subject, size and round."""
    rosters = {size: RosterSubject(size) for size in SIZES}
    caching = {size: RealmSubject(lambda: CachingRealm(Avatar), size) for size in SIZES}
    single = {size: RealmSubject(lambda: SingleClientRealm(Avatar, conflict="kick"), size) for size in SIZES}
    # What is live is live for long; without this the collector's walks through it would be what is measured.
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
