"""A value that exceeds a limit costs the call that it belongs to, at both ends and in both directions."""

from __future__ import annotations

import gc
from typing import Any, cast

import attrs
from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.spread.banana import BananaError
from twisted.trial.unittest import SynchronousTestCase, TestCase

import pbkit
from pbkit import Avatar, CachingRealm, ClientFactory, ServerFactory, dropin
from pbkit.errors import BadValue, CannotSend, Disconnected, ProtocolMismatch
from pbkit.testing import MemoryServer
from pbkit.wire.profile import CLIENT, DROPIN, STRICT, Calls, Limits, Profile
from tests.support import Wire, serve


class Table(pb.Copyable, pb.RemoteCopy):
    """A copyable with a large dict."""

    rows: dict[int, str]


class Owner(Avatar):
    """An avatar with large answers."""

    def __init__(self, avatarId: str) -> None:
        super().__init__(avatarId)
        self.kept: list[Any] = []
        self.things: list[pb.Referenceable] = []

    def perspective_rows(self, n: int, m: int = 4) -> Any:
        """Return many rows."""
        return [[row] * m for row in range(n)]

    def perspective_dict(self, n: int) -> Any:
        """Return a large dict."""
        return {f"key {i}": i for i in range(n)}

    def perspective_copy(self, n: int) -> Any:
        """Return a large Copyable."""
        table = Table()
        table.rows = {i: str(i) for i in range(n)}
        return table

    def perspective_text(self, n: int) -> str:
        """Return a long text."""
        return "x" * n

    def perspective_nested(self, n: int) -> Any:
        """Return nested lists."""
        value: Any = 1
        for _ in range(n):
            value = [value]
        return value

    def perspective_references(self, n: int, rows: int) -> Any:
        """Return references in a large answer."""
        self.things = [pb.Referenceable() for _ in range(n)]
        return [self.things, self.perspective_rows(rows)]

    async def perspective_ask(self, n: int) -> Any:
        """Return the length of the mind's answer, or its error."""
        try:
            return len(await pbkit.currentSession().mind.ask("rows", n))
        except BadValue as error:
            return str(error)

    def perspective_take(self, value: Any, *more: Any) -> int:
        """Return the length of the argument."""
        self.kept.append(more)
        return len(value)

    def perspective_ping(self) -> str:
        """Return a text."""
        return "pong"


class Mind(pb.Referenceable):
    """A mind with large answers."""

    def remote_rows(self, n: int) -> Any:
        """Return many rows."""
        return [[row] * 4 for row in range(n)]


def limited(profile: Profile = CLIENT, **limits: Any) -> Profile:
    """Return a profile with other limits of a message."""
    return attrs.evolve(profile, limits=attrs.evolve(profile.limits, **limits))


