"""
A pytest plugin for the property tests: it runs these only, in a random order, with more examples, until time is up.

``PBKIT_SOAK`` is a JSON object. "factor" multiplies the number of examples and "seed" chooses them. "seconds" after the
first test no more begin. The examples are new in each run; in the tests some are always the same.
"""

from __future__ import annotations

import inspect
import json
import os
import random
import time
from typing import Any

import hypothesis
import pytest

ORDER = json.loads(os.environ["PBKIT_SOAK"])

#: What makes a test a property test: a decorator, or a state machine.
SIGNS = ("is_hypothesis_test", "run_state_machine_as_test")

_construct = hypothesis.settings.__init__


def _more(self: hypothesis.settings, *args: Any, **kw: Any) -> None:
    """Construct settings with a multiple of the examples asked for."""
    if "max_examples" in kw:
        kw["max_examples"] = max(1, round(kw["max_examples"] * ORDER["factor"]))
        kw["derandomize"] = False
        # How long a test takes, and how good its strategies are, is not the question here.
        kw["deadline"] = None
        kw["suppress_health_check"] = list(hypothesis.HealthCheck)
    _construct(self, *args, **kw)


# Test modules construct their settings when they are imported, which is after this.
hypothesis.settings.__init__ = _more  # type: ignore[method-assign]

_began: list[float] = []
_ran: list[str] = []


def _isProperty(item: pytest.Item) -> bool:
    test = getattr(item, "obj", None)
    return getattr(test, SIGNS[0], False) or (inspect.ismethod(test) and SIGNS[1] in inspect.getsource(test))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the property tests, in a random order."""
    items[:] = [item for item in items if _isProperty(item)]
    random.Random(ORDER["seed"]).shuffle(items)


def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Begin no test when time is up."""
    _began.append(time.monotonic())
    if time.monotonic() >= _began[0] + ORDER["seconds"]:
        return True
    _ran.append(item.nodeid)
    return None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how many tests ran, for the line that sums up."""
    terminalreporter.write_line(f"soak: ran {len(set(_ran))} property tests")
