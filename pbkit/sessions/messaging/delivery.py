"""
What a message is made of, and what became of it.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple, TypeAlias

from twisted.internet.defer import Deferred

#: The arguments of a call, of any class that PB can send.
Args: TypeAlias = tuple[Any, ...]
Kw: TypeAlias = dict[str, Any]
#: A Deferred of the answer to a call.
Answer: TypeAlias = Deferred[Any]
#: By session id, the answer of each client, or its `Failure`.
Answers: TypeAlias = dict[str, Any]


class Told(Enum):
    """What became of one message to one client."""

    SENT = "sent"  #: It was written to the connection.
    QUEUED = "queued"  #: It waits, because the client is a slow consumer or because other clients come first.
    DROPPED = "dropped"  #: It will not be sent: the client is a slow consumer, and the policy dropped it.
    GONE = "gone"  #: The client sent no mind, its session has ended, or its connection is lost.


class Summary(NamedTuple):
    """
    What became of one message to several clients: the number of clients for each `Told`.
    """

    sent: int = 0
    queued: int = 0
    dropped: int = 0
    gone: int = 0


class Backlog(NamedTuple):
    """
    How far a client is behind.

    :ivar messages: how many messages are queued.
    :ivar bytes: their estimated size.
    :ivar dropped: how many were dropped since the client fell behind.
    """

    messages: int = 0
    bytes: int = 0
    dropped: int = 0
