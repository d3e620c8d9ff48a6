"""What is done to a server by somebody who has logged in."""

from __future__ import annotations

from typing import Any

from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pbkit import CachingRealm, ServerFactory
from tests.attacks.attacker import Attacker, called, encoded, logged
from tests.support import Recorder, serve

STOCK = pb.PBServerFactory

#: All multiples of it have the hash 0.
PRIME = 2**61 - 1

#: What colours a terminal, and begins a line that the log has not written.
EVIL = b"\x1b[31mEVIL\n2026-01-01 all is well"

FAILURE = b"twisted.spread.pb.CopyableFailure"


class Work:
    """
    The methods of an avatar.

    :ivar waiting: calls that have no answer yet.
    :ivar mind: the client's.
    :ivar worked: how often it has worked.
    :ivar takes: for how long, each time, in seconds.
    """

    def __init__(self) -> None:
        self.waiting: list[Deferred[Any]] = []
        self.mind: Any = None
        self.clock: Any = None
        self.worked, self.takes = 0, 0.001

    def perspective_nothing(self, *args: Any) -> None:
        """Do nothing."""

    def perspective_length(self, thing: Any) -> int:
        """How many there are."""
        return len(thing)

    def perspective_work(self) -> None:
        """Take some time, a millisecond as a rule."""
        self.worked += 1
        self.clock.rightNow += self.takes

    def perspective_wait(self, *args: Any) -> Deferred[Any]:
        """An answer that is made to wait."""
        d: Deferred[Any] = Deferred()
        self.waiting.append(d)
        return d

    def perspective_fail(self, what: str) -> None:
        """Say what it was called with."""
        raise ValueError(f"no such thing: {what}")

    def perspective_ask(self) -> Any:
        """Ask the client."""
        return self.mind.callRemote("ask")

    def perspective_forget(self) -> None:
        """Ask the client, and forget to look at the answer."""
        self.mind.callRemote("ask")


class StockWorker(Work, pb.Avatar):
    """Stock's."""


class Worker(Work, Recorder):
    """pbkit's."""

    def __init__(self, avatarId: str) -> None:
        Recorder.__init__(self, avatarId)
        Work.__init__(self)

    def attached(self, session: Any) -> None:
        """Take the mind."""
        self.mind = session.mind


@implementer(IRealm)
class StockRealm:
    """One avatar for all."""

    def __init__(self, avatar: StockWorker) -> None:
        self.avatar = avatar

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """As the howto has it."""
        self.avatar.mind = mind
        return pb.IPerspective, self.avatar, lambda: None


class Case(SynchronousTestCase):
    """Users at two servers."""

    def setUp(self) -> None:
        """A clock."""
        self.clock = Clock()

    def user(self, server: Any, mind: Any = (b"None",), reactor: Any = None) -> tuple[Attacker, Any]:
        """One that has logged in, and the avatar."""
        if server is STOCK:
            avatar: Any = StockWorker()
            factory = serve(StockRealm(avatar), server)
        else:
            avatar = Worker("alice")
            factory = serve(CachingRealm(lambda avatarId: avatar, clock=self.clock), server, clock=self.clock)
        attacker = Attacker(factory, reactor).login(mind)
        avatar.clock = self.clock
        self.addCleanup(self.flushLoggedErrors)
        self.addCleanup(attacker.lose)
        return attacker, avatar


