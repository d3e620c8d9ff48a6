"""
`PreloginState`: one connection before its first login, and again after its last session has ended.

`pbkit.wire.prelogin.gate` decides what the peer may send, `pbkit.wire.prelogin.queue` which connections may stay. This
module carries out their decisions and applies the limits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import count
from typing import Any, Protocol

import attrs

from pbkit.errors import BadValue
from pbkit.wire.codec import decodePlain
from pbkit.wire.connection import Connection
from pbkit.wire.outbound import WINDOW
from pbkit.wire.peer import addressOf, ping
from pbkit.wire.peerlog import LogBudget
from pbkit.wire.prelogin.gate import Answer, Disconnect, NoSuchObject, PreloginGate, Serve
from pbkit.wire.prelogin.queue import NO_ROOM, PreloginQueue
from pbkit.wire.prelogin.seat import QueueActions, Seat
from pbkit.wire.profile import Calls, Gate, Limits
from pbkit.wire.totals import MemoryTotals

#: How many log-ins of one connection are served at once before the first succeeds; the others wait.
LOGINS = 8
#: For how many seconds after the last session of a connection has ended the limits of a user still apply: a message
#: that the client was already sending was within them.
GRACE = 30.0
#: How many items a stock peer's answer to a ping can have: 79, as of Twisted 26.10, and some reserve.
PONG = 128

_numbers = count(1)


@lru_cache(maxsize=8)
def loginLimits(gate: Gate, calls: Calls, asked: bool) -> tuple[Limits, Calls]:
    """
    Return the limits before login.

    :param asked: False if the connection waits for its first login, and is neither pinged nor called. Others are, and
        the answers take more items.
    """
    items = max(gate.items, PONG) if asked else gate.items
    limits = Limits(gate.message, items, gate.depth, gate.message)
    return limits, attrs.evolve(calls, served=LOGINS, queued=gate.memory // 8)


class Monitor(Protocol):
    """What is asked of the monitor of a server's connections: see `pbkit.wire.keepalive.ConnectionMonitor`."""

    queue: PreloginQueue
    logBudget: LogBudget
    totals: MemoryTotals | None
    seconds: Callable[[], float]

    def watch(self, connection: Any) -> None:
        """Monitor a new connection."""

    def arrived(self, connection: Any, address: object) -> Seat:
        """Monitor a new connection, and add it to the queue."""

    def lost(self, connection: Any, seat: Seat | None) -> None:
        """Forget a lost connection."""

    def act(self, actions: QueueActions) -> None:
        """Carry out what the queue decided."""


