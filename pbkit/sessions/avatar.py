"""
`Avatar`, the base class that users subclass, and how a call reaches its method.
"""

from __future__ import annotations

from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.spread import pb

from pbkit.errors import NoSuchMethod

if TYPE_CHECKING:
    from pbkit.sessions.session import Session


def dispatch(avatar: object, broker: Any, message: str, args: Any, kw: Any) -> Any:
    """
    Serve one call on an avatar: what stock's `pb.Avatar.perspectiveMessageReceived` does, and more.

    The method may be plain, return a Deferred or be a coroutine. A missing one is `NoSuchMethod`; a wrong
    number of arguments is a TypeError, and the arguments do not go into the log as they do in stock.

    :param broker: whoever has the tables of references: a channel, or stock's Broker.
    :param args: in jelly.
    :param kw: in jelly.
    :return: the answer in jelly, or a Deferred of it.
    """
    # Before the method is looked up: references among the arguments are only given back to the
    # client once they have been made and dropped here.
    args = broker.unserialize(args, avatar)
    kw = broker.unserialize(kw, avatar)
    if any(isinstance(key, bytes) for key in kw):
        # As sent by clients on Python 2.
        kw = {key.decode() if isinstance(key, bytes) else key: value for key, value in kw.items()}
    method = getattr(avatar, f"perspective_{message}", None)
    if method is None:
        raise NoSuchMethod(f"no such method: perspective_{message:.100}")
    result = method(*args, **kw)
    if iscoroutine(result):
        result = Deferred.fromCoroutine(result)
    return broker.serialize(result, avatar, method, args, kw)


class Avatar(pb.Avatar):
    """
    What acts on the server for one avatar id. Subclass it and write ``perspective_*`` methods: plain,
    returning a Deferred, or ``async def``.

    Two hooks, both optional, both may be async::

        def attached(self, session): ...   # a client has logged in; raising refuses the login
        def detached(self, session): ...   # that session has ended; session.endedWith says why

    `detached` runs exactly once for each `attached` that returned, and never otherwise. While either runs,
    its session is not among `sessions`: these are the others.

    :ivar avatarId: a str.
    """

    _live: dict[str, Session] | None = None

    def __init__(self, avatarId: str) -> None:
        self.avatarId = avatarId

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The live sessions of this avatar, oldest login first."""
        return tuple(self._live.values()) if self._live else ()

    def perspectiveMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        """`pb.IPerspective`."""
        return dispatch(self, broker, message, args, kw)

    def _sessionBegan(self, session: Session) -> None:
        if self._live is None:
            self._live = {}
        self._live[session.sessionId] = session

    def _sessionEnded(self, session: Session) -> None:
        if self._live is not None:
            self._live.pop(session.sessionId, None)
