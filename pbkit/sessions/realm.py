"""
`Realm`: what users override, and what portals and servers call.
"""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.cred.checkers import ANONYMOUS
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.spread import pb
from zope.interface import implementer

from pbkit.errors import (
    AnonymousRefused,
    BadAvatarId,
    ConfigError,
    LoginRefused,
    ServerStopping,
    Shutdown,
)
from pbkit.interfaces import ISessionRealm
from pbkit.sessions.counters import Counters
from pbkit.sessions.expiry import Sweep
from pbkit.sessions.goodbye import ALWAYS, MODES
from pbkit.sessions.lifecycle import GUESTS, Lease, Lifecycle, PerLogin
from pbkit.sessions.login.admission import Admit, Policy, allOf
from pbkit.sessions.login.arbitration import Arbitration
from pbkit.sessions.login.entrance import Entrance
from pbkit.sessions.messaging.broadcast import Summary
from pbkit.sessions.messaging.hub import Hall
from pbkit.sessions.messaging.presence import Presence
from pbkit.sessions.messaging.slowpolicy import Policy as Slow
from pbkit.sessions.messaging.topics import Topic
from pbkit.sessions.operations import Operated, Operations
from pbkit.sessions.parameters import bind, param
from pbkit.sessions.reconfigure import enforce, reconfigured
from pbkit.sessions.roster import Roster
from pbkit.sessions.sharedcall import MaybeDeferred, Returned, started, then
from pbkit.sessions.stocklogin import loginOf


