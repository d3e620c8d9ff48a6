"""
`Peer`: a connection as the sessions on it see it, ours or stock's.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.components import registerAdapter
from twisted.python.failure import Failure
from twisted.spread import banana, pb
from zope.interface import implementer

from pbkit.interfaces import ICast, IPeer
from pbkit.wire import codec
from pbkit.wire.compact import Few
from pbkit.wire.connection import Connection, ConnectionPart, Transport
from pbkit.wire.peerlog import escapedFailure
from pbkit.wire.profile import Log
from pbkit.wire.wellknown import PBKIT, PING

_numbers = count(1)

log = Logger()


class _Callbacks:
    """
    The callbacks that wait for one event. Each can be taken off again.

    :param empty: called when the last of them is taken off.
    """

    __slots__ = ("_empty", "_waiting")

    def __init__(self, empty: Callable[[], object]) -> None:
        self._empty = empty
        self._waiting: Few[object, Callable[[], object]] = Few()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, f: Callable[[], object]) -> Callable[[], None]:
        """Register a callback; return a callable that takes it off again, harmless at any time."""
        key = object()
        self._waiting[key] = f

        def stop() -> None:
            if self._waiting.pop(key, None) is not None and not self._waiting:
                self._empty()

        return stop

    def callNext(self) -> None:
        """Take the oldest one off and call it. One at a time, because a callback may take others off."""
        _guarded(self._waiting.pop(next(iter(self._waiting))))


@implementer(IPeer)
class Peer:
    """
    The `IPeer` of a broker. Of stock's broker it uses nothing but what stock's has.

    :ivar hello: what the other end declared of itself.
    :ivar closing: True once `close` was called.
    """

    __slots__ = (
        "__weakref__",
        "_aborting",
        "_awaitsRoom",
        "_broker",
        "_number",
        "_onLost",
        "_onWritable",
        "_riders",
        "closing",
        "hello",
    )

    def __init__(self, broker: pb.Broker) -> None:
        self._broker: Any = broker
        # None while they are empty, which most of them always are.
        self._onLost: _Callbacks | None = None
        self._onWritable: _Callbacks | None = None
        self._riders: _Callbacks | None = None
        self._awaitsRoom = False
        self._aborting: IDelayedCall | None = None
        self._number = next(_numbers)
        self.closing = False
        self.hello: dict[str, Any] = {}

    @property
    def _connection(self) -> Connection | None:
        """The broker, if it is pbkit's."""
        return cast("Connection | None", getattr(self._broker, "connection", None))

    @property
    def peerId(self) -> str:
        """As `IPeer.peerId`."""
        return f"peer-{self._number}"

    def __str__(self) -> str:
        """Return a name for the log: ``127.0.0.1:4711``, or the closest that the transport allows."""
        address = self.address
        host, port = getattr(address, "host", None), getattr(address, "port", None)
        if host is not None:
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        # Importing this at the top would take long. A connection that has such an address has imported it.
        from twisted.internet.address import UNIXAddress

        return "a Unix socket" if isinstance(address, UNIXAddress) else self.peerId

    @property
    def alive(self) -> bool:
        """As `IPeer.alive`."""
        return not self._broker.disconnected

    @property
    def address(self) -> object:
        """As `IPeer.address`."""
        return addressOf(self._broker)

    @property
    def clock(self) -> IReactorTime | None:
        """As `IPeer.clock`: the factory's clock, else the reactor of the transport, else None."""
        return clockOf(self._broker)

    def logFailure(self, log: Logger, format: str, failure: Failure, **fields: Any) -> None:
        """As `IPeer.logFailure`. Under stock's broker, which counts no lines, all are written."""
        connection = self._connection
        if connection is None:
            log.failure(format, escapedFailure(failure, Log().cut), **fields)
        else:
            connection.peerLog.failure(log, format, failure, **fields)

    # Sending.

    def fanOut(self, method: str, args: tuple[Any, ...], kw: dict[str, Any]) -> FanOut:
        """As `IPeer.fanOut`."""
        return FanOut(method, args, kw)

    @property
    def buffered(self) -> int:
        """As `IPeer.buffered`. Stock does not count."""
        connection = self._connection
        return 0 if connection is None else connection.outbound.buffered

    @property
    def writable(self) -> bool:
        """As `IPeer.writable`: no more is buffered here than one window, which the transport has as well."""
        connection = self._connection
        return connection is None or connection.outbound.buffered <= connection.outbound.window

    def onWritable(self, f: Callable[[], object]) -> Callable[[], None]:
        """As `IPeer.onWritable`. Called when nothing is buffered any more, not as soon as a little less is."""
        if self._onWritable is None:
            self._onWritable = _Callbacks(self._noWriterWaits)
        stop = self._onWritable.add(f)
        self._awaitRoom()
        return stop

    def _noWriterWaits(self) -> None:
        self._onWritable = None

    def _awaitRoom(self) -> None:
        # One callback for all: those that are taken off leave nothing behind in the connection.
        if not self._awaitsRoom:
            self._awaitsRoom = True
            connection = self._connection
            assert connection is not None, "a stock connection is always writable"
            connection.outbound.onWritable(self._room)

    def _room(self) -> None:
        self._awaitsRoom = False
        while self._onWritable and self.writable:
            self._onWritable.callNext()
        if self._onWritable:
            self._awaitRoom()

    # The sessions on it.

    def board(self) -> Callable[[], None]:
        """As `IPeer.board`."""
        if self._riders is None:
            self._riders = _Callbacks(self._noRiders)
        return self._riders.add(_nothing)

    def _noRiders(self) -> None:
        self._riders = None

    @property
    def riders(self) -> int:
        """As `IPeer.riders`. A stock broker does not count its logins."""
        return int(getattr(self._broker, "logins", 0)) + len(self._riders or ())

    def ping(self, timeout: float) -> Deferred[bool]:
        """As `IPeer.ping`."""
        return ping(self._broker, timeout)

    def goodbye(self, reference: Any, reason: str, detail: str, timeout: float) -> Deferred[bool]:
        """As `IPeer.goodbye`."""
        if reference is None and self.hello.get("goodbye") is not True:
            return succeed(False)
        # On the connection itself: the mind's own broker is its session's channel, on which nothing is sent any more.
        luid = PBKIT if reference is None else reference.luid
        told = _ask(self._broker, luid, "goodbye", (reason, detail), timeout)
        return told if self.clock is not None else succeed(False)

    # The end.

    def onLost(self, f: Callable[[], object]) -> Callable[[], None]:
        """As `IPeer.onLost`."""
        if not self.alive:
            _guarded(f)
            return _nothing
        if self._onLost is None:
            # One notifier for all: stock keeps one for each login until the end, whether it is over or not.
            self._onLost = _Callbacks(self._noneWaitsForLoss)
            self._broker.notifyOnDisconnect(self._lost)
        return self._onLost.add(f)

    def _noneWaitsForLoss(self) -> None:
        self._onLost = None
        if self.alive:
            self._broker.dontNotifyOnDisconnect(self._lost)

    def _lost(self) -> None:
        while self._onLost:
            self._onLost.callNext()

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
        abort(self._broker.transport)

    def _stopWaiting(self) -> None:
        if self._aborting is not None:
            self._aborting.cancel()
            self._aborting = None


