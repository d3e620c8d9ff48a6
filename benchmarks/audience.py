"""
A realm with thousands of stock clients: does a client wait while all are told, and does memory grow with time?

    python -m benchmarks.audience [--clients 5000] [--minutes 10] [--only bystander|topics]

The server is a process with default settings. Two processes hold the clients, and a fourth is the bystander. They
communicate over TCP on this machine. The clients are stock clients, except that they count plain notices without
parsing them; otherwise the bystander would wait for their CPU time.

The bystander calls a small method 100 times a second, in three situations: while nobody is told anything, which shows
the effect of the machine; while all clients are told a small notice ten times a second; and while they are told it
continuously. The time of a call is measured from call to answer. Figures are the median of the rounds with the minimum
and maximum: on a busy machine, some rounds show other load.

Then, with a new server, each client joins three of 200 topics, and 100 messages a second are sent to one topic each.
The server's memory is measured each minute, after three minutes to warm up. At the end all clients must still be
connected and must have received exactly what was sent.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from benchmarks import machine
from benchmarks.process import PATIENCE, Peer, PeerFailed

#: The number of processes that hold the clients.
CROWDS = 2
#: The bystander's calls, the broadcasts, and the messages to topics, per second.
CALLS, BROADCASTS, TELLS = 100, 10, 100
#: The number of topics, and how many each client joins.
TOPICS, EACH = 200, 3
#: How many minutes messages are sent before memory is measured. Clients that only listen are pinged once a minute, in
#: the first minutes all at once, and Python keeps the memory of that peak.
WARM = 3
#: With --quick, the lengths of a round and of a minute, in seconds.
QUICK_SECONDS = 0.3
#: The bystander's situations: a name, and broadcasts per second; 0: continuous, None: no broadcasts.
MEETS: tuple[tuple[str, float | None], ...] = (
    ("nothing is told", None),
    (f"{BROADCASTS} broadcasts a second", BROADCASTS),
    ("one after another", 0),
)


class House:
    """
    A server and its clients, logged in.

    :param clients: the number of clients.
    :param meek: True to run the clients with a lower priority, so that other processes do not wait for them.
    :ivar codec: the codec of the server.
    :raises PeerFailed: if a process does not start, or the clients cannot log in.
    """

    def __init__(self, clients: int, meek: bool) -> None:
        self.peers: list[Peer] = []
        try:
            self.server = self._start("server")
            self.codec = self.server.hello["codec"]
            self.crowds = [self._start("audience", *(["meek"] if meek else [])) for _ in range(CROWDS)]
            share, more = divmod(clients, CROWDS)
            first = 0
            for n, crowd in enumerate(self.crowds):
                count = share + (n < more)
                crowd.order("open", address=self.server.hello["address"], count=count, first=first)
                first += count
            for crowd in self.crowds:
                crowd.answer(PATIENCE + clients / 20)
                crowd.ask("lighten")
        except BaseException:
            self.close()
            raise

    def _start(self, role: str, *words: str) -> Peer:
        self.peers.append(Peer(("audience", *words), role, None))
        return self.peers[-1]

    def bystander(self) -> Peer:
        """Start the bystander, a client in a process of its own."""
        peer = self._start("bystander")
        peer.ask("open", address=self.server.hello["address"])
        return peer

    def heard(self, wanted: int) -> int:
        """
        Wait for a number of notices, or until none arrive for half a minute. Return how many have arrived.
        """
        heard, still = -1, 0
        while still < 300:
            before, heard = heard, sum(crowd.ask("count")["heard"] for crowd in self.crowds)
            still = still + 1 if heard == before else 0
            if heard >= wanted and still > 2:
                break
            time.sleep(0.1)
        return heard

    def close(self) -> None:
        """End all processes."""
        for peer in self.peers:
            peer.close()


def total(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """
    Return the sums of the counts in some answers.
    """
    return {name: sum(answer[name] for answer in answers) for name in answers[0] if name not in ("longest", "live")}


def told(answer: dict[str, Any]) -> str:
    """
    Return a text for a sum of summaries.
    """
    return ", ".join(f"{answer[name]:,} {name}" for name in ("sent", "queued", "dropped", "gone"))


def turns(answers: list[dict[str, Any]]) -> str:
    """
    Return a text for the longest turns of the server's reactor.
    """
    if any("longest" not in answer for answer in answers):
        return "how long the server's turns were is not known with this reactor"
    each = {name: among([answer["longest"][name] * 1e3 for answer in answers], 1) for name in answers[0]["longest"]}
    return (
        f"the server's longest turn {each['all']} ms; the most in one of CPU {each['cpu']} ms, "
        f"of that for garbage {each['garbage']} ms; of waiting for a processor {each['waited']} ms"
    )


def among(found: list[float], digits: int) -> str:
    """
    Return a text: the median, with the minimum and maximum.

    :param found: a figure of each round.
    """
    return f"{statistics.median(found):.{digits}f} ({min(found):.{digits}f} to {max(found):.{digits}f})"


def spread(rounds: list[list[float]]) -> str:
    """
    Return a text for the distribution of some times.

    :param rounds: the times of the calls of each round, in ms.
    """
    ordered = [sorted(took) for took in rounds]
    p50, p99, most = ([took[int(len(took) * part)] for took in ordered] for part in (0.5, 0.99, 0.999999))
    return f"p50 {among(p50, 2)} ms, p99 {among(p99, 2)}, most {among(most, 2)}, {sum(map(len, ordered)):,} calls"


class Bystanding:
    """
    The state of the first part.

    :param house: the server and its clients.
    :ivar wanted: how many notices must arrive.
    :ivar live: how many clients are still connected.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._one = house.bystander()
        self.wanted = self.live = 0
        self._took: dict[str, list[list[float]]] = {name: [] for name, _ in MEETS}
        self._answers: dict[str, list[dict[str, Any]]] = {name: [] for name, _ in MEETS}

    def meet(self, name: str, rate: float | None, seconds: float, noted: bool) -> None:
        """Let the bystander call in one of the situations in `MEETS` for some seconds."""
        server = self._house.server
        before = server.ask("usage")["cpu"]
        if rate is not None:
            server.order("broadcast", rate=rate, seconds=seconds)
        took = self._one.ask("calls", PATIENCE + seconds, rate=CALLS, seconds=seconds)["took"]
        if rate is not None:
            answer = server.answer(PATIENCE + seconds)
            self.wanted += answer["sent"] + answer["queued"]
            self.live = answer["live"]
            # Otherwise the next situation would include the rest of this one.
            self._house.heard(self.wanted)
            if noted:
                self._answers[name].append({**answer, "cpu": server.ask("usage")["cpu"] - before})
        if noted:
            self._took[name].append(took)

    def show(self) -> None:
        """Print the results."""
        for name, _ in MEETS:
            print(f"  {name}: {spread(self._took[name])}")
            if answers := self._answers[name]:
                sums = total(answers)
                cost = sums["cpu"] * 1e6 / max(1, sums["sent"])
                print(f"    {sums['tells']:,} broadcasts: {told(sums)}")
                print(f"    {cost:.1f} µs of the server's CPU for each that was sent")
                print(f"    {turns(answers)}")


