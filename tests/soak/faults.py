"""
Clients whose connections break in every way: ``python -m tests.soak.faults SECONDS SEED``.

In each round a server with one of the realms runs in this process. Clients of pbkit's and of stock's reach it over TCP
through a relay that delays, splits, stalls, corrupts, cuts and resets what they send and receive. Meanwhile the server
kicks, bans and tells them. At the end of a round:

- each Deferred of pbkit's clients has fired;
- no session, pending login or connection is left, nor an object of one;
- `detached` ran exactly once for each `attached`;
- nothing was logged as critical, and a client on a sound connection was always answered.
"""

from __future__ import annotations

import gc
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogBeginner
from twisted.python.failure import Failure
from twisted.spread import pb
from zope.interface import provider

import pbkit
from pbkit import Avatar, Session
from pbkit.wire.broker import Broker

HOST = "127.0.0.1"
USERS = [f"user{n}" for n in range(6)]

#: Seconds: of a round, of a client's patience, of a round's end to come to rest.
ROUND, PATIENCE, REST = 3.0, 4.0, 20.0
CLIENTS = 25

#: How a connection is treated, in one direction or both.
TREATMENTS = ("sound", "sound", "dribble", "delay", "stall", "halfOpen", "corrupt", "cut", "reset", "repeat")


class Player(Avatar):
    """An avatar with methods of each kind; it counts its sessions' hooks."""

    hooks: Counter[tuple[str, str]] = Counter()

    def attached(self, session: Session) -> Any:
        """Count it."""
        self.hooks["attached", session.sessionId] += 1

    def detached(self, session: Session) -> Any:
        """Count it."""
        self.hooks["detached", session.sessionId] += 1

    def perspective_echo(self, value: object) -> object:
        """Return the argument."""
        return value

    def perspective_part(self) -> object:
        """Return an object of the session's."""
        return pb.Referenceable()

    def perspective_refuse(self) -> None:
        """Raise an error that is meant for the client."""
        raise pb.Error("no")

    def perspective_later(self) -> Deferred[Any]:
        """Answer later."""
        return deferLater(theReactor(), random.random(), lambda: "later")

    def perspective_tellAll(self) -> None:
        """Tell all clients of this avatar something."""
        self.tell("notice", "hello", list(range(20)))


class Ear(pb.Referenceable):
    """A mind."""

    def remote_notice(self, *args: object) -> None:
        """Take no notice."""

    def remote_goodbye(self, reason: str, detail: str) -> None:
        """Take leave: stock's clients do so by their mind."""


def theReactor() -> Any:
    """Return the reactor that `react` runs."""
    from twisted.internet import reactor

    return reactor


#: The realms of the rounds, in turn.
REALMS: tuple[Callable[[], Any], ...] = (
    lambda: pbkit.CachingRealm(Player),
    lambda: pbkit.SingleClientRealm(Player, conflict="kick"),
    lambda: pbkit.SingleClientRealm(Player, conflict="probe"),
    lambda: pbkit.LimitedRealm(Player, max=2),
    lambda: pbkit.MultiClientRealm(Player),
    lambda: pbkit.PerConnectionRealm(lambda avatarId, model: Player(avatarId)),
    lambda: pbkit.SingleClientRealm(Player, conflict="kick", handover="after"),
)