class TimeTests(Case):
    """What keeps others waiting."""

    def test_keysThatCollide(self) -> None:
        """Stock: a set of numbers that all have one hash is built, in time by the square of their number."""
        members = [b"set", *(PRIME * k for k in range(1, 200))]
        attacker, _ = self.user(STOCK)
        self.assertEqual(attacker.call(attacker.avatar, b"length", members), [b"answer", 1, 199])
        attacker, _ = self.user(ServerFactory)
        tuples = [b"set", *([b"tuple", PRIME * k, 1] for k in range(1, 200))]
        decimals = [b"set", *([b"decimal", PRIME * k, 0] for k in range(1, 200))]
        pairs = [b"dictionary", *([PRIME * k, 0] for k in range(1, 200))]
        for keys in (members, tuples, decimals, pairs):
            said = attacker.call(attacker.avatar, b"length", keys)
            self.assertIn(b"pbkit.errors.BadValue", encoded(said))
        said = attacker.call(attacker.avatar, b"nothing", kw=pairs)
        self.assertIn(b"pbkit.errors.BadValue", encoded(said))
        self.assertTrue(attacker.open)

    def test_everybodyHasHisTurn(self) -> None:
        """Stock: a thousand calls that come in one chunk are served before anybody else's one; here it waits for 17."""

        def before(server: Any) -> int:
            attacker, avatar = self.user(server, reactor=self.clock)
            attacker.send(*[called(attacker.avatar, b"work")] * 1000)
            turn: int = avatar.worked
            while self.clock.getDelayedCalls() and avatar.worked < 1000:
                self.assertEqual(attacker.transport.producerState, "paused")
                self.clock.advance(0)
            self.assertEqual((avatar.worked, len(attacker.heard())), (1000, 1000))
            self.assertEqual(attacker.transport.producerState, "producing")
            return turn

        self.assertEqual(before(STOCK), 1000)
        self.assertLess(before(ServerFactory), 20)

    def test_piecesOfOneTurn(self) -> None:
        """Nor do they wait for a thousand calls that come one by one in the same turn of the reactor, as with TLS."""
        attacker, avatar = self.user(ServerFactory, reactor=self.clock)
        call = encoded(called(attacker.avatar, b"work"))
        attacker.raw(call * 1000, len(call))
        self.assertLess(avatar.worked, 20)
        while avatar.worked < 1000:
            self.clock.advance(0)
        self.assertEqual(attacker.transport.producerState, "producing")

    def test_whatWaitedHasItsTurnToo(self) -> None:
        """Calls that waited behind others do not keep everybody waiting when these are done, either."""
        attacker, avatar = self.user(ServerFactory, reactor=self.clock)
        attacker.send(*[called(attacker.avatar, b"wait")] * 256, *[called(attacker.avatar, b"work")] * 1000)
        while any("_goOn" in str(call) for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)
        self.assertEqual((len(avatar.waiting), avatar.worked), (256, 0))
        avatar.waiting[0].callback(None)
        self.assertTrue(0 < avatar.worked < 20, avatar.worked)
        while avatar.worked < 1000:
            self.clock.advance(0)

    def test_manyShareOneTurn(self) -> None:
        """The more have more to be served than a turn has room for, the shorter is that of each."""
        users = [self.user(ServerFactory, reactor=self.clock) for _ in range(10)]
        for attacker, avatar in users:
            avatar.takes = 0.0001
            attacker.send(*[called(attacker.avatar, b"work")] * 1000)
        turns = [avatar.worked for _, avatar in users]
        self.assertEqual(turns, sorted(turns, reverse=True))
        self.assertGreaterEqual(turns[0], 48)
        self.assertLess(turns[-1], 20)

    def test_jellyWithoutEnd(self) -> None:
        """33,000 references in an answer that nobody waits for, or as arguments, are given back unread."""
        for make in (lambda luid, many: [b"answer", 77, many], lambda luid, many: called(luid, b"nothing", many)):
            attacker, _ = self.user(ServerFactory)
            message = make(attacker.avatar, [b"list", *([b"remote", i] for i in range(33_000))])
            with logged() as text:
                attacker.send(message)
            self.assertTrue(attacker.open)
            heard = attacker.heard()
            while more := attacker.more():
                heard += more
            self.assertEqual(len([each for each in heard if each[0] == b"decref"]), 33_000)
            errors = [each for each in heard if each[0] == b"error"]
            self.assertEqual(["limits.jelly" in repr(each) for each in errors], [True] * (message[0] == b"message"))
            self.assertEqual(text().count("limits.jelly"), 2 * (message[0] == b"message"))

    def test_plainDataHasMoreRoom(self) -> None:
        """What is plain is not bound by that, nor is a string in which there are such bytes."""
        attacker, _ = self.user(ServerFactory)
        many = [b"list", *([b"list", 1] for _ in range(20_000))]
        self.assertEqual(attacker.call(attacker.avatar, b"length", many), [b"answer", 1, 20_000])
        zeros = [b"list", b"\x80" * 20_000, [b"remote", 5]]
        self.assertEqual(attacker.call(attacker.avatar, b"length", zeros), [b"answer", 1, 2])


