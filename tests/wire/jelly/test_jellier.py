"""What cannot be sent is an error for the caller."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import math
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from twisted.spread import jelly, pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pbkit import Broker, dropin
from pbkit.errors import CannotSend
from tests.support import Wire, collect, serve
from tests.wire.copies import Plain, RawCase


class Colour(enum.IntEnum):
    """An int that jelly does not take for one."""

    RED = 1


class Secret:
    """Has a repr that must not appear anywhere."""

    def __repr__(self) -> str:
        return "hunter2"


Point = collections.namedtuple("Point", "x y")

UNSENDABLE: dict[str, Any] = {
    "tests.wire.jelly.test_jellier.Secret": Secret(),
    "builtins.object": object(),
    "builtins.function": lambda: None,
    "builtins.method": Secret().__repr__,
    "builtins.type": Secret,
    "builtins.module": math,
    "builtins.generator": (one for one in "hunter2"),
    "builtins.bytearray": bytearray(b"hunter2"),
    "builtins.complex": 1j,
    "builtins.range": range(5),
    "tests.wire.jelly.test_jellier.Colour": Colour.RED,
    "tests.wire.jelly.test_jellier.Point": Point(1, 2),
    "collections.OrderedDict": collections.OrderedDict(),
    "twisted.internet.defer.Deferred": [Deferred()],
    "Decimal": decimal.Decimal("nan"),
    "Decimal('-0')": decimal.Decimal("-0"),
    "Decimal('-0.00')": decimal.Decimal("-0.00"),
    "a time with fold=1": datetime.datetime(2026, 10, 25, 2, fold=1),
    "fold=1": datetime.time(2, fold=1),
    "time zone": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    "with a time": datetime.time(1, tzinfo=datetime.UTC),
}


class CannotSendTests(RawCase):
    """Results and arguments."""

    def assertCannot(self, failure: Any, name: str) -> None:
        """Assert that the error names the type and not the value."""
        self.assertTrue(failure.check(CannotSend), failure)
        text = str(failure.value)
        self.assertIn(name.rpartition(" ")[2], text)
        self.assertIn("cannot be sent", text)
        self.assertNotIn("hunter2", text)
        self.assertNotIn(" at 0x", text)

    def test_results(self) -> None:
        """The caller gets an error, and nothing of the rest of the answer stays in the tables."""
        alice, session = self.login()
        for name, thing in UNSENDABLE.items():
            for result in (thing, {"deep": [session.avatar.part, thing]}, Plain(thing=thing), succeed(thing)):
                if isinstance(result, Deferred) and isinstance(thing, list):
                    continue
                session.avatar.result = lambda result=result: result
                self.assertCannot(self.error(alice, "give"), name)
        self.assertEqual(self.flushLoggedErrors(), [])
        del alice
        collect()
        self.wire.flush()
        self.assertEmpty(self.wire.server)

    def test_arguments(self) -> None:
        """A call with such an argument fails, and is not sent."""
        alice, session = self.login()
        minds = [pb.Referenceable()]
        self.get(alice, "take", *minds)
        (reference,) = session.avatar.taken
        for name, thing in UNSENDABLE.items():
            self.assertCannot(self.failureResultOf(reference.callRemote("x", session.avatar.part, thing)), name)
            self.assertCannot(self.failureResultOf(reference.callRemote("x", a=session.avatar.part, b=thing)), name)
        self.assertEqual(len(self.wire.server.owners), 1)

    def test_theOperatorIsTold(self) -> None:
        """The log names the method that returned it, without the value."""
        lines: list[str] = []

        @implementer(ILogObserver)
        def note(event: Any) -> None:
            lines.append(formatEvent(event))

        alice, session = self.login()
        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)
        session.avatar.result = Secret()
        self.error(alice, "give")
        (line,) = [line for line in lines if "no answer" in line]
        self.assertIn("tests.wire.things.Guide.perspective_give gave peer-", line)
        self.assertIn("a tests.wire.jelly.test_jellier.Secret cannot be sent: send plain data, or derive", line)
        self.assertNotIn("hunter2", "".join(lines))

    def test_others(self) -> None:
        """A reference to an object of one client cannot be sent to another, nor can a cached copy."""
        alice, hers = self.login("alice")
        other = Wire(self.server)
        bob, his = self.login("bob", other)
        self.get(alice, "take", pb.Referenceable(), self.get(alice, "board"))
        reference, board = hers.avatar.taken
        self.assertIs(board, self.board)
        his.avatar.result = [reference]
        failure: Any = self.failureResultOf(other.call(bob, "give"))
        self.assertTrue(failure.check(CannotSend))
        self.assertIn("except back to its own peer", failure.value)
        hers.avatar.result = [reference]
        (own,) = self.get(alice, "give")
        self.assertIsInstance(own, pb.Referenceable)

    def test_errorsArrive(self) -> None:
        """An error is sent, whatever a program has stored in it."""
        failure: Any = pb.CopyableFailure(pb.Error("no"))
        failure.extra = object()
        copied = Broker(0).unserialize(Broker(0).serialize(failure))
        self.assertEqual((copied.type, copied.value), (b"twisted.spread.pb.Error", "no"))
        self.assertIsInstance(copied.extra, jelly.Unpersistable)

    def test_tasterHolds(self) -> None:
        """What a program's own taster allows is sent: classes, instances."""
        security = jelly.SecurityOptions()
        security.allowInstancesOf(Secret)
        broker = Broker(0, security)
        self.assertEqual(broker.serialize(Secret), [b"class", b"tests.wire.jelly.test_jellier.Secret"])
        self.assertEqual(broker.serialize(Secret())[0], b"tests.wire.jelly.test_jellier.Secret")
        self.assertRaises(CannotSend, broker.serialize, math.floor)

    def test_dropin(self) -> None:
        """In drop-in use, as in stock, the caller gets an `Unpersistable`."""
        self.wire = Wire(serve(self.realm, dropin.PBServerFactory))
        alice, session = self.login()
        session.avatar.result = [Secret()]
        (result,) = self.get(alice, "give")
        self.assertIsInstance(result, jelly.Unpersistable)


