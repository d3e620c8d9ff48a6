"""The page about limits lists the fields of the profile."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from pbkit.wire.profile import DROPIN, STRICT, Profile
from tests.transcripts import ROOT


def limitstable() -> ModuleType:
    """Return the module that generates the tables. The docs are not a package."""
    spec = importlib.util.spec_from_file_location("limitstable", ROOT / "docs" / "limitstable.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class LimitsTests(SynchronousTestCase):
    """``docs/limitstable.py``, and the page that uses it."""

    def setUp(self) -> None:
        """Import the module."""
        self.module = limitstable()

    def test_eachFieldIsThere(self) -> None:
        """Each field of the profile and of its tables has a row with both values and its meaning."""
        for table in ("", *self.module.TABLES):
            strict: Any = getattr(STRICT, table) if table else STRICT
            fields = {field.name for field in attrs.fields(type(strict))}
            if not table:
                self.assertTrue(fields.issuperset({"name", *self.module.TABLES}))
                fields -= {"name", *self.module.TABLES}
            rows = self.module.rows(table)
            self.assertEqual({name for name, *_ in rows}, fields)
            for name, shown, lenient, meaning in rows:
                self.assertEqual(shown, self.module.shown(getattr(strict, name)))
                dropin = getattr(DROPIN, table) if table else DROPIN
                self.assertEqual(lenient, self.module.shown(getattr(dropin, name)))
                self.assertGreater(len(meaning), 10, name)

    def test_noDocstringTellsOfMore(self) -> None:
        """The docstrings describe no field that does not exist."""
        classes: list[Any] = [Profile, *(type(getattr(STRICT, table)) for table in self.module.TABLES)]
        for cls in classes:
            self.assertEqual(set(self.module.meanings(cls)) - {field.name for field in attrs.fields(cls)}, set())

    def test_eachTableIsShown(self) -> None:
        """The page has every table, and the reference index links to the page."""
        reference = ROOT / "docs" / "reference"
        page = (reference / "limits.rst").read_text(encoding="utf-8")
        self.assertEqual(re.findall(r"^\.\. profile-limits::(?: (\w+))?$", page, re.M), [*self.module.TABLES, ""])
        self.assertRegex((reference / "index.rst").read_text(encoding="utf-8"), r"(?m)^   limits$")

    def test_values(self) -> None:
        """Values are formatted for people."""
        for value, shown in (
            (None, "none"),
            (True, "true"),
            (30.0, "30 s"),
            (0.5, "0.5 s"),
            (1024, "1,024"),
            (8192, "8 KiB"),
            (4 * 1024 * 1024, "4 MiB"),
            (100_000, "100,000"),
            (3, "3"),
        ):
            self.assertEqual(self.module.shown(value), shown)
