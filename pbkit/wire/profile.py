"""
How strict a server or client is: every bound, each default with where it comes from.

Sizes are in bytes, times in seconds. Where a bound may be None, None is without one. A server takes another profile as
``ServerFactory(portal, profile=attrs.evolve(STRICT, calls=attrs.evolve(STRICT.calls, served=1000)))``; the
``[profile]`` table of a configuration file has the same names.
"""

from __future__ import annotations

from typing import Any

import attrs

KIB = 1024
MIB = 1024 * KIB


def _above(least: float) -> Any:
    def check(instance: object, field: Any, value: Any) -> None:
        if value is not None and not value >= least:
            raise ValueError(f"{field.alias} is {least:g} or more, not {value!r}")

    return check


@attrs.frozen
class Limits:
    """
    What one message may be. Over one of these the connection is closed.

    :ivar message: its size, all in all. 4 MiB: as JSON-RPC and gRPC servers take by default.
    :ivar items: lists, numbers and strings in it. 100,000: a second of stock's CPU, a few ms of ours.
    :ivar depth: of lists in lists. 100: stock's own unjelly fails at 324, and uses three frames a level.
    :ivar jelly: lists in a message that is not all plain: it has references, objects or cycles, and is read by stock's
        jelly, at 2 to 7 microseconds for each. 10,000: 20 to 70 ms, in which nobody else is served.
    :ivar string: the size of one. Stock's `banana.SIZE_LIMIT`; None reads that at use.
    """

    message: int = attrs.field(default=4 * MIB, validator=_above(1024))
    items: int = attrs.field(default=100_000, validator=_above(32))
    depth: int = attrs.field(default=100, validator=_above(6))
    jelly: int = attrs.field(default=10_000, validator=_above(32))
    string: int | None = attrs.field(default=640 * KIB, validator=_above(256))


@attrs.frozen
class Gate:
    """
    What a connection may take before somebody has logged in on it, and after the last has logged out.

    :ivar closed: whether there is a gate: only what a login needs is served, and nothing is unjellied.
    :ivar memory: of a connection in all. 64 KiB: 500 of them are 32 MiB.
    :ivar message: as `Limits.message`. A login with names of 255 bytes takes 700.
    :ivar items: as `Limits.items`. A login takes 20.
    :ivar depth: as `Limits.depth`. A login takes 3.
    :ivar messages: how many may come without anybody logging in. A login takes four, and there are 50 challenges; a
        call of what is not there is answered with an error, which takes longer than to read it.
    :ivar timeout: to log in, from the connection on; the time that our own checker or builder takes does not count.
        30 s: OpenSSH's default is 120, PostgreSQL's 60, Buildbot's 30.
    :ivar again: the same, once the last session has ended.
    :ivar connections: how many may wait. OpenSSH's ``MaxStartups`` is 100; a herd of clients after a restart is more.
    :ivar line: how many more may stand in line until one of these makes room: nothing is read of them, and nothing
        said. 2,000 clients that come at once are served so, and none has to come again. Each takes 7 KB, with TLS 40.
    """

    closed: bool = True
    memory: int = attrs.field(default=64 * KIB, validator=_above(4096))
    message: int = attrs.field(default=8 * KIB, validator=_above(1024))
    items: int = attrs.field(default=64, validator=_above(32))
    depth: int = attrs.field(default=8, validator=_above(6))
    messages: int | None = attrs.field(default=500, validator=_above(32))
    timeout: float | None = attrs.field(default=30.0, validator=_above(0.1))
    again: float | None = attrs.field(default=600.0, validator=_above(0.1))
    connections: int | None = attrs.field(default=500, validator=_above(1))
    line: int = attrs.field(default=2000, validator=_above(0))


@attrs.frozen
class Calls:
    """
    Calls, in and out.

    :ivar served: how many of one connection are served at once; the next wait.
    :ivar queued: the size of those that wait; beyond it nothing is read until there is room.
    :ivar references: how many a session may be given. Stock's `pb.MAX_BROKER_REFS`; None reads that at use.
    :ivar logins: how many may be logged in on one connection: a gateway's users. 1,000: a million references, then.
    :ivar timeout: the deadline of a call of ours that names none with ``pbtimeout=``.
    """

    served: int | None = attrs.field(default=256, validator=_above(1))
    queued: int = attrs.field(default=4 * MIB, validator=_above(1024))
    references: int | None = attrs.field(default=1024, validator=_above(1))
    logins: int | None = attrs.field(default=1000, validator=_above(1))
    timeout: float | None = attrs.field(default=30.0, validator=_above(0.001))


