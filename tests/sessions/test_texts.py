"""Texts that UTF-8 cannot express, and texts that are too long, wherever a session sends one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pbkit import CachingRealm, ClientFactory, Realm, errors
from pbkit.plain import TEXT, sendable
from tests.support import PASSWORD, Client, Recorder, enter, serve

#: Half of a surrogate pair, and 700 KB: more than Banana takes for a string.
BROKEN, LONG = "caf\udce9", "x" * 700_000


def kindOf(error: Exception) -> str:
    """Return the name of the class of an error at the server. Stock's clients have it as bytes."""
    kind = getattr(error, "remoteType", type(error).__name__)
    return kind.decode() if isinstance(kind, bytes) else str(kind)


class SendableTests(SynchronousTestCase):
    """`sendable`."""

    def test_sendable(self) -> None:
        """A text that can be sent stays as it is."""
        for text in ("", "café", "\x00", "🂡" * 10, "x" * TEXT, "é" * (TEXT // 2)):
            self.assertEqual(sendable(text), text)

    def test_escaped(self) -> None:
        """What UTF-8 cannot express is escaped."""
        self.assertEqual(sendable(BROKEN), "caf\\udce9")

    def test_cut(self) -> None:
        """A long text is cut between two characters, and says so."""
        for text in (LONG, "é" * TEXT, "🂡" * TEXT, "\ud800" * TEXT, "x" * (TEXT + 1), "x" + "é" * (TEXT // 2)):
            found = sendable(text)
            self.assertTrue(found.endswith("..."))
            self.assertLessEqual(TEXT - 12, len(found.encode("utf-8")))
            self.assertLessEqual(len(found.encode("utf-8")), TEXT)
        self.assertEqual(sendable("abcdef", 5), "ab...")


class Goodbyes(Client):
    """A client that notes its goodbyes."""

    def remote_goodbye(self, reason: str, detail: str) -> None:
        """Note it."""
        self.told.append((reason, detail))


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

    async def serve(self, realm: Realm) -> TCP4ClientEndpoint:
        """Serve a realm."""
        port = await TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1").listen(serve(realm, clock=self.reactor))
        self.addCleanup(port.stopListening)
        return TCP4ClientEndpoint(self.reactor, "127.0.0.1", port.getHost().port)

    async def connect(self, endpoint: TCP4ClientEndpoint, factory: Any) -> Any:
        """Connect."""
        broker = await endpoint.connect(factory)
        self.addCleanup(self.hangUp, broker)
        return broker

    def hangUp(self, broker: Any) -> Deferred[None] | None:
        """Close a client's connection, and wait for that."""
        if broker.disconnected:
            return None
        gone: Deferred[None] = Deferred()
        broker.notifyOnDisconnect(lambda: gone.callback(None))
        broker.transport.abortConnection()
        return gone

    async def test_goodbye(self) -> None:
        """
        A goodbye arrives whatever its detail, and so does the error of the next call; another session of the same
        connection lives on.
        """
        ways: dict[str, Callable[[Realm, str], Any]] = {
            "Kicked": lambda realm, text: realm.kick(errors.Kicked, text, avatarId="alice"),
            "Banned": lambda realm, text: realm.ban(60, text, avatarId="alice"),
            "Draining": lambda realm, text: realm.drain(5, errors.Draining, text),
        }
        for make in (ClientFactory, pb.PBClientFactory):
            for reason, end in ways.items():
                for text, shown in ((BROKEN, "caf\\udce9"), (LONG, "xxx...")):
                    realm = CachingRealm(Recorder, clock=self.reactor)
                    factory = make()
                    await self.connect(await self.serve(realm), factory)
                    alice, bob = Goodbyes(), Goodbyes()
                    mine = await factory.login(UsernamePassword(b"alice", PASSWORD), alice)
                    other = await factory.login(UsernamePassword(b"bob", PASSWORD), bob)
                    end(realm, text)
                    while not alice.told:
                        await self.sleep(0.001)
                    self.assertEqual(alice.told[0][0], reason)
                    self.assertTrue(alice.told[0][1].endswith(shown), alice.told[0][1][-20:])
                    if reason == "Draining":
                        # The connection is closed, as both sessions have ended.
                        continue
                    self.assertEqual(await other.callRemote("whoami"), "bob")
                    self.assertEqual(bob.told, [])
                    try:
                        await mine.callRemote("whoami")
                    except Exception as error:
                        kind = kindOf(error)
                        self.assertTrue(kind.endswith(reason), repr(error)[:200])
                        self.assertIn(shown, str(error))
                    else:
                        self.fail("the session has not ended")

    async def test_refusedByABan(self) -> None:
        """A login is refused with `LoginBanned`, whatever the reason of the ban."""
        for text, shown in ((BROKEN, "caf\\udce9"), (LONG, "xxx...")):
            realm = CachingRealm(Recorder, clock=self.reactor)
            realm.ban(60, text, avatarId="alice")
            endpoint = await self.serve(realm)
            for make in (ClientFactory, pb.PBClientFactory):
                factory = make()
                await self.connect(endpoint, factory)
                try:
                    await factory.login(UsernamePassword(b"alice", PASSWORD))
                except Exception as error:
                    kind = kindOf(error)
                    self.assertTrue(kind.endswith("LoginBanned"), repr(error)[:200])
                    self.assertIn(shown, str(error))
                else:
                    self.fail("the login was not refused")

    async def test_avatarIds(self) -> None:
        """Watchers are told of an avatar id whatever it is; the roster's id stays as it is."""
        realm = CachingRealm(Recorder, clock=self.reactor)
        factory = pb.PBClientFactory()
        await self.connect(await self.serve(realm), factory)
        changes: list[Any] = []

        class Watcher(Client):
            """Note the changes."""

            def remote_presence(self, version: str, told: Any, fresh: bool) -> None:
                """Note them."""
                changes.extend(told)

        reference = await factory.login(UsernamePassword(b"alice", PASSWORD), Watcher())
        (session,) = realm.roster
        realm.presence.watch(session)
        for name in (BROKEN, LONG):
            await enter(realm, name)
        while len(changes) < 3:
            await self.sleep(0.01)
        self.assertEqual([change[2][:9] for change in changes], ["alice", "caf\\udce9", "x" * 9])
        self.assertEqual([each.avatarId for each in realm.roster], ["alice", BROKEN, LONG])
        del reference
