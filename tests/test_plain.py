"""Plain data: checks of declared features, sizes and copies."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import errors
from pbkit.plain import ENTRIES, LENGTH, OBJECT, checked, weighed
from tests.support import Client, Recorder, Wire, serve

ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**200), 2**200), st.floats(allow_nan=False), st.text(), st.binary()
)
KEYS = st.one_of(st.integers(), st.text(), st.tuples(st.text(), st.integers()))
PLAIN = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner, inner), st.dictionaries(KEYS, inner), st.sets(KEYS), st.frozensets(KEYS)
    ),
    max_leaves=20,
)


class CheckedTests(SynchronousTestCase):
    """`checked`."""

    def test_whatMayBeDeclared(self) -> None:
        """A small dict of short texts and plain values is returned; others are refused, and the error says what for."""
        for good in ({}, {"a": 1, "b": None, "c": 1.5, "d": True, "e": "x" * LENGTH, "f": 2**64 - 1}):
            self.assertIs(checked(good), good)
        bad: Any
        for bad in (
            None,
            [],
            {1: 1},
            {"x" * (LENGTH + 1): 1},
            {"a": []},
            {"a": b"y"},
            {"a": 2**64},
            {"\ud800": 1},
            {"a": "\ud800"},
            dict.fromkeys(map(str, range(ENTRIES + 1))),
        ):
            error = self.assertRaises(errors.Error, checked, bad, "declare")
            self.assertIn("declare takes a dict of at most 32 short texts", str(error))


class WeighedTests(SynchronousTestCase):
    """`weighed`."""

    @settings(deadline=None, max_examples=300)
    @given(PLAIN)
    def test_copies(self, value: Any) -> None:
        """A copy is equal, has the same types, and shares no list, dict or set with the original."""
        copy, weight = weighed(value)
        self.assertEqual(copy, value)
        self.assertEqual([*map(type, walk(copy))], [*map(type, walk(value))])
        self.assertGreater(weight, 0)
        mutable = [one for one in walk(value) if type(one) in (list, dict, set)]
        self.assertEqual({*map(id, mutable)} & {*map(id, walk(copy))}, set())

    def test_sharedAndEndless(self) -> None:
        """A shared object is shared in the copy, and counts once; a list that contains itself is handled."""
        one = ["x" * 1000]
        copy, weight = weighed([one, one])
        self.assertIs(copy[0], copy[1])
        self.assertLess(weight, 1500)
        endless: list[Any] = [1]
        endless.append(endless)
        copy, _ = weighed(endless)
        self.assertIs(copy[1], copy)

    def test_objectsAreNotCopied(self) -> None:
        """Other objects, and subclasses of plain types, are not copied."""

        class Text(str):
            """A subclass of a plain type."""

        part, text = pb.Referenceable(), Text("x")
        copy, weight = weighed([part, text])
        self.assertIs(copy[0], part)
        self.assertIs(copy[1], text)
        self.assertEqual(weight, 4 + 2 * OBJECT)

    def test_tooDeep(self) -> None:
        """A value that is nested too deep to be sent raises at once."""
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        self.assertRaises(RecursionError, weighed, deep)

    def test_nearTheTruth(self) -> None:
        """The estimated size is within a third of what is sent. The limits on outboxes rely on this."""
        from pbkit import CachingRealm

        realm = CachingRealm(Recorder)
        wire = Wire(serve(realm))
        reference = self.successResultOf(wire.login("alice", Client()))
        wire.flush()
        (session,) = realm.roster
        for value in (
            "x" * 1000,
            "ü" * 500,
            b"y" * 1000,
            [*range(500)],
            [1.5] * 200,
            {f"key{n}": "value" for n in range(50)},
        ):
            session.mind.tell("tell", value)
            sent, weight = wire.unread, weighed(value)[1]
            wire.flush()
            self.assertLess(sent * 0.66, weight + 36, value)
            self.assertLess(weight, sent * 1.5, value)
        del reference


def walk(value: Any) -> list[Any]:
    """Yield all objects in a value."""
    found = [value]
    for one in found:
        if type(one) in (list, tuple):
            found += one
        elif type(one) in (set, frozenset):
            found += sorted(one, key=repr)
        elif type(one) is dict:
            found += [*one.keys(), *one.values()]
    return found
