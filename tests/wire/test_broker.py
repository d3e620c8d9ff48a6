"""A connection passes each message to the channel of its target."""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.spread import pb
from twisted.spread.jelly import SecurityOptions, globalSecurity
from twisted.trial.unittest import SynchronousTestCase

import pbkit
from pbkit import Broker, dropin
from pbkit.errors import Kicked
from tests.support import Client, Part, Wire
from tests.wire.things import Board, Messages, WireCase

#: Values that a peer may send as an id. None of them is in a table.
STRANGE: list[Any] = [0, -1, 99, 10**30, 1.0, b"1", b"nobody", b"\xff", [], [1], [b"a", [2]]]


class RoutingTests(WireCase):
    """Each kind of message reaches its session's tables."""

    def test_eachKind(self) -> None:
        """
        With two sessions on one connection, calls, answers, errors, changes of caches, decrefs, decaches and
        uncaches change the tables of their own session only.
        """
        (alice, hers), (bob, his) = self.login("alice", mind=Client()), self.login("bob", mind=Client())
        left, right = hers.mind.reference.broker, his.mind.reference.broker
        self.assertIsNot(left, right)

        def sizes(channel: Any) -> list[int]:
            tables = ("localObjects", "remotelyCachedObjects", "waitingForAnswers", "_serving")
            cached = list(self.wire.server.cachers.values()).count(channel)
            return [*(len(getattr(channel, table)) for table in tables), cached]

        still = sizes(right)
        self.assertEqual(sizes(left), [1, 0, 0, 0, 0])
        deep = self.get(alice, "deep")  # message, answer
        copy = self.get(alice, "board")
        self.assertEqual(sizes(left), [2, 1, 0, 0, 0])
        asked = hers.mind.callRemote("ask")
        self.assertEqual(sizes(left), [2, 1, 1, 0, 0])
        self.wire.flush()  # answer
        self.successResultOf(asked)
        failed = hers.mind.callRemote("fail")
        self.wire.flush()  # error
        self.failureResultOf(failed)
        self.flushLoggedErrors(LookupError)
        waiting = self.wire.call(alice, "wait")
        self.assertEqual(sizes(left), [2, 1, 0, 1, 0])
        hers.avatar.waiting.pop().callback(None)
        self.wire.flush()
        self.successResultOf(waiting)
        board = Board()
        self.get(alice, "take", board)
        self.assertEqual(sizes(left), [2, 1, 0, 0, 1])
        board.change("x")  # cachemessage
        self.wire.flush()
        self.assertEqual(hers.avatar.taken[0].changes, ["x"])
        del deep  # decref
        self.wire.flush()
        self.assertEqual(sizes(left), [1, 1, 0, 0, 1])
        del copy  # decache
        self.wire.flush()
        self.assertEqual(sizes(left), [1, 0, 0, 0, 1])
        hers.avatar.taken.clear()
        self.wire.flush()  # uncache
        self.assertEqual(sizes(left), [1, 0, 0, 0, 0])
        self.assertEqual(sizes(right), still)
        self.assertEqual(bob.luid in right.localObjects, True)

    def test_beforeLogin(self) -> None:
        """Without a session, as with a root that is not a portal, calls use the connection's own tables."""
        part = Part()

        class Root(pb.Root):
            def remote_part(self) -> Part:
                return part

        wire = Wire(pbkit.ServerFactory(Root()))
        root = self.successResultOf(wire.factory.getRootObject())
        reference = self.successResultOf(wire.call(root, "part"))
        self.assertEqual(self.successResultOf(wire.call(reference, "hi")), "hi")
        self.assertEqual(len(wire.server.localObjects), 2)
        del reference
        wire.flush()
        self.assertEqual(list(wire.server.localObjects), [b"root"])

    def test_coroutinesBeforeLogin(self) -> None:
        """An ``async def`` method of a root that is not a portal answers with its result."""

        class Root(pb.Root):
            async def remote_add(self, a: int, b: int) -> int:
                return a + b

        wire = Wire(pbkit.ServerFactory(Root()))
        root = self.successResultOf(wire.factory.getRootObject())
        self.assertEqual(self.successResultOf(wire.call(root, "add", 2, 3)), 5)


