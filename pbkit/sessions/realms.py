"""
The named realms. Each picks a lifecycle and an admission policy, and leaves one thing to the user.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pbkit.sessions.avatarclass import checkFactory
from pbkit.sessions.clock import LONGEST, SHORTEST, ClockAvatar
from pbkit.sessions.lifecycle import Cached, Disposable, Lease, Lifecycle, Lingering
from pbkit.sessions.login.admission import CONFLICTS, HANDOVERS, Policy, Rule, atMost, perAvatar, total
from pbkit.sessions.login.refusals import callFitting
from pbkit.sessions.parameters import PerUser, forUser, param
from pbkit.sessions.realm import Realm
from pbkit.sessions.sharedcall import MaybeDeferred, started, then


class CachingRealm(Realm):
    """
    Same player, same avatar: one avatar for each avatar id, shared by all of its sessions.
    """

    linger: float = param(0.0, "drop an avatar that many seconds after its last session ended; 0 keeps it", minimum=0)

    def makeLifecycle(self) -> Lifecycle:
        """Cache avatars, for ever or for `linger` seconds."""
        return Lingering(self.linger) if self.linger else Cached()


class ClientlessRealm(CachingRealm):
    """
    The avatar is unaware of its clients: no hook is called, and no mind is kept.
    """

    hooks = False


class PerConnectionRealm(Realm):
    """
    A new avatar for each login, over a model that all logins of an avatar id share.

    Override `buildModel` and `buildAvatar`, or set `modelClass` and `avatarClass`.
    """

    avatarArguments = ("avatarId", "model")
    #: Called with the avatar id to make a model.
    modelClass: Any = None
    linger: float = param(0.0, "drop a model that many seconds after its last session ended; 0 keeps it", minimum=0)

    def __init__(self, avatarClass: Any = None, modelClass: Any = None, **kw: Any) -> None:
        if modelClass is not None:
            self.modelClass = modelClass
        super().__init__(avatarClass, **kw)
        if self.modelClass is not None and type(self).buildModel is PerConnectionRealm.buildModel:
            checkFactory(type(self).__name__, "modelClass", self.modelClass, ("avatarId",))
        self.models = Lingering(self.linger) if self.linger else Cached()

    def buildModel(self, avatarId: str) -> Any:
        """
        Make the model of an avatar id; may be async. By default an object of `modelClass`, or without a class a
        namespace with an `avatarId`, to which you can add attributes.
        """
        if self.modelClass is None:
            return SimpleNamespace(avatarId=avatarId)
        return callFitting(self.modelClass, avatarId)

    def buildAvatar(self, avatarId: str, model: Any = None) -> Any:
        """Make an avatar over a model; may be async. By default ``avatarClass(avatarId, model)``."""
        return callFitting(self.avatarClass, avatarId, model)

    buildAvatar.needsAvatarClass = True  # type: ignore[attr-defined]

    def acquire(self, avatarId: str, clock: IReactorTime | None) -> MaybeDeferred[Lease]:
        """Provide the avatar for one login, with a hold on its model."""
        model = self.models.acquire(avatarId, self.buildModel, clock)
        return then(model, lambda model: self._acquireOver(model, avatarId, clock))

    def _acquireOver(self, model: Lease, avatarId: str, clock: IReactorTime | None) -> MaybeDeferred[Lease]:
        def failed(failure: Failure) -> Failure:
            model.release()
            return failure

        try:
            lease = started(self.lifecycle.acquire(avatarId, lambda name: self.built(name, model.avatar), clock))
        except BaseException:
            model.release()
            raise
        if isinstance(lease, Deferred):
            lease.addErrback(failed)
        return then(lease, lambda lease: Lease(lease.avatar, model.release))

    def close(self, timeout: float = 5.0) -> Any:
        """Close the realm, as `Realm.close`, and forget the models."""
        self.models.close()
        return super().close(timeout)


class LimitedRealm(CachingRealm):
    """
    A limit on the number of sessions of one user.

    `max` and `conflict` may depend on the user: each takes a table, ``{"default": 1, "alice": 5}``, or a function of
    the avatar id. The function for `max` may return the conflict rule as well: ``lambda avatarId: (5, "kick")``. A
    function may also return a rule such as ``probe(3.0)``.
    """

    max: PerUser[int] = param(3, "how many sessions one user may have at a time", minimum=1, perUser=True)
    conflict: PerUser[str] = param(
        "refuse",
        "above the limit: refuse the new login, kick the oldest, or probe and kick one that does not answer",
        choices=tuple(CONFLICTS),
        perUser=True,
    )
    handover: str = param(
        "before",
        "a new login gets the avatar before the session that it replaces ends, or after, for exclusive avatars",
        choices=HANDOVERS,
    )

    def makePolicy(self) -> Policy:
        """Limit the sessions of each avatar id."""
        return perAvatar(_limit(self.max, self.conflict, self.handover))


class SingleClientRealm(CachingRealm):
    """
    One client at a time: refuse the second, kick the first, or probe the first and kick it if it does not answer.

    `conflict` may depend on the user, as in `LimitedRealm`.
    """

    conflict: PerUser[str] = param(
        "refuse",
        "a second client: refuse it, kick the first, or probe the first and kick it if it does not answer",
        choices=tuple(CONFLICTS),
        perUser=True,
    )
    handover: str = param(
        "before",
        "a second client gets the avatar before the first session ends, or after, for exclusive avatars",
        choices=HANDOVERS,
    )

    def makePolicy(self) -> Policy:
        """Allow one session for each avatar id."""
        return perAvatar(_limit(1, self.conflict, self.handover))


def _limit(limit: PerUser[int], conflict: PerUser[str], handover: str) -> Rule:
    """Return a rule whose limit and conflict rule may depend on the avatar id."""
    if isinstance(limit, int) and isinstance(conflict, str):
        return atMost(limit, conflict, handover)

    def limitOf(avatarId: str) -> Any:
        most = forUser(limit, avatarId)
        return most if isinstance(most, tuple) else (most, forUser(conflict, avatarId))

    return atMost(limitOf, handover=handover)


class MultiClientRealm(CachingRealm):
    """
    One avatar for all clients of a user. Its sessions are in ``avatar.sessions``, and can be told what happens.
    """


class AnonymousRealm(Realm):
    """
    A disposable, numbered avatar for each login, isolated from the others. It serves a whole service, whatever name a
    client logs in with; or only anonymous logins, when it is passed to another realm as ``anonymous=``.
    """

    max: int = param(0, "how many sessions at a time; 0 sets no limit", minimum=0)

    def makeLifecycle(self) -> Lifecycle:
        """Give each login an avatar of its own."""
        return Disposable()

    def makePolicy(self) -> Policy:
        """Limit all sessions together, if there is a limit."""
        return total(atMost(self.max)) if self.max else super().makePolicy()

    @property
    def takesAnonymous(self) -> bool:
        """Always True."""
        return True

    def identify(self, avatarId: object) -> str:
        """Return the next number, for any name."""
        assert isinstance(self.lifecycle, Disposable)
        return self.lifecycle.nextId()


class ClockRealm(Realm):
    """
    Tells each client the time on its mind, with ``notifyTime(seconds)``. ``setperiod(seconds)`` on the avatar sets how
    often. It stops when the session ends.
    """

    avatarClass = ClockAvatar
    avatarArguments = ("avatarId", "period")
    period: float = param(1.0, "how often, in seconds", minimum=SHORTEST, maximum=LONGEST)

    def buildAvatar(self, avatarId: str) -> Any:
        """Make a clock with the realm's period."""
        return callFitting(self.avatarClass, avatarId, self.period)

    buildAvatar.needsAvatarClass = True  # type: ignore[attr-defined]


#: The realms by their ``--realm`` name.
NAMED: dict[str, type[Realm]] = {
    "clientless": ClientlessRealm,
    "caching": CachingRealm,
    "per-connection": PerConnectionRealm,
    "limited": LimitedRealm,
    "single": SingleClientRealm,
    "multi": MultiClientRealm,
    "anonymous": AnonymousRealm,
    "clock": ClockRealm,
}
