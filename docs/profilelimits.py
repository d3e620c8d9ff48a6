"""
The directive ``.. profile-limits:: TABLE``: the limits in one table of the profile, as its class declares them. Without
TABLE: the fields that are in no table.
"""

from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from limitstable import TABLES, about, rows
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class ProfileLimits(SphinxDirective):
    """The purpose of the table, and a row per limit."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        table = self.arguments[0] if self.arguments else ""
        if table and table not in TABLES:
            raise self.error(f"unknown table {table!r}: expected one of {', '.join(TABLES)}")
        lines = [about(table), ""] if table else []
        lines += [".. list-table::", "   :header-rows: 1", "   :widths: 14 12 12 62", ""]
        for row in (("field", "strict", "drop-in", "meaning"), *rows(table)):
            name, strict, dropin, meaning = row
            name = name if row[3] == "meaning" else f"``{name}``"
            lines += [f"   * - {name}", *(f"     - {text}" for text in (strict, dropin, meaning))]
        whole = nodes.Element()
        self.state.nested_parse(StringList(lines, source=self.env.docname), self.content_offset, whole)
        return whole.children


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("profile-limits", ProfileLimits)
    return {"parallel_read_safe": True}