@implementer(ICast)
class FanOut:
    """
    A call that goes to many clients and wants no answer.

    It is encoded once for each dialect, and only the ids differ. If its arguments depend on the connection, as a
    Referenceable does, it is encoded for each client separately.

    :param method: a method of the clients' objects, without ``remote_``.
    :param args: its arguments. They must not change before the call has been sent to all.
    :param kw: its keyword arguments, likewise.
    """

    __slots__ = ("_args", "_kw", "_method", "_tails")

    def __init__(self, method: str, args: tuple[Any, ...], kw: dict[str, Any]) -> None:
        self._method = method.encode("utf-8")
        self._args = args
        self._kw = kw
        self._tails: dict[bool, bytes | None] = {}

    def to(self, reference: pb.RemoteReference) -> bool:
        """
        Send the call to one client.

        :param reference: to the client's object. Its broker may be stock's.
        :return: False if the client is gone.
        :raises Exception: what is wrong with the arguments, if they cannot be sent.
        """
        # Stock's brokers have no `connection`.
        tables: ConnectionPart = reference.broker
        connection: Connection | None = getattr(tables, "connection", None)
        if connection is not None:
            if tables.dead() is not None or connection.closed:
                return False
            if connection.plain:
                vocabulary = connection.vocabulary
                if vocabulary not in self._tails:
                    self._tails[vocabulary] = codec.encodeTail(
                        self._method, 0, self._args, self._kw, vocabulary, banana.SIZE_LIMIT
                    )
                tail = self._tails[vocabulary]
                if tail is not None:
                    data = codec.splice(
                        b"", connection.newRequestID(), reference.luid, tail, vocabulary, banana.SIZE_LIMIT
                    )
                    if data is not None:
                        connection.outbound.write(data)
                        return True
        return self._alone(reference)

    def _alone(self, reference: pb.RemoteReference) -> bool:
        try:
            failed = reference.callRemote(self._method.decode("utf-8"), *self._args, pbanswer=False, **self._kw)
        except pb.DeadReferenceError:
            return False
        if isinstance(failed, Deferred):
            # Stock returns a failed Deferred if the arguments cannot be serialized, and only then.
            errors: list[Failure] = []
            failed.addErrback(errors.append)
            for error in errors:
                error.raiseException()
        return True