class SocketTests(TestCase):
    """`pbkit.connect`, over 127.0.0.1."""

    timeout = 60.0

    def setUp(self) -> None:
        """A strict server."""
        from twisted.internet import reactor

        pb.setUnjellyableForClass(Table, Table)
        self.reactor: Any = reactor
        self.realm = CachingRealm(Owner)

    def listen(self, factory: Any) -> str:
        """Listen, and return the description of the endpoint."""
        port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"tcp:127.0.0.1:{port.getHost().port}"

    def connect(self, endpoint: str, **kw: Any) -> Any:
        """Connect as alice."""
        return pbkit.connect(endpoint, UsernamePassword(b"alice", b"sesame"), **kw)

    async def test_defaults(self) -> None:
        """Large answers arrive: 19,000 rows, a dict of 60,000, a Copyable with a dict of 10,000."""
        async with self.connect(self.listen(serve(self.realm))) as me:
            self.assertEqual(len(await me.callRemote("rows", 19_000)), 19_000)
            self.assertEqual(len(await me.callRemote("dict", 60_000)), 60_000)
            self.assertEqual(len((await me.callRemote("copy", 10_000)).rows), 10_000)

    async def test_oneCall(self) -> None:
        """Above each limit the call fails, the error names the limit and how to raise it, and other calls succeed."""
        endpoint = self.listen(serve(self.realm))
        cases: tuple[tuple[dict[str, Any], tuple[Any, ...]], ...] = (
            ({"items": 1000}, ("rows", 400)),
            ({"items": 1000}, ("dict", 2000)),
            ({"depth": 20}, ("nested", 30)),
            ({"depth": 100}, ("nested", 100)),
            ({"depth": 100}, ("nested", 290)),
            ({"string": 1000}, ("text", 1001)),
            ({"message": 20_000}, ("text", 20_000)),
            ({"message": 20_000}, ("rows", 5000)),
            ({"jelly": 500}, ("copy", 400)),
        )
        for limits, call in cases:
            (name,) = limits
            async with self.connect(endpoint, profile=limited(**limits)) as me:
                before, over, behind = me.callRemote("ping"), me.callRemote(*call), me.callRemote("ping")
                with self.assertRaises(BadValue) as caught:
                    await over
                for part in (f"limits.{name}", f"{next(iter(limits.values())):,}", "connect(..., profile=...)"):
                    self.assertIn(part, str(caught.exception))
                self.assertEqual((await before, await behind, await me.callRemote("ping")), ("pong",) * 3)
                self.assertIsNone(me.ended)

    async def test_referencesAreGivenBack(self) -> None:
        """The server does not keep the references of an answer that was passed over."""
        async with self.connect(self.listen(serve(self.realm)), profile=limited(items=1000)) as me:
            with self.assertRaises(BadValue):
                await me.callRemote("references", 100, 1000)
            self.assertEqual(await me.callRemote("ping"), "pong")
            (session,) = self.realm.roster
            self.assertEqual(len(cast(Any, session.channel).localObjects), 1)

    async def test_arguments(self) -> None:
        """A call whose arguments exceed a limit of the server fails, and nothing that came with it is kept."""
        endpoint = self.listen(serve(self.realm))
        things = [pb.Referenceable() for _ in range(50)]
        async with self.connect(endpoint) as me:
            for value, name in (
                ([[i] for i in range(60_000)], "items"),
                (["x" * 600_000] * 8, "message"),
                ([Table() for _ in range(6000)], "jelly"),
            ):
                with self.assertRaises(BadValue) as caught:
                    await me.callRemote("take", value, things)
                self.assertIn(f"limits.{name} of the server", str(caught.exception))
                self.assertIn("[profile]", str(caught.exception))
                # The server's text already begins with the class's own.
                self.assertEqual(str(caught.exception).count(BadValue.text), 1)
            self.assertEqual(await me.callRemote("take", [1, 2]), 2)
            self.assertEqual(len(me.reference.broker.localObjects), 0)

    async def test_minds(self) -> None:
        """A call of the server fails if the mind's answer exceeds a limit of the server."""
        endpoint = self.listen(serve(self.realm))
        async with self.connect(endpoint, mind=Mind()) as me:
            self.assertEqual(await me.callRemote("ask", 10), 10)
            self.assertIn("limits.items of the server (100,000)", await me.callRemote("ask", 30_000))
            self.assertEqual(await me.callRemote("ask", 10), 10)

    async def test_manyReferenceables(self) -> None:
        """The 1,025th object that a client sends fails that call, and the connection stays."""
        async with self.connect(self.listen(serve(self.realm))) as me:
            things = [pb.Referenceable() for _ in range(1024)]
            self.assertEqual(await me.callRemote("take", things, things), 1024)
            with self.assertRaises(CannotSend) as caught:
                await me.callRemote("take", [pb.Referenceable()])
            self.assertIn("calls.references", str(caught.exception))
            self.assertEqual(await me.callRemote("ping"), "pong")
            self.assertIsNone(me.ended)
        more = attrs.evolve(CLIENT, calls=Calls(references=2000))
        async with self.connect(self.listen(serve(CachingRealm(Owner))), profile=more) as me:
            things = [pb.Referenceable() for _ in range(1500)]
            self.assertEqual(await me.callRemote("take", things, things), 1500)

    async def test_sixteenTimes(self) -> None:
        """Over 16 times limits.message the connection is closed, and the session has ended."""
        async with self.connect(self.listen(serve(self.realm)), profile=limited(message=20_000)) as me:
            with self.assertRaises(BadValue):
                await me.callRemote("text", 16 * 20_000 - 100)
            with self.assertRaises(Disconnected):
                await me.callRemote("text", 16 * 20_000 + 100)
            self.assertIsNotNone(me.ended)

    async def test_beforeLogin(self) -> None:
        """Before the credentials are sent, the limits of the gate apply."""

        class Flood(pb.Root):
            def remote_login(self, username: Any) -> Any:
                return b"x" * 10_000, pb.Referenceable()

        with self.assertRaises(ProtocolMismatch) as caught:
            await self.connect(self.listen(pb.PBServerFactory(Flood())), timeout=5.0)
        self.assertIn("8192", str(caught.exception))

    async def test_stockClient(self) -> None:
        """Each call of a stock client is answered, whatever its arguments or the answer exceed."""
        for factory in (ServerFactory, dropin.PBServerFactory):
            endpoint = self.listen(serve(CachingRealm(Owner), factory))
            client = pb.PBClientFactory()
            self.reactor.connectTCP("127.0.0.1", int(endpoint.rpartition(":")[2]), client)
            me = await client.login(UsernamePassword(b"alice", b"sesame"), None)
            self.assertEqual(len(await me.callRemote("nested", 290)), 1)
            for levels in (310, 330, 2000):
                with self.assertRaises(Exception) as caught:
                    await me.callRemote("nested", levels)
                self.assertIn("at most 300 lists", str(caught.exception))
            if factory is ServerFactory:
                with self.assertRaises(Exception) as caught:
                    await me.callRemote("take", [[i] for i in range(60_000)])
                self.assertIn("limits.items of the server", str(caught.exception))
            self.assertEqual(await me.callRemote("ping"), "pong")
            del me
            client.disconnect()


