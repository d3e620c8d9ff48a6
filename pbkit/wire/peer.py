"""
A connection, as the sessions that ride on it see it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.components import registerAdapter
from twisted.python.failure import Failure
from twisted.spread import pb
from zope.interface import implementer

from pbkit.interfaces import IPeer
from pbkit.wire.fanout import Cast
from pbkit.wire.peerlog import escapedFailure
from pbkit.wire.profile import Log
from pbkit.wire.wellknown import PBKIT, PING

#: What clients say in their hello, once for all of them. Others' keys are not interned: that may be for ever.
_KEYS = {key: key for key in ("goodbye", "pbkit", "program")}

_numbers = count(1)

log = Logger()


@implementer(IPeer)
class Peer:
    """
    The `IPeer` of a broker, ours or stock's: it uses nothing that stock's has not.
    """

    __slots__ = (
        "__weakref__",
        "_aboard",
        "_aborting",
        "_asked",
        "_broker",
        "_callbacks",
        "_hello",
        "_number",
        "_writers",
        "closing",
    )

    def __init__(self, broker: Any) -> None:
        self._broker = broker
        # A connection at rest has none of these: there is nobody to be called, and nobody aboard but its channels.
        self._callbacks: dict[object, Callable[[], object]] | None = None
        self._writers: dict[object, Callable[[], object]] | None = None
        self._aboard: set[object] | None = None
        self._asked = False
        self._aborting: IDelayedCall | None = None
        self.closing = False
        self._number = next(_numbers)
        # Keys and values by turns: with one of each a dict takes 184 bytes, and this 56.
        self._hello: tuple[Any, ...] = ()

    @property
    def peerId(self) -> str:
        """As `IPeer.peerId`."""
        return f"peer-{self._number}"

    @property
    def hello(self) -> dict[str, Any]:
        """As `IPeer.hello`."""
        return dict(zip(self._hello[::2], self._hello[1::2], strict=True))

    @hello.setter
    def hello(self, declared: dict[str, Any]) -> None:
        self._hello = tuple(part for key, value in declared.items() for part in (_KEYS.get(key, key), value))

    def __str__(self) -> str:
        """For the log: ``127.0.0.1:4711``, or what comes nearest to it."""
        address = self.address
        host, port = getattr(address, "host", None), getattr(address, "port", None)
        if host is not None:
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return "a Unix socket" if isinstance(address, UNIXAddress) else self.peerId

    @property
    def alive(self) -> bool:
        """False once the connection is lost."""
        return not self._broker.disconnected

    def logFailure(self, log: Logger, format: str, failure: Failure, **fields: Any) -> None:
        """As `IPeer.logFailure`. Of stock's broker, which has no peer log, all are written."""
        peerLog = getattr(self._broker, "peerLog", None)
        if peerLog is None:
            log.failure(format, escapedFailure(failure, Log().cut), **fields)
        else:
            peerLog.failure(log, format, failure, **fields)

    @property
    def address(self) -> Any:
        """The other end's `IAddress`, or None where the transport has none."""
        return addressOf(self._broker)

    @property
    def clock(self) -> IReactorTime | None:
        """The factory's clock, else the reactor that the transport belongs to, else None."""
        return clockOf(self._broker)

    def fanOut(self, method: str, args: tuple[Any, ...], kw: dict[str, Any]) -> Cast:
        """As `IPeer.fanOut`."""
        return Cast(method, args, kw)

    @property
    def buffered(self) -> int:
        """As `IPeer.buffered`. Stock keeps no count."""
        outbound = getattr(self._broker, "outbound", None)
        return 0 if outbound is None else int(outbound.buffered)

    @property
    def writable(self) -> bool:
        """As `IPeer.writable`: as much again may wait here as the transport was given."""
        outbound = getattr(self._broker, "outbound", None)
        return outbound is None or outbound.buffered <= outbound.window

    def onWritable(self, f: Callable[[], object]) -> Callable[[], None]:
        """As `IPeer.onWritable`. It is called when nothing waits any more, and not as soon as a little less does."""
        if self._writers is None:
            self._writers = {}
        writers, key = self._writers, object()
        writers[key] = f
        if not self._asked:
            # One callback for all: whoever takes his off leaves nothing behind.
            self._asked = True
            self._broker.outbound.onWritable(self._room)

        def stop() -> None:
            writers.pop(key, None)

        return stop

    def _room(self) -> None:
        writers = self._writers or {}
        while writers and self.writable:
            _guarded(writers.pop(next(iter(writers))))
        self._asked = bool(writers)
        if writers:
            self._broker.outbound.onWritable(self._room)

    def onLost(self, f: Callable[[], object]) -> Callable[[], None]:
        """As `IPeer.onLost`."""
        if not self.alive:
            _guarded(f)
            return lambda: None
        if self._callbacks is None:
            # One notifier for all. Stock keeps one for each login, dropped or not, until the end.
            self._callbacks = {}
            self._broker.notifyOnDisconnect(self._lost)
        key = object()
        self._callbacks[key] = f
        return lambda: self._takeOff(key)

    def _takeOff(self, key: object) -> None:
        if self._callbacks is not None:
            self._callbacks.pop(key, None)
            if not self._callbacks and self.alive:
                self._callbacks = None
                self._broker.dontNotifyOnDisconnect(self._lost)

    def _lost(self) -> None:
        while self._callbacks:
            # One at a time: a callback may take others off.
            _guarded(self._callbacks.pop(next(iter(self._callbacks))))

    def board(self) -> Callable[[], None]:
        """As `IPeer.board`."""
        if self._aboard is None:
            self._aboard = set()
        aboard, key = self._aboard, object()
        aboard.add(key)

        def leave() -> None:
            aboard.discard(key)
            if not self._aboard:
                self._aboard = None

        return leave

    @property
    def riders(self) -> int:
        """As `IPeer.riders`. A stock broker knows of none by itself."""
        return len(getattr(self._broker, "_channels", ())) + len(self._aboard or ())

    def ping(self, timeout: float) -> Deferred[bool]:
        """As `IPeer.ping`."""
        return ping(self._broker, timeout)

    def goodbye(self, reference: Any, reason: str, detail: str, timeout: float) -> Deferred[bool]:
        """As `IPeer.goodbye`."""
        if reference is None and self.hello.get("goodbye") is not True:
            return succeed(False)
        # The mind's own way is its session's channel, on which nothing is sent any more.
        luid = PBKIT if reference is None else reference.luid
        told = _ask(self._broker, luid, "goodbye", (reason, detail), timeout)
        return told if self.clock is not None else succeed(False)

    def close(self, abortAfter: float) -> Deferred[None]:
        """As `IPeer.close`."""
        closed: Deferred[None] = Deferred()
        self.onLost(lambda: None if closed.called else closed.callback(None))
        if self.alive:
            if not self.closing:
                self.closing = True
                self.onLost(self._stopWaiting)
                self._broker.transport.loseConnection()
            if self.alive:
                self._abortAfter(abortAfter)
        return closed

    def _abortAfter(self, seconds: float) -> None:
        clock = self.clock
        if seconds <= 0:
            self._stopWaiting()
            self._abort()
        elif clock is not None:
            if self._aborting is not None and self._aborting.getTime() <= clock.seconds() + seconds:
                return
            self._stopWaiting()
            self._aborting = clock.callLater(seconds, self._abort)

    def _abort(self) -> None:
        self._aborting = None
        # Not every transport can.
        abort = getattr(self._broker.transport, "abortConnection", None)
        if abort is not None:
            abort()

    def _stopWaiting(self) -> None:
        if self._aborting is not None:
            self._aborting.cancel()
            self._aborting = None


