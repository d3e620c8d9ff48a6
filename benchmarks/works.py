"""
The works that are measured.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs


@attrs.frozen
class Work:
    """
    One work that is measured, for each contender that can do it.

    :ivar name: the name for ``--work``. A prefix up to a dash names all works with that prefix.
    :ivar title: the title on the page.
    :ivar kind: ``calls``, ``login``, ``fanout`` or ``memory``.
    :ivar payload: for calls: the value that is sent and returned.
    :ivar inFlight: how many calls or logins are in progress at the same time.
    :ivar size: the number of connections, or for lists of ints.
    :ivar answered: for a fan-out: True if each client answers.
    :ivar waited: for a fan-out without answers: True if each broadcast waits until all clients have heard the last.
    :ivar logged: True if the server writes its log to a file.
    :ivar quick: True if the work is part of a quick run.
    """

    name: str
    title: str
    kind: str
    payload: str = ""
    inFlight: int = 1
    size: int = 0
    answered: bool = False
    waited: bool = False
    logged: bool = False
    quick: bool = True


def _fanout(size: int, answered: bool) -> Work:
    name = f"fanout-{size}" + ("-answered" if answered else "")
    title = f"One small notice to {size:,} clients, " + ("each answers" if answered else "no answer")
    return Work(name, title, "fanout", size=size, answered=answered, quick=size <= 100)


def _waited(size: int) -> Work:
    title = f"One small notice to {size:,} clients, one broadcast at a time"
    return Work(f"fanout-{size}-waited", title, "fanout", size=size, waited=True, quick=size <= 100)


WORKS: tuple[Work, ...] = (
    Work("sequential", "Small call, one after the other", "calls", "small"),
    Work("small", "Small call, 100 in flight", "calls", "small", 100),
    Work("structure", "4 kB structure, 100 in flight", "calls", "structure", 100),
    Work("blob", "64 KiB blob, 10 in flight", "calls", "blob", 10),
    *(
        Work(f"ints-{size}", f"List of {size:,} ints", "calls", f"ints-{size}", size=size, quick=size < 100_000)
        for size in (1_000, 10_000, 100_000)
    ),
    Work("login", "Log in and leave, 10 at a time", "login", inFlight=10),
    Work("login-logged", "Log in and leave, 10 at a time, with a log file", "login", inFlight=10, logged=True),
    *(_fanout(size, answered) for answered in (False, True) for size in (100, 1_000, 5_000)),
    *(_waited(size) for size in (100, 1_000, 5_000)),
    *(
        Work(f"memory-{size}", f"Memory of {size:,} idle clients", "memory", size=size, quick=size <= 1_000)
        for size in (1_000, 5_000)
    ),
)


def matches(name: str, wanted: Iterable[str]) -> bool:
    """
    Return True if a name, or its prefix up to a dash or slash, is requested.
    """
    return any(name == one or name.startswith((f"{one}-", f"{one}/")) for one in wanted)
