"""
Whether anybody has a say in what plain data becomes.
"""

from __future__ import annotations

from typing import Any

from twisted.spread.jelly import SecurityOptions, unjellyableFactoryRegistry, unjellyableRegistry

#: What plain data is, in jelly.
_PLAIN = frozenset(b"None boolean unicode list tuple dictionary set frozenset".split())


def allowsPlain(security: Any) -> bool:
    """
    Whether plain data is what it seems to be: no taster of the program's looks at it, and none of jelly's own words
    was given to a class.
    """
    return (
        type(security) is SecurityOptions
        and security.allowedTypes.keys() >= _PLAIN
        and unjellyableRegistry.keys().isdisjoint(_PLAIN)
        and unjellyableFactoryRegistry.keys().isdisjoint(_PLAIN)
    )