@implementer(IRealm, ISessionRealm)
class Realm(Operated):
    """
    The base of all realms: a new avatar for each login, and no limit. Used in three ways::

        CachingRealm(Player)

        class GameRealm(CachingRealm):
            avatarClass = Player

        class GameRealm(CachingRealm):
            async def buildAvatar(self, avatarId):
                return Player(avatarId, await load(avatarId))

    :param avatarClass: called with the avatar id to make an avatar.
    :param clock: for deadlines and lingering. By default that of the connection that logs in.
    :param anonymous: the `AnonymousRealm` that serves log-ins without a name; without one they are refused.
    :param admission: a policy of one's own, asked after the realm's.
    :param slow: what is done for clients that do not keep up with what they are told, such as `pbkit.kickAfter(30)`; by
        default `pbkit.dropOldest()`.
    :param parameters: those that the class declares, see `pbkit.sessions.parameters.parametersOf`.
    :raises ConfigError: a parameter that there is not, or a value that cannot be.
    """

    avatarClass: Any = None
    slow: Slow | None = None  #: What is done for clients that do not keep up.
    goodbye: str = param(
        ALWAYS,
        "which clients are told why the server ends their session: always all; those that declared it; never any",
        choices=MODES,
    )
    idleTimeout: float = param(0.0, "end a session that has made no call for so many seconds; 0 never does", minimum=0)
    maxSessionAge: float = param(0.0, "end a session so many seconds after its login; 0 never does", minimum=0)
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
        slow: Slow | None = None,
        **parameters: Any,
    ) -> None:
        bind(self, parameters)
        if avatarClass is not None:
            self.avatarClass = avatarClass
        if anonymous is not None and not (isinstance(anonymous, Realm) and anonymous.takesAnonymous):
            raise ConfigError(f"anonymous={anonymous!r}: it takes an AnonymousRealm(…)")
        if self.avatarClass is None and hasattr(type(self).buildAvatar, "needsAvatarClass"):
            raise ConfigError(f"{type(self).__name__} needs an avatarClass, or a buildAvatar of its own")
        self.clock = clock
        self.anonymous = anonymous
        self.roster = Roster()
        self.counters = Counters()
        self.hall = Hall(slow=slow or type(self).slow)
        self.hall.add(self)
        if anonymous is not None:
            # Guests are told what all are told, in the same order.
            self.hall.add(anonymous)
            anonymous.hall = self.hall
        self.lifecycle = self.makeLifecycle()
        self._admission = () if admission is None else (admission,)
        self._entrance = Entrance(self, Arbitration(self.roster, allOf(self.makePolicy(), *self._admission)))
        self._operations = Operations(self)
        self._sweep = Sweep(self)

    # What subclasses say.

    def makeLifecycle(self) -> Lifecycle:
        """How long avatars live; called once."""
        return PerLogin()

    def makePolicy(self) -> Policy:
        """Who may be in; called once, and again when the parameters change."""
        return lambda view, candidate: Admit()

    def buildAvatar(self, avatarId: str) -> Any:
        """
        Make an avatar. Override it to make one in your own way; it may be async. It has 30 s.

        What it raises is logged, and the client gets `LoginUnavailable`; a `pb.Error` or one of cred's errors
        refuses the login with its text.

        :param avatarId: a str.
        """
        return self.avatarClass(avatarId)

    buildAvatar.needsAvatarClass = True  # type: ignore[attr-defined]

    @property
    def takesAnonymous(self) -> bool:
        """Whether log-ins without a name are served."""
        return self.anonymous is not None

    def identify(self, avatarId: object) -> str:
        """
        The avatar id of a login, as text.

        :param avatarId: as the checker gave it.
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
            raise BadAvatarId("user names of this form are kept for guests")
        return avatarId

    def acquire(self, avatarId: str, clock: IReactorTime | None) -> Returned[Lease]:
        """Provide the avatar for one login; may be asynchronous, as `Lifecycle.acquire`."""
        return self.lifecycle.acquire(avatarId, self.built, clock)

    def built(self, avatarId: str, *model: Any) -> MaybeDeferred[Any]:
        """
        Call `buildAvatar`, and check its result: only an avatar may be cached.

        :raises TypeError: `buildAvatar` returned something else.
        """
        return then(started(self.buildAvatar(avatarId, *model)), _checked)

    # What avatars say.

    def topic(self, name: str) -> Topic:
        """
        A named group of sessions, to be joined and told things.

        :param name: of up to 256 characters.
        :raises Error: it is not that.
        """
        return Topic(self.hall.topics, name)

    @property
    def presence(self) -> Presence:
        """Who is here, guests too, for clients that watch it and for the server itself."""
        return self.hall.presence

    def tell(self, method: str, *args: Any, **kw: Any) -> Deferred[Summary]:
        """
        Call ``remote_<method>`` of everybody's mind, guests too, and ask for no answer. Of a large audience some are
        told in later turns of the reactor, for at most 5 ms each; nobody's order of things told changes by that.

        :param except_: a session, or some, not to be told.
        :param pbslow: what to do for those who do not keep up, see `Mind.tell`.
        :return: a Deferred of a `Summary`, once all have had their turn. It fails with what is wrong with the
            arguments, if they cannot be sent.
        :raises TypeError: `except_` is something else.
        """
        return self.hall.telling.tell(self.hall.everyone(), method, args, kw)

    def ask(self, method: str, *args: Any, **kw: Any) -> Deferred[dict[str, Any]]:
        """
        Call ``remote_<method>`` of everybody's mind, guests too, and gather the answers.

        :param pbtimeout: the deadline for all of it, in seconds; 30 by default, None is without one.
        :param except_: as for `tell`.
        :param pbslow: as for `tell`.
        :return: a Deferred of a dict by session id: an answer, or the `Failure` of who has given none, as `Mind.ask`
            fails. It does not fail.
        """
        return self.hall.telling.ask(self.hall.everyone(), method, args, kw)

    # What portals and servers say.

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Deferred[Any]:
        """
        `IRealm`: begin a session.

        :param mind: an `ILogin`, or a raw mind as under a stock factory.
        :return: a Deferred of ``(IPerspective, session, logout)``; it fails with a `LoginRefused`.
        :raises NotImplementedError: `pb.IPerspective` is not among the interfaces.
        """
        if pb.IPerspective not in interfaces:
            raise NotImplementedError(f"{type(self).__name__} serves pb.IPerspective only")
        if avatarId == ANONYMOUS and self.anonymous is not None:
            return self.anonymous.requestAvatar(avatarId, mind, *interfaces)
        return self._entrance.enter(avatarId, loginOf(mind))

    def checkBans(self, avatarId: str | None, address: IAddress | None) -> None:
        """
        Look whether a user or an address is banned.

        :raises LoginBanned: one is.
        """
        bans = self._operations.bans
        if bans:
            bans.check(avatarId, address)

    def loginRefused(self, error: LoginRefused) -> None:
        """`ISessionRealm`: count a refusal."""
        self.counters.refusals[type(error).__name__] += 1

    def reconfigure(self, *, now: bool = False, **parameters: Any) -> tuple[str, ...]:
        """
        Change parameters: for newcomers, or for everybody `now`, see `enforce`. `idleTimeout` and `maxSessionAge` are
        for all anyway.

        :return: the ids of the sessions that were ended.
        :raises ConfigError: one cannot be, or not while the realm is at work; nothing is changed.
        """
        self._entrance.arbitration.policy = allOf(reconfigured(self, parameters), *self._admission)
        self._sweep.limitsChanged()
        return self.enforce() if now else ()

    def enforce(self) -> tuple[str, ...]:
        """
        Kick the sessions that would not be let in now: of those that are too many the oldest. Guests are the affair of
        the anonymous realm.

        :return: their ids.
        :raises Exception: what a policy of the user's raises; nobody is kicked then.
        """
        return enforce(self.roster, self._entrance.arbitration.policy)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._entrance.refusing is ServerStopping

    def close(self, timeout: float = 5.0) -> Deferred[None]:
        """
        No newcomers from now on, and every session ends with `Shutdown`.

        :param timeout: how long `detached` hooks may take, in seconds; without a clock, as long as they like.
        :return: a Deferred that fires when the hooks are done or the time is up; never fails.
        """
        entrance = self._entrance
        entrance.refuse(ServerStopping)
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


def _checked(avatar: Any) -> Any:
    if not pb.IPerspective.providedBy(avatar):
        raise TypeError(f"buildAvatar returned {avatar!r}, not a pbkit.Avatar or pb.Avatar")
    return avatar
