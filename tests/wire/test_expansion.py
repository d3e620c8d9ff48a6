"""
Messages that are small on the wire and large when they are walked: lists that hold others more than once, by reference.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from unittest import skipIf

from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pbkit import Broker, CachingRealm, connect, dropin
from pbkit.errors import BadValue
from pbkit.wire import codec
from pbkit.wire.codec import pure
from pbkit.wire.prelogin import state as preloginState
from tests.attacks.attacker import Attacker, called, encoded, logged
from tests.support import PASSWORD, Recorder, collect, serve
from tests.wire.copies import PLAIN, state
from tests.wire.things import Guide

FAILURE = b"twisted.spread.pb.CopyableFailure"
#: How many levels a tower has: 2**60 values.
LEVELS = 60
#: An attack takes no longer than this, in seconds, on a machine that has other work too. A walk through one never ends.
QUICK = 2.0


def nested(levels: int, word: bytes = b"list") -> list[Any]:
    """A list that holds a list twice, which holds a list twice, and so on, each within the one before."""
    found = [word, 1]
    for level in range(levels):
        found = [word, [b"reference", level, found], [b"dereference", level]]
    return found


def tower(levels: int = LEVELS, word: bytes = b"list", base: Any = 1) -> list[Any]:
    """The same one after the other, so that the message is not deep."""
    found: list[Any] = [b"list", [b"reference", 0, [word, base]]]
    for level in range(1, levels):
        found.append([b"reference", level, [word, *[[b"dereference", level - 1]] * 2]])
    return found


def towerOfDicts(levels: int = LEVELS) -> list[Any]:
    """The same of dicts."""
    found: list[Any] = [b"list", [b"reference", 0, [b"dictionary", [1, 2]]]]
    for level in range(1, levels):
        below = [b"dereference", level - 1]
        found.append([b"reference", level, [b"dictionary", [1, below], [2, below]]])
    return found


def towerOfCycles(levels: int = LEVELS) -> list[Any]:
    """
    The same of cycles: each level is a list that holds a list that refers to it. Only the inner one is used again,
    which is short as long as its outer one is around it.
    """
    found: list[Any] = [b"list"]
    for level in range(levels):
        outer, inner = 2 * level, 2 * level + 1
        below = [[b"dereference", inner - 2]] * 2 if level else []
        found += [[b"reference", outer, [b"list", [b"reference", inner, [b"list", [b"dereference", outer]]], *below]]]
    return found


def towerInACycle(levels: int = LEVELS) -> list[Any]:
    """The same within one cycle: each level refers to the outermost list, and to its own."""
    found: list[Any] = [b"list"]
    for level in range(1, levels):
        own = [b"dereference", 2 * level]
        below = [[b"dereference", 2 * level - 1]] * 2 if level > 1 else []
        part = [b"reference", 2 * level + 1, [b"list", [b"dereference", 0], own, *below]]
        found.append([b"reference", 2 * level, [b"list", part]])
    return [b"reference", 0, found]


def towerOfRings(levels: int = LEVELS // 2) -> list[Any]:
    """
    Rings within rings, and a way into the innermost: each ring holds the one around it twice, which a walk from outside
    has come from, but a walk from the innermost has not.
    """
    found: list[Any] = [b"list", [b"reference", 0, [b"list", [b"dereference", levels]]]]
    for level in range(levels, 0, -1):
        around = [[b"dereference", level - 1]] * 2 if level > 1 else []
        found = [b"reference", level, [*found, *around]]
        found = [b"list", found] if level > 1 else found
    return [b"list", found, [b"dereference", 0]]


def manyTexts() -> list[Any]:
    """A long text, 9,000 times: 4.5 GB when it is walked."""
    text = [b"reference", 0, [b"list", [b"unicode", b"x" * 500_000]]]
    return [b"list", text, *([[b"dereference", 0]] * 9000)]


def shortTexts() -> list[Any]:
    """Texts that are not long, 288,000 times: 295 MB."""
    texts = [b"list", *[[b"unicode", b"x" * 1023]] * 48]
    return [b"list", [b"reference", 0, texts], *([[b"dereference", 0]] * 6000)]


TOWERS: dict[str, Callable[[], Any]] = {
    "lists": tower,
    "tuples": lambda: tower(word=b"tuple"),
    "dicts": towerOfDicts,
    "objects": lambda: [PLAIN, state(deep=tower())],
    "with a cycle in it": lambda: [b"reference", 99, tower(base=[b"dereference", 99])],
    "of cycles": towerOfCycles,
    "in a cycle": towerInACycle,
    "rings": towerOfRings,
    "texts": manyTexts,
    "short texts": shortTexts,
}


class UnserializeTests(SynchronousTestCase):
    """What comes of such an expression."""

    def test_refused(self) -> None:
        """It is refused in time that is proportional to its size, strict or not; the error names the limit."""
        for name, make in TOWERS.items():
            expression = make()
            for broker in (Broker(0), dropin.Broker(0)):
                before = time.monotonic()
                error = self.assertRaises(BadValue, broker.unserialize, expression)
                self.assertLess(time.monotonic() - before, QUICK, name)
                self.assertIn("limits.items", str(error), name)
        collect()

    def test_honest(self) -> None:
        """Values that hold others twice, and cycles, are read as long as they are no larger than the limit."""
        broker: Any = Broker(0)
        self.assertEqual(len(str(broker.unserialize(nested(10)))), 7164)
        node: list[Any] = []
        node += [[node, n] for n in range(1000)]
        copy = broker.unserialize(broker.serialize(node))
        self.assertEqual(len(copy), 1000)
        self.assertIs(copy[999][0], copy)
        # Each of these leads back into the whole.
        copy = broker.unserialize(broker.serialize([node[:3], node[0][0][:3]]))
        self.assertIs(copy[0][2][0], copy[1][2][0])
        collect()

    def test_usedEarly(self) -> None:
        """A reference is not used before it is defined: jelly never does that, and what it adds is not known then."""
        early = [b"list", [b"dereference", 1], [b"dereference", 1], [b"reference", 1, [b"list"]]]
        for broker in (Broker(0), dropin.Broker(0)):
            self.assertIn("before it is defined", str(self.assertRaises(BadValue, broker.unserialize, early)))


class CodecMixin:
    """What the codec says of such a message."""

    codec: Any

    def test_left(self: Any) -> None:
        """It is left to jelly, which refuses it."""
        for name, make in TOWERS.items():
            before = time.monotonic()
            value = make()
            call = called(1, b"x", value)
            self.assertIsNone(self.codec.decodePlain(encoded([b"answer", 1, value]), True, 100_000), name)
            self.assertIsNone(self.codec.decodePlain(encoded(call), True, 100_000), name)
            call[-1] = [b"dictionary", [[b"unicode", b"a"], value]]
            self.assertIsNone(self.codec.decodePlain(encoded(call), True, 100_000), name)
            self.assertLess(time.monotonic() - before, QUICK, name)

    def test_limit(self: Any) -> None:
        """A value that holds another twice is read up to the limit, to the value; without a reference all is read."""
        for word in (b"list", b"tuple"):
            # Each level has one more than twice what the one below it has; the lowest has two.
            size = 2
            for levels in range(1, 8):
                size = 2 * size + 1
                answer = encoded([b"answer", 1, nested(levels, word)])
                self.assertIsNotNone(self.codec.decodePlain(answer, True, size))
                self.assertIsNone(self.codec.decodePlain(answer, True, size - 1))
                for args in ([nested(levels, word)], [1, 2, nested(levels, word)]):
                    call = encoded(called(1, b"x", *args))
                    self.assertIsNotNone(self.codec.decodePlain(call, True, size + len(args)))
                    self.assertIsNone(self.codec.decodePlain(call, True, size + len(args) - 1))
        answer = encoded([b"answer", 1, [b"list", *range(1000)]])
        self.assertIsNotNone(self.codec.decodePlain(answer, True, 10))

    def test_texts(self: Any) -> None:
        """Each 64 bytes of a text, or of bytes, are one value more where it comes again."""
        for text in (b"x" * 63, b"x" * 64, b"x" * 1023, "ü".encode() * 512, "ü".encode() * 300, b"x" * 10_000):
            for value in (text, [b"unicode", text]):
                answer = encoded([b"answer", 1, [b"list", [b"reference", 1, [b"list", value]], [b"dereference", 1]]])
                size = 1 + 2 * 2 + len(text) // 64
                self.assertIsNotNone(self.codec.decodePlain(answer, True, size))
                self.assertIsNone(self.codec.decodePlain(answer, True, size - 1))

    def test_framed(self: Any) -> None:
        """The limit of a Framer holds for what it reads in advance."""
        data = encoded([b"answer", 1, nested(10)])
        for items in (1500, 2500, 10_000):
            framer = self.codec.Framer(1 << 20, items, 100, 1000)
            framer.feed(data)
            plain = self.codec.decodePlain(framer.next(), True, items)
            self.assertEqual(plain is None, items < 3071, items)


class PureCodecTests(CodecMixin, SynchronousTestCase):
    """The codec in Python."""

    codec = pure


@skipIf(not codec.compiled, "the compiled codec is not used")
class CompiledCodecTests(CodecMixin, SynchronousTestCase):
    """The compiled codec."""

    codec = codec


def usePure(test: Any) -> None:
    """Have a test run with the codec in Python, as with ``PBKIT_PURE=1``."""
    for name in codec.__all__:
        if name not in ("compiled", "TooLarge", "Malformed"):
            test.patch(codec, name, getattr(pure, name))
    test.patch(preloginState, "decodePlain", pure.decodePlain)


class ServerTests(SynchronousTestCase):
    """A server that is sent such messages."""

    def assertQuick(self, since: float) -> None:
        """No longer than it may take."""
        self.assertLess(time.monotonic() - since, QUICK * len(TOWERS))

    def test_calls(self) -> None:
        """The call is answered with an error, on a connection that goes on; the method is not called."""
        for kind in (None, dropin.PBServerFactory):
            realm = CachingRealm(Guide)
            attacker = Attacker(serve(realm) if kind is None else serve(realm, kind)).login()
            since = time.monotonic()
            with logged() as log:
                for name, make in TOWERS.items():
                    answer = attacker.call(attacker.avatar, b"take", make())
                    self.assertEqual((answer[0], answer[2][0]), (b"error", FAILURE), name)
                    self.assertIn(b"pbkit.errors.BadValue", encoded(answer), name)
                    kw = [b"dictionary", [[b"unicode", b"a"], make()]]
                    self.assertEqual(attacker.call(attacker.avatar, b"take", kw=kw)[0], b"error", name)
            self.assertQuick(since)
            self.assertEqual(attacker.call(attacker.avatar, b"take", 5), [b"answer", 1, 1])
            self.assertLess(len(log()), 20_000)
            self.flushLoggedErrors()
            attacker.lose()

    def test_answers(self) -> None:
        """Answers and errors of the client's that are like that fail the call of the server's."""
        for word in (b"answer", b"error"):
            realm = CachingRealm(Recorder)
            attacker = Attacker(serve(realm)).login([b"remote", 7])
            mind = realm.roster.ofAvatar("alice")[0].mind
            since = time.monotonic()
            for name, make in TOWERS.items():
                answering = mind.callRemote("x")
                (request,) = [each[1] for each in attacker.heard() if each[0] == b"message"]
                attacker.send([word, request, make()])
                self.assertIsInstance(self.failureResultOf(answering).value, Exception, name)
                self.assertTrue(attacker.open)
            self.assertQuick(since)
            del mind
            attacker.lose()
            collect()

    def test_errorsOfOtherKinds(self) -> None:
        """An error that is no failure, or whose parts are no texts, is not made into text, however large it is."""
        realm = CachingRealm(Recorder)
        attacker = Attacker(serve(realm)).login([b"remote", 7])
        mind = realm.roster.ofAvatar("alice")[0].mind
        large = tower(14)
        parts = dict.fromkeys(("type", "value", "traceback", "parents", "count"), large)
        since = time.monotonic()
        for error in (
            large,
            [FAILURE, state(**parts)],
            [FAILURE, state(**{**parts, "type": b"a.B"})],
            [FAILURE, state(**{**parts, "type": b"a.B", "value": b"text"})],
        ):
            answering = mind.callRemote("x")
            (request,) = [each[1] for each in attacker.heard() if each[0] == b"message"]
            attacker.send([b"error", request, error])
            failure = self.failureResultOf(answering)
            self.assertLess(len(str(failure.value)), 2000)
            self.assertLess(len(failure.getTraceback()), 20_000)
        self.assertQuick(since)
        del mind
        attacker.lose()

    def test_strangers(self) -> None:
        """Before login such a message takes no longer than any other, whatever it says it is."""
        for word in (b"answer", b"error"):
            for make in TOWERS.values():
                attacker = Attacker(serve(CachingRealm(Recorder)))
                since = time.monotonic()
                attacker.send([word, 1, make()])
                attacker.send([b"didNotUnderstand", make()])
                attacker.send([b"version", make()])
                self.assertQuick(since)
                attacker.lose()

    def test_version(self) -> None:
        """A version or a command that is no text or number does not get into the log as if it were."""
        attacker = Attacker(serve(CachingRealm(Recorder))).login()
        with logged() as log:
            attacker.send([b"didNotUnderstand", [1, 2, [3] * 100]])
            attacker.send([b"version", [b"secret"] * 100])
        self.assertIn("a list", log())
        self.assertNotIn("secret", log())
        self.assertLess(len(log()), 1000)


@skipIf(not codec.compiled, "the codec in Python is used anyway")
class PureServerTests(ServerTests):
    """The same with the codec in Python."""

    def setUp(self) -> None:
        """Use it."""
        usePure(self)


class Tower(Protocol):
    """
    A server that says whatever a test has it say. It agrees on a dialect, and answers each call with `answer`.
    """

    answer: Callable[[Any], list[Any]]

    def connectionMade(self) -> None:
        """Offer the dialect."""
        self.framer = codec.Framer(1 << 20, 1 << 20, 1000, 1 << 20)
        self.agreed = False
        self.send([b"pb", b"none"], vocabulary=False)

    def send(self, *expressions: Any, vocabulary: bool = True) -> None:
        """Send expressions."""
        assert self.transport is not None
        self.transport.write(encoded(*expressions, vocabulary=vocabulary))

    def dataReceived(self, data: bytes) -> None:
        """Answer what is a call."""
        self.framer.feed(data)
        for message in iter(self.framer.next, None):
            said = codec.decode(message, self.agreed)
            if not self.agreed:
                self.agreed = True
                self.send([b"version", pb.Broker.version])
            elif said[0] == b"message":
                self.send(self.answer(said))


class SocketTests(TestCase):
    """Over real sockets."""

    timeout = 60
    #: How long a client waits for a login.
    patience = 2.0

    def setUp(self) -> None:
        """With the reactor that is installed."""
        from twisted.internet import reactor

        self.reactor: Any = reactor

    async def listen(self, factory: Any) -> int:
        """A port on which a factory listens."""
        port = await TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def test_server(self) -> None:
        """A logged-in client that sends each of them gets an error for each, in time, and other calls go on."""
        number = await self.listen(serve(CachingRealm(Guide), clock=self.reactor))
        session = await connect(f"tcp:127.0.0.1:{number}", UsernamePassword(b"alice", PASSWORD), timeout=20)
        broker = session.reference.broker
        since = time.monotonic()
        for name, make in TOWERS.items():
            request = broker.newRequestID()
            answer: Deferred[Any] = Deferred()
            broker.waitingForAnswers[request] = answer
            broker.callers[request] = broker
            broker.sendCall(*called(session.reference.luid, b"take", make(), requestID=request))
            other = session.callRemote("note", name)
            try:
                await answer
            except Exception as error:
                self.assertIn("limits.items", str(getattr(error, "value", error)), name)
            else:
                self.fail(f"{name} was answered")
            await other
        self.assertLess(time.monotonic() - since, QUICK * len(TOWERS))
        await session.close()

    async def test_client(self) -> None:
        """A server that answers a login with one of them cannot keep a client beyond its timeout."""
        for answer in (
            lambda said: [b"answer", said[1], tower()],
            lambda said: [b"error", said[1], tower()],
            lambda said: [
                b"error",
                said[1],
                [FAILURE, state(value=tower(), type=tower())],
            ],
            lambda said: [b"message", 5, b"pbkit", b"hello", 1, [b"tuple", tower()], [b"dictionary"]],
            lambda said: [b"message", 5, b"pbkit", b"goodbye", 1, [b"tuple", tower(14), tower(14)], [b"dictionary"]],
            lambda said: [b"didNotUnderstand", tower()],
            lambda said: [b"version", tower()],
        ):
            factory = Factory.forProtocol(type("Answers", (Tower,), {"answer": staticmethod(answer)}))
            factory.noisy = False
            number = await self.listen(factory)
            since = time.monotonic()
            try:
                await connect(f"tcp:127.0.0.1:{number}", UsernamePassword(b"alice", PASSWORD), timeout=self.patience)
            except Exception as error:
                self.assertLess(len(str(error)), 2000)
            else:
                self.fail("there was a session")
            self.assertLess(time.monotonic() - since, self.patience + QUICK)

    async def test_stranger(self) -> None:
        """A stranger that sends one keeps nobody else waiting."""
        number = await self.listen(serve(CachingRealm(Recorder), clock=self.reactor))

        class Stranger(Tower):
            def connectionMade(self) -> None:
                self.send(b"pb", vocabulary=False)
                self.send([b"error", 1, tower()], [b"answer", 1, tower()])

            def dataReceived(self, data: bytes) -> None:
                pass

        factory = Factory.forProtocol(Stranger)
        factory.noisy = False
        stranger: Any = await TCP4ClientEndpoint(self.reactor, "127.0.0.1", number).connect(factory)
        since = time.monotonic()
        session = await connect(f"tcp:127.0.0.1:{number}", UsernamePassword(b"alice", PASSWORD), timeout=20)
        await session.close()
        self.assertLess(time.monotonic() - since, QUICK)
        stranger.transport.abortConnection()


@skipIf(not codec.compiled, "the codec in Python is used anyway")
class PureSocketTests(SocketTests):
    """The same with the codec in Python."""

    def setUp(self) -> None:
        """Use it."""
        super().setUp()
        usePure(self)
