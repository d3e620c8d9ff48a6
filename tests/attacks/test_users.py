"""Attacks after login."""

from __future__ import annotations

from typing import Any

from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pbkit import Broker, CachingRealm, ServerFactory
from pbkit.errors import BadValue, RemoteError
from pbkit.wire.jelly.failures import receivedFailure
from tests.attacks.attacker import Attacker, called, encoded, logged
from tests.support import Recorder, serve

STOCK = pb.PBServerFactory

#: All multiples of this number have the hash 0.
PRIME = 2**61 - 1

#: Text that changes the colour of a terminal and imitates a line of the log.
EVIL = b"\x1b[31mEVIL\n2026-01-01 all is well"

FAILURE = b"twisted.spread.pb.CopyableFailure"


class Work:
    """
    The methods of an avatar.

    :ivar waiting: calls that have no answer yet.
    :ivar mind: the client's mind.
    :ivar worked: the number of calls of `perspective_work`.
    :ivar takes: how long each of them takes, in seconds.
    """

    def __init__(self) -> None:
        self.waiting: list[Deferred[Any]] = []
        self.mind: Any = None
        self.clock: Any = None
        self.worked, self.takes = 0, 0.001

    def perspective_nothing(self, *args: Any) -> None:
        """Do nothing."""

    def perspective_length(self, thing: Any) -> int:
        """Return the number of arguments."""
        return len(thing)

    def perspective_work(self) -> None:
        """Take some time, by default a millisecond."""
        self.worked += 1
        self.clock.rightNow += self.takes

    def perspective_wait(self, *args: Any) -> Deferred[Any]:
        """Return an answer that arrives later."""
        d: Deferred[Any] = Deferred()
        self.waiting.append(d)
        return d

    def perspective_fail(self, what: str) -> None:
        """Raise an exception with the argument in its text."""
        raise ValueError(f"no such thing: {what}")

    def perspective_ask(self) -> Any:
        """Call the client."""
        return self.mind.callRemote("ask")

    def perspective_forget(self) -> None:
        """Call the client, and ignore the answer."""
        self.mind.callRemote("ask")


class StockWorker(Work, pb.Avatar):
    """A stock avatar."""


class Worker(Work, Recorder):
    """A pbkit avatar."""

    def __init__(self, avatarId: str) -> None:
        Recorder.__init__(self, avatarId)
        Work.__init__(self)

    def attached(self, session: Any) -> None:
        """Keep the mind."""
        self.mind = session.mind


@implementer(IRealm)
class StockRealm:
    """A stock realm with one avatar for everyone."""

    def __init__(self, avatar: StockWorker) -> None:
        self.avatar = avatar

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """As in Twisted's documentation."""
        self.avatar.mind = mind
        return pb.IPerspective, self.avatar, lambda: None