class Half(Protocol):
    """One side of a relayed connection."""

    other: Half | None = None

    def __init__(self, treatment: str, chance: random.Random) -> None:
        self.treatment = treatment
        self.chance = chance
        self.left = chance.randrange(1, 4000)

    def dataReceived(self, data: bytes) -> None:
        """Pass data on, as the treatment has it."""
        self.left -= len(data)
        treatment = self.treatment if self.left < 0 or self.treatment in ("dribble", "delay") else "sound"
        if treatment == "halfOpen":
            return
        if treatment == "corrupt":
            place = self.chance.randrange(len(data))
            data = data[:place] + bytes([data[place] ^ (1 << self.chance.randrange(8))]) + data[place + 1 :]
            self.left = self.chance.randrange(1, 4000)
        if treatment == "repeat":
            data += data[: self.chance.randrange(50)]
            self.left = self.chance.randrange(1, 4000)
        if treatment in ("cut", "reset"):
            self.pass_(data[: self.chance.randrange(len(data))])
            self.close(treatment == "reset")
        elif treatment == "stall":
            self.transport.pauseProducing()  # type: ignore[union-attr]
            theReactor().callLater(self.chance.random() * 2, self.goOn, data)
        elif treatment == "delay":
            theReactor().callLater(0.05, self.pass_, data)
        elif treatment == "dribble":
            size = max(1, len(data) // 20)
            for start in range(0, len(data), size):
                self.pass_(data[start : start + size])
        else:
            self.pass_(data)

    def goOn(self, data: bytes) -> None:
        """End a stall."""
        self.left = self.chance.randrange(1, 4000)
        if self.connected:
            self.transport.resumeProducing()  # type: ignore[union-attr]
            self.pass_(data)

    def pass_(self, data: bytes) -> None:
        """Send to the other side."""
        if self.other is not None and self.other.connected:
            self.other.transport.write(data)  # type: ignore[union-attr]

    def close(self, hard: bool) -> None:
        """Close both sides."""
        for half in (self, self.other):
            if half is not None and half.connected:
                if hard:
                    half.transport.abortConnection()  # type: ignore[union-attr]
                else:
                    half.transport.loseConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Close the other side too, unless the connection is to stay half open."""
        if self.treatment != "halfOpen":
            self.close(False)


class Relay(Factory):
    """Accepts connections and relays them to the server."""

    def __init__(self, port: int, chance: random.Random) -> None:
        self.port = port
        self.chance = chance
        self.halves: list[Half] = []
        self.counts: Counter[str] = Counter()

    def buildProtocol(self, address: object) -> Half:
        """Relay a new connection, with a random treatment of each direction."""
        treatment = self.chance.choice(TREATMENTS)
        self.counts[treatment] += 1
        inner = Half(treatment if self.chance.random() < 0.7 else "sound", self.chance)
        outer = Half(treatment, self.chance)
        outer.other, inner.other = inner, outer
        self.halves += [outer, inner]
        factory: Any = ClientFactory()
        factory.noisy = False
        factory.buildProtocol = lambda _: inner
        # What arrives before the inner connection is there would be lost.
        factory.clientConnectionFailed = lambda *args: outer.close(True)
        theReactor().callLater(0, self.connect, outer, factory)
        return outer

    def connect(self, outer: Half, factory: Any) -> None:
        """Pause the outer side until the inner one is connected."""
        if not outer.connected:
            return
        outer.transport.pauseProducing()  # type: ignore[union-attr]
        inner = outer.other
        assert inner is not None

        def made() -> None:
            if outer.connected:
                outer.transport.resumeProducing()  # type: ignore[union-attr]
            else:
                inner.close(False)

        inner.connectionMade = made  # type: ignore[method-assign]
        theReactor().connectTCP(HOST, self.port, factory)

    def closeAll(self) -> None:
        """Reset what is left."""
        for half in self.halves:
            half.treatment = "cut"
            half.close(True)


class Round:
    """
    One realm, its server, and its clients.

    :param chance: makes all decisions.
    """

    def __init__(self, reactor: Any, realm: Any, chance: random.Random) -> None:
        self.reactor = reactor
        self.realm = realm
        self.chance = chance
        users: Any = dict.fromkeys([*USERS, "control"], b"sesame")
        checkers = [InMemoryUsernamePasswordDatabaseDontUse(**users), AllowAnonymousAccess()]
        self.server = reactor.listenTCP(0, pbkit.ServerFactory(Portal(realm, checkers)), interface=HOST)
        self.relay = Relay(self.server.getHost().port, chance)
        self.relayed = reactor.listenTCP(0, self.relay, interface=HOST)
        self.port = self.relayed.getHost().port
        self.pending: set[Deferred[Any]] = set()
        self.done: Counter[str] = Counter()
        self.slowest = 0.0

    def watched(self, d: Deferred[Any]) -> Deferred[Any]:
        """Count a call, which has to fire; what with does not matter."""
        self.pending.add(d)

        def fired(result: Any) -> None:
            self.pending.discard(d)
            self.done["errors" if isinstance(result, Failure) else "answers"] += 1

        return d.addBoth(fired)

    def call(self, reference: Any) -> None:
        """Call a random method, or two at once."""
        name, *args = self.chance.choice(
            [
                ("echo", {"a": [1, 2.5, "x" * 50]}),
                ("echo", b"z" * 30_000),
                ("part",),
                ("refuse",),
                ("later",),
                ("tellAll",),
            ]
        )
        self.watched(reference.callRemote(name, *args))

    async def pbkitClient(self) -> None:
        """Log in with `pbkit.connect`, and call."""
        credentials = UsernamePassword(
            self.chance.choice(USERS).encode(), self.chance.choice([b"sesame"] * 9 + [b"no"])
        )
        endpoint = f"tcp:{HOST}:{self.port}"
        try:
            me = await pbkit.connect(endpoint, credentials, mind=Ear(), timeout=PATIENCE, reactor=self.reactor)
        except Exception as error:
            self.done[type(error).__name__] += 1
            return
        self.done["logins"] += 1
        for _ in range(self.chance.randrange(8)):
            self.call(me)
            await deferLater(self.reactor, self.chance.random() * 0.3)
        me.close()

    async def stockClient(self) -> None:
        """Log in with a stock client, call, and leave in one of three ways. Nobody promises that it is answered."""
        factory = pb.PBClientFactory()
        factory.noisy = False
        connector = self.reactor.connectTCP(HOST, self.port, factory)
        name = self.chance.choice(USERS).encode()
        d = factory.login(UsernamePassword(name, b"sesame"), Ear()).addTimeout(PATIENCE, self.reactor)
        try:
            reference = await d
        except Exception:
            connector.disconnect()
            return
        self.done["stock logins"] += 1
        for _ in range(self.chance.randrange(5)):
            try:
                reference.callRemote("echo", 5).addErrback(lambda failure: None)
            except pb.DeadReferenceError:
                break
            await deferLater(self.reactor, self.chance.random() * 0.3)
        if self.chance.random() < 0.5:
            del reference
            gc.collect(0)
            await deferLater(self.reactor, 0.05)
        connector.disconnect()

    async def control(self, until: float) -> None:
        """Call all the time over a sound connection."""
        where, who = f"tcp:{HOST}:{self.server.getHost().port}", UsernamePassword(b"control", b"sesame")
        async with pbkit.connect(where, who, timeout=REST, reactor=self.reactor) as me:
            while time.monotonic() < until:
                began = time.monotonic()
                assert await me.callRemote("echo", began) == began
                self.slowest = max(self.slowest, time.monotonic() - began)
                await deferLater(self.reactor, 0.02)

    def operate(self) -> None:
        """Do what an operator does, to somebody."""
        sessions = [session for session in self.realm.roster if session.avatarId != "control"]
        action = self.chance.randrange(8)
        if not sessions:
            return
        session = self.chance.choice(sessions)
        if action < 2:
            self.realm.kick(sessionId=session.sessionId, detail="a detail")
        elif action == 2:
            self.realm.ban(0.3, avatarId=session.avatarId)
        elif action == 3:
            self.realm.topic("news").join(session)
            self.watched(self.realm.topic("news").tell("notice", "news"))
        elif action < 6:
            self.watched(self.realm.tell("notice", "all", [1, 2, 3]))
        else:
            self.watched(session.mind.callRemote("notice", 5))

    async def play(self) -> None:
        """
        Have the clients come and go, then look at what is left.

        :raises AssertionError: if something is wrong.
        """
        operating = LoopingCall(self.operate)
        operated = operating.start(0.05)
        until = time.monotonic() + ROUND
        control = Deferred.fromCoroutine(self.control(until))

        async def coming() -> None:
            while time.monotonic() < until:
                kind = self.pbkitClient if self.chance.random() < 0.7 else self.stockClient
                await kind()

        coming_ = [Deferred.fromCoroutine(coming()) for _ in range(CLIENTS)]
        await gatherResults([*coming_, control], consumeErrors=True)
        if operating.running:
            operating.stop()
        await operated
        self.relay.closeAll()
        await self.rest()
        await self.server.stopListening()
        await self.relayed.stopListening()
        await self.realm.close()

    async def rest(self) -> None:
        """Wait until nothing is left, and say what is if something is."""
        until = time.monotonic() + REST
        while (left := self.left()) and time.monotonic() < until:
            await deferLater(self.reactor, 0.1)
        assert not left, f"left at the end of a round with {type(self.realm).__name__}: {left}"
        hooks = Player.hooks
        odd = {key: n for key, n in hooks.items() if n != 1 or not hooks["detached", key[1]]}
        assert not odd, f"hooks did not run once each: {odd}"
        hooks.clear()

    def left(self) -> list[str]:
        """Return what is left of the clients."""
        gc.collect()
        sessions = [repr(session) for session in self.realm.roster]
        found = Counter(type(o).__name__ for o in gc.get_objects() if isinstance(o, Broker | Session))
        return [*sessions, *(["a pending login"] * self.realm.roster.pending), *map(repr, self.pending), *found]


critical: list[str] = []


@provider(ILogObserver)
def observe(event: LogEvent) -> None:
    """Keep what is logged as critical, but for what a stock client logs about garbage that it receives."""
    if event["log_level"] >= LogLevel.critical and event.get("log_system") != "Broker,client":
        critical.append(eventAsText(event))


async def main(reactor: Any, seconds: str, seed: str) -> None:
    """Play rounds until time is up."""
    globalLogBeginner.beginLoggingTo([observe], discardBuffer=True, redirectStandardIO=False)
    chance = random.Random(int(seed))
    random.seed(int(seed))
    until = time.monotonic() + float(seconds)
    done: Counter[str] = Counter()
    treated: Counter[str] = Counter()
    rounds, slowest = 0, 0.0
    while not rounds or time.monotonic() < until:
        one = Round(reactor, REALMS[(int(seed) + rounds) % len(REALMS)](), chance)
        await one.play()
        assert not critical, "logged:\n" + "\n".join(critical[:5])
        done += one.done
        treated += one.relay.counts
        rounds, slowest = rounds + 1, max(slowest, one.slowest)
    total = sum(treated.values())
    print(
        f"{rounds} round(s), {total} connections, {total - treated['sound']} of them broken; "
        f"{done['logins']} logins of pbkit's clients, {done['stock logins']} of stock's; "
        f"{done['answers']} answers, {done['errors']} errors; nothing is left; "
        f"slowest answer on a sound connection {slowest * 1000:.0f} ms"
    )


def failed(failure: Failure) -> None:
    """Print why the run failed: `react` only logs it."""
    failure.printTraceback(sys.stdout)
    sys.exit(1)


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, *sys.argv[1:])).addErrback(failed), ())