class PreloginState:
    """
    What one connection may do while it is unauthenticated. It is also what the server's monitor monitors.

    :param connection: the connection.
    :param monitor: the monitor of its server, or None where no clock is known.
    :param gated: whether there is a gate. There is none in a server without a login, in drop-in use, and at clients.
    :ivar heard: True if bytes have arrived since the monitor last looked.
    :ivar charged: True while the connection holds memory that counts for a user or the server.
    :ivar number: higher for a younger connection.
    :ivar sessions: how many sessions use the connection.
    """

    __slots__ = (
        "_closedAt",
        "_connection",
        "_guest",
        "_messages",
        "_monitor",
        "charged",
        "gate",
        "heard",
        "number",
        "observation",
        "seat",
        "sessions",
    )

    def __init__(self, connection: Connection, monitor: Monitor | None, gated: bool) -> None:
        self._connection = connection
        self._monitor = monitor
        # When the gate was closed by the end of the last session, until GRACE is over.
        self._closedAt: float | None = None
        self.gate = PreloginGate(connection.hasOwn) if gated else None
        self.sessions = 0
        self.seat: Seat | None = None
        # Whether a guest has asked to log in.
        self._guest = False
        self._messages = 0
        self.heard = self.charged = False
        self.number = next(_numbers)
        self.observation: Any = None
        self._setWindow()

    @property
    def logBudget(self) -> LogBudget | None:
        """The log lines that all connections of the server may cause, or None where no clock is known."""
        return None if self._monitor is None else self._monitor.logBudget

    def arrive(self) -> bool:
        """
        Begin: the connection has been made.

        :return: whether to greet it now. False if it is held in line, or closed because there is no room.
        """
        if self._monitor is None:
            return True
        if self.gate is None:
            self._monitor.watch(self)
            return True
        self.seat = self._monitor.arrived(self, addressOf(self._connection))
        if self.seat.connection is None:
            self._connection.refuse(NO_ROOM)
        elif self.seat.held:
            self._connection.inbound.hold()
        else:
            return True
        return False

    @property
    def closed(self) -> bool:
        """True while no session uses the connection: of calls, only those that a login needs are served."""
        return self.gate is not None and not self.sessions

    @property
    def strange(self) -> bool:
        """True if no session uses the connection, and no login has been accepted that may become one."""
        return self.gate is not None and not self.gate.inside

    @property
    def _unauthenticated(self) -> bool:
        """True if no session uses the connection, and none has within GRACE."""
        return self.strange and self._closedAt is None

    @property
    def _used(self) -> bool:
        """True if there has been a session."""
        return self.gate is not None and self.gate.used

    # Limits.

    def limits(self) -> tuple[Limits, Calls]:
        """Return the limits that apply to this connection now."""
        profile, gate = self._connection.profile, self._connection.profile.gate
        asked = self._used or self._guest
        return loginLimits(gate, profile.calls, asked) if self.strange else (profile.limits, profile.calls)

    @property
    def outputLimit(self) -> int:
        """How many bytes of output may be buffered now. Before login this is enough for forty refusals."""
        profile = self._connection.profile
        # The rest of gate.memory is reserved: 8 KiB for a partial message, 8 for queued calls, 5 for the socket buffer.
        return profile.gate.memory * 85 // 128 if self._unauthenticated else profile.output.most

    @property
    def outputLimitName(self) -> str:
        """Which limit that is, for the log."""
        return "gate.memory" if self._unauthenticated else "output.most"

    def _apply(self) -> None:
        self._connection.applyLimits(*self.limits())
        self._setWindow()

    def _setWindow(self) -> None:
        self._connection.outbound.window = min(WINDOW, self.outputLimit // 8)

    # Memory: see `pbkit.wire.totals.Holder`.

    @property
    def held(self) -> int:
        """How many bytes the connection holds because of its peer."""
        return self._connection.inbound.held + self._connection.inbound.arguments + self._connection.outbound.buffered

    @property
    def user(self) -> str | None:
        """The user of the connection, or None. Of a gateway, the user who logged in first."""
        return self._connection.user

    def charge(self) -> None:
        """Count what the connection holds now: it has changed."""
        if self._monitor is not None and self._monitor.totals is not None and not self._connection.closed:
            self.charged = self.held > 0
            self._monitor.totals.update(self)

    # Messages.

    def received(self, size: int) -> None:
        """Note that bytes have arrived."""
        self.heard = True
        if self.seat is not None and self.seat.waiting:
            self.seat.sent += size

    def admits(self, expression: object) -> bool:
        """
        Decide on one message, and answer it if it is not to be served.

        :return: whether to serve it.
        """
        assert self.gate is not None
        if self._unauthenticated:
            self._messages += 1
            most = self._connection.profile.gate.messages
            if most is not None and self._messages > most:
                self._connection.refuse(f"gate.messages: more than {most} messages without a login")
                return False
        verdict = self.gate.admits(expression)
        if isinstance(verdict, Serve):
            return True
        if isinstance(verdict, NoSuchObject):
            self._connection.noSuchObject(verdict.requestID, verdict.objectID, verdict.answer, verdict.rest)
        elif isinstance(verdict, Answer):
            self._answered(verdict)
        elif isinstance(verdict, Disconnect):
            self._connection.refuse(verdict.why)
        return False

    def _answered(self, answer: Answer) -> None:
        """Give a plain answer to the caller. Another one is not read: it is an error for the caller, and never None."""
        connection, plain = self._connection, None
        if connection.plain and not answer.isError:
            plain = decodePlain(connection.message, connection.vocabulary, connection.profile.limits.items)
        if plain is not None:
            connection.answerReceived(answer.requestID, plain[2])
            return
        kind = "an error" if answer.isError else "an answer that is not plain data"
        connection.answerUnread(answer.requestID, BadValue(f"{kind}, from a client that is not logged in yet"))
        connection.giveBack([b"list", *answer.rest])

    # What the monitor reads and asks for: see `pbkit.wire.keepalive.MonitoredConnection`.

    @property
    def transport(self) -> Any:
        """The connection's transport."""
        return self._connection.transport

    @property
    def buffered(self) -> int:
        """How many bytes of output wait for the peer to read."""
        return self._connection.outbound.buffered

    @property
    def drained(self) -> int:
        """How often all output has left."""
        return self._connection.outbound.drained

    @property
    def paused(self) -> bool:
        """True while we do not read, so that the peer's silence means nothing."""
        return self._connection.inbound.paused

    def ask(self) -> None:
        """Ping the peer; but not one that must log in within its own timeout anyway."""
        if self.strange and not self._used:
            self.heard = True
        else:
            ping(self._connection, self._connection.profile.keepalive.wait)

    def abort(self, why: str) -> None:
        """Close the connection, with one line in the log."""
        self._connection.refuse(why)

    def letIn(self) -> None:
        """Greet the connection and read from it: it is no longer held in line."""
        self._connection.greet()
        self._connection.inbound.resume()

    # What a login reports, in this order.

    def working(self) -> None:
        """A checker or builder of ours starts to work on a login: that time is not the client's."""
        if self._monitor is not None and self.gate is not None:
            self._monitor.queue.working(self._takeSeat(self._monitor))

    def rested(self) -> None:
        """The checker or builder has finished. Call it once for each `working`."""
        if self._monitor is not None and self.seat is not None:
            actions = self._monitor.queue.rested(self.seat)
            self._leaveSeat()
            self._monitor.act(actions)

    def guest(self) -> None:
        """A guest asks to log in, and may be called before it is decided: an error that it answers has to fit."""
        if not self._guest:
            self._guest = True
            if self.strange and not self._used:
                self._apply()

    def enter(self) -> None:
        """
        The credentials are accepted: answers to our calls pass, and the limits are those of a user. For a guest, who
        has no credentials, call this with `granted` and not before.
        """
        if self.gate is not None and self.gate.enter():
            self._closedAt, self._messages = None, 0
            self._apply()

    def granted(self) -> None:
        """The client is given its session: everything passes. Remove the connection from the pre-login queue."""
        self.sessions += 1
        if self.gate is not None and self.sessions == 1:
            self._connection.gateChanged()
        if self._monitor is not None and self.seat is not None:
            actions = self._monitor.queue.loggedIn(self.seat)
            self._leaveSeat()
            self._monitor.act(actions)

    def ended(self) -> None:
        """The session has ended. Call it once for each `granted`."""
        self.sessions -= 1
        if self.gate is not None and not self.sessions:
            self._connection.gateChanged()
        self.leave()

    def leave(self) -> None:
        """The login has failed after `enter`."""
        if self.gate is not None and self.gate.leave() and not self._connection.closed:
            if self._monitor is not None:
                self._closedAt = self._monitor.seconds()
                # For GRACE the limits are still those of a user.
                self._monitor.act(self._monitor.queue.loggedOut(self._takeSeat(self._monitor)))
            else:
                self._apply()

    def _takeSeat(self, monitor: Monitor) -> Seat:
        if self.seat is None:
            self.seat = monitor.queue.newSeat(self, addressOf(self._connection))
        return self.seat

    def _leaveSeat(self) -> None:
        # A connection with a session needs no seat, and a server has thousands of them.
        if self.seat is not None and not (self.seat.waiting or self.seat.held or self.seat.busy):
            self.seat.connection = None
            self.seat = None

    def check(self, now: float) -> str | None:
        """
        Release unused memory, and check the limits that depend on time. The monitor calls it now and then.

        :param now: the time.
        :return: why to close the connection, or None.
        """
        self._connection.tidy()
        if self._closedAt is not None and now - self._closedAt >= GRACE:
            self._closedAt = None
            self._apply()
        output = self._connection.profile.output
        if self._connection.outbound.lasting(now, output.lasting) < output.seconds:
            return None
        return f"output.lasting: more than {output.lasting} bytes have been waiting to be read for {output.seconds:g} s"

    def lost(self) -> None:
        """The connection is lost."""
        if self._monitor is not None:
            self._monitor.lost(self, self.seat)
            if self._monitor.totals is not None:
                self._monitor.totals.remove(self)
