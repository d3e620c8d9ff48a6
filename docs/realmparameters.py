"""
The directive ``.. realm-parameters:: NAME``: the parameters of a named realm, as its class declares them.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from pbkit.sessions.parameters import Parameter, parametersOf
from pbkit.sessions.realms import NAMED


class RealmParameters(SphinxDirective):
    """A definition list with an entry per parameter."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the list."""
        name = self.arguments[0]
        if name not in NAMED:
            raise self.error(f"unknown realm {name!r}: expected one of {', '.join(NAMED)}")
        entries = [self._entry(parameter) for parameter in parametersOf(NAMED[name]).values()]
        return (
            [nodes.definition_list("", *entries)]
            if entries
            else [nodes.paragraph(text="This realm has no parameters.")]
        )

    def _entry(self, parameter: Parameter) -> nodes.definition_list_item:
        kind = " | ".join(map(str, parameter.choices)) or parameter.type.__name__
        if parameter.perUser:
            kind += ", or a table by user"
        term = nodes.term("", "", nodes.literal(text=f"{parameter.name}={parameter.default}"))
        meaning = nodes.definition("", nodes.paragraph(text=f"{parameter.doc}."))
        entry = nodes.definition_list_item("", term, nodes.classifier(text=kind), meaning)
        # Sphinx takes the line of a term from its entry, and fails if the entry has none.
        self.set_source_info(entry)
        return entry


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("realm-parameters", RealmParameters)
    return {"parallel_read_safe": True}