class DepthTests(SynchronousTestCase):
    """How deep values may be."""

    def test_asDeepAsStock(self) -> None:
        """Values that stock can send and read are sent and read, in drop-in use too."""
        for wrap in (lambda inner: [inner], lambda inner: (inner,), lambda inner: {"a": inner}):
            value: Any = 5
            for _ in range(250):
                value = wrap(value)
            expression = pb.Broker(0).serialize(value)
            for broker in (Broker(0), dropin.Broker(0)):
                self.assertEqual(broker.serialize(value), expression)
                self.assertEqual(broker.unserialize(expression), value)

    def test_tooDeep(self) -> None:
        """A value that no stock peer could read is refused: stock's unjelly fails, and the caller waits forever."""
        for levels in (301, 330, 3000):
            value: Any = 5
            for _ in range(levels):
                value = [value]
            for broker in (Broker(0), dropin.Broker(0)):
                error = self.assertRaises(CannotSend, broker.serialize, value)
                self.assertIn("at most 300 lists", str(error))

    def test_whatStockReads(self) -> None:
        """Whatever is sent, stock's unjelly can read, with some frames to spare."""

        def wrapped(kind: Any, inner: Any) -> Any:
            if kind is Deep:
                made = Deep()
                made.inner = inner
                return made
            return {"a": inner} if kind is dict else kind([inner])

        jelly.setUnjellyableForClass(Deep, Deep)
        for kind, least in ((list, 300), (tuple, 300), (dict, 300), (frozenset, 225), (Deep, 175)):
            value: Any = 5
            sent = 0
            while sent < 400:
                value = wrapped(kind, value)
                try:
                    expression = Broker(0).serialize(value)
                except CannotSend:
                    break
                sent += 1
            self.assertGreaterEqual(sent, least)
            frames(40, lambda expression=expression: pb.Broker(1).unserialize(expression))


class Deep(pb.Copyable, pb.RemoteCopy):
    """A copyable that holds another."""

    inner: Any = None


def frames(number: int, f: Any) -> Any:
    """Call `f` with so many frames around it."""
    return frames(number - 1, f) if number else f()


class OrderTests(SynchronousTestCase):
    """Messages that are built while another is built."""

    def test_perspective(self) -> None:
        """A message that is built while another asks for a state does not change its perspective."""
        broker = Broker(0)
        seen: list[Any] = []

        class Outer(pb.Copyable):
            def getStateToCopyFor(self, perspective: Any) -> Any:
                broker.serialize([1], "inner")
                return {"inner": Inner()}

        class Inner(pb.Copyable):
            def getStateToCopyFor(self, perspective: Any) -> Any:
                seen.append(perspective)
                return {}

        broker.serialize(Outer(), "outer")
        self.assertEqual(seen, ["outer"])
        self.assertIsNone(broker.serializingPerspective)