def bystander(clients: int, rounds: int, seconds: float, meek: bool) -> bool:
    """
    Run the first part: the bystander.

    :param meek: as `House`.
    :return: True if every notice arrived and all clients are still connected.
    """
    with closing(House(clients, meek)) as house:
        part = Bystanding(house)
        # One round warms up, and shows the clients the form of a notice.
        for number in range(rounds + 1):
            for name, rate in MEETS if number % 2 else MEETS[::-1]:
                part.meet(name, rate, seconds if number else min(seconds, 2.0), number > 0)
        heard = house.heard(part.wanted)
        counted = sum(crowd.ask("count")["counted"] for crowd in house.crowds)
        print(f"A bystander beside {clients:,} clients of a server with a {house.codec} codec,")
        print(f"{rounds} rounds of {seconds:g} s each:")
        part.show()
        print(f"  heard: {heard:,} of {part.wanted:,} ({counted:,} not parsed); {part.live:,} live", flush=True)
        return bool(heard == part.wanted and part.live == clients)


def topics(clients: int, minutes: int, minute: float = 60.0) -> bool:
    """
    Run the second part: topics. It begins with minutes to warm up.

    :param minute: the length of a minute in seconds.
    :return: True if every notice arrived and all clients are still connected.
    """
    with closing(House(clients, meek=False)) as house:
        sizes = house.server.ask("join", topics=TOPICS, each=EACH)
        print(
            f"{clients:,} sessions, each in {EACH} of {TOPICS} topics ({sizes['least']} to {sizes['most']} in one), "
            f"{TELLS} tells a second to random topics:",
            flush=True,
        )
        answers: list[dict[str, Any]] = []
        first, live = 0, 0
        for number in range(1 - WARM, minutes + 1):
            answer = house.server.ask("tell", PATIENCE + 2 * minute, topics=TOPICS, rate=TELLS, seconds=minute)
            answers.append(answer)
            resident = house.server.ask("usage")["memory"]
            live = answer["live"]
            first = resident if number <= 0 else first
            grown = f"{(resident - first) / 1024:+.0f} KiB" if number > 0 else "warming up"
            print(f"  minute {number}: {live:,} live, the server has {resident / 2**20:.2f} MiB, {grown}", flush=True)
        sums = total(answers)
        wanted = sums["sent"] + sums["queued"]
        heard = house.heard(wanted)
        print(f"  {sums['tells']:,} tells: {told(sums)}; heard: {heard:,} of {wanted:,}")
        print(f"  {turns(answers)}", flush=True)
        return bool(heard == wanted and live == clients)


def main(arguments: Sequence[str]) -> int:
    """
    Run the benchmark. Return the exit status: 1 if a notice was lost or a process failed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audience", description=__doc__.strip().splitlines()[0])
    parser.add_argument("--clients", type=int, default=5000, help="the number of clients (default: 5000)")
    parser.add_argument(
        "--minutes", type=int, default=10, help=f"minutes of messages to topics, after {WARM} to warm up (default: 10)"
    )
    parser.add_argument("--only", choices=("bystander", "topics"), help="run only one part")
    parser.add_argument("--quick", action="store_true", help="shorten everything, to check that it runs")
    chosen = parser.parse_args(arguments)
    if not 0 < chosen.clients < 10_000 or chosen.minutes < 1:
        parser.error("invalid --clients or --minutes: expected --clients of 1 to 9999, --minutes of 1 or more")
    about, right = machine.description(), True
    try:
        print(", ".join(about[name] for name in ("date", "machine", "versions")), flush=True)
        if chosen.only != "topics":
            right &= bystander(chosen.clients, *((1, QUICK_SECONDS, False) if chosen.quick else (5, 10.0, True)))
        if chosen.only != "bystander":
            right &= topics(chosen.clients, chosen.minutes, QUICK_SECONDS if chosen.quick else 60.0)
    except PeerFailed as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
