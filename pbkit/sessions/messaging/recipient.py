"""
A session as the parts see that `Session` itself is made of: protocols, so that these parts do not import it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime
    from twisted.spread import pb

    from pbkit.errors import SessionEnded
    from pbkit.interfaces import IChannel, IPeer
    from pbkit.sessions.goodbye import Goodbye
    from pbkit.sessions.messaging.delivery import Answer, Answers, Args, Backlog, Kw, Summary, Told
    from pbkit.sessions.messaging.slowpolicy import Policy


class RecipientMind(Protocol):
    """The `Mind` of a recipient. See there for what the methods do."""

    @property
    def reference(self) -> pb.RemoteReference | None:
        """As `Mind.reference`."""

    def __bool__(self) -> bool: ...

    def tell(self, method: str, *args: object, pbslow: Policy | None = None, **kw: object) -> Told:
        """As `Mind.tell`."""

    def ask(
        self,
        method: str,
        *args: object,
        pbtimeout: float | None = ...,
        pbslow: Policy | None = None,
        **kw: object,
    ) -> Answer:
        """As `Mind.ask`."""

    def callRemote(
        self,
        method: str,
        *args: object,
        pbanswer: bool = True,
        pbtimeout: float | None = ...,
        pbslow: Policy | None = None,
        **kw: object,
    ) -> Answer:
        """As `Mind.callRemote`."""

    def put(self, method: str, args: Args, kw: Kw, policy: Policy | None = None) -> Told:
        """As `Mind.put`."""

    def putCall(self, method: str, args: Args, kw: Kw, policy: Policy | None = None) -> Answer:
        """As `Mind.putCall`."""

    def send(self, method: str, args: Args, kw: Kw) -> Told:
        """As `Mind.send`."""

    def call(self, method: str, args: Args, kw: Kw, pbtimeout: float | None = None) -> Answer:
        """As `Mind.call`."""


class Recipient(Protocol):
    """
    What messaging, the roster and avatars need of a session, and what they offer of it to users. The only class that
    provides it is `pbkit.Session`, which documents the members.
    """

    topicNames: set[str] | None

    @property
    def sessionId(self) -> str: ...
    @property
    def avatarId(self) -> str: ...
    @property
    def avatar(self) -> Any: ...
    @property
    def mind(self) -> RecipientMind: ...
    @property
    def peer(self) -> IPeer | None: ...
    @property
    def channel(self) -> IChannel | None: ...
    @property
    def address(self) -> Any: ...
    @property
    def clock(self) -> IReactorTime | None: ...
    @property
    def startedAt(self) -> float: ...
    @property
    def lastActive(self) -> float: ...
    @property
    def endedWith(self) -> SessionEnded | None: ...
    @property
    def begun(self) -> bool: ...
    @property
    def busy(self) -> bool: ...
    @property
    def data(self) -> dict[Any, Any]: ...
    @property
    def declared(self) -> dict[str, Any]: ...
    @property
    def topics(self) -> tuple[str, ...]: ...
    @property
    def backlog(self) -> Backlog: ...
    @property
    def goodbye(self) -> Goodbye: ...
    @property
    def hub(self) -> object: ...
    @property
    def ready(self) -> bool: ...
    @property
    def accepts(self) -> bool: ...

    def end(self, reason: type[SessionEnded] = ..., detail: str = "") -> None:
        """As `Session.end`."""

    def kick(self, reason: type[SessionEnded] = ..., detail: str = "", *, grace: float = ...) -> Deferred[None]:
        """As `Session.kick`."""

    def called(self) -> None:
        """As `Session.called`."""

    def declare(self, declared: dict[str, Any]) -> None:
        """As `Session.declare`."""

    def tell(self, method: str, *args: object, **kw: object) -> Deferred[Summary]:
        """As `Session.tell`."""

    def ask(self, method: str, *args: object, **kw: object) -> Deferred[Answers]:
        """As `Session.ask`."""

    def tellAll(self, recipients: tuple[Recipient, ...], method: str, args: Args, kw: Kw) -> Deferred[Summary]:
        """As `Session.tellAll`."""

    def askAll(self, recipients: tuple[Recipient, ...], method: str, args: Args, kw: Kw) -> Deferred[Answers]:
        """As `Session.askAll`."""

    def catchUp(self) -> None:
        """As `Session.catchUp`."""

    def enqueue(self, method: str, args: Args, kw: Kw, policy: Policy | None) -> Told:
        """As `Session.enqueue`."""

    def enqueueCall(self, method: str, args: Args, kw: Kw, policy: Policy | None) -> Answer:
        """As `Session.enqueueCall`."""

    def sendPending(self) -> None:
        """As `Session.sendPending`."""

    def flush(self) -> None:
        """As `Session.flush`."""

    def caughtUp(self) -> None:
        """As `Session.caughtUp`."""


class Recipients(Protocol):
    """The live sessions of a realm. `pbkit.Roster` provides it."""

    def __iter__(self) -> Iterator[Recipient]: ...

    def onBegin(self, f: Callable[[Any], object]) -> Callable[[], None]:
        """As `Roster.onBegin`."""

    def onEnd(self, f: Callable[[Any], object]) -> Callable[[], None]:
        """As `Roster.onEnd`."""