class UnknownIdTests(WireCase):
    """Unknown and invalid ids."""

    def assertUnmoved(self, alice: Any) -> None:
        """Assert that the connection and its session still work."""
        self.wire.flush()
        self.assertFalse(self.wire.server.disconnected)
        self.assertLive(alice)

    def test_answers(self) -> None:
        """An unexpected answer or error is ignored; stock drops the connection."""
        alice, _ = self.login(mind=Client())
        for strange in STRANGE:
            self.wire.client.sendCall(b"answer", strange, 1)
            self.wire.client.sendCall(b"error", strange, b"x")
            self.assertUnmoved(alice)

    def test_lettingGo(self) -> None:
        """A decref, decache or uncache of an unknown id is ignored; stock drops the connection."""
        alice, session = self.login()
        deep = self.get(alice, "deep")
        for strange in (*STRANGE, alice.luid + 1000):
            self.wire.client.sendCall(b"decref", strange)
            self.wire.client.sendCall(b"decache", strange)
            self.wire.client.sendCall(b"uncache", strange)
            self.assertUnmoved(alice)
        self.assertLive(deep)
        self.assertIsNone(session.endedWith)

    def test_decrefOfTheRoot(self) -> None:
        """A decref of the login root, which is not counted, is harmless."""
        alice, _ = self.login()
        self.wire.client.sendCall(b"decref", b"root")
        self.assertUnmoved(alice)
        again, _ = self.login("bob")
        self.assertLive(again)

    def test_kindsAreNotMixed(self) -> None:
        """A decache of an object and a decref of a cache release nothing."""
        alice, session = self.login()
        copy = self.get(alice, "board")
        self.wire.client.sendCall(b"decache", alice.luid)
        self.wire.client.sendCall(b"decref", copy.luid)
        self.assertUnmoved(alice)
        self.board.change("x")
        self.wire.flush()
        self.assertEqual(copy.changes, ["x"])

    def test_calls(self) -> None:
        """A call to an unknown or invalid id is answered with an error."""
        alice, _ = self.login()
        heard = Messages(self.wire.client, answers=False)
        for number, strange in enumerate(STRANGE, 1000):
            self.wire.client.sendCall(b"message", number, strange, b"note", 1, [b"tuple"], [b"dictionary"])
            self.wire.flush()
            self.assertEqual(heard.count(b"error", number), 1, strange)
        self.flushLoggedErrors()
        self.assertFalse(self.wire.server.disconnected)
        alice.callRemote("note", "in time", pbanswer=False)
        self.wire.flush()
        self.assertEqual(self.done.pop(), "in time")
        self.assertEqual(self.done, [])

    def test_strangeRequestIds(self) -> None:
        """A call is answered under any request id, even a list, in a session and before login."""
        alice, session = self.login()
        heard = Messages(self.wire.client, answers=False)
        for name in (b"eight", 1.5, -1, [b"nine", [10]]):
            for objectID, method in ((b"root", b"nothing"), (alice.luid, b"whoami"), (alice.luid, b"later")):
                self.wire.client.sendCall(b"message", name, objectID, method, 1, [b"tuple"], [b"dictionary"])
                self.wire.flush()
            self.assertEqual(heard.all, [(b"error", name), (b"answer", name)])
            session.avatar.waiting.pop().callback(None)
            self.wire.flush()
            self.assertEqual(heard.all[2:], [(b"answer", name)])
            heard.all.clear()

    def test_tooManyDecrefs(self) -> None:
        """Too many decrefs of one reference do not release another client's entry."""
        (alice, hers), (bob, _) = self.login("alice"), self.login("bob")
        deep = self.get(alice, "deep")
        for _ in range(5):
            self.wire.client.sendCall(b"decref", deep.luid)
        self.assertUnmoved(bob)
        self.assertLive(alice)
        self.assertTrue(self.error(deep, "note").check(pb.Error))
        self.assertIsNone(hers.endedWith)


class SignatureTests(SynchronousTestCase):
    """A `Broker` can replace stock's."""

    def test_constructedAsStock(self) -> None:
        """It accepts the same arguments as stock's, by position and by name."""
        security = SecurityOptions()
        for cls in (pb.Broker, Broker, dropin.Broker):
            self.assertIs(cls().security, globalSecurity)
            self.assertIs(cls(0, security).security, security)
            self.assertEqual(cls(isClient=False, security=security).isClient, False)

    def test_worksWithoutAFactory(self) -> None:
        """Without a factory there is a peer, and a missing clock or address causes no error."""
        broker = Broker(False)
        self.assertTrue(broker.peer.alive)
        self.assertIsNone(broker.peer.clock)
        self.assertIsNone(broker.peer.address)
        self.assertIs(broker.openChannel().factory, None)

    def test_bareTransport(self) -> None:
        """A transport without any optional method works."""

        class Bare:
            def __init__(self) -> None:
                self.written = b""

            def write(self, data: bytes) -> None:
                self.written += data

            def loseConnection(self) -> None:
                pass

        broker = pbkit.ServerFactory(pb.Root()).buildProtocol(None)
        broker.makeConnection(Bare())
        self.assertIsNone(broker.peer.address)
        self.assertIsNone(broker.peer.clock)
        broker.dataReceived(b"\x02\x82pb")
        self.assertIn(b"version", broker.transport.written + b"version")
        broker.openChannel()
        broker.connectionLost(None)
        self.assertFalse(broker.peer.alive)

    def test_setNameForLocal(self) -> None:
        """A named object is found on the connection, as in stock, even if its name is ``pbkit``."""
        broker = Broker(False)
        part = Part()
        for name in ("part", "pbkit"):
            broker.setNameForLocal(name, part)
            self.assertIs(broker.localObjectForID(name), part)
            self.assertIs(broker.localObjectForID(name.encode()), part)