class MemoryTests(Case):
    """What takes memory."""

    def test_callsInFlight(self) -> None:
        """Stock: any number of calls is served at once, and each holds its arguments; here these weigh 16 MiB."""
        sets = [b"list", *([b"set"] for _ in range(8_000))]

        def atOnce(server: Any, most: int) -> tuple[int, int]:
            attacker, avatar = self.user(server)
            sent = 0
            while sent < most and attacker.transport.producerState != "paused":
                attacker.send(called(attacker.avatar, b"wait", sets, requestID=sent))
                sent += 1
            first = len(avatar.waiting)
            for _ in range(sent):
                # When one is through it is the next one's turn.
                avatar.waiting.pop(0).callback(None)
            self.assertEqual((len(avatar.waiting), len(attacker.heard())), (0, sent))
            self.assertNotEqual(attacker.transport.producerState, "paused")
            return first, sent

        self.assertEqual(atOnce(STOCK, 20), (20, 20))
        first, sent = atOnce(ServerFactory, 150)
        self.assertLess(first, 12)
        self.assertLess(sent, 150)

    def test_theirOwnClientIsHeard(self) -> None:
        """300 calls that each ask their own client do not wait for one another, though 256 are served at once."""
        attacker, _ = self.user(ServerFactory, mind=(b"remote", 5))
        attacker.send(*[called(attacker.avatar, b"ask", requestID=i) for i in range(300)])
        answered: set[int] = set()
        for _ in range(10):
            for said in attacker.heard():
                if said[0] == b"message":
                    attacker.send([b"decref", 77], [b"answer", said[1], 1])
                elif said[0] == b"answer":
                    answered.add(said[1])
        self.assertEqual(answered, set(range(300)))


class OddTests(Case):
    """What is no message."""

    def test_whatNobodyWaitsFor(self) -> None:
        """Stock: an answer, an error or a letting go of what is not there escapes; here it is passed over."""
        for odd in ([b"answer", 77, 1], [b"error", 77, 1], [b"decref", 77], [b"decache", 77], [b"answer", [77], 1]):
            attacker, _ = self.user(STOCK)
            attacker.send(odd)
            self.assertIsInstance(attacker.escaped, KeyError | TypeError | AttributeError)
            attacker, _ = self.user(ServerFactory)
            attacker.send(odd)
            self.assertEqual(attacker.call(attacker.avatar, b"nothing"), [b"answer", 1, [b"None"]])

    def test_commandThatIsAList(self) -> None:
        """What is no command closes the connection, with a line, while calls wait as well."""
        for waiting in (0, 300):
            attacker, _ = self.user(ServerFactory)
            attacker.send(*[called(attacker.avatar, b"wait")] * waiting)
            with logged() as text:
                attacker.send([[]])
            self.assertIsNone(attacker.escaped)
            self.assertFalse(attacker.open)
            self.assertIn("closed connection from", text().partition("\n")[0])

    def test_namesThatAreNone(self) -> None:
        """Stock: the name of a method, or an id, that is none escapes or is logged at length; here it is an error."""
        for luid, name in ((None, b"\xff\x1b"), (None, [b"x"]), (None, 7), ([1, [2]], b"nothing")):
            attacker, _ = self.user(STOCK)
            with logged() as text:
                attacker.call(attacker.avatar if luid is None else luid, name)
            self.assertTrue(attacker.escaped or "Traceback" in text())
            attacker, _ = self.user(ServerFactory)
            with logged() as text:
                said = attacker.call(attacker.avatar if luid is None else luid, name)
            self.assertEqual((said[0], text()), (b"error", ""))

    def test_errorsThatAreNone(self) -> None:
        """Stock: an error whose class is a number is told to nobody; here whoever passed it on is answered."""

        def answer(server: Any, error: Any) -> Any:
            attacker, _ = self.user(server, mind=(b"remote", 5))
            attacker.send(called(attacker.avatar, b"ask", requestID=9))
            (asked,) = [each for each in attacker.heard() if each[0] == b"message"]
            attacker.send([b"error", asked[1], error])
            self.flushLoggedErrors()
            return [each[:2] for each in attacker.heard() if each[0] != b"decref"]

        fields = {b"type": 1, b"value": 2, b"traceback": 3, b"parents": 4, b"frames": 5}
        numbers = [FAILURE, [b"dictionary", *([[b"unicode", name], value] for name, value in fields.items())]]
        self.assertEqual(answer(STOCK, numbers), [])
        for error in (numbers, [FAILURE, [b"dictionary"]], [FAILURE, 7], 5, [], [b"no.such.Class", [b"dictionary"]]):
            self.assertEqual(answer(ServerFactory, error), [[b"error", 9]])


