"""
How Sphinx builds these pages: ``sphinx-build -W -b html docs somewhere``.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import pbkit  # noqa: E402

project = "pbkit"
author = "the pbkit developers"
copyright = author
version = release = pbkit.__version__

# myst_parser reads the page that the benchmarks write, which is Markdown.
extensions = ["sphinx.ext.autodoc", "myst_parser", "realmparameters", "profilebounds"]
exclude_patterns = ["_build"]
# What docstrings have in single backticks, as Twisted's have: a link where it is something of ours, else code.
default_role = "py:obj"

autodoc_member_order = "bysource"
# Types stand in the code; here they would push the words off the line.
autodoc_typehints = "none"

html_theme = "alabaster"
html_theme_options = {
    "description": "The session layer of Twisted's Perspective Broker",
    "fixed_sidebar": True,
    "page_width": "1100px",
}
html_show_copyright = False
