"""What a client sends, made into objects: the right is as in stock, the wrong is an error."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.spread import jelly, pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import Broker, dropin
from pbkit.errors import BadValue, ClassRefused
from pbkit.wire.codec.hashflood import COLLISIONS
from pbkit.wire.jelly.containers import KeyChecker
from pbkit.wire.jelly.expressions import handles
from pbkit.wire.jelly.registry import STOCK, registryOf
from tests.support import collect
from tests.wire.copies import CARD, PLAIN, P, Plain, PlainCopy, RawCase, state, text
from tests.wire.things import WireCase


def doubled(depth: int) -> list[Any]:
    """Return a tuple of a dozen bytes per level, whose hash takes 2**depth steps."""
    levels: list[Any] = [[b"reference", 0, [b"tuple", 1, 2]]]
    for level in range(1, depth):
        below = [b"dereference", level - 1]
        levels.append([b"reference", level, [b"tuple", below, below]])
    return [b"list", *levels, [b"set", [b"dereference", depth - 1]]]


#: Expressions that cannot be read, with a part of the error text.
BAD: dict[str, tuple[Any, str]] = {
    "empty": ([], "does not begin with the name of a type"),
    "unnamed": ([5, 5], "does not begin with the name of a type"),
    "utf8": ([b"unicode", b"\xff"], "invalid unicode"),
    "unicodeOfNumber": ([b"unicode", 5], "invalid unicode"),
    "unicodeOfNothing": ([b"unicode"], "takes 1 arguments, got 0"),
    "unicodeOfTwo": ([b"unicode", b"a", b"b"], "takes 1 arguments, got 2"),
    "noneOfOne": ([b"None", 1], "takes 0"),
    "boolean": ([b"boolean", b"maybe"], "invalid boolean"),
    "hugeDecimal": ([b"decimal", 1, 1_000_000], "invalid decimal"),
    "tinyDecimal": ([b"decimal", 1, -1_000_000], "invalid decimal"),
    "decimalOfText": ([b"decimal", b"1", b"F"], "invalid decimal"),
    "month": ([b"datetime", b"2026 13 1 0 0 0 0"], "invalid datetime"),
    "short": ([b"datetime", b"2026"], "invalid datetime"),
    "words": ([b"date", b"to day now"], "invalid date"),
    "longest": ([b"timedelta", b"999999999999 0 0"], "invalid timedelta"),
    "twoDays": ([b"timedelta", b"1 2"], "invalid timedelta"),
    "hour": ([b"time", b"25 0 0 0"], "invalid time"),
    "unhashable": ([b"set", [b"list"]], "not hashable"),
    "unhashableKey": ([b"dictionary", [[b"list"], 1]], "not hashable"),
    "notPairs": ([b"dictionary", [1, 2, 3]], "not a pair"),
    "noPairs": ([b"dictionary", 5], "not a pair"),
    "unresolved": ([b"dereference", 5], "not in the message"),
    "unresolvedInside": ([b"tuple", [b"list", [b"dereference", 5]]], "not in the message"),
    "itself": ([b"reference", 1, [b"dereference", 1]], "refers to another"),
    "impossible": ([b"reference", 1, [b"tuple", [b"tuple", [b"dereference", 1]]]], "not in the message"),
    "twice": ([b"list", [b"reference", 1, 5], [b"reference", 1, 6]], "have the same id"),
    "referenceOfList": ([b"reference", [b"list"], 5], "no integer id"),
    "dereferenceOfList": ([b"dereference", [b"list"]], "no integer id"),
    "keyHoldsItself": ([b"reference", 1, [b"dictionary", [[b"dereference", 1], 1]]], "holds its own dictionary"),
    "numbers": ([b"dictionary", *([k * P, 0] for k in range(40))], "collide"),
    "members": ([b"set", *(k * P for k in range(40))], "collide"),
    "frozen": ([b"frozenset", *(k * P for k in range(40))], "collide"),
    "tuples": ([b"dictionary", *([[b"tuple", k * P], 0] for k in range(40))], "collide"),
    "decimals": ([b"set", *([b"decimal", k * P, 0] for k in range(40))], "collide"),
    "references": ([b"set", *([b"remote", k * P] for k in range(40))], "collide"),
    "doubled": (doubled(60), "limits.items (100,000)"),
    "remote": ([b"remote", b"x"], "not an integer"),
    "remoteOfTwo": ([b"remote", 1, 2], "takes 1"),
    "local": ([b"local", [b"list"]], "unknown id"),
    "lcache": ([b"lcache", 7], "unknown id"),
    "cached": ([b"cached", 7], "unknown id"),
    "cachedOfList": ([b"cached", [b"list"]], "not an integer"),
    "stateOfNumber": ([PLAIN, 5], "not a dict"),
    "stateOfList": ([PLAIN, [b"list"]], "not a dict"),
    "noState": ([PLAIN], "takes 1 arguments, got 0"),
    "stateThatComes": ([b"reference", 1, [PLAIN, [b"dereference", 1]]], "not a dict"),
    "keyOfNumber": ([PLAIN, [b"dictionary", [5, 5]]], "a key that is not text"),
    "keyOfBytes": ([PLAIN, [b"dictionary", [b"\xff", 5]]], "a key that is not text"),
    "method": ([PLAIN, state(double=5)], "'double'"),
    "methodInBytes": ([PLAIN, [b"dictionary", [b"double", 5]]], "'double'"),
    "property": ([PLAIN, state(half=5)], "'half'"),
    "inherited": ([PLAIN, state(setCopyableState=5)], "'setCopyableState'"),
    "python": ([PLAIN, state(__class__=5)], "'__class__'"),
    "unknownToPython": ([PLAIN, state(__conform__=5)], "'__conform__'"),
    "handedOn": ([CARD, state(colour=text("green"))], "'colour'"),
    "failure": ([b"tuple", [b"remote", -1], [b"unicode", b"\xff"]], "invalid unicode"),
}


class BadTests(RawCase):
    """Each is an error for its sender, on a connection that goes on."""

    def test_strict(self) -> None:
        """The error is a BadValue with a text that says what is wrong; nothing is logged."""
        alice, session = self.login()
        self.released()
        for name, (expression, says) in BAD.items():
            if name == "references":
                # It takes the whole budget of the log and of references otherwise.
                expression = expression[:40]
            self.assertIn(says, self.assertRefused(self.raw(alice, b"take", expression), BadValue), name)
            collect()
            self.wire.flush()
        self.assertEqual(session.avatar.taken, [])
        self.assertLive(alice)

    def test_argumentsThatAreNone(self) -> None:
        """Arguments that are not a tuple and a dict are refused, and a failure without a state of one."""
        alice, _ = self.login()
        for kw in ((b"list",), (b"tuple",), (b"None",)):
            self.assertRefused(self.raw(alice, b"take", kw=kw), BadValue)
        for key in (5, b"\xff", [b"tuple"]):
            self.assertRefused(self.raw(alice, b"take", kw=(b"dictionary", [key, 5])), BadValue, "must be text")
        for odd in ([b"dictionary"], [b"list"], [b"None"]):
            failed = self.raw(alice, b"take", kw=(b"twisted.spread.pb.CopyableFailure", odd))
            self.assertRefused(failed, BadValue)

    def test_depth(self) -> None:
        """An expression that is too deep for Python is one short error, in drop-in use too."""
        deep: Any = 5
        for _ in range(1000):
            deep = [b"list", deep]
        for broker in (Broker(0), dropin.Broker(0)):
            error = self.assertRaises(BadValue, broker.unserialize, deep)
            self.assertEqual(str(error), "the value sent cannot be read: it is nested too deeply")
            self.assertIsNone(error.__cause__)
            self.assertTrue(error.__suppress_context__)
        chain = [b"list", *([b"reference", i, [b"tuple", [b"dereference", i - 1]]] for i in range(1, 5000))]
        self.assertRaises(BadValue, Broker(0).unserialize, [*chain, [b"reference", 0, 5]])

    def test_dropin(self) -> None:
        """In drop-in use it fails as in stock, except for what would take too long."""
        broker: Any = dropin.Broker(0)
        broker.sendCall = lambda *message: None
        for name in ("numbers", "members", "tuples", "decimals", "references"):
            self.assertIn("collide", str(self.assertRaises(BadValue, broker.unserialize, BAD[name][0])), name)
        # Its limits are wider, so this many parts are accepted.
        self.assertIsInstance(broker.unserialize(doubled(15)), list)
        self.assertRaises(UnicodeDecodeError, broker.unserialize, [b"unicode", b"\xff"])
        self.assertRaises(jelly.InsecureJelly, broker.unserialize, [b"nothing", 5])
        copy = broker.unserialize([PLAIN, state(double=5)])
        self.assertEqual(copy.double, 5)


class KeysTests(SynchronousTestCase):
    """`KeyChecker`."""

    def test_bound(self) -> None:
        """COLLISIONS keys may collide, one more may not; equal keys count too."""
        keys = KeyChecker(1000)
        for members in (False, True):
            keys.check([k * P for k in range(COLLISIONS + 1)], members)
            self.assertRaises(BadValue, keys.check, [k * P for k in range(COLLISIONS + 2)], members)

    def test_honest(self) -> None:
        """Any number of honest keys is accepted: numbers, text, pairs of these, and -1 beside -2."""
        keys = KeyChecker(100_000)
        for many in (range(-5000, 5000), map(str, range(5000)), ((k, str(k)) for k in range(5000))):
            keys.check(list(many), members=False)

    def test_work(self) -> None:
        """The parts of all keys of a message are counted together, before a hash is computed."""
        keys = KeyChecker(10)
        keys.check([(1, 2, 3)], members=False)
        keys.check([(1, 2), 5, "text"], members=True)
        self.assertRaises(BadValue, keys.check, [(1, 2, 3)], False)


class StateTests(WireCase):
    """The state of copies."""

    def test_defaultsAreHidden(self) -> None:
        """A state may hide defaults of the class, and None is accepted as no state."""
        alice, session = self.login()
        self.get(alice, "take", Plain(number=21, numbers=[1], other="x"))
        (copy,) = session.avatar.taken
        self.assertEqual((copy.double(), copy.half, copy.numbers, copy.other), (42, 10.5, [1], "x"))

    def test_cycles(self) -> None:
        """A copy that holds itself is received as such. In stock it holds a placeholder."""
        plain: Any = Plain()
        plain.me, plain.list = plain, [plain, (plain,)]
        expression = Broker(0).serialize(plain)
        stuck = jelly.unjelly(expression, jelly.globalSecurity, None, pb.Broker(0))
        self.assertNotIsInstance(stuck.me, PlainCopy)
        for broker in (Broker(0), dropin.Broker(0)):
            copy = broker.unserialize(expression)
            self.assertIs(copy.me, copy)
            self.assertIs(copy.list[0], copy)
            self.assertIs(copy.list[1][0], copy)

    def test_sharedTupleOfACycle(self) -> None:
        """A tuple that is part of a cycle and comes twice is read. Stock cannot read it."""
        outer: list[Any] = []
        pair = (outer,)
        outer += [pair, pair]
        expression = Broker(0).serialize([outer, pair])
        self.assertRaises(AssertionError, jelly.unjelly, expression, jelly.globalSecurity, None, pb.Broker(0))
        for broker in (Broker(0), dropin.Broker(0)):
            first, second = broker.unserialize(expression)
            self.assertIs(first[0], second)
            self.assertIs(first[1], second)
            self.assertIs(second[0], first)

    def test_postUnjelly(self) -> None:
        """The hook of the class is called at the end; one that came in the state is not."""
        called: list[Any] = []

        class Hooked(pb.RemoteCopy):
            def postUnjelly(self) -> None:
                called.append(vars(self))

        pb.setUnjellyableForClass("tests.Hooked", Hooked)
        self.addCleanup(lambda: STOCK.classes.pop(b"tests.Hooked"))
        Broker(0).unserialize([b"list", [b"tests.Hooked", state(x=1)]])
        self.assertEqual(called, [{"x": 1}])
        dropin.Broker(0).unserialize([PLAIN, state(postUnjelly=5)])


class Loose(pb.RemoteCopy):
    """Takes any state."""

    state: Any = None

    def setCopyableState(self, state: Any) -> None:
        """Keep it."""
        self.state = state


pb.setUnjellyableForClass("tests.Loose", Loose)

PLAIN_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.decimals(allow_nan=False, allow_infinity=False).filter(lambda each: each or not each.is_signed())
    | st.datetimes().map(lambda each: each.replace(fold=0))
    | st.dates()
    | st.times().map(lambda each: each.replace(fold=0))
    | st.timedeltas(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.tuples(st.integers()), inner, max_size=4)
        | st.sets(st.integers() | st.binary(max_size=3), max_size=4)
        | st.frozensets(st.text(max_size=3), max_size=4)
        | inner.map(lambda value: [value, value, (value,)])
        | inner.map(lambda value: Plain(number=value))
    ),
    max_leaves=12,
)

ATOMS = [
    *(b"None", b"unicode", b"boolean", b"decimal", b"datetime", b"date", b"time", b"timedelta", b"unpersistable"),
    *(b"persistent", b"list", b"tuple", b"set", b"frozenset", b"dictionary", b"reference", b"dereference", b"remote"),
    *(b"local", b"cached", b"lcache", b"twisted.spread.pb.CopyableFailure", b"class", b"module", b"function"),
    *(b"instance", b"method", b"os.system", b"\xff", b"", b".", PLAIN, b"tests.Loose"),
]
LEAVES = st.sampled_from([0, 1, 2, -1, P, 2**70, 1.5, b"", b"x", b"true", b"double", b"\xff", b"2020 1 1", 10**18])


def _anything(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    atom = st.sampled_from(ATOMS)
    pairs = st.lists(st.tuples(inner, inner).map(list), max_size=3)
    number = st.integers(0, 3)
    return (
        st.tuples(atom, st.lists(inner, max_size=3)).map(lambda made: [made[0], *made[1]])
        | pairs.map(lambda made: [b"dictionary", *made])
        | st.tuples(number, inner).map(lambda made: [b"reference", *made])
        | number.map(lambda made: [b"dereference", made])
        | pairs.map(lambda made: [PLAIN, [b"dictionary", *made]])
        | st.lists(inner, max_size=3)
    )


def shape(value: Any, seen: dict[int, int] | None = None) -> Any:
    """Return the types and values of all parts of a value, and which parts are the same object."""
    seen = {} if seen is None else seen
    if isinstance(value, list | tuple | dict | set | frozenset | PlainCopy):
        if id(value) in seen:
            return ("again", seen[id(value)])
        seen[id(value)] = len(seen)
    if isinstance(value, PlainCopy):
        return (type(value), shape(vars(value), seen))
    if isinstance(value, dict):
        return (dict, [(shape(key, seen), shape(item, seen)) for key, item in value.items()])
    if isinstance(value, set | frozenset):
        return (type(value), sorted(map(repr, value)))
    if isinstance(value, list | tuple):
        return (type(value), [shape(item, seen) for item in value])
    return (type(value), repr(value))


class PropertyTests(SynchronousTestCase):
    """Any expression."""

    @settings(deadline=None, max_examples=300)
    @given(PLAIN_VALUES)
    def test_asStock(self, value: Any) -> None:
        """A right expression is read as by stock: values, types, and what is shared."""
        expression = Broker(0).serialize(value)
        self.assertEqual(expression, pb.Broker(0).serialize(value))
        right = shape(jelly.unjelly(expression, jelly.globalSecurity, None, pb.Broker(0)))
        for broker in (Broker(0), dropin.Broker(0)):
            self.assertEqual(shape(broker.unserialize(expression)), right)

    @settings(deadline=None, max_examples=600)
    @given(st.recursive(LEAVES, _anything, max_leaves=15), st.booleans())
    def test_whatever(self, expression: Any, closed: bool) -> None:
        """A wrong expression is an error of pbkit's, and each reference in it is given back once."""
        broker: Any = Broker(0)
        sent: list[tuple[bytes, int]] = []
        broker.sendCall = lambda *message: sent.append(message)
        if closed:
            broker.registry = registryOf([Plain, "tests.Loose"])
        try:
            broker.unserialize(expression)
        except (BadValue, ClassRefused):
            pass
        references, caches = handles(expression)
        if references or caches:
            # What refers to itself is let go of by the collector only.
            collect()
        released = {kind: sorted(luid for command, luid in sent if command == kind) for kind in (b"decref", b"decache")}
        self.assertEqual(released, {b"decref": sorted(references), b"decache": sorted(caches)})
