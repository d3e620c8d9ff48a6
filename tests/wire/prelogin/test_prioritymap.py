"""The mapping that finds the item with the lowest priority."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbkit.wire.prelogin.prioritymap import PriorityMap


class PriorityMapTests(SynchronousTestCase):
    """`PriorityMap`, compared with a dict."""

    @settings(deadline=None, max_examples=300)
    @given(st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, 9))), max_size=60))
    def test_asADict(self, moves: list[tuple[int, int | None]]) -> None:
        """After any operations the lowest is found, and the items are those of the dict."""
        table: PriorityMap[str] = PriorityMap()
        naive: dict[str, tuple[int, int]] = {}
        for number, key in moves:
            thing = f"thing {number}"
            if key is None:
                table.discard(thing)
                naive.pop(thing, None)
            else:
                table.put(thing, (key, number))
                naive[thing] = (key, number)
            least = min(((key, thing) for thing, key in naive.items()), default=None)
            self.assertEqual(table.lowest(), least)
            self.assertEqual((len(table), set(table)), (len(naive), set(naive)))
            self.assertEqual("thing 0" in table, "thing 0" in naive)

    def test_keepsNothing(self) -> None:
        """Entries that were moved or removed do not pile up."""
        table: PriorityMap[int] = PriorityMap()
        for number in range(1000):
            table.put(1, number)
        self.assertLessEqual(len(table._heap), 20)
        for number in range(2, 1000):
            table.put(number, number + 10_000)
        for number in range(2, 1000):
            table.discard(number)
        self.assertLessEqual(len(table._heap), 20)
        self.assertEqual(table.lowest(), (999, 1))
