"""
The object ids that have a name instead of a number.

Ordinary objects get a number when they are sent. These objects are called before anything has been sent, so both ends
know their names.
"""

from __future__ import annotations

#: The root object of a server, in stock PB: what a client calls to log in.
LOGIN = b"root"

#: The object on which pbkit peers tell each other what stock PB cannot say. A stock peer has no such object.
PBKIT = b"pbkit"

#: No peer has an object with this id. Every PB peer answers a call on it with an error and logs nothing: a ping.
PING = b"pbkit.ping"
