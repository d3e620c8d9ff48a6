"""Hooks for pytest that make the tests faster. Nothing depends on them: trial runs the same tests without."""

from __future__ import annotations

import gc

import pytest


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """
    Exempt the objects that live between two modules from garbage collection.

    Many tests collect garbage to see that nothing keeps an object alive. What pytest, Hypothesis and modules hold would
    make each of these collections slow: over the whole suite a third of the time.
    """
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()
