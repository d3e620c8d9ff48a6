"""
What a realm counts, for metrics.
"""

from __future__ import annotations

from collections import Counter

import attrs


@attrs.define
class Counters:
    """
    What has happened since the start.

    :ivar logins: the number of sessions that began.
    :ivar refusals: the number of refused logins, by the name of the error class.
    :ivar ends: the number of sessions that ended, by the name of the error class.
    """

    logins: int = 0
    refusals: Counter[str] = attrs.field(factory=Counter)
    ends: Counter[str] = attrs.field(factory=Counter)
