"""
Settings of Sphinx. Build the pages with ``sphinx-build -W -b html docs somewhere``; no network is needed.
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from docutils.nodes import Element  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402
from sphinx.environment import BuildEnvironment  # noqa: E402
from sphinx.ext.intersphinx import missing_reference  # noqa: E402
from sphinx.util.nodes import make_refnode  # noqa: E402

import pbkit  # noqa: E402

project = "pbkit"
author = "the pbkit developers"
copyright = author
version = release = pbkit.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    # The benchmarks write their page in Markdown.
    "myst_parser",
    "realmparameters",
    "profilelimits",
]
exclude_patterns = ["_build"]
# As in Twisted's docstrings, single backticks are a link if the name is known, and code otherwise.
default_role = "py:obj"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# One parameter per line where the signature would not fit.
python_maximum_signature_line_length = 72

# The inventories are local files, so that the build needs no network: see inventories.py.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3/", "inventories/python.inv"),
    "twisted": ("https://docs.twisted.org/en/stable/api/", "inventories/twisted.inv"),
}

# Copy only the commands of a transcript, without the prompts.
copybutton_prompt_text = r"\w*[$] |\w+> "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = "pbkit"
html_static_path = ["static"]
html_css_files = ["pbkit.css"]
html_show_copyright = False
html_show_sourcelink = False


def nameInterfaces(app: Sphinx, what: str, name: str, obj: object, options: object, signature: str, returns: str):
    """
    Show an interface of zope.interface by its name, where autodoc would show its ``repr``.

    Sphinx calls this for each signature. See ``autodoc-process-signature`` in its documentation for the arguments.
    """
    return tuple(text and re.sub(r"<InterfaceClass ([\w.]+)>", r"~\1", text) for text in (signature, returns))


def resolveShortNames(app: Sphinx, env: BuildEnvironment, node: Element, contents: Element) -> Element | None:
    """
    Link names as docstrings have them: ``SessionEnded`` for ``pbkit.errors.SessionEnded``, ``pb.Error`` for Twisted's.

    Sphinx calls this for each name that it does not know. See ``missing-reference`` in its documentation.
    """
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    objects = env.domains.python_domain.objects
    for prefix in ("pbkit.errors.", "pbkit.", "pbkit.testing."):
        found = objects.get(prefix + target)
        if found is not None:
            return make_refnode(app.builder, node["refdoc"], found.docname, found.node_id, contents, target)
    for prefix in ("twisted.spread.", "twisted.spread.pb.", "twisted.internet.interfaces.", "twisted.internet."):
        node["reftarget"] = prefix + target
        link = missing_reference(app, env, node, contents)
        if link is not None:
            return link
    return None


def setup(app: Sphinx) -> None:
    """Register the functions above."""
    app.connect("autodoc-process-signature", nameInterfaces)
    app.connect("missing-reference", resolveShortNames)
