"""
One measurement: of one contender, at one work, in one round.

A sample is a dict of figures: ``cpu``, the server's CPU time in seconds for one operation; ``rate``, operations in a
second; ``memory``, the server's growth for one client in bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.contenders import Contender
from benchmarks.process import PATIENCE, Peer, PeerFailed, Team
from benchmarks.works import Work

Sample = dict[str, float]

#: Client processes at a fan-out: one could not read as fast as a server writes.
READERS = 2
#: Broadcasts in one measurement, at most. More could fill what the kernel takes for a client that waits for a core.
BROADCASTS = 200
#: Connections that come before memory is measured: what is imported at the first login is no part of any.
FIRST = 20


class Running:
    """
    A measurement whose processes live from one sample to the next.

    :param clients: how many processes of clients.
    """

    def __init__(self, contender: Contender, clients: int) -> None:
        self.team = Team(contender, clients)

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The processes."""
        return (self.team.server, *self.team.clients)

    def close(self) -> None:
        """End them."""
        self.team.close()

    def open(self, number: int) -> None:
        """:raises PeerFailed: so many connections cannot be made; the processes are gone then."""
        try:
            self.team.open(number)
        except PeerFailed:
            self.close()
            raise


class Calls(Running):
    """
    Calls over one connection: so many under way at a time, for a while, and until the last is answered.
    """

    def __init__(self, contender: Contender, work: Work) -> None:
        super().__init__(contender, 1)
        self._work = work
        self.open(1)

    def measure(self, seconds: float) -> Sample:
        """:raises PeerFailed: it cannot go on."""
        work, team = self._work, self.team
        before = team.server.ask("usage")["cpu"]
        done = team.clients[0].ask(
            work.kind,
            PATIENCE + 3 * seconds,
            payload=work.payload,
            inFlight=work.inFlight,
            seconds=seconds,
            address=team.address,
        )
        used = team.server.ask("usage")["cpu"] - before
        return {"cpu": used / done["count"], "rate": done["count"] / done["seconds"]}


class FanOut(Running):
    """
    One notice to each of many clients, again and again: each time in a turn of the server's own, and each is counted
    where it comes in. With answers, the next time is when all have answered.
    """

    def __init__(self, contender: Contender, work: Work) -> None:
        super().__init__(contender, READERS)
        self._work = work
        self._one: float = 0
        self.open(work.size)

    def _broadcast(self, times: int) -> Sample:
        work, team = self._work, self.team
        before, start = team.server.ask("usage")["cpu"], time.perf_counter()
        team.server.ask("broadcast", PATIENCE, count=times, answered=work.answered)
        for client in team.clients:
            client.order("heard", times=times)
        for client in team.clients:
            client.answer(PATIENCE)
        elapsed = time.perf_counter() - start
        used = team.server.ask("usage")["cpu"] - before
        self._one = elapsed / times
        return {"cpu": used / times / work.size, "rate": times * work.size / elapsed}

    def measure(self, seconds: float) -> Sample:
        """:raises PeerFailed: it cannot go on, or somebody was not told, or twice."""
        if not self._one:
            self._broadcast(2)
        return self._broadcast(max(1, min(BROADCASTS, round(seconds / self._one))))


class Memory:
    """
    What the server grows by when so many clients come and stay: each time in a new process, as no process gives back
    all that it had.
    """

    def __init__(self, contender: Contender, work: Work) -> None:
        self._contender = contender
        self._work = work
        self.peers: tuple[Peer, ...] = ()

    def close(self) -> None:
        """Nothing lives from one sample to the next."""

    def measure(self, seconds: float) -> Sample:
        """:raises PeerFailed: it cannot go on."""
        team = Team(self._contender, READERS)
        self.peers = (team.server, *team.clients)
        try:
            team.open(FIRST)
            before = team.server.ask("usage", settled=True)["memory"]
            team.open(self._work.size)
            after = team.server.ask("usage", settled=True)["memory"]
        finally:
            team.close()
        if not before:
            raise PeerFailed("there is no /proc to tell the memory")
        return {"memory": (after - before) / self._work.size}


Measurement = Calls | FanOut | Memory

KINDS: dict[str, Callable[[Contender, Work], Measurement]] = {
    "calls": Calls,
    "login": Calls,
    "fanout": FanOut,
    "memory": Memory,
}