def _guarded(f: Callable[[], object]) -> None:
    try:
        f()
    except Exception:
        log.failure("a callback for an event of a connection raised")


def _nothing() -> None:
    """A callback for nothing to be done."""


# Functions, because the monitor asks them of connections that have no `Peer`: those without a login.


def addressOf(broker: Any) -> object:
    """As `Peer.address`."""
    try:
        address: object = broker.transport.getPeer()
    except (AttributeError, NotImplementedError):
        # The transport to a child process raises the latter.
        return None
    return address


def abort(transport: Transport) -> None:
    """
    Close a transport now, without waiting for what the other end has not read.

    The transport to a child process, and that over standard input and output, cannot do that. They are closed in good
    order, and the process is killed: otherwise it would stay for as long as it does not read.
    """
    abortConnection = getattr(transport, "abortConnection", None)
    if abortConnection is not None:
        abortConnection()
        return
    transport.loseConnection()
    signalProcess = getattr(transport, "signalProcess", None)
    if signalProcess is not None:
        try:
            signalProcess("KILL")
        except ProcessExitedAlready:
            pass


def clockOf(broker: Any) -> IReactorTime | None:
    """As `Peer.clock`."""
    clock = getattr(broker.factory, "clock", None)
    if clock is None:
        clock = getattr(broker.transport, "reactor", None)
    return clock if IReactorTime.providedBy(clock) else None


def ping(broker: Any, timeout: float) -> Deferred[bool]:
    """As `Peer.ping`."""
    return _ask(broker, PING, "ping", (), timeout)


def _ask(broker: Any, luid: object, method: str, args: tuple[Any, ...], timeout: float) -> Deferred[bool]:
    """Call an object of the other end on the connection itself. Any answer counts, also an error."""
    answer: Deferred[Any]
    # Its deadline is kept below, for both kinds of broker.
    kw = {"pbtimeout": None} if getattr(broker, "keepsDeadlines", False) else {}
    try:
        answer = broker.remoteForName(luid).callRemote(method, *args, **kw)
    except pb.DeadReferenceError:
        answer = fail(Failure())
    asked: Deferred[bool] = Deferred()
    answer.addBoth(lambda result: None if asked.called else asked.callback(not broker.disconnected))
    clock = clockOf(broker)

    def silent(result: object, timeout: float) -> bool:
        # On this the connection forgets the call. Stock's keeps it until it is lost.
        answer.cancel()
        return False

    if clock is not None:
        asked.addTimeout(timeout, clock, silent)
    return asked


def peerOf(broker: Any) -> Peer:
    """Return the one `Peer` of a broker, ours or stock's."""
    peer: Peer | None = getattr(broker, "_pbkitPeer", None)
    if peer is None:
        peer = broker._pbkitPeer = Peer(broker)
    return peer


registerAdapter(peerOf, pb.Broker, IPeer)