class Case(SynchronousTestCase):
    """Users of two servers, pbkit's and stock's."""

    def setUp(self) -> None:
        """Make a clock."""
        self.clock = Clock()

    def user(self, server: Any, mind: Any = (b"None",), reactor: Any = None) -> tuple[Attacker, Any]:
        """Return a client that has logged in, and its avatar."""
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
    """Attacks that delay other clients."""

    def test_keysThatCollide(self) -> None:
        """Stock builds a set of numbers with the same hash, in quadratic time."""
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

    def test_otherClientsGetATurn(self) -> None:
        """Stock serves a thousand calls in one chunk before a call of another client. In pbkit that waits for 17."""

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
        """A thousand chunks in one reactor turn, as with TLS, do not delay another client either."""
        attacker, avatar = self.user(ServerFactory, reactor=self.clock)
        call = encoded(called(attacker.avatar, b"work"))
        attacker.raw(call * 1000, len(call))
        self.assertLess(avatar.worked, 20)
        while avatar.worked < 1000:
            self.clock.advance(0)
        self.assertEqual(attacker.transport.producerState, "producing")

    def test_whatWaitedHasItsTurnToo(self) -> None:
        """Queued calls do not delay other clients when they are resumed."""
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
        """The more connections have queued calls, the shorter is the turn of each."""
        users = [self.user(ServerFactory, reactor=self.clock) for _ in range(10)]
        for attacker, avatar in users:
            avatar.takes = 0.0001
            attacker.send(*[called(attacker.avatar, b"work")] * 1000)
        turns = [avatar.worked for _, avatar in users]
        self.assertEqual(turns, sorted(turns, reverse=True))
        self.assertGreaterEqual(turns[0], 48)
        self.assertLess(turns[-1], 20)

    def test_jellyWithoutEnd(self) -> None:
        """33,000 references in an unexpected answer, or as arguments, are released unread."""
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
        """That limit does not apply to plain data, or to a string that contains such bytes."""
        attacker, _ = self.user(ServerFactory)
        many = [b"list", *([b"list", 1] for _ in range(20_000))]
        self.assertEqual(attacker.call(attacker.avatar, b"length", many), [b"answer", 1, 20_000])
        zeros = [b"list", b"\x80" * 20_000, [b"remote", 5]]
        self.assertEqual(attacker.call(attacker.avatar, b"length", zeros), [b"answer", 1, 2])


class MemoryTests(Case):
    """Attacks that use memory."""

    def test_callsInFlight(self) -> None:
        """Stock serves any number of calls at once, with all their arguments. pbkit limits these to 16 MiB."""
        sets = [b"list", *([b"set"] for _ in range(8_000))]

        def atOnce(server: Any, most: int) -> tuple[int, int]:
            attacker, avatar = self.user(server)
            sent = 0
            while sent < most and attacker.transport.producerState != "paused":
                attacker.send(called(attacker.avatar, b"wait", sets, requestID=sent))
                sent += 1
            first = len(avatar.waiting)
            for _ in range(sent):
                # When a call is answered, the next one is served.
                avatar.waiting.pop(0).callback(None)
            self.assertEqual((len(avatar.waiting), len(attacker.heard())), (0, sent))
            self.assertNotEqual(attacker.transport.producerState, "paused")
            return first, sent

        self.assertEqual(atOnce(STOCK, 20), (20, 20))
        first, sent = atOnce(ServerFactory, 150)
        self.assertLess(first, 12)
        self.assertLess(sent, 150)

    def test_theirOwnClientIsHeard(self) -> None:
        """300 calls that each call their client do not block each other, although 256 are served at once."""
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
    """Invalid messages."""

    def test_whatNobodyWaitsFor(self) -> None:
        """Stock raises for an answer, an error or a release with an unknown id. pbkit ignores it."""
        for odd in ([b"answer", 77, 1], [b"error", 77, 1], [b"decref", 77], [b"decache", 77], [b"answer", [77], 1]):
            attacker, _ = self.user(STOCK)
            attacker.send(odd)
            self.assertIsInstance(attacker.escaped, KeyError | TypeError | AttributeError)
            attacker, _ = self.user(ServerFactory)
            attacker.send(odd)
            self.assertEqual(attacker.call(attacker.avatar, b"nothing"), [b"answer", 1, [b"None"]])

    def test_unknownCopy(self) -> None:
        """A change of a Cacheable that does not exist is answered as a call on an unknown object, and not logged."""
        for luid in (77, b"77", b"root"):
            attacker, _ = self.user(ServerFactory)
            change = [b"cachemessage", 5, luid, b"x", 1, [b"tuple", [b"remote", 3]], [b"dictionary"]]
            with logged() as text:
                attacker.send(change)
            error, decref = attacker.heard()
            self.assertEqual((error[:2], decref), ([b"error", 5], [b"decref", 3]))
            self.assertIn("Invalid Object ID", repr(error))
            self.assertEqual(text(), "")

    def test_commandThatIsAList(self) -> None:
        """An invalid command closes the connection, with a line in the log, even while calls are queued."""
        for waiting in (0, 300):
            attacker, _ = self.user(ServerFactory)
            attacker.send(*[called(attacker.avatar, b"wait")] * waiting)
            with logged() as text:
                attacker.send([[]])
            self.assertIsNone(attacker.escaped)
            self.assertFalse(attacker.open)
            self.assertIn("closed connection from", text().partition("\n")[0])

    def test_invalidNames(self) -> None:
        """Stock raises for an invalid method name or id, or logs it at length. In pbkit it is an error."""
        for luid, name in ((None, b"\xff\x1b"), (None, [b"x"]), (None, 7), ([1, [2]], b"nothing")):
            attacker, _ = self.user(STOCK)
            with logged() as text:
                attacker.call(attacker.avatar if luid is None else luid, name)
            self.assertTrue(attacker.escaped or "Traceback" in text())
            attacker, _ = self.user(ServerFactory)
            with logged() as text:
                said = attacker.call(attacker.avatar if luid is None else luid, name)
            self.assertEqual((said[0], text()), (b"error", ""))

    def test_invalidErrors(self) -> None:
        """Stock loses an error whose class is a number. In pbkit the caller is answered."""

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

    def test_attributesOfErrors(self) -> None:
        """An error of a peer has only what can be asked for its class and text: no attribute hides a method."""
        broker: Any = Broker(0)
        broker.sendCall = lambda *message: None
        names = [b"list", [b"unicode", b"a.B"]]

        def received(**more: Any) -> Failure:
            fields = {"type": b"a.B", "value": b"v", "parents": names, "traceback": b"t", **more}
            pairs = [[[b"unicode", name.encode()], value] for name, value in fields.items()]
            return receivedFailure(broker.unserialize([FAILURE, [b"dictionary", *pairs]]))

        for name in ("check", "trap", "cleanFailure", "raiseException", "getErrorMessage", "__getstate__", "frames"):
            d: Deferred[Any] = Deferred()
            d.errback(received(**{name: 1}))
            failure = self.failureResultOf(d)
            self.assertTrue(failure.check("a.B"), name)
            self.assertIn("v", str(failure))
            self.assertRaises(RemoteError, failure.raiseException)
        for parents in (b"x", 1, [b"None"], [b"dictionary"], [b"list", 1], [b"list", [b"list"]], [b"list", b"\xff"]):
            self.assertTrue(received(parents=parents).check(BadValue), parents)


