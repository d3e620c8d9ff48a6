"""
`Realm`: what users override, and what portals and servers call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

from twisted.cred.checkers import ANONYMOUS
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.spread import pb
from zope.interface import implementer

from pbkit.errors import (
    AnonymousRefused,
    BadAvatarId,
    ConfigError,
    Draining,
    Kicked,
    LoginRefused,
    ServerStopping,
    SessionEnded,
    Shutdown,
)
from pbkit.interfaces import IPeer, ISessionRealm
from pbkit.sessions.avatarclass import checkFactory, checkHooks
from pbkit.sessions.bans import Ban
from pbkit.sessions.counters import Counters
from pbkit.sessions.expiry import Expiry
from pbkit.sessions.goodbye import ALWAYS, MODES
from pbkit.sessions.lifecycle import GUESTS, Lease, Lifecycle, PerLogin
from pbkit.sessions.login.admission import Admit, Policy, allOf
from pbkit.sessions.login.arbitration import Arbitration
from pbkit.sessions.login.entrance import Entrance
from pbkit.sessions.login.refusals import callFitting
from pbkit.sessions.messaging.delivery import Answers, Summary
from pbkit.sessions.messaging.hub import Hub
from pbkit.sessions.messaging.mind import notPickled
from pbkit.sessions.messaging.presence import Presence
from pbkit.sessions.messaging.slowpolicy import Policy as SlowPolicy
from pbkit.sessions.messaging.topics import Topic
from pbkit.sessions.operations import Operations
from pbkit.sessions.parameters import bind, param
from pbkit.sessions.reconfigure import enforce, reconfigured
from pbkit.sessions.roster import Roster
from pbkit.sessions.session import Session
from pbkit.sessions.sharedcall import MaybeDeferred, Returned, started, then
from pbkit.sessions.stocklogin import loginOf


@implementer(IRealm, ISessionRealm)
class Realm:
    """
    The base of all realms: a new avatar for each login, and no limit. There are three ways to use it::

        CachingRealm(Player)

        class GameRealm(CachingRealm):
            avatarClass = Player

        class GameRealm(CachingRealm):
            async def buildAvatar(self, avatarId):
                return Player(avatarId, await load(avatarId))

    :param avatarClass: called with the avatar id to make an avatar.
    :param clock: for deadlines and lingering. By default the clock of the first connection that logs in.
    :param anonymous: the `AnonymousRealm` that serves anonymous logins; without one they are refused.
    :param admission: an admission policy of your own, asked after the realm's.
    :param slow: the policy for slow consumers, for example `pbkit.kickAfter(30)`; by default `pbkit.dropOldest()`.
    :param parameters: those that the class declares; see `pbkit.sessions.parameters.parametersOf`.
    :raises ConfigError: an unknown parameter, or an invalid value.

    A subclass may set any of these as an attribute of the class.
    """

    avatarClass: Any = None
    #: The arguments with which `buildAvatar` calls `avatarClass`.
    avatarArguments: ClassVar[tuple[str, ...]] = ("avatarId",)
    clock: IReactorTime | None = None
    anonymous: Realm | None = None  #: The realm of anonymous logins.
    admission: ClassVar[Policy | None] = None  #: A policy of your own, asked after the realm's.
    slow: ClassVar[SlowPolicy | None] = None  #: The policy for slow consumers.
    goodbye: str = param(
        ALWAYS,
        "which clients are told why the server ends their session: always all; those that declared it; never any",
        choices=MODES,
    )
    idleTimeout: float = param(0.0, "end a session after this many seconds without a call; 0 sets no limit", minimum=0)
    maxSessionAge: float = param(0.0, "end a session this many seconds after its login; 0 sets no limit", minimum=0)
    hooks: ClassVar[bool] = True  #: Whether avatars are told of their clients, and sessions keep a mind.
    allow: ClassVar[frozenset[Any]] = frozenset()  #: The classes that clients may send, as `ServerFactory` takes them.
    fixed: ClassVar[frozenset[str]] = frozenset({"linger"})  #: The parameters that `reconfigure` cannot change.

    def __init__(
        self,
        avatarClass: Any = None,
        *,
        clock: IReactorTime | None = None,
        anonymous: Realm | None = None,
        admission: Policy | None = None,
        slow: SlowPolicy | None = None,
        **parameters: Any,
    ) -> None:
        bind(self, parameters)
        if avatarClass is not None:
            self.avatarClass = avatarClass
        # Each of these may also be an attribute of the class. Look there rather than at `self`, where a function
        # would be a method.
        clock = type(self).clock if clock is None else clock
        anonymous = type(self).anonymous if anonymous is None else anonymous
        admission = type(self).admission if admission is None else admission
        slow = type(self).slow if slow is None else slow
        if anonymous is not None and not (isinstance(anonymous, Realm) and anonymous.takesAnonymous):
            raise ConfigError(f"invalid anonymous {anonymous!r}: expected an AnonymousRealm(…)")
        if hasattr(type(self).buildAvatar, "needsAvatarClass"):
            if self.avatarClass is None:
                raise ConfigError(f"{type(self).__name__} needs an avatarClass, or a buildAvatar of its own")
            checkFactory(type(self).__name__, "avatarClass", self.avatarClass, self.avatarArguments)
        if self.hooks and isinstance(self.avatarClass, type):
            checkHooks(self.avatarClass)
        self.clock = clock
        self.anonymous = anonymous
        self.roster: Roster[Session] = Roster()
        self.counters = Counters()
        self.hub = Hub(slow=slow)
        self.hub.add(self)
        if anonymous is not None:
            # Guests and users are told the same things in the same order, so they share a hub.
            self.hub.add(anonymous)
            anonymous.hub = self.hub
        self.lifecycle = self.makeLifecycle()
        self._admission = () if admission is None else (admission,)
        self._entrance = Entrance(self, Arbitration(self.roster, allOf(self.makePolicy(), *self._admission)))
        self.operations = Operations(self, self._entrance.refuse)
        self._expiry = Expiry(self)

    def __reduce__(self) -> NoReturn:
        """
        Refuse to be pickled or copied.

        :raises TypeError: always.
        """
        raise TypeError(notPickled("Realm"))

    # For subclasses.

    def makeLifecycle(self) -> Lifecycle:
        """Return how long avatars live; called once."""
        return PerLogin()

    def makePolicy(self) -> Policy:
        """Return the admission policy; called once, and again when the parameters change."""
        return lambda view, candidate: Admit()

    def buildAvatar(self, avatarId: str) -> Any:
        """
        Make an avatar. Override it to make one in your own way; it may be async. It has 30 s.

        An exception in it is logged, and the client gets `LoginUnavailable`; a `pb.Error` or one of cred's errors
        refuses the login with its text.

        :param avatarId: a str.
        """
        return callFitting(self.avatarClass, avatarId)

    buildAvatar.needsAvatarClass = True  # type: ignore[attr-defined]

    @property
    def takesAnonymous(self) -> bool:
        """Whether anonymous logins are served."""
        return self.anonymous is not None

    def identify(self, avatarId: object) -> str:
        """
        Return the avatar id of a login as text.

        :param avatarId: as the checker returned it.
        :raises LoginRefused: it cannot be served.
        """
        if avatarId == ANONYMOUS:
            raise AnonymousRefused()
        if isinstance(avatarId, bytes):
            try:
                avatarId = avatarId.decode("utf-8")
            except UnicodeDecodeError:
                raise BadAvatarId("a user name must be UTF-8") from None
        if not isinstance(avatarId, str) or not avatarId:
            raise BadAvatarId()
        if GUESTS.match(avatarId):
            raise BadAvatarId("user names of this form are reserved for guests")
        return avatarId

    def acquire(self, avatarId: str, clock: IReactorTime | None) -> Returned[Lease]:
        """Provide the avatar for one login; may be asynchronous, as `Lifecycle.acquire`."""
        return self.lifecycle.acquire(avatarId, self.built, clock)

    def built(self, avatarId: str, *model: Any) -> MaybeDeferred[Any]:
        """
        Call `buildAvatar`, and check its result: only an avatar may be cached.

        :raises Misfit: `buildAvatar` or the avatar class cannot be called.
        :raises TypeError: `buildAvatar` returned something else.
        """
        return then(started(callFitting(self.buildAvatar, avatarId, *model)), self._checked)

    def _checked(self, avatar: object) -> object:
        if not pb.IPerspective.providedBy(avatar):
            raise TypeError(f"buildAvatar returned {avatar!r}: expected a pbkit.Avatar or pb.Avatar")
        if self.hooks:
            checkHooks(type(avatar))
        return avatar

    # For avatars.

    def topic(self, name: str) -> Topic:
        """
        Return a named group of sessions, which sessions join to be told things.

        :param name: of 1 to 256 characters.
        :raises Error: it is not that.
        """
        return Topic(self.hub.topics, name)

    @property
    def presence(self) -> Presence:
        """Who is logged in, guests included, for clients that watch it and for the server itself."""
        return self.hub.presence

    def tell(self, method: str, *args: object, **kw: object) -> Deferred[Summary]:
        """
        Call ``remote_<method>`` of all clients' minds, guests included, and ask for no answer. Some clients of a large
        audience are told in later turns of the reactor, each of which takes at most 5 ms. The order of messages to one
        client is always that of telling.

        :param except_: a session that is not told, or several.
        :param pbslow: what to do for slow consumers; see `Mind.tell`.
        :return: a Deferred of a `Summary` that fires when all clients have had their turn. It fails if the arguments
            cannot be sent.
        :raises TypeError: `except_` is something else.
        """
        return self.hub.telling.tell(self.hub.everyone(), method, args, kw)

    def ask(self, method: str, *args: object, **kw: object) -> Deferred[Answers]:
        """
        Call ``remote_<method>`` of all clients' minds, guests included, and collect the answers.

        :param pbtimeout: the deadline for all answers, in seconds; 30 by default, None sets none.
        :param except_: as for `tell`.
        :param pbslow: as for `tell`.
        :return: a Deferred of a dict by session id, with the answer of each client, or the `Failure` with which
            `Mind.ask` would fail. It never fails.
        """
        return self.hub.telling.ask(self.hub.everyone(), method, args, kw)

    # For portals and servers.

    def requestAvatar(self, avatarId: object, mind: object, *interfaces: object) -> Deferred[Any]:
        """
        Begin a session, as `IRealm` has it.

        :param mind: an `ILogin`, or a raw mind as under a stock factory.
        :return: a Deferred of ``(IPerspective, session, logout)``; it fails with a `LoginRefused`.
        :raises NotImplementedError: `pb.IPerspective` is not among the interfaces.
        """
        if pb.IPerspective not in interfaces:
            raise NotImplementedError(f"{type(self).__name__} serves pb.IPerspective only")
        if avatarId == ANONYMOUS and self.anonymous is not None:
            return self.anonymous.requestAvatar(avatarId, mind, *interfaces)
        return self._entrance.enter(avatarId, loginOf(mind))

    def checkBans(self, avatarId: str | None, peer: IPeer | None) -> None:
        """
        Check whether a user or the address of a connection is banned.

        :raises LoginBanned: one is.
        """
        bans = self.operations.bans
        if bans:
            bans.check(avatarId, None if peer is None else peer.address)

    def loginRefused(self, error: LoginRefused) -> None:
        """Count a refusal, as `ISessionRealm` has it."""
        self.counters.refusals[type(error).__name__] += 1

    # For operators: see `Operations`.

    def kick(
        self,
        reason: type[SessionEnded] = Kicked,
        detail: str = "",
        *,
        sessionId: str | None = None,
        avatarId: str | None = None,
        address: object = None,
        where: Callable[[Session], object] | None = None,
    ) -> Deferred[list[str]]:
        """
        Kick sessions, including those of the anonymous realm: see `Session.kick`. All have ended when this returns.

        Pass at least one keyword. With several, a session is kicked if all of them match.

        :param sessionId: the id of one session.
        :param avatarId: all sessions of a user.
        :param address: an `IAddress`, an IP address, or a network such as ``192.0.2.0/24``.
        :param where: called with each session; returns true for the sessions to kick. If it raises, no session is
            kicked.
        :return: a Deferred of the session ids that fires when these clients are out; it never fails.
        :raises TypeError: no keyword was passed, or the reason is not a `SessionEnded`.
        :raises ConfigError: invalid address.
        """
        return self.operations.kick(
            reason, detail, sessionId=sessionId, avatarId=avatarId, address=address, where=where
        )

    def ban(
        self, seconds: float, reason: str = "", *, avatarId: str | None = None, address: object = None
    ) -> Deferred[list[str]]:
        """
        Refuse logins with `LoginBanned`, and kick the sessions that match with `Banned`. Bans are kept in memory, at
        most 10,000; above that the ban that ends soonest is forgotten.

        :param seconds: how long the ban lasts from now on. It replaces an earlier ban of the same user or address.
        :param reason: a sentence for people, which banned clients are told.
        :param avatarId: a user. Guests have a new avatar id at each login, so ban their address.
        :param address: an `IAddress`, an IP address, or a network such as ``192.0.2.0/24``; guests are banned too.
        :return: a Deferred of the ids of the kicked sessions that fires when their clients are out; it never fails.
        :raises TypeError: not exactly one of the two was passed, or an argument is not a str.
        :raises ConfigError: invalid address or time, or the avatar id of a guest.
        """
        return self.operations.ban(seconds, reason, avatarId=avatarId, address=address)

    def unban(self, *, avatarId: str | None = None, address: object = None) -> bool:
        """
        Lift a ban. A host stays banned while a network that contains it is banned.

        :return: whether there was such a ban.
        :raises ConfigError: invalid address.
        """
        return self.operations.unban(avatarId=avatarId, address=address)

    @property
    def bans(self) -> tuple[Ban, ...]:
        """The bans that are in force."""
        return tuple(self.operations.bans)

    def drain(self, seconds: float, reason: type[SessionEnded] = Draining, detail: str = "") -> Deferred[None]:
        """
        Let all clients go. New logins are refused with `ServerDraining` from now on. Every client is told goodbye. Its
        session ends at once; or, if calls of it are being served, when these have been answered, and new calls are
        answered with the reason. When the time is up, the remaining sessions end and their connections are aborted.

        :param seconds: the time for all of it. Connections that are aborted have half a second more.
        :param detail: a sentence for people.
        :return: a Deferred that fires, with None, when all clients are out; it never fails.
        :raises TypeError: the reason is not a `SessionEnded`.
        :raises ConfigError: invalid time.
        """
        return self.operations.drain(seconds, reason, detail)

    def reconfigure(self, *, now: bool = False, **parameters: Any) -> tuple[str, ...]:
        """
        Change parameters: for new logins, or with `now` for existing sessions too, see `enforce`. `idleTimeout` and
        `maxSessionAge` always apply to existing sessions.

        :return: the ids of the sessions that were ended.
        :raises ConfigError: a value is invalid, or cannot be changed while the realm is running; nothing is changed.
        """
        self._entrance.arbitration.policy = allOf(reconfigured(self, parameters), *self._admission)
        self._expiry.limitsChanged()
        return self.enforce() if now else ()

    def enforce(self) -> tuple[str, ...]:
        """
        Kick the sessions that would not be admitted now: where there are too many, the oldest. Guests are not
        considered; the anonymous realm has its own `enforce`.

        :return: their ids.
        :raises Exception: a policy of yours raised it; no session is kicked then.
        """
        with self.hub.endingSeveral(self.roster):
            return enforce(self.roster, self._entrance.arbitration.policy)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._entrance.refusing is ServerStopping

    def close(self, timeout: float = 5.0) -> Deferred[None]:
        """
        Refuse new logins from now on, and end every session with `Shutdown`.

        :param timeout: how many seconds `detached` hooks may take; without a clock there is no limit.
        :return: a Deferred that fires when the hooks have returned or the time is up; it never fails.
        """
        entrance = self._entrance
        entrance.refuse(ServerStopping)
        with self.hub.endingSeveral(self.roster):
            for session in self.roster:
                session.end(Shutdown)
        self.lifecycle.close()
        waiting = entrance.leaving()
        if self.anonymous is not None:
            waiting.append(self.anonymous.close(timeout))
        done: Deferred[Any] = DeferredList(waiting, consumeErrors=True)
        if self.clock is not None:
            done.addTimeout(timeout, self.clock, lambda result, timeout: None)
        return done.addCallback(lambda _: None)