class LossTests(WireCase):
    """The loss of the connection."""

    def test_notifyAtOnce(self) -> None:
        """After the loss, `notifyOnDisconnect` calls at once; stock raises AttributeError."""
        self.wire.lose()
        told: list[int] = []
        self.wire.server.notifyOnDisconnect(lambda: told.append(1))
        self.wire.server.dontNotifyOnDisconnect(print)
        self.assertEqual(told, [1])

    def test_everyChannelEndsThoughOneRaises(self) -> None:
        """All sessions end, even if user code raises."""
        kept = [self.login("alice"), self.login("bob")]

        def fail() -> None:
            raise ValueError("broken")

        for channel in list(self.wire.server._channels):
            channel.onReleased(fail)
            channel.notifyOnDisconnect(fail)
        self.wire.lose()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 4)
        self.assertEqual(len(self.realm.roster), 0)
        del kept

    def test_sessionsEndInTheirOwnReason(self) -> None:
        """A session that is ended by the hook of another one keeps that reason, and both end once."""
        (alice, hers), (bob, his) = self.login("alice"), self.login("bob")
        self.realm.roster.onEnd(lambda session: his.end(Kicked))
        self.wire.lose()
        self.assertEqual(type(hers.endedWith).__name__, "Disconnected")
        self.assertIs(type(his.endedWith), Kicked)
        self.assertEqual(self.realm.counters.ends, {"Disconnected": 1, "Kicked": 1})
        self.assertEqual(self.flushLoggedErrors(), [])
        del alice, bob

    def test_methodThatFinishesLater(self) -> None:
        """A method whose Deferred fires after the loss sends nothing and causes no error."""
        alice, session = self.login()
        waiting = self.wire.call(alice, "wait")
        late: Deferred[Any] = session.avatar.waiting.pop()
        self.wire.lose()
        self.assertTrue(self.failureResultOf(waiting).check(pb.PBConnectionLost))
        late.callback(Part())
        self.assertEqual(self.wire.server.owners, {})


class StringTransportTests(SynchronousTestCase):
    """A broker with Twisted's own test transport."""

    def test_lossWithoutNegotiation(self) -> None:
        """A connection that is lost before the first byte causes no error."""
        broker = pbkit.ServerFactory(pb.Root()).buildProtocol(None)
        broker.makeConnection(StringTransport())
        broker.connectionLost(None)
        self.assertFalse(broker.peer.alive)


class TableTests(SynchronousTestCase):
    """What stock provides as plain tables, for programs that reach into them."""

    TABLES: ClassVar[dict[str, type]] = {name: type(value) for name, value in vars(pb.Broker(False)).items()}

    def test_plain(self) -> None:
        """Each is a real dict or list, private to its connection, and may be replaced."""
        for kind in (pbkit.Broker, dropin.Broker):
            one, other = kind(False), kind(False)
            for name, table in self.TABLES.items():
                if table not in (dict, list):
                    continue
                mine = getattr(one, name)
                self.assertIs(type(mine), table, name)
                self.assertIs(getattr(one, name), mine)
                self.assertIsNot(getattr(other, name), mine)
                before = len(mine)
                mine.append(5) if isinstance(mine, list) else mine.__setitem__(5, 6)
                self.assertEqual((len(getattr(one, name)), len(getattr(other, name))), (before + 1, before))
                setattr(one, name, table())
                self.assertEqual(getattr(one, name), table())

    def test_channel(self) -> None:
        """Those of a channel may be written to as well, and are its own."""
        connection = pbkit.Broker(False)
        one, other = connection.openChannel(), connection.openChannel()
        for name in ("localObjects", "luids", "waitingForAnswers", "remotelyCachedObjects", "_localCleanup"):
            table = getattr(one, name)
            table[5], table[6] = "five", "six"
            self.assertEqual(dict(getattr(one, name)), {5: "five", 6: "six"})
            self.assertEqual(dict(getattr(other, name)), {})
            self.assertEqual(table.pop(5), "five")
            self.assertEqual(table.copy(), {6: "six"})
