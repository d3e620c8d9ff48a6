"""
The twistd plugin: names only, so that listing the plugins imports nothing of pbkit's.

There is no ``__init__.py`` in this directory or the one above, and there must be none: the package
is Twisted's own, and one of ours would overwrite it.
"""

from twisted.application.service import ServiceMaker

pbkit = ServiceMaker(
    "pbkit",
    "pbkit.tap",
    "A Perspective Broker server with sessions",
    "pbkit",
)
