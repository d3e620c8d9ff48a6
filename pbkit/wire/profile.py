"""
How strict a server or client is.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Profile:
    """
    What differs between pbkit's own classes and those for swapping under an existing program.

    :ivar name: for the log.
    :ivar anyMind: a realm that is not pbkit's may be given a mind of any kind, as in stock, where a client
        may send a number or the server's own login object. Strict: None or a reference, or the login is refused.
    :ivar ownChannels: each login gets tables of references of its own, whatever the realm. Off, a realm
        that is not pbkit's shares the connection's tables, as in stock, so that proxies of one object
        that were got through two log-ins compare equal.
    :ivar convertRefusals: whatever refuses a login crosses as a `LoginRefused`, with one line in the log.
        Off, a realm that is not pbkit's has its errors sent, and logged with a traceback, as they are.
    :ivar raiseOnDead: a call on a reference of a session that has ended raises at once, as stock's does on a lost
        connection. Off, the Deferred fails, as it does in each other case.
    :ivar bytesNames: checkers see the user name as bytes, whatever the client sent.
    """

    name: str
    anyMind: bool
    ownChannels: bool
    convertRefusals: bool
    raiseOnDead: bool
    bytesNames: bool


STRICT = Profile("strict", anyMind=False, ownChannels=True, convertRefusals=True, raiseOnDead=False, bytesNames=True)
DROPIN = Profile("drop-in", anyMind=True, ownChannels=False, convertRefusals=False, raiseOnDead=True, bytesNames=False)
