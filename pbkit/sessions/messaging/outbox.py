"""
The one queue of a session: what is told while its client does not keep up.

A session has none while it keeps up: then what is told goes to the wire at once. When the connection's own buffer has
filled, what is told from then on waits here, as the policies of
`pbkit.sessions.messaging.slowpolicy` have it, and goes on its way when the wire has room again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbkit.errors import CallDropped, SlowConsumer
from pbkit.plain import weighed
from pbkit.sessions.messaging.slowpolicy import Drop, Kick, Message, Policy, Wait, dropOldest

if TYPE_CHECKING:
    from pbkit.sessions.session import Session

#: What is done unless somebody says otherwise.
USUAL = dropOldest()

log = Logger()


class Told(Enum):
    """What became of something told."""

    SENT = "sent"  #: It is on its way.
    QUEUED = "queued"  #: It waits: the client does not keep up, or it is the turn of others.
    DROPPED = "dropped"  #: It will not arrive: the client does not keep up, and the policy says so.
    GONE = "gone"  #: There is no mind, or the session has ended, or the connection is lost.


class Backlog(NamedTuple):
    """
    How far behind a client is.

    :ivar messages: how many wait.
    :ivar bytes: how much, by an estimate.
    :ivar dropped: how many were dropped since it began to lag.
    """

    messages: int = 0
    bytes: int = 0
    dropped: int = 0


class _Entry:
    """
    A message that waits, and who waits for its answer, if anybody does.
    """

    __slots__ = ("answer", "keep", "key", "message", "number", "sent")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.number = 0
        self.key: Hashable | None = None
        self.keep = False
        self.answer: Deferred[Any] | None = None
        self.sent: Deferred[Any] | None = None


class Outbox:
    """
    What waits for the client of one session; it is there only as long as something does.
    `pbkit.sessions.messaging.slowpolicy.Waiting` is what policies see of it.

    :param session: whose it is.
    """

    __slots__ = (
        "_closed",
        "_droppable",
        "_entries",
        "_keys",
        "_number",
        "_session",
        "_since",
        "_stopWaiting",
        "_timer",
        "bytes",
        "dropped",
        "messages",
    )

    def __init__(self, session: Session) -> None:
        self._session = session
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._droppable: OrderedDict[int, None] = OrderedDict()
        self._keys: dict[Hashable, int] = {}
        self._number = 0
        self._closed = False
        self._stopWaiting: Callable[[], None] | None = None
        self._timer: IDelayedCall | None = None
        self._since = 0.0 if session.clock is None else session.clock.seconds()
        self.messages = 0
        self.bytes = 0
        self.dropped = 0

    # What policies see.

    def keyed(self, key: Hashable) -> int | None:
        """The size of what waits under a key, or None."""
        number = self._keys.get(key)
        return None if number is None else self._entries[number].message.size

    def droppable(self, key: Hashable | None = None) -> Iterator[int]:
        """The sizes of those that may go for others, oldest first; but for the one of a key."""
        left = None if key is None else self._keys.get(key)
        return (self._entries[number].message.size for number in self._droppable if number != left)

    # In.

    def put(self, method: str, args: Any, kw: Any, policy: Policy | None = None) -> Told:
        """
        Have something wait, if the policy says so.

        :param policy: None is the usual one.
        :raises RecursionError: the arguments are too deep to be sent.
        """
        return self._put(_entry(method, args, kw), policy)

    def ask(self, method: str, args: Any, kw: Any, policy: Policy | None = None) -> Deferred[Any]:
        """
        The same with a call that wants an answer. It does not go for others once it waits, and takes nobody's place.

        :return: a Deferred of the answer. It fails with `CallDropped` if the policy says so, and as `Mind.ask`. When it
            is cancelled the call is forgotten, sent or not.
        """
        entry = _entry(method, args, kw)
        answer = entry.answer = Deferred(lambda _: self._forget(entry))
        told = self._put(entry, policy)
        if told is not Told.QUEUED and not answer.called:
            ended = self._session.endedWith
            answer.errback(CallDropped() if ended is None else ended.again())
        return answer

    def _put(self, entry: _Entry, policy: Policy | None) -> Told:
        verdict = self._decide(policy or USUAL, entry.message)
        if isinstance(verdict, Kick):
            self._session.end(SlowConsumer)
            return Told.GONE
        told = Told.DROPPED
        if isinstance(verdict, Wait):
            self._add(entry, verdict)
            told = Told.QUEUED
        else:
            self.dropped += 1
        if self._stopWaiting is None:
            self._await()
            self._lagging()
        return told

    def _decide(self, policy: Policy, message: Message) -> Wait | Drop | Kick:
        try:
            verdict = policy(self, message)
            if isinstance(verdict, Wait):
                hash(verdict.key)
            elif not isinstance(verdict, Drop | Kick):
                raise TypeError(f"a policy for slow clients returns a Wait, a Drop or a Kick, not {verdict!r}")
        except Exception:
            # A mistake that shows only on a busy day; the usual bounds are the least harm.
            log.failure("the policy for slow clients raised; the usual one was asked")
            return USUAL(self, message)
        return verdict

    def _add(self, entry: _Entry, verdict: Wait) -> None:
        asks = entry.answer is not None
        key = None if asks else verdict.key
        if key is not None and key in self._keys:
            self._drop(self._keys[key])
        for _ in range(min(verdict.oldest, len(self._droppable))):
            self._drop(next(iter(self._droppable)))
        self._number = entry.number = self._number + 1
        entry.key = key
        self._entries[entry.number] = entry
        if not (verdict.keep or asks):
            self._droppable[entry.number] = None
        if key is not None:
            self._keys[key] = entry.number
        self.messages += 1
        self.bytes += entry.message.size
        if verdict.seconds is not None:
            self._kickIn(verdict.seconds)

    def _kickIn(self, seconds: float) -> None:
        clock = self._session.clock
        if clock is None:
            return
        left = max(0.0, self._since + seconds - clock.seconds())
        if self._timer is None:
            self._timer = clock.callLater(left, self._late)
        elif self._timer.getTime() > clock.seconds() + left:
            self._timer.reset(left)

    def _drop(self, number: int) -> None:
        self._take(number)
        self.dropped += 1

    def _take(self, number: int) -> _Entry:
        """Out with one, wherever it stands."""
        entry = self._entries.pop(number)
        self._droppable.pop(number, None)
        if entry.key is not None:
            del self._keys[entry.key]
        self.messages -= 1
        self.bytes -= entry.message.size
        return entry

    # Out.

    def _await(self) -> None:
        """Go on when the wire has room."""
        if self._stopWaiting is not None:
            self._stopWaiting()
        self._stopWaiting = self._session.peer.onWritable(self.flush)

    def flush(self) -> None:
        """Send, oldest first, as much as the wire has room for. For the wire, and for those who wait behind this."""
        peer = self._session.peer
        while self._entries and not self._closed and peer.writable:
            self._send(self._take(next(iter(self._entries))))
        if self._closed:
            return
        if self._entries or not peer.writable:
            self._await()
        else:
            self._close()
            self._session.outbox = None

    def _send(self, entry: _Entry) -> None:
        mind, message = self._session.mind, entry.message
        try:
            if entry.answer is None:
                mind.send(message.method, message.args, message.kw)
            else:
                entry.sent = mind.call(message.method, message.args, message.kw)
                entry.sent.addBoth(_pass, entry.answer)
        except Exception:
            # Whoever told it was answered long ago.
            log.failure("{method}, which had waited, could not be sent to {mind}", method=message.method, mind=mind)

    def _forget(self, entry: _Entry) -> None:
        if entry.sent is not None:
            entry.sent.cancel()
        elif entry.number in self._entries:
            self._take(entry.number)

    # The end.

    def _late(self) -> None:
        self._timer = None
        self._session.end(SlowConsumer)

    def _close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stopWaiting is not None:
            self._stopWaiting()

    def close(self) -> list[Deferred[Any]]:
        """
        The session has ended, and with it what waits.

        :return: those of calls that nobody will send any more.
        """
        self._close()
        entries, self._entries = self._entries, OrderedDict()
        self._droppable.clear()
        self._keys.clear()
        self.messages = self.bytes = 0
        return [entry.answer for entry in entries.values() if entry.answer is not None]

    def _lagging(self) -> None:
        """Tell the avatar, once for each time that it begins."""
        session = self._session
        hook = getattr(session.avatar, "lagging", None)
        if hook is not None:
            maybeDeferred(hook, session).addErrback(
                lambda failure: log.failure("lagging of {avatarId!r} raised", failure, avatarId=session.avatarId)
            )


def _entry(method: str, args: Any, kw: Any) -> _Entry:
    (args, kw), size = weighed((args, kw))
    # The name, the ids and the words around them.
    return _Entry(Message(method, args, kw, size + len(method) + 32))


def _pass(result: Any, answer: Deferred[Any]) -> None:
    """To whoever waits, unless he has given up."""
    if not answer.called and not (isinstance(result, Failure) and result.check(CancelledError)):
        answer.callback(result)
