"""
`Profile`: how strict a server or client is. It holds every limit, each with its default and where the default is from.

Sizes are in bytes, times in seconds. Where a limit may be None, None means unlimited. To run a server with other
limits, pass ``ServerFactory(portal, profile=attrs.evolve(STRICT, calls=attrs.evolve(STRICT.calls, served=1000)))``; the
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
            raise ValueError(f"invalid {field.alias}: got {value!r}, expected {least:g} or more")

    return check


@attrs.frozen
class Limits:
    """
    The limits of one message; and of the memory that all connections of a user, or of a server, hold together.

    :ivar message: its total size. 4 MiB: the default of JSON-RPC and gRPC servers.
    :ivar items: the number of lists, numbers and strings; where a value holds another more than once by reference,
        also of the values that a walk meets. 100,000: a second of stock's CPU time, a few ms of ours.
    :ivar depth: how deep lists may be nested. 100: stock's own unjelly fails at 324, and uses three frames a level.
    :ivar jelly: the number of lists in a message that is not plain data: one with references, objects or cycles, which
        stock's jelly reads, at 2 to 7 microseconds for each list. 10,000: 20 to 70 ms, during which no other client is
        served.
    :ivar string: the size of one string. Default: stock's `banana.SIZE_LIMIT`. None reads that at use.
    :ivar user: the total of unread output, incomplete messages, queued calls and arguments of calls in service of all
        connections of a user. Above it, the connection with the most unread output is closed, else the youngest.
        128 MiB: four connections with as much output as ``output.most`` allows.
    :ivar server: the same total of all connections of a server. 1 GiB: eight such users.
    """

    message: int = attrs.field(default=4 * MIB, validator=_above(1024))
    items: int = attrs.field(default=100_000, validator=_above(32))
    depth: int = attrs.field(default=100, validator=_above(6))
    jelly: int = attrs.field(default=10_000, validator=_above(32))
    string: int | None = attrs.field(default=640 * KIB, validator=_above(256))
    user: int | None = attrs.field(default=128 * MIB, validator=_above(64 * KIB))
    server: int | None = attrs.field(default=1024 * MIB, validator=_above(64 * KIB))


@attrs.frozen
class Gate:
    """
    The limits of a connection that is not logged in: before its first login, and after its last session has ended.

    :ivar closed: whether there is a gate: only what a login needs is served, and nothing is unjellied.
    :ivar memory: the memory of one connection. 64 KiB: 500 connections take 32 MiB.
    :ivar message: as `Limits.message`. A login with names of 255 bytes takes 700 bytes.
    :ivar items: as `Limits.items`. A login takes 20.
    :ivar depth: as `Limits.depth`. A login takes 3.
    :ivar messages: how many messages may arrive without a login. A login takes four, and there are 50 challenges. A
        call on an object that does not exist is answered with an error, which takes longer than reading the call.
    :ivar timeout: the time to log in, from the start of the connection; the time that our own checkers and builders
        take does not count. 30 s: OpenSSH's default is 120, PostgreSQL's 60, Buildbot's 30.
    :ivar again: the time to log in again, from the end of the last session.
    :ivar connections: the number of unauthenticated connections. OpenSSH's ``MaxStartups`` is 100, but more clients
        than that reconnect at once after a restart.
    :ivar line: how many more connections may be held in line until one of these makes room; pbkit does not read from
        them or greet them. 2,000: as many clients can connect at once, and none has to try again. Each takes 7 KB, with
        TLS 40 KB.
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
    The limits of calls, incoming and outgoing.

    :ivar served: how many calls of one connection are served at once; more are queued.
    :ivar queued: the total size of the queued calls. While it is reached, nothing is read from the connection.
    :ivar references: how many references a session may be given. Default: stock's `pb.MAX_BROKER_REFS`. None reads that
        at use.
    :ivar logins: how many sessions may use one connection: the users of a gateway. 1,000: with a million references.
    :ivar timeout: the deadline of an outgoing call without ``pbtimeout=``.
    """

    served: int | None = attrs.field(default=256, validator=_above(1))
    queued: int = attrs.field(default=4 * MIB, validator=_above(1024))
    references: int | None = attrs.field(default=1024, validator=_above(1))
    logins: int | None = attrs.field(default=1000, validator=_above(1))
    timeout: float | None = attrs.field(default=30.0, validator=_above(0.001))


@attrs.frozen
class Output:
    """
    The limits of output that waits for the peer to read it. The defaults are those of Redis for clients of pub/sub:
    32 MiB at any time, 8 MiB for 60 s.

    :ivar most: how many bytes may wait at any time.
    :ivar lasting: how many bytes may wait for longer than `seconds`.
    :ivar seconds: for how long more than `lasting` bytes may wait.
    """

    most: int = attrs.field(default=32 * MIB, validator=_above(64 * KIB))
    lasting: int = attrs.field(default=8 * MIB, validator=_above(64 * KIB))
    seconds: float = attrs.field(default=60.0, validator=_above(1.0))


@attrs.frozen
class Keepalive:
    """
    When a silent peer is pinged, and when its connection is closed. With this, TCP's own keepalive is on as well.

    :ivar idle: after how long a peer is pinged that has sent nothing and read none of the output that waits for it; 0:
        never. 60 s: most NATs keep an idle connection for longer.
    :ivar wait: how long the peer has to answer.
    """

    idle: float = attrs.field(default=60.0, validator=_above(0.0))
    wait: float = attrs.field(default=20.0, validator=_above(0.1))


@attrs.frozen
class Door:
    """
    The limits of login attempts.

    :ivar challenge: for how long a challenge can be answered, once. None: forever and any number of times, as in stock.
    :ivar delay: how long the answer to a failed login is delayed; it doubles with each failure of that address and user
        name.
    :ivar longest: the maximum of that delay.
    :ivar failures: after how many consecutive failures a connection is closed.
    :ivar username: the maximum length of a user name in bytes. 255: as in cred's password files and most systems.
    """

    challenge: float | None = attrs.field(default=30.0, validator=_above(0.1))
    delay: float = attrs.field(default=1.0, validator=_above(0.0))
    longest: float = attrs.field(default=10.0, validator=_above(0.0))
    failures: int | None = attrs.field(default=3, validator=_above(1))
    username: int | None = attrs.field(default=255, validator=_above(1))


@attrs.frozen
class Log:
    """
    The limits of what connections may cause to be logged.

    :ivar lines: the number of lines per second for one connection. Then one line reports how many were dropped.
    :ivar total: the number of lines per second for all connections of a server. Refused logins have a limit of their
        own. 50: about 8 KB of lines a second, or at most 500 KB of tracebacks.
    :ivar cut: the maximum length of a peer's text, in characters.
    """

    lines: int | None = attrs.field(default=10, validator=_above(1))
    total: int | None = attrs.field(default=50, validator=_above(1))
    cut: int = attrs.field(default=200, validator=_above(16))


@attrs.frozen
class Profile:
    """
    How strict a server or client is: `STRICT`, `DROPIN`, or one of these with other values.

    :ivar name: the name, for the log.
    :ivar anyMind: pass a mind of any kind to a realm that is not pbkit's, as stock does, where a client can send a
        number or the server's own login object. False: refuse a login whose mind is neither None nor a reference.
    :ivar ownChannels: give each login its own tables of references, whatever the realm. False: with a realm that is not
        pbkit's, logins share the tables of the connection, as in stock, so that proxies of one object that were
        received through two logins compare equal.
    :ivar convertRefusals: send whatever refuses a login as a `LoginRefused`, and log one line. False: with a realm that
        is not pbkit's, send the errors as they are, and log them with a traceback.
    :ivar raiseOnDead: raise at once when a dead reference is called, as stock does on a lost connection. False: the
        Deferred fails, as in every other case.
    :ivar bytesNames: pass the user name to checkers as bytes, whatever type the client sent.
    :ivar hideErrors: send the caller of a method only exceptions that are a `pb.Error`, and for any other an
        `InternalError` with an id that is logged as well. False: send the class and the text, as in stock.
    :ivar stockJelly: send what cannot be sent as an `Unpersistable`, so that the call succeeds, and fail with whatever
        reading raises if a value cannot be read, as in stock. False: fail with an error that says what was wrong.
    :ivar limits: the limits of one message.
    :ivar gate: the limits before login.
    :ivar calls: the limits of calls.
    :ivar output: the limits of output.
    :ivar keepalive: when a silent peer is pinged.
    :ivar door: the limits of login attempts.
    :ivar log: the limits of the log.
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

#: What `pbkit.connect` and `pbkit.ClientFactory` use. A server is trusted more than its clients are: what it answers
#: may be large, and the client is about to use it. 4,000,000 items: 64 MiB of numbers; 100,000 lists: 0.2 to 0.7 s in
#: jelly.
CLIENT = attrs.evolve(STRICT, limits=Limits(message=64 * MIB, items=4_000_000, jelly=100_000, user=None, server=None))

#: As much as stock allows, except for memory: in stock a message may take 400 GB.
DROPIN = Profile(
    "drop-in",
    anyMind=True,
    ownChannels=False,
    convertRefusals=False,
    raiseOnDead=True,
    bytesNames=False,
    hideErrors=False,
    stockJelly=True,
    limits=Limits(message=64 * MIB, items=4_000_000, depth=324, jelly=4_000_000, string=None, user=None, server=None),
    gate=Gate(closed=False, timeout=None, again=None, connections=None),
    calls=Calls(served=None, references=None, logins=None, timeout=None),
    output=Output(most=1024 * MIB, lasting=1024 * MIB),
    keepalive=Keepalive(idle=0.0),
    door=Door(challenge=None, delay=0.0, longest=0.0, failures=None, username=None),
    log=Log(lines=None, total=None),
)
