"""
`Avatar`, the base class that users subclass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.spread import pb

from pbkit.dispatch import dispatch, plainly
from pbkit.sessions.messaging.broadcast import Audience, Summary

if TYPE_CHECKING:
    from pbkit.sessions.session import Session


class Avatar(pb.Avatar):
    """
    What acts on the server for one avatar id. Subclass it and write ``perspective_*`` methods: plain,
    returning a Deferred, or ``async def``.

    Three hooks, all optional, all may be async::

        def attached(self, session): ...   # a client has logged in; raising refuses the login
        def detached(self, session): ...   # that session has ended; session.endedWith says why
        def lagging(self, session): ...    # its client does not keep up; session.backlog says how far it is behind

    `detached` runs exactly once for each `attached` that returned, and never otherwise. While either runs,
    its session is not among `sessions`: these are the others.

    :ivar avatarId: a str.
    """

    #: By their ids. One that is alone stands for itself: a table of one takes 230 bytes.
    _live: dict[str, Session] | Session | None = None

    def __init__(self, avatarId: str) -> None:
        self.avatarId = avatarId

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The live sessions of this avatar, oldest login first."""
        live = self._live
        if isinstance(live, dict):
            return tuple(live.values())
        return () if live is None else (live,)

    def tell(self, method: str, *args: Any, **kw: Any) -> Deferred[Summary]:
        """Tell all clients of this avatar, as `Realm.tell`."""
        sessions = self.sessions
        if not sessions:
            return succeed(Summary())
        return sessions[0].telling.tell(Audience(sessions), method, args, kw)

    def ask(self, method: str, *args: Any, **kw: Any) -> Deferred[dict[str, Any]]:
        """Ask all clients of this avatar, as `Realm.ask`."""
        sessions = self.sessions
        if not sessions:
            return succeed({})
        return sessions[0].telling.ask(Audience(sessions), method, args, kw)

    @plainly
    def perspectiveMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        """`pb.IPerspective`."""
        return dispatch(self, f"perspective_{message}", broker, args, kw, self)

    def _sessionBegan(self, session: Session) -> None:
        live = self._live
        if live is None:
            self._live = session
        elif isinstance(live, dict):
            live[session.sessionId] = session
        else:
            self._live = {live.sessionId: live, session.sessionId: session}

    def _sessionEnded(self, session: Session) -> None:
        if isinstance(self._live, dict):
            self._live.pop(session.sessionId, None)
        elif self._live is session:
            self._live = None
