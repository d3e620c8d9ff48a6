"""What a client was told before its session ends arrives, and arrives before the goodbye."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.spread import pb
from twisted.trial.unittest import TestCase

from pbkit import CachingRealm, ClientFactory, Realm, ServerFactory, Session, Summary, coalesce, dropin, errors
from tests.sessions.messaging.slowness import MUCH, SlowWire
from tests.sessions.messaging.test_telling import Everybody
from tests.support import PASSWORD, Client, Recorder, serve

#: The ways to end all sessions of alice.
ENDS: dict[str, Callable[[Realm, Session], object]] = {
    "end": lambda realm, session: session.end(),
    "session.kick": lambda realm, session: session.kick(),
    "realm.kick": lambda realm, session: realm.kick(avatarId="alice"),
    "ban": lambda realm, session: realm.ban(60, avatarId="alice"),
    "drain": lambda realm, session: realm.drain(5),
    "drain at once": lambda realm, session: realm.drain(0),
    "close": lambda realm, session: realm.close(),
    "replaced": lambda realm, session: session.goodbye.kick(errors.Replaced, "", close=False),
}
#: Those of them that tell the client goodbye.
GOODBYES = {way: end for way, end in ENDS.items() if way not in ("end", "close")}
#: Those that close the connection when the goodbye is answered. A connection in memory that is closed loses what its
#: client has not read, which a socket does not.
ANSWERED = {way: end for way, end in ENDS.items() if way != "drain at once"}


class Told(Client):
    """A client that notes its goodbye and the presence among what it was told."""

    def remote_goodbye(self, reason: str, detail: str) -> None:
        """Note the goodbye."""
        self.told.append(("goodbye", reason))

    def remote_presence(self, version: str, changes: Any, fresh: bool) -> None:
        """Note the changes."""
        self.told += [("presence", *change[:3:2]) for change in changes]

    @property
    def words(self) -> list[Any]:
        """What it was told, without what filled its connection."""
        return [what[1] if what[0] == "tell" else what[0] for what in self.told if MUCH not in what]


class LastWordsTests(Everybody):
    """In memory, and on a clock that goes on by itself: each look at it takes 6 ms."""

    def setUp(self) -> None:
        """One client, which keeps up."""
        super().setUp()
        self.begin(CachingRealm(Recorder, clock=self.clock))

    def begin(self, realm: Realm) -> None:
        """Serve a realm, with one client in it."""
        super().begin(realm)
        self.client = Told()
        self.link = SlowWire(self.server)
        self.reference = self.successResultOf(self.link.login("alice", self.client))
        self.link.flush()
        (self.session,) = self.realm.roster

    def toil(self) -> None:
        """From now on no broadcast is through in the turn in which it was told."""
        self.clock.advance(1)
        self.clock.toil = 0.006

    def rest(self) -> list[Any]:
        """Return what the client was told, when all is through."""
        self.clock.toil = 0
        for _ in range(3):
            self.clock.advance(0)
            self.link.flush()
        return self.client.words

    def test_pacedBroadcastsComeFirst(self) -> None:
        """Broadcasts that wait for a later turn are sent before the end, and counted as sent."""
        for way, end in ENDS.items():
            self.setUp()
            topic = self.realm.topic("room")
            topic.join(self.session)
            self.toil()
            told = [self.realm.tell("tell", "a")]
            told += [self.realm.tell("tell", "b"), topic.tell("tell", "c"), self.session.avatar.tell("tell", "d")]
            end(self.realm, self.session)
            self.assertEqual([word for word in self.rest() if word != "goodbye"], ["a", "b", "c", "d"], way)
            if way in GOODBYES:
                self.assertEqual(self.client.told[-1][0], "goodbye", way)
            self.assertEqual([self.successResultOf(one) for one in told], [Summary(sent=1)] * 4, way)
            self.assertEqual(self.session.backlog, (0, 0, 0), way)

    def test_queuedMessagesComeFirst(self) -> None:
        """Messages that are queued although the connection has become writable again are sent before the end."""
        for way, end in ANSWERED.items():
            self.setUp()
            self.link.fill(self.session)
            for n in range(20):
                self.session.mind.tell("tell", n)
            self.session.mind.tell("tell", "price", pbslow=coalesce())
            self.assertEqual(self.session.backlog.messages, 21)
            # Room for a little, before the connection says so.
            outbound = self.link.server.outbound
            while not self.link.peer.writable:
                outbound.buffered -= 1
            end(self.realm, self.session)
            self.link.resume()
            self.assertEqual([word for word in self.rest() if word != "goodbye"], [*range(20), "price"], way)
            self.assertEqual(self.session.backlog, (0, 0, 0), way)

    def test_presenceComesFirst(self) -> None:
        """Changes of presence that are being collected are told before the end."""
        for way, end in ENDS.items():
            self.setUp()
            self.realm.presence.watch(self.session)
            self.enter("bob", mind=False)
            end(self.realm, self.session)
            self.rest()
            told = [what for what in self.client.told if what[0] == "presence"]
            self.assertEqual(told, [("presence", "began", "alice"), ("presence", "began", "bob")], way)
            if way in GOODBYES:
                self.assertEqual(self.client.told[-1][0], "goodbye", way)

    def test_manyWatchersThatEndTogether(self) -> None:
        """Sessions that end together are not told about each other: that would be n² changes."""
        watching = [self.enter(f"user{n}" if n > 2 else ("alice", "bob", "carol")[n]) for n in range(3)]
        for session in watching:
            self.realm.presence.watch(session)
        sent: list[Any] = []
        self.patch(type(self.session.mind), "put", lambda mind, *args: sent.append(args))
        self.realm.close()
        self.assertEqual(sent, [])

    def test_aSlowConsumerIsToldGoodbyeNext(self) -> None:
        """If the connection is not writable, the goodbye comes next; the rest is dropped and counted."""
        for way, end in ANSWERED.items():
            self.setUp()
            topic = self.realm.topic("room")
            topic.join(self.session)
            self.realm.presence.watch(self.session)
            self.link.fill(self.session)
            for n in range(20):
                self.session.mind.tell("tell", n)
            asked = self.session.mind.ask("ask")
            self.toil()
            told = [self.realm.tell("tell", "b"), topic.tell("tell", "c")]
            end(self.realm, self.session)
            self.failureResultOf(asked, errors.SessionEnded)
            self.assertEqual(self.session.backlog[:2], (0, 0), way)
            # 20 messages and a call that were queued, and a broadcast that was; the other had not come to its turn.
            self.assertEqual(self.session.backlog.dropped, 23, way)
            self.link.resume()
            words = self.rest()
            self.assertEqual([word for word in words if word not in ("goodbye", "presence")], [], way)
            self.assertEqual(sum(self.successResultOf(one).sent for one in told), 0, way)
            if way in GOODBYES:
                self.assertEqual(words[-1], "goodbye", way)

    def test_questionsOfPacedBroadcasts(self) -> None:
        """A question that waits for a later turn is asked before the end; its answer is that the session has ended."""
        self.toil()
        self.realm.tell("tell", "a")
        asked = self.realm.ask("ask")
        self.session.end(errors.Kicked)
        self.rest()
        (failure,) = self.successResultOf(asked).values()
        failure.trap(errors.Kicked)

    def test_hooksThatEndItMeanwhile(self) -> None:
        """If code that runs while the last messages are sent ends the session, that reason stays, and it ends once."""
        ended: list[Session] = []
        self.realm.roster.onEnd(ended.append)
        topic = self.realm.topic("room")
        topic.join(self.session)
        self.toil()
        self.realm.tell("tell", "a")
        told = topic.tell("tell", "b")
        put = type(self.session.mind).put

        def ending(mind: Any, *args: Any) -> Any:
            self.session.end(errors.LoggedOut)
            return put(mind, *args)

        self.patch(type(self.session.mind), "put", ending)
        self.session.kick(errors.Kicked)
        self.assertIsInstance(self.session.endedWith, errors.LoggedOut)
        self.assertEqual(len(ended), 1)
        self.rest()
        self.assertEqual(sum([*self.successResultOf(told)]), 1)

    def test_lostConnection(self) -> None:
        """When the connection is lost nothing is sent, and nothing goes wrong."""
        self.toil()
        told = [self.realm.tell("tell", n) for n in range(3)]
        self.assertNoResult(told[-1])
        self.link.cut()
        self.assertIsNotNone(self.session.endedWith)
        self.rest()
        summary = self.successResultOf(told[-1])
        self.assertEqual((summary.sent, summary.dropped + summary.gone), (0, 1))


class SocketTests(TestCase):
    """Over a real socket."""

    timeout = 60

    def setUp(self) -> None:
        """With the reactor that is installed."""
        from twisted.internet import reactor

        self.reactor: Any = reactor

    async def sleep(self, seconds: float) -> None:
        """Let the reactor go on."""
        waiting: Deferred[None] = Deferred()
        self.reactor.callLater(seconds, waiting.callback, None)
        await waiting

    async def enter(self, realm: Realm, factory: Any, server: Any = ServerFactory) -> tuple[Told, Any]:
        """Log in as alice: her object and her reference."""
        kw = {} if server is pb.PBServerFactory else {"clock": self.reactor}
        port = await TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1").listen(serve(realm, server, **kw))
        self.addCleanup(port.stopListening)
        endpoint = TCP4ClientEndpoint(self.reactor, "127.0.0.1", port.getHost().port)
        broker = await endpoint.connect(factory)
        client = Told()
        reference = await factory.login(UsernamePassword(b"alice", PASSWORD), client)
        self.addCleanup(self.hangUp, broker)
        return client, reference

    def hangUp(self, broker: Any) -> Deferred[None] | None:
        """Close a client's connection, and wait for that."""
        if broker.disconnected:
            return None
        gone: Deferred[None] = Deferred()
        broker.notifyOnDisconnect(lambda: gone.callback(None))
        broker.transport.abortConnection()
        return gone

    async def test_workInBetween(self) -> None:
        """Two broadcasts with 6 ms of work between them, and the end in the same turn: both come before the goodbye."""
        for way, end in ENDS.items():
            for server, factory in (
                (ServerFactory, ClientFactory()),
                (ServerFactory, pb.PBClientFactory()),
                (dropin.PBServerFactory, pb.PBClientFactory()),
                (pb.PBServerFactory, pb.PBClientFactory()),
            ):
                realm = CachingRealm(Recorder, clock=self.reactor)
                client, reference = await self.enter(realm, factory, server)
                (session,) = realm.roster
                realm.presence.watch(session)
                realm.tell("tell", "a")
                until = self.reactor.seconds() + 0.006
                while self.reactor.seconds() < until:
                    pass
                realm.tell("tell", "b")
                end(realm, session)
                await self.sleep(0.05)
                words = [word for word in client.words if word != "presence"]
                self.assertEqual(words[:2], ["a", "b"], (way, factory))
                if way in GOODBYES:
                    self.assertEqual(words[2:], ["goodbye"], (way, factory))
                del reference

    async def test_clientThatDoesNotRead(self) -> None:
        """A client that has not read for long is told goodbye after what was on its way, and the rest is dropped."""
        for way, end in GOODBYES.items():
            realm = CachingRealm(Recorder, clock=self.reactor)
            client, reference = await self.enter(realm, ClientFactory())
            (session,) = realm.roster
            transport = reference.broker.transport
            transport.pauseProducing()
            for number in range(400):
                session.mind.tell("tell", number, MUCH)
                if number % 20 == 0:
                    await self.sleep(0)
            queued = session.backlog.messages
            self.assertGreater(queued, 0)
            end(realm, session)
            self.assertGreaterEqual(session.backlog.dropped, queued)
            transport.resumeProducing()
            while not client.told or client.told[-1][0] != "goodbye":
                await self.sleep(0.01)
            numbers = [what[1] for what in client.told if what[0] == "tell"]
            self.assertEqual(numbers, [*range(len(numbers))], way)
            self.assertLess(len(numbers), 400)
            del reference
