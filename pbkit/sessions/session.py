"""
`Session`: one login. The client's reference points at it, and it ends exactly once.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pbkit.dispatch import serve, takesValues
from pbkit.errors import Kicked, SessionEnded
from pbkit.interfaces import IChannel, IPeer, ISession, current
from pbkit.plain import checked, sendable
from pbkit.sessions.goodbye import ALWAYS, GRACE, Goodbye, checkReason
from pbkit.sessions.messaging.broadcast import Audience
from pbkit.sessions.messaging.delivery import Answer, Answers, Args, Backlog, Kw, Summary, Told
from pbkit.sessions.messaging.hub import Hub
from pbkit.sessions.messaging.mind import Mind, checkReference, notPickled
from pbkit.sessions.messaging.outbox import Outbox
from pbkit.sessions.messaging.slowpolicy import Policy
from pbkit.sessions.stocklogin import StockChannel

if TYPE_CHECKING:
    from pbkit.sessions.messaging.recipient import Recipient

#: What only pbkit itself uses of a client's hello, by the first word of the key. Other clients must not learn it: with
#: "program" a client may take over a session of its own that has lost its connection.
PRIVATE = frozenset({"pbkit", "program"})

#: How many bytes of output may be buffered by what is sent when a session ends: a quarter of the default limit on
#: unread output. Above that limit the connection is closed, and the goodbye would be lost.
LAST_WORDS = 8 * 1024 * 1024

log = Logger()


@implementer(ISession)
class Session:
    """
    One login. The client's reference points at the session, not at the avatar: when the session ends, that reference
    is invalid, though the avatar and the connection may live on.

    :ivar sessionId: a str, unique in this process and not guessable.
    :ivar avatarId: a str.
    :ivar avatar: the object that serves the client's calls.
    :ivar mind: a `Mind`; false if the client sent none.
    :ivar peer: the `IPeer` of its connection, or None under a stock factory without a mind.
    :ivar clock: an `IReactorTime`, or None.
    :ivar startedAt: when the session was made, in seconds of its clock.
    :ivar lastActive: when the client last called, in seconds of its clock. Pings do not count.
    :ivar data: a dict for the user's own data; emptied when the session has ended and `detached` has run.
    :ivar endedWith: None while the session lives, then the `SessionEnded` that tells why it ended.
    :ivar begun: True once the login has succeeded.
    :ivar channel: the `IChannel` of this session.
    :ivar hub: what the session shares with the others of its realm.
    :ivar outbox: the queued messages, or None while the client keeps up.
    :ivar topicNames: the names of its topics, or None.
    """

    __slots__ = (
        "__weakref__",
        "_cancelled",
        "_data",
        "_declared",
        "_goodbye",
        "_goodbyes",
        "_onEnd",
        "_sendsAll",
        "avatar",
        "avatarId",
        "begun",
        "channel",
        "clock",
        "endedWith",
        "hub",
        "lastActive",
        "mind",
        "outbox",
        "peer",
        "sessionId",
        "startedAt",
        "topicNames",
    )

    def __init__(
        self,
        avatarId: str,
        avatar: Any,
        mind: object,
        peer: IPeer | None,
        clock: IReactorTime | None,
        onEnd: Callable[[Session], None],
        goodbye: str = ALWAYS,
        channel: IChannel | None = None,
        hub: Hub | None = None,
    ) -> None:
        """
        For realms.

        :param mind: a RemoteReference or None.
        :param onEnd: called once, immediately after this session has been marked as ended.
        :param goodbye: which clients are told why their session ends; see `Realm`.
        :param channel: the `IChannel` of this session; None for a session without a connection.
        :param hub: the realm's; by default a new one.
        :raises BadMind: the mind is neither.
        """
        self.sessionId = secrets.token_hex(8)
        self.avatarId = avatarId
        self.avatar = avatar
        reference = checkReference(mind)
        if reference is not None:
            # What the client is sent is made for this avatar, as the answers to its calls are: `getStateToCopyFor`,
            # `view_*` and the observers of a Cacheable get it.
            reference.perspective = avatar
        self.mind = Mind(self, reference)
        self.peer = peer
        self.clock = clock
        self.startedAt = self.lastActive = time.time() if clock is None else clock.seconds()
        self.endedWith: SessionEnded | None = None
        self.begun = False
        self.channel = channel
        self.hub = Hub(clock) if hub is None else hub
        self.outbox: Outbox | None = None
        self.topicNames: set[str] | None = None
        self._onEnd: Callable[[Session], None] | None = onEnd
        self._goodbyes = goodbye
        # Most sessions need none of these while they live.
        self._goodbye: Goodbye | None = None
        self._data: dict[Any, Any] | None = None
        self._declared: dict[str, Any] | None = None
        self._cancelled: set[Deferred[Any]] | None = None
        self._sendsAll = False

    def __reduce__(self) -> NoReturn:
        """
        Refuse to be pickled or copied.

        :raises TypeError: always.
        """
        raise TypeError(notPickled("Session"))

    def __repr__(self) -> str:
        state = "live" if self.endedWith is None else type(self.endedWith).__name__
        return f"<Session {self.sessionId} of {self.avatarId!r}, {state}>"

    @property
    def data(self) -> dict[Any, Any]:
        """A dict for the user's own data."""
        if self._data is None:
            self._data = {}
        return self._data

    @property
    def address(self) -> IAddress | None:
        """The `IAddress` of the client, or None where it is not known."""
        return None if self.peer is None else self.peer.address

    @property
    def busy(self) -> bool:
        """Whether a call of the client is being served; under a stock factory, a call on the session itself."""
        return self.channel is not None and self.channel.busy

    # The end.

    def end(self, reason: type[SessionEnded] = Kicked, detail: str = "") -> None:
        """
        End this session: from now on its reference answers with the error, and `detached` runs. Synchronous and
        idempotent: the first reason stays. The client learns of it at its next call, and its connection stays open.

        What the client was told before is sent first, unless it is a slow consumer: see `sendPending`. What is not sent
        is dropped, and counted in `backlog`.

        :param reason: `SessionEnded` or a subclass, which later calls of the client raise.
        :param detail: a sentence for people, which the client receives too.
        :raises TypeError: the reason is not such a class, or the detail is not a str.
        """
        checkReason(reason, detail)
        if self.endedWith is None:
            self.sendPending()
        # A hook that ran meanwhile may have ended the session.
        if self.endedWith is not None:
            return
        # The detail is often a user's text, and must not lose the error.
        self.endedWith = reason(sendable(detail))
        dropped = self.hub.left(self)
        unsent: list[Answer] = []
        if dropped or self.outbox is not None:
            # The outbox stays, empty, and counts what was dropped.
            unsent = self._lagging().close(dropped)
        # Drop the callback: its owner refers to this session, and only the garbage collector could free both.
        onEnd, self._onEnd = self._onEnd, None
        assert onEnd is not None
        onEnd(self)
        for call in unsent:
            if not call.called:
                call.errback(self.endedWith.again())
        if self._goodbye is not None:
            self._goodbye.ended()

    def kick(self, reason: type[SessionEnded] = Kicked, detail: str = "", *, grace: float = GRACE) -> Deferred[None]:
        """
        End this session, tell the client, and close the connection.

        The session ends at once, as by `end`. Then the mind is told ``goodbye(reason, detail)``, with the name of the
        class. Then, if no other session and no pending login uses the connection, it is closed once all output is sent,
        and aborted if it is still open 5 s later. A login that has not succeeded yet is refused, which is its goodbye.

        :param reason: `SessionEnded` or a subclass, which later calls of the client raise.
        :param detail: a sentence for people, which the client receives too.
        :param grace: how many seconds the client has to answer.
        :return: a Deferred that fires, with None, when the client is out: its connection is closed, or, if others use
            that, the client has answered or its time is up. It never fails. A second kick waits for the same, and the
            first reason stays. For a session that ended in another way it has fired already.
        :raises TypeError: the reason is not such a class, or the detail is not a str.
        """
        return self.goodbye.kick(reason, detail, grace)

    @property
    def goodbye(self) -> Goodbye:
        """How the server says goodbye to the client; for realms."""
        if self._goodbye is None:
            self._goodbye = Goodbye(self, self._goodbyes)
        return self._goodbye

    def forget(self) -> None:
        """Empty `data`, when the session has ended and `detached` has run; for realms."""
        if self._data is not None:
            self._data.clear()

    def cancelAtEnd(self, running: Deferred[Any]) -> Deferred[Any]:
        """
        Cancel a call that is being served when this session ends, as `pbkit.cancelWithSession` asks; at once if it has
        ended. Other calls run on.

        :return: the Deferred of the call. If the call was cancelled it fails with the reason of the end.
        """
        if self._cancelled is None:
            self._cancelled = set()
        self._cancelled.add(running)
        running.addBoth(self._callDone, running)
        if self.endedWith is not None:
            self.cancelRunning()
        return running

    def _callDone(self, result: object, call: Deferred[Any]) -> object:
        if self._cancelled is not None:
            self._cancelled.discard(call)
        if self.endedWith is not None and isinstance(result, Failure) and result.check(CancelledError):
            return Failure(self.endedWith.again())
        return result

    def cancelRunning(self) -> None:
        """Cancel the calls of `cancelAtEnd`, when the session has ended and their callers were answered; for realms."""
        while self._cancelled:
            call = self._cancelled.pop()
            try:
                call.cancel()
            except Exception:
                write = log.failure if self.peer is None else partial(self.peer.logFailure, log)
                write("cancelling a call of session {sessionId} raised", Failure(), sessionId=self.sessionId)

    # The client's calls.

    def called(self) -> None:
        """Note that the client has called."""
        clock = self.clock
        self.lastActive = time.time() if clock is None else clock.seconds()

    @takesValues
    def perspectiveMessageReceived(self, broker: object, message: str, args: object, kw: object) -> object:
        """
        Serve one call of the client, as `pb.IPerspective` has it.

        :raises SessionEnded: this session has ended; nothing is executed.
        """
        if self.endedWith is not None:
            raise self.endedWith.again()
        if current.get() is self:
            return serve(self.avatar, broker, message, args, kw)
        # Under a stock factory no channel has set the current session.
        self.called()
        before = current.set(self)
        try:
            if isinstance(self.channel, StockChannel):
                return self.channel.serving(lambda: serve(self.avatar, broker, message, args, kw))
            return serve(self.avatar, broker, message, args, kw)
        finally:
            current.reset(before)

    # Messages to the client.

    def tell(self, method: str, *args: object, **kw: object) -> Deferred[Summary]:
        """Tell the client, as `Realm.tell`. `Mind.tell` returns at once what became of the message."""
        return self.tellAll((self,), method, args, kw)

    def ask(self, method: str, *args: object, **kw: object) -> Deferred[Answers]:
        """Ask the client, as `Realm.ask`. `Mind.ask` returns the answer itself."""
        return self.askAll((self,), method, args, kw)

    def tellAll(self, recipients: tuple[Recipient, ...], method: str, args: Args, kw: Kw) -> Deferred[Summary]:
        """Tell some sessions of this realm, as `Realm.tell`."""
        return self.hub.telling.tell(Audience(recipients), method, args, kw)

    def askAll(self, recipients: tuple[Recipient, ...], method: str, args: Args, kw: Kw) -> Deferred[Answers]:
        """Ask some sessions of this realm, as `Realm.ask`."""
        return self.hub.telling.ask(Audience(recipients), method, args, kw)

    @property
    def backlog(self) -> Backlog:
        """
        How far the client is behind; all of it zero for a client that keeps up. When the session has ended, `dropped`
        includes the messages that the end dropped.
        """
        outbox = self.outbox
        return Backlog() if outbox is None else Backlog(outbox.messages, outbox.bytes, outbox.dropped)

    @property
    def ready(self) -> bool:
        """Whether a message is sent at once: nothing is queued, and the connection is writable."""
        if self.outbox is None and (self.peer is None or self.peer.writable):
            return True
        return self._sendsAll and self.peer is not None and self.peer.buffered < LAST_WORDS

    def catchUp(self) -> None:
        """Send the realm's pending broadcasts to this client now, because another message is to follow them."""
        telling = self.hub.telling
        if telling.busy:
            telling.catchUp(self)

    def sendPending(self) -> None:
        """
        Send everything that the client was told and that has not been sent, before the session ends: what is queued,
        the pending broadcasts, and the changes of presence that are being collected. For a client that is not ready to
        read it, because the connection is not writable, nothing is sent.
        """
        peer = self.peer
        if self._sendsAll or not self.mind or self.endedWith is not None:
            return
        if peer is not None and not (peer.alive and peer.writable):
            return
        self._sendsAll = True
        try:
            self.flush()
            self.hub.sendPending(self)
        except Exception:
            # The session has to end all the same.
            log.failure("sending what session {sessionId} was told before its end failed", sessionId=self.sessionId)
        finally:
            self._sendsAll = False

    def enqueue(self, method: str, args: Args, kw: Kw, policy: Policy | None) -> Told:
        """Queue a message, because the client is not `ready`; for `Mind`."""
        return self._lagging().put(method, args, kw, policy or self.hub.telling.slow)

    def enqueueCall(self, method: str, args: Args, kw: Kw, policy: Policy | None) -> Answer:
        """Queue a call that wants an answer, because the client is not `ready`; for `Mind`."""
        return self._lagging().ask(method, args, kw, policy or self.hub.telling.slow)

    def _lagging(self) -> Outbox:
        if self.outbox is None:
            self.outbox = Outbox(self)
        return self.outbox

    def flush(self) -> None:
        """Send what is queued, as far as the connection is writable; when the session ends, all of it."""
        if self.outbox is not None:
            self.outbox.flush()

    @property
    def accepts(self) -> bool:
        """Whether a queued message may be sent now."""
        return self.peer is None or self.peer.writable or (self._sendsAll and self.peer.buffered < LAST_WORDS)

    def caughtUp(self) -> None:
        """Drop the outbox, which is empty; for `Outbox`."""
        self.outbox = None

    @property
    def topics(self) -> tuple[str, ...]:
        """The names of its topics, sorted."""
        return tuple(sorted(self.topicNames or ()))

    @property
    def declared(self) -> dict[str, Any]:
        """
        What the client declared about itself: in its hello when it connected, and later through `declare`. A copy.
        """
        if self._declared is not None:
            return dict(self._declared)
        hello = {} if self.peer is None else self.peer.hello
        return {key: value for key, value in hello.items() if key.partition(".")[0] not in PRIVATE}

    def declare(self, declared: dict[str, Any]) -> None:
        """
        Replace what the client declared about itself, and tell the watchers of the realm's presence. For a method of
        the avatar, for example ``perspective_status``, with which its client changes it.

        :param declared: a dict of at most 32 str keys with plain values, each of at most 256 characters.
        :raises Error: it is something else; nothing changes.
        """
        self._declared = dict(checked(declared, "declare"))
        if self.endedWith is None:
            self.hub.declared(self)