class LogTests(Case):
    """Text in the log."""

    def test_textOfExceptions(self) -> None:
        """Stock logs the text of an exception unchanged. pbkit escapes and shortens it."""

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
        """Stock logs an unhandled error of a client unchanged. pbkit escapes it."""
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
        """Of 500 refused classes, ten per second are logged, escaped."""
        attacker, _ = self.user(ServerFactory)
        with logged() as out:
            attacker.send(*[called(attacker.avatar, b"nothing", [EVIL + b".Class", [b"dictionary"]])] * 500)
        self.assertEqual(out().count("is refused"), 10)
        self.assertNotIn("\x1b", out())

    def test_namesOfClassesAreNoText(self) -> None:
        """A class whose name is not ASCII, or not UTF-8, is refused as any other, without a traceback in the log."""
        attacker, _ = self.user(ServerFactory)
        with logged() as out:
            for name in (b"caf\xe9.Class", b"caf\xc3\xa9.Class", b"x.\xff", b"\xff", "caf\xe9".encode()):
                answer = attacker.call(attacker.avatar, b"whoami", [name, [b"dictionary"]])
                self.assertIn(b"pbkit.errors.ClassRefused", repr(answer).encode(), name)
        self.assertNotIn("Traceback", out())

    def test_loggedLessThanSent(self) -> None:
        """In stock, a message of 2 kB, nested 400 deep, causes over 20 kB of log. In pbkit it causes one line."""
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
