"""
Tests for `pbkit.wire.compact`.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbkit.wire.compact import Few, LazyTable

KEYS = st.integers(0, 3)
STEPS = st.lists(st.tuples(st.sampled_from(("set", "del", "pop", "clear")), KEYS, st.integers()), max_size=30)


class FewTests(SynchronousTestCase):
    """A table that mostly has one thing in it."""

    @settings(deadline=None, max_examples=300)
    @given(STEPS)
    def test_asADict(self, steps: list[tuple[str, int, int]]) -> None:
        """Whatever is put in and taken out, it is what a dict would be, in the same order."""
        few: Few[int, int] = Few()
        table: dict[int, int] = {}
        for what, key, value in steps:
            if what == "set":
                few[key] = table[key] = value
            elif what == "pop":
                self.assertEqual(few.pop(key, None), table.pop(key, None))
            elif what == "clear":
                few.clear()
                table.clear()
            elif key in table:
                del few[key], table[key]
            else:
                self.assertRaises(KeyError, few.__delitem__, key)
                self.assertRaises(KeyError, few.__getitem__, key)
            self.assertEqual((few, len(few), list(few.items())), (table, len(table), list(table.items())))
            self.assertEqual([few.get(each) for each in range(4)], [table.get(each) for each in range(4)])
            self.assertEqual([each in few for each in range(4)], [each in table for each in range(4)])
            self.assertEqual(bool(few), bool(table))


class LazyTableTests(SynchronousTestCase):
    """Attributes that are made when they are first used."""

    def test_madeOnce(self) -> None:
        """Each instance has its own, which stays, and can be replaced. Deleted, it is made anew."""

        class Thing:
            __slots__ = ("_table",)
            table: Any = LazyTable("_table", dict)

        one, other = Thing(), Thing()
        table = one.table
        self.assertIs(one.table, table)
        self.assertIsNot(other.table, table)
        one.table = None
        self.assertIsNone(one.table)
        del one.table
        self.assertEqual(one.table, {})

    def test_releaseEmpty(self) -> None:
        """A table is released only if it is empty."""

        class Thing:
            __slots__ = ("_table",)
            table: Any = LazyTable("_table", dict)

        one = Thing()
        Thing.table.releaseEmpty(one)
        table = one.table
        table[1] = 2
        Thing.table.releaseEmpty(one)
        self.assertIs(one.table, table)
        table.clear()
        Thing.table.releaseEmpty(one)
        self.assertIsNot(one.table, table)