class LogTests(Case):
    """What comes to stand in the log."""

    def test_textOfExceptions(self) -> None:
        """Stock: what a method says of its arguments when it fails is written as it came; here escaped, and cut."""

        def written(server: Any, text: bytes) -> str:
            attacker, _ = self.user(server)
            with logged() as out:
                attacker.call(attacker.avatar, b"fail", [b"unicode", text])
            return out()

        self.assertIn("\x1b", written(STOCK, EVIL))
        self.assertNotIn("\x1b", written(ServerFactory, EVIL))
        self.assertIn("\\x1b[31mEVIL", written(ServerFactory, EVIL))
        self.assertGreater(len(written(STOCK, b"x" * 100_000)), 100_000)
        self.assertLess(len(written(ServerFactory, b"x" * 100_000)), 4000)

    def test_errorsThatNobodyTakes(self) -> None:
        """Stock: a client's error that nobody takes is written as it came; here escaped."""
        fields = {b"type": b"some.Error", b"value": [b"unicode", EVIL], b"traceback": b"", b"parents": [b"list"]}
        error = [FAILURE, [b"dictionary", *([[b"unicode", name], value] for name, value in fields.items())]]

        def written(server: Any) -> str:
            attacker, _ = self.user(server, mind=(b"remote", 5))
            attacker.send(called(attacker.avatar, b"forget"))
            (asked,) = [each for each in attacker.heard() if each[0] == b"message"]
            with logged() as out:
                attacker.send([b"error", asked[1], error])
            return out()

        self.assertIn("\x1b", written(STOCK))
        self.assertIn("\\x1b[31mEVIL", written(ServerFactory))
        self.assertNotIn("\x1b", written(ServerFactory))

    def test_namesOfClasses(self) -> None:
        """Ten refused classes are written in a second, escaped, and not each of five hundred."""
        attacker, _ = self.user(ServerFactory)
        with logged() as out:
            attacker.send(*[called(attacker.avatar, b"nothing", [EVIL + b".Class", [b"dictionary"]])] * 500)
        self.assertEqual(out().count("is refused"), 10)
        self.assertNotIn("\x1b", out())

    def test_loggedLessThanSent(self) -> None:
        """Stock: a message of 2 kB, nested 400 deep, is an entry of more than 20 kB; here it is one line."""
        deep: Any = [b"list"]
        for _ in range(400):
            deep = [b"list", deep]

        def written(server: Any) -> int:
            attacker, _ = self.user(server)
            with logged() as out:
                attacker.call(attacker.avatar, b"nothing", deep)
            return len(out())

        self.assertGreater(written(STOCK), 20_000)
        self.assertLess(written(ServerFactory), 400)