class FactoryTests(SynchronousTestCase):
    """`ClientFactory` and `MemoryServer`."""

    def test_profile(self) -> None:
        """`ClientFactory` takes a profile, and its connections have it."""
        profile = limited(items=1000)
        server = MemoryServer(CachingRealm(Owner))
        self.addCleanup(server.close)
        factory = ClientFactory(clock=server.clock, profile=profile)
        connection = server.connectWith(factory)
        self.assertIs(connection.link.client.profile, profile)
        alice = self.successResultOf(connection.login("alice"))
        self.assertRaises(BadValue, alice.call, "rows", 400)
        self.assertEqual(alice.call("ping"), "pong")
        self.assertIs(ClientFactory().profile, CLIENT)
        self.assertEqual(
            CLIENT.limits, Limits(message=64 * 1024 * 1024, items=4_000_000, jelly=100_000, user=None, server=None)
        )

    def test_dropIn(self) -> None:
        """In drop-in use pbkit's own limits cost one call, too; a string that is too long closes it, as in stock."""
        profile = attrs.evolve(DROPIN, limits=attrs.evolve(DROPIN.limits, items=1000, string=5000))
        server = serve(CachingRealm(Owner), dropin.PBServerFactory, profile=profile)
        for factory in (pb.PBClientFactory(), dropin.PBClientFactory(), ClientFactory()):
            wire = Wire(server, factory)
            me = self.successResultOf(wire.login("alice"))
            failure = self.failureResultOf(wire.call(me, "take", [[i] for i in range(2000)], [pb.Referenceable()]))
            self.assertIn("limits.items of the server", failure.getErrorMessage())
            self.assertEqual(self.successResultOf(wire.call(me, "ping")), "pong")
            self.assertEqual(len(wire.client.localObjects), 0)
            me.callRemote("take", "x" * 6000).addErrback(lambda failure: None)
            self.assertRaises(BananaError, wire.flush)
            wire.lose()

    def test_inPieces(self) -> None:
        """A call that is too large costs no more than its bytes while it arrives, in whatever pieces."""
        profile = limited(STRICT, message=4096)
        server = MemoryServer(CachingRealm(Owner, clock=Clock()))
        self.addCleanup(server.close)
        server.factory.profile = profile
        alice = server.login("alice")
        broker = alice.connection.link.server
        failures: list[Failure] = []
        d: Deferred[Any] = alice.reference.callRemote("take", ["x" * 100] * 400)
        d.addErrback(failures.append)
        data = b"".join(alice.connection.link._far.stream)
        alice.connection.link._far.stream = []
        for start in range(0, len(data), 100):
            broker.dataReceived(data[start : start + 100])
            self.assertLess(broker.inbound.held, 8192)
        server.flush()
        self.assertIn("limits.message", failures[0].getErrorMessage())
        self.assertEqual(alice.call("ping"), "pong")
        gc.collect()
