"""
One measurement of one contender with one work in one round.

A sample is a dict of figures: ``cpu``, the server's CPU time per operation in seconds; ``rate``, operations per second;
``memory``, the server's growth per client in bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.contenders import Contender
from benchmarks.process import PATIENCE, Peer, PeerFailed, Team
from benchmarks.works import Work

Sample = dict[str, float]

#: The client processes of a fan-out. One could not read as fast as a server writes.
READERS = 2
#: The maximum number of broadcasts in one measurement. More could fill the socket buffer of a busy client.
BROADCASTS = 200
#: The connections made before memory is measured, so that modules imported at the first login do not count.
FIRST = 20


class Running:
    """
    A measurement that keeps its processes between samples.

    :param clients: the number of client processes.
    :param logged: True if the server writes its log to a file.
    """

    def __init__(self, contender: Contender, clients: int, logged: bool = False) -> None:
        self.team = Team(contender, clients, logged)

    @property
    def peers(self) -> tuple[Peer, ...]:
        """Return the processes, started if necessary."""
        return (self.team.server, *self.team.clients)

    def close(self) -> None:
        """End the processes."""
        self.team.close()

    def open(self, number: int) -> None:
        """Start the processes and open the connections.

        :raises PeerFailed: if the connections cannot be made. The processes have ended then."""
        try:
            self.team.open(number)
        except PeerFailed:
            self.close()
            raise


class Calls(Running):
    """
    Calls over one connection: a number in flight, for some time, until the last is answered.
    """

    def __init__(self, contender: Contender, work: Work) -> None:
        super().__init__(contender, 1, work.logged)
        self._work = work
        self.open(1)

    def measure(self, seconds: float) -> Sample:
        """:raises PeerFailed: if it fails."""
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
    One notice to each of many clients, repeatedly. Each broadcast has a turn of the server's reactor to itself, and the
    clients count the notices. With answers, the next broadcast follows when all have answered; if each is waited for,
    the next follows when all have heard the last.
    """

    def __init__(self, contender: Contender, work: Work) -> None:
        super().__init__(contender, READERS)
        self._work = work
        self._one: float = 0
        self.open(work.size)

    def _broadcast(self, times: int) -> Sample:
        work, team = self._work, self.team
        before, start = team.server.ask("usage")["cpu"], time.perf_counter()
        for count in [1] * times if work.waited else [times]:
            team.server.ask("broadcast", PATIENCE, count=count, answered=work.answered)
            for client in team.clients:
                client.order("heard", times=count)
            for client in team.clients:
                client.answer(PATIENCE)
        elapsed = time.perf_counter() - start
        used = team.server.ask("usage")["cpu"] - before
        self._one = elapsed / times
        return {"cpu": used / times / work.size, "rate": times * work.size / elapsed}

    def measure(self, seconds: float) -> Sample:
        """:raises PeerFailed: if it fails, or a notice is missing or duplicated."""
        if not self._one:
            self._broadcast(2)
        return self._broadcast(max(1, min(BROADCASTS, round(seconds / self._one))))


class Memory:
    """
    The growth of the server when clients connect and stay. Each sample uses a new process, because processes do not
    return all their memory.
    """

    def __init__(self, contender: Contender, work: Work) -> None:
        self._contender = contender
        self._work = work
        self.peers: tuple[Peer, ...] = ()

    def close(self) -> None:
        """Do nothing: no process is kept between samples."""

    def measure(self, seconds: float) -> Sample:
        """:raises PeerFailed: if it fails."""
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
            raise PeerFailed("memory cannot be measured: no /proc")
        return {"memory": (after - before) / self._work.size}


Measurement = Calls | FanOut | Memory

KINDS: dict[str, Callable[[Contender, Work], Measurement]] = {
    "calls": Calls,
    "login": Calls,
    "fanout": FanOut,
    "memory": Memory,
}