def _guarded(f: Callable[[], object]) -> None:
    try:
        f()
    except Exception:
        log.failure("a callback for what became of a connection raised")


# What the watch needs of all connections; those on which nobody has logged in have no `Peer`.


def addressOf(broker: Any) -> Any:
    """As `Peer.address`."""
    getPeer = getattr(broker.transport, "getPeer", None)
    return None if getPeer is None else getPeer()


def clockOf(broker: Any) -> IReactorTime | None:
    """As `Peer.clock`."""
    clock = getattr(broker.factory, "clock", None)
    if clock is None:
        clock = getattr(broker.transport, "reactor", None)
    return clock if IReactorTime.providedBy(clock) else None


def ping(broker: Any, timeout: float) -> Deferred[bool]:
    """As `Peer.ping`."""
    return _ask(broker, PING, "ping", (), timeout)


def _ask(broker: Any, luid: Any, method: str, args: tuple[Any, ...], timeout: float) -> Deferred[bool]:
    """Call an object of the other end's on the connection itself; whatever comes back is an answer."""
    answer: Deferred[Any]
    # Its deadline is kept below, whosever broker it is.
    kw = {"pbtimeout": None} if getattr(broker, "keepsDeadlines", False) else {}
    try:
        answer = broker.remoteForName(luid).callRemote(method, *args, **kw)
    except pb.DeadReferenceError:
        answer = fail(Failure())
    asked: Deferred[bool] = Deferred()
    answer.addBoth(lambda result: None if asked.called else asked.callback(not broker.disconnected))
    clock = clockOf(broker)

    def silent(result: Any, timeout: float) -> bool:
        # Nobody waits any more. Ours forgets the call then; stock keeps it until the connection is lost.
        answer.cancel()
        return False

    if clock is not None:
        asked.addTimeout(timeout, clock, silent)
    return asked


def peerOf(broker: Any) -> Peer:
    """
    The one `Peer` of a broker, ours or stock's.
    """
    peer: Peer | None = getattr(broker, "_pbkitPeer", None)
    if peer is None:
        peer = broker._pbkitPeer = Peer(broker)
    return peer


registerAdapter(peerOf, pb.Broker, IPeer)
