"""
The queue of a session whose client is a slow consumer.

A session has no outbox while its client keeps up: then every message is written to the connection at once. When the
connection's own buffer is full, further messages are queued here, as the policies of
`pbkit.sessions.messaging.slowpolicy` decide, and sent when the connection is writable again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbkit.errors import CallDropped, SlowConsumer
from pbkit.plain import weighed
from pbkit.sessions.messaging.delivery import Answer, Args, Kw, Told
from pbkit.sessions.messaging.slowpolicy import Drop, Kick, Message, Policy, Wait, dropOldest

if TYPE_CHECKING:
    from pbkit.interfaces import IPeer
    from pbkit.sessions.messaging.recipient import Recipient

#: The default policy.
USUAL = dropOldest()

log = Logger()


class _Queued:
    """
    A queued message.

    :ivar answer: for a call that wants an answer, the caller's Deferred.
    :ivar sent: for such a call that has been sent, the Deferred of the answer.
    """

    __slots__ = ("answer", "keep", "key", "message", "number", "sent")

    def __init__(self, method: str, args: Args, kw: Kw) -> None:
        (args, kw), size = weighed((args, kw))
        # 32 bytes are for the ids and the words of the protocol.
        self.message = Message(method, args, kw, size + len(method) + 32)
        self.number = 0
        self.key: Hashable | None = None
        self.keep = False
        self.answer: Answer | None = None
        self.sent: Answer | None = None


class Outbox:
    """
    The messages that are queued for the client of one session. It exists only while there are any. Policies see it as
    a `pbkit.sessions.messaging.slowpolicy.Waiting`.

    :param session: the session.
    :ivar messages: how many messages are queued.
    :ivar bytes: their estimated size.
    :ivar dropped: how many were dropped.
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

    def __init__(self, session: Recipient) -> None:
        self._session = session
        self._entries: OrderedDict[int, _Queued] = OrderedDict()
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

    @property
    def _peer(self) -> IPeer:
        peer = self._session.peer
        # A session without a connection is always ready, so it has no outbox.
        assert peer is not None
        return peer

    # What policies see.

    def keyed(self, key: Hashable) -> int | None:
        """Return the size of the message that is queued under a key, or None."""
        number = self._keys.get(key)
        return None if number is None else self._entries[number].message.size

    def droppable(self, key: Hashable | None = None) -> Iterator[int]:
        """Iterate over the sizes of the messages that may be dropped, oldest first, except for the one of a key."""
        left = None if key is None else self._keys.get(key)
        return (self._entries[number].message.size for number in self._droppable if number != left)

    # In.

    def put(self, method: str, args: Args, kw: Kw, policy: Policy | None = None) -> Told:
        """
        Queue a message, if the policy agrees.

        :param policy: None is the default one.
        :raises RecursionError: the arguments are nested too deeply to be sent.
        """
        return self._put(_Queued(method, args, kw), policy)

    def ask(self, method: str, args: Args, kw: Kw, policy: Policy | None = None) -> Answer:
        """
        Queue a call that wants an answer, if the policy agrees. Once queued it is not dropped for others, and it
        replaces no message of the same key.

        :return: a Deferred of the answer. It fails with `CallDropped` if the policy drops the call, and as `Mind.ask`.
            Cancel it to remove the call from the queue, or to forget it if it was sent.
        """
        entry = _Queued(method, args, kw)
        answer = entry.answer = Deferred(lambda _: self._forget(entry))
        told = self._put(entry, policy)
        if told is not Told.QUEUED and not answer.called:
            ended = self._session.endedWith
            answer.errback(CallDropped() if ended is None else ended.again())
        return answer

    def _put(self, entry: _Queued, policy: Policy | None) -> Told:
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
                raise TypeError(f"a slow consumer policy returned {verdict!r}: expected a Wait, a Drop or a Kick")
        except Exception:
            # The mistake shows only under load, where the default limits do the least harm.
            log.failure("the policy for slow consumers raised; the default policy was used")
            return USUAL(self, message)
        return verdict

    def _add(self, entry: _Queued, verdict: Wait) -> None:
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

    def _take(self, number: int) -> _Queued:
        """Remove a message from all tables."""
        entry = self._entries.pop(number)
        self._droppable.pop(number, None)
        if entry.key is not None:
            del self._keys[entry.key]
        self.messages -= 1
        self.bytes -= entry.message.size
        return entry

    # Out.

    def _await(self) -> None:
        """Continue when the connection is writable."""
        if self._stopWaiting is not None:
            self._stopWaiting()
        self._stopWaiting = self._peer.onWritable(self.flush)

    def flush(self) -> None:
        """Send messages, oldest first, while the session accepts them."""
        session = self._session
        while self._entries and not self._closed and session.accepts:
            self._send(self._take(next(iter(self._entries))))
        if self._closed:
            return
        if self._entries or not session.accepts:
            self._await()
        else:
            self._close()
            self._session.caughtUp()

    def _send(self, entry: _Queued) -> None:
        mind, message = self._session.mind, entry.message
        try:
            if entry.answer is None:
                mind.send(message.method, message.args, message.kw)
            else:
                entry.sent = mind.call(message.method, message.args, message.kw)
                entry.sent.addBoth(_pass, entry.answer)
        except Exception:
            # The caller of `tell` got its answer long ago, so the log is the only place left.
            log.failure("the queued message {method} could not be sent to {mind}", method=message.method, mind=mind)

    def _forget(self, entry: _Queued) -> None:
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

    def close(self, others: int = 0) -> list[Answer]:
        """
        Drop all messages, when the session has ended.

        :param others: how many messages were dropped elsewhere, which are counted here.
        :return: the Deferreds of the calls that will not be sent.
        """
        self._close()
        self.dropped += self.messages + others
        entries, self._entries = self._entries, OrderedDict()
        self._droppable.clear()
        self._keys.clear()
        self.messages = self.bytes = 0
        return [entry.answer for entry in entries.values() if entry.answer is not None]

    def _lagging(self) -> None:
        """Call the avatar's `lagging`, once for each outbox."""
        session = self._session
        hook = getattr(session.avatar, "lagging", None)
        if hook is not None:
            maybeDeferred(hook, session).addErrback(
                lambda failure: log.failure("lagging of {avatarId!r} raised", failure, avatarId=session.avatarId)
            )


def _pass(result: object, answer: Answer) -> None:
    """Give the answer of a call to its caller, unless the caller has cancelled it."""
    if not answer.called and not (isinstance(result, Failure) and result.check(CancelledError)):
        answer.callback(result)