@attrs.frozen
class Output:
    """
    What may wait to be read by the other end. Redis's limits for clients of pub/sub: 32 MiB at once, 8 MiB for 60 s.

    :ivar most: at no time more.
    :ivar lasting: not more for longer than `seconds`.
    :ivar seconds: how long more than `lasting` may wait.
    """

    most: int = attrs.field(default=32 * MIB, validator=_above(64 * KIB))
    lasting: int = attrs.field(default=8 * MIB, validator=_above(64 * KIB))
    seconds: float = attrs.field(default=60.0, validator=_above(1.0))


@attrs.frozen
class Keepalive:
    """
    Whether the other end is still there. TCP's own keepalive is on where this is.

    :ivar idle: after so long without a byte in, or one out that had to wait, it is asked; 0 is never. 60 s: less than
        most NATs forget in.
    :ivar wait: how long it has to answer.
    """

    idle: float = attrs.field(default=60.0, validator=_above(0.0))
    wait: float = attrs.field(default=20.0, validator=_above(0.1))


@attrs.frozen
class Door:
    """
    Who knocks, and how often.

    :ivar challenge: how long a challenge may be answered, once. None: for ever, and any number of times, as in stock.
    :ivar delay: before a failed login is answered; it doubles with each failure of that address and user name.
    :ivar longest: what that delay grows to.
    :ivar failures: how many in a row on one connection; then it is closed.
    :ivar username: the longest, in bytes. 255: as cred's files and most systems have it.
    """

    challenge: float | None = attrs.field(default=30.0, validator=_above(0.1))
    delay: float = attrs.field(default=1.0, validator=_above(0.0))
    longest: float = attrs.field(default=10.0, validator=_above(0.0))
    failures: int | None = attrs.field(default=3, validator=_above(1))
    username: int | None = attrs.field(default=255, validator=_above(1))


@attrs.frozen
class Log:
    """
    What one connection may have written into the log.

    :ivar lines: in a second; then one line says how many were dropped. None: as many as there are.
    :ivar cut: the longest text of the other end's, in characters.
    """

    lines: int | None = attrs.field(default=10, validator=_above(1))
    cut: int = attrs.field(default=200, validator=_above(16))


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
    :ivar raiseOnDead: a call on a reference that is dead raises at once, as stock's does on a lost
        connection. Off, the Deferred fails, as it does in each other case.
    :ivar bytesNames: checkers see the user name as bytes, whatever the client sent.
    :ivar hideErrors: of what a method raises only a `pb.Error` is told to the caller; anything else is an
        `InternalError` with an id that the log has too. Off, the class and the text cross, as in stock.
    :ivar stockJelly: what cannot be sent goes as an `Unpersistable`, so that the caller has success, and what cannot be
        read fails with whatever that raises, as in stock. Off, both are errors that say what was wrong.
    :ivar limits: of a message.
    """

    name: str
    anyMind: bool
    ownChannels: bool
    convertRefusals: bool
    raiseOnDead: bool
    bytesNames: bool
    hideErrors: bool
    stockJelly: bool
    limits: Limits = Limits()
    gate: Gate = Gate()
    calls: Calls = Calls()
    output: Output = Output()
    keepalive: Keepalive = Keepalive()
    door: Door = Door()
    log: Log = Log()


STRICT = Profile(
    "strict",
    anyMind=False,
    ownChannels=True,
    convertRefusals=True,
    raiseOnDead=False,
    bytesNames=True,
    hideErrors=True,
    stockJelly=False,
)

#: What stock allowed, but for memory: a message of stock's may be 400 GB.
DROPIN = Profile(
    "drop-in",
    anyMind=True,
    ownChannels=False,
    convertRefusals=False,
    raiseOnDead=True,
    bytesNames=False,
    hideErrors=False,
    stockJelly=True,
    limits=Limits(message=64 * MIB, items=4_000_000, depth=324, jelly=4_000_000, string=None),
    gate=Gate(closed=False, timeout=None, again=None, connections=None),
    calls=Calls(served=None, references=None, logins=None, timeout=None),
    output=Output(most=1024 * MIB, lasting=1024 * MIB),
    keepalive=Keepalive(idle=0.0),
    door=Door(challenge=None, delay=0.0, longest=0.0, failures=None, username=None),
    log=Log(lines=None),
)
