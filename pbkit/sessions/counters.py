"""
Plain numbers about a realm.
"""

from __future__ import annotations

from collections import Counter

import attrs


@attrs.define
class Counters:
    """
    What has happened since the start.

    :ivar logins: sessions that began.
    :ivar refusals: log-ins refused, by the name of the error class.
    :ivar ends: sessions that ended, by the name of the error class.
    """

    logins: int = 0
    refusals: Counter[str] = attrs.field(factory=Counter)
    ends: Counter[str] = attrs.field(factory=Counter)
