"""
`Avatar`, the base class that users subclass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.spread import pb

from pbkit.dispatch import dispatch, plainly
from pbkit.sessions.messaging.delivery import Answers, Summary

if TYPE_CHECKING:
    from pbkit.sessions.messaging.recipient import Recipient


class Avatar(pb.Avatar):
    """
    The server-side object that acts for one avatar id. Subclass it and write ``perspective_*`` methods: plain,
    returning a Deferred, or ``async def``.

    There are three hooks. All are optional, and all may be async::

        def attached(self, session): ...   # a client has logged in; raising refuses the login
        def detached(self, session): ...   # that session has ended; session.endedWith is the reason
        def lagging(self, session): ...    # its client is a slow consumer; session.backlog tells how far it is behind

    `detached` runs exactly once for each `attached` that returned, and never otherwise. While either of them runs, its
    session is not among `sessions`: these are the others.

    :ivar avatarId: a str.
    """

    #: The live sessions by id. None until the first one: a subclass may not call our `__init__`.
    _live: dict[str, Recipient] | None = None

    def __init__(self, avatarId: str) -> None:
        self.avatarId = avatarId

    @property
    def sessions(self) -> tuple[Any, ...]:
        """The live `Session` objects of this avatar, oldest login first."""
        # Any, so that they can be passed to functions that are annotated with `Session`, which is not imported here.
        return () if self._live is None else tuple(self._live.values())

    def tell(self, method: str, *args: object, **kw: object) -> Deferred[Summary]:
        """Tell all clients of this avatar, as `Realm.tell`."""
        sessions = self.sessions
        return sessions[0].tellAll(sessions, method, args, kw) if sessions else succeed(Summary())

    def ask(self, method: str, *args: object, **kw: object) -> Deferred[Answers]:
        """Ask all clients of this avatar, as `Realm.ask`."""
        sessions = self.sessions
        return sessions[0].askAll(sessions, method, args, kw) if sessions else succeed({})

    @plainly
    def perspectiveMessageReceived(self, broker: Any, message: str, args: Any, kw: Any) -> Any:
        """Serve one call, as `pb.IPerspective` has it."""
        return dispatch(self, f"perspective_{message}", broker, args, kw, self)

    def __getstate__(self) -> Any:
        """Return what is pickled and copied: everything except the sessions, which belong to connections."""
        state: Any = super().__getstate__()
        if isinstance(state, tuple):
            # A subclass with `__slots__` has a dict of those, too.
            return _lasting(state[0]), state[1]
        return _lasting(state)

    def trackSession(self, session: Recipient) -> None:
        """Add a session that has begun; for realms."""
        if self._live is None:
            self._live = {}
        self._live[session.sessionId] = session

    def untrackSession(self, session: Recipient) -> None:
        """Remove a session that has ended; for realms. Idempotent."""
        if self._live is not None:
            self._live.pop(session.sessionId, None)


#: The attributes of avatars that last as long as a connection: the sessions, and the timers of a `ClockAvatar`.
TRANSIENT = frozenset({"_live", "_rhythms"})


def _lasting(state: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (state or {}).items() if name not in TRANSIENT}
