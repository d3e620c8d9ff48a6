"""
One connection before somebody has logged in on it, and after the last has logged out: the gate, the bounds, the place
among those who wait. `pbkit.wire.prelogin.gate` decides what may be said, `pbkit.wire.prelogin.queue` who may
stay; here it is done.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs

from pbkit.wire.connection import Connection
from pbkit.wire.outbound import WINDOW
from pbkit.wire.peer import addressOf, ping
from pbkit.wire.prelogin.gate import Answered, Closed, Nobody, PreloginGate, Serve
from pbkit.wire.prelogin.queue import NO_ROOM
from pbkit.wire.prelogin.seat import Seat
from pbkit.wire.profile import Calls, Gate, Limits

if TYPE_CHECKING:
    from pbkit.wire.keepalive import ConnectionMonitor

#: How many log-ins of one connection are served at once before the first is through; the others wait.
LOGINS = 8
#: How long the bounds of somebody who was logged in last when he is out, in seconds: what he was about to send was
#: right when he began.
GRACE = 30.0
#: How many items what a stock peer answers to a ping may have: 79, as Twisted 26.10 has it, and some more.
PONG = 128


@lru_cache(maxsize=8)
def _bounds(gate: Gate, calls: Calls, used: bool) -> tuple[Limits, Calls]:
    """Of one on which nobody is logged in."""
    # Whoever was logged in is pinged, as those who wait for a first login are not.
    items = max(gate.items, PONG) if used else gate.items
    limits = Limits(gate.message, items, gate.depth, gate.message)
    return limits, attrs.evolve(calls, served=LOGINS, queued=gate.memory // 8)


class PreloginState:
    """
    The way in of one connection of a server.

    :param broker: the connection.
    :param watch: that of its server, or None where no clock is known.
    :param gated: whether there is a gate. There is none for a server without a login, and in drop-in use.
    :ivar heard: whether anything has come in since the watch looked.
    :ivar sessions: how many have logged in on this connection and are not out yet.
    """

    __slots__ = ("_broker", "_closedAt", "_said", "_watch", "gate", "heard", "place", "record", "sessions")

    def __init__(self, broker: Connection, watch: ConnectionMonitor | None, gated: bool) -> None:
        self._broker = broker
        self._watch = watch
        self._closedAt: float | None = None
        self.gate = PreloginGate(broker) if gated else None
        self.sessions = 0
        self.place: Seat | None = None
        self._said = 0
        self.heard = False
        self.record: Any = None
        self._outflow()

    def arrive(self) -> bool:
        """
        The connection has been made.

        :return: whether to greet it now: not if it stands in line, or there is no room at all.
        """
        if self._watch is None:
            return True
        if self.gate is None:
            self._watch.watch(self)
            return True
        self.place = self._watch.arrived(self, addressOf(self._broker))
        if self.place.who is None:
            self._broker.refuse(NO_ROOM)
        elif self.place.held:
            self._broker.inbound.hold()
        else:
            return True
        return False

    def bounds(self) -> tuple[Limits, Calls]:
        """What a message may be, and how many calls there may be, at this moment."""
        profile, gate = self._broker.profile, self._broker.profile.gate
        return _bounds(gate, profile.calls, self._used) if self.closed else (profile.limits, profile.calls)

    @property
    def output(self) -> int:
        """How much may wait to be read by the other end, at this moment. Of a stranger, forty refusals do."""
        profile = self._broker.profile
        # With what is unfinished (8 KiB), what waits its turn (8) and what the socket has (5) it is all of it.
        return profile.gate.memory * 85 // 128 if self._strange else profile.output.most

    @property
    def outputBound(self) -> str:
        """Which bound that is, for the log."""
        return "gate.memory" if self._strange else "output.most"

    @property
    def _used(self) -> bool:
        """Whether anybody has ever logged in here."""
        return self.gate is not None and self.gate.used

    @property
    def _strange(self) -> bool:
        """Whether nobody is logged in, and nobody was just now."""
        return self.closed and self._closedAt is None

    def _bound(self) -> None:
        self._broker.bound(*self.bounds())
        self._outflow()

    def _outflow(self) -> None:
        self._broker.outbound.window = min(WINDOW, self.output // 8)

    @property
    def closed(self) -> bool:
        """Whether nobody is logged in, so that only what a login needs is served."""
        return self.gate is not None and not self.gate.inside

    def received(self, size: int) -> None:
        """Bytes came in."""
        self.heard = True
        if self.place is not None and self.place.waiting:
            self.place.sent += size

    def admits(self, expression: Any) -> bool:
        """
        Decide on one message, and answer it if it is not to be served.

        :return: whether to serve it.
        """
        assert self.gate is not None
        if self._strange:
            self._said += 1
            most = self._broker.profile.gate.messages
            if most is not None and self._said > most:
                self._broker.refuse(f"gate.messages: it has sent {most}, and nobody has logged in")
                return False
        verdict = self.gate.admits(expression)
        if isinstance(verdict, Serve):
            return True
        if isinstance(verdict, Nobody):
            self._broker.nobody(verdict.requestID, verdict.objectID, verdict.answer, verdict.rest)
        elif isinstance(verdict, Answered):
            # To a ping: that it came at all is what counts.
            self._broker.answerReceived(verdict.requestID, None)
            self._broker.giveBack([b"list", *verdict.rest])
        elif isinstance(verdict, Closed):
            self._broker.refuse(verdict.why)
        return False

    # What the watch reads and does: this is what it watches.

    @property
    def transport(self) -> Any:
        """The connection's."""
        return self._broker.transport

    @property
    def buffered(self) -> int:
        """How many bytes of ours wait to be read by the other end."""
        return self._broker.outbound.buffered

    @property
    def drained(self) -> int:
        """How often all of them have left."""
        return self._broker.outbound.drained

    @property
    def paused(self) -> bool:
        """Whether we do not read: then its silence says nothing."""
        return bool(self._broker.inbound.paused)

    def ask(self) -> None:
        """Have it give a sign of life. Not one that has to log in within a time of its own."""
        if self.closed and not self._used:
            self.heard = True
        else:
            ping(self._broker, self._broker.profile.keepalive.wait)

    def abort(self, why: str) -> None:
        """Close the connection, with one line in the log."""
        self._broker.refuse(why)

    def letIn(self) -> None:
        """It stood in line, and now there is room."""
        self._broker.greet()
        self._broker.inbound.resume()

    # What a login does.

    def working(self) -> None:
        """A checker or a builder of ours is at work: its time is not the client's."""
        if self._watch is not None and self.gate is not None:
            self._watch.waiting.working(self._placed(self._watch))

    def rested(self) -> None:
        """It is done. Once for each `working`."""
        if self._watch is not None and self.place is not None:
            moves = self._watch.waiting.rested(self.place)
            self._leavePlace()
            self._watch.act(moves)

    def enter(self) -> None:
        """Somebody has shown who he is."""
        if self.gate is not None and self.gate.enter():
            self._closedAt, self._said = None, 0
            self._bound()

    def granted(self) -> None:
        """He has his avatar."""
        self.sessions += 1
        if self._watch is not None and self.place is not None:
            moves = self._watch.waiting.loggedIn(self.place)
            self._leavePlace()
            self._watch.act(moves)

    def _placed(self, watch: ConnectionMonitor) -> Seat:
        if self.place is None:
            self.place = watch.waiting.outside(self, addressOf(self._broker))
        return self.place

    def _leavePlace(self) -> None:
        # Of whoever is in, nothing is to be remembered there; a server has thousands of them.
        if self.place is not None and not (self.place.waiting or self.place.held or self.place.busy):
            # Until the next sweep it is still among those who have just come, and is not to keep the connection.
            self.place.who = None
            self.place = None

    def leave(self) -> None:
        """He is out, or it came to nothing. Once for each `enter`."""
        if self.gate is not None and self.gate.leave() and not self._broker.closed:
            if self._watch is not None:
                self._closedAt = self._watch.seconds()
                # The gate is closed now, though the bounds are those of somebody who was in.
                self._broker.bound(self._broker.profile.limits, self._broker.profile.calls)
                self._watch.act(self._watch.waiting.loggedOut(self._placed(self._watch)))
            else:
                self._bound()

    def check(self, now: float) -> str | None:
        """
        To be asked now and then.

        :param now: the time.
        :return: why the connection is to be closed, or None.
        """
        self._broker.tidy()
        if self._closedAt is not None and now - self._closedAt >= GRACE:
            self._closedAt = None
            self._bound()
        output = self._broker.profile.output
        if self._broker.outbound.lasting(now, output.lasting) < output.seconds:
            return None
        return f"output.lasting: more than {output.lasting} bytes have waited to be read for {output.seconds:g} s"

    def lost(self) -> None:
        """The connection is gone."""
        if self._watch is not None:
            self._watch.lost(self, self.place)
