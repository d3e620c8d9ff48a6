"""
The twistd plugin. It consists of names only, so that listing the plugins does not import pbkit.

Never add an ``__init__.py`` to this directory or its parent: the package is Twisted's own, and ours would overwrite it.
"""

from twisted.application.service import ServiceMaker

pbkit = ServiceMaker(
    "pbkit",
    "pbkit.tap",
    "A Perspective Broker server with sessions",
    "pbkit",
)
