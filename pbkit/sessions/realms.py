"""
The named realms: each picks a lifecycle and an admission policy, and leaves one thing to the user.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pbkit.sessions.clock import LONGEST, SHORTEST, ClockAvatar
from pbkit.sessions.lifecycle import Cached, Disposable, Lease, Lifecycle, Lingering
from pbkit.sessions.login.admission import CONFLICTS, HANDOVERS, Policy, Rule, atMost, perAvatar, total
from pbkit.sessions.parameters import PerUser, forUser, param
from pbkit.sessions.realm import Realm
from pbkit.sessions.sharedcall import MaybeDeferred, started, then


class CachingRealm(Realm):
    """
    Same player, same avatar: one avatar for each avatar id, whoever logs in how often.
    """

    linger: float = param(0.0, "drop an avatar that many seconds after its last session ended; 0 keeps it", minimum=0)

    def makeLifecycle(self) -> Lifecycle:
        """Cached, or lingering."""
        return Lingering(self.linger) if self.linger else Cached()


class ClientlessRealm(CachingRealm):
    """
    The avatar is oblivious of its clients: no hook is called, no mind is kept.
    """

    hooks = False


class PerConnectionRealm(Realm):
    """
    A new avatar for each login, over a model that all log-ins of an avatar id share.

    Override `buildModel` and `buildAvatar`, or set `modelClass` and `avatarClass`.
    """

    #: Called with the avatar id to make a model.
    modelClass: Any = None
    linger: float = param(0.0, "drop a model that many seconds after its last session ended; 0 keeps it", minimum=0)

    def __init__(self, avatarClass: Any = None, modelClass: Any = None, **kw: Any) -> None:
        if modelClass is not None:
            self.modelClass = modelClass
        super().__init__(avatarClass, **kw)
        self.models = Lingering(self.linger) if self.linger else Cached()

    def buildModel(self, avatarId: str) -> Any:
        """
        Make the model of an avatar id; may be async. By default an object of `modelClass`, or without
        one a namespace with an `avatarId` to which anything can be added.
        """
        return SimpleNamespace(avatarId=avatarId) if self.modelClass is None else self.modelClass(avatarId)

    def buildAvatar(self, avatarId: str, model: Any = None) -> Any:
        """Make an avatar over a model; may be async. By default ``avatarClass(avatarId, model)``."""
        return self.avatarClass(avatarId, model)

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
        """As `Realm.close`."""
        self.models.close()
        return super().close(timeout)


class LimitedRealm(CachingRealm):
    """
    At most so many sessions of one user at a time.

    `max` and `conflict` may depend on the user: each takes a table, ``{"default": 1, "alice": 5}``, or a function of
    the avatar id. The function for `max` may return the conflict rule as well: ``lambda avatarId: (5, "kick")``. A
    rule that a function returns may be one such as ``probe(3.0)``, too.
    """

    max: PerUser[int] = param(3, "how many sessions one user may have at a time", minimum=1, perUser=True)
    conflict: PerUser[str] = param(
        "refuse",
        "one too many: refuse him, kick the oldest, or probe and kick one that does not answer",
        choices=tuple(CONFLICTS),
        perUser=True,
    )
    handover: str = param(
        "before",
        "one who replaces another gets the avatar before that one goes, or after he is out, for exclusive avatars",
        choices=HANDOVERS,
    )

    def makePolicy(self) -> Policy:
        """So many for each avatar id."""
        return perAvatar(_limit(self.max, self.conflict, self.handover))


class SingleClientRealm(CachingRealm):
    """
    One client at a time: refuse the second, kick the first, or probe the first and kick it if it is dead.

    `conflict` may depend on the user, as that of `LimitedRealm`.
    """

    conflict: PerUser[str] = param(
        "refuse",
        "a second client: refuse him, kick the first, or probe the first and kick it if it does not answer",
        choices=tuple(CONFLICTS),
        perUser=True,
    )
    handover: str = param(
        "before",
        "a second client gets the avatar before the first goes, or after he is out, for avatars that own something",
        choices=HANDOVERS,
    )

    def makePolicy(self) -> Policy:
        """One for each avatar id."""
        return perAvatar(_limit(1, self.conflict, self.handover))


def _limit(limit: PerUser[int], conflict: PerUser[str], handover: str) -> Rule:
    """A rule whose limit and conflict rule may depend on the avatar id."""
    if isinstance(limit, int) and isinstance(conflict, str):
        return atMost(limit, conflict, handover)

    def limitOf(avatarId: str) -> Any:
        most = forUser(limit, avatarId)
        return most if isinstance(most, tuple) else (most, forUser(conflict, avatarId))

    return atMost(limitOf, handover=handover)


class MultiClientRealm(CachingRealm):
    """
    One avatar and all its clients at a time: they are in ``avatar.sessions``, to be told what happens.
    """


class AnonymousRealm(Realm):
    """
    A disposable, numbered avatar for each login: nobody affects another. Serves a whole service, whatever name
    a client came with; or only the log-ins without a name, when given to another realm as ``anonymous=``.
    """

    max: int = param(0, "how many sessions at a time; 0 is without a limit", minimum=0)

    def makeLifecycle(self) -> Lifecycle:
        """Disposable."""
        return Disposable()

    def makePolicy(self) -> Policy:
        """A cap, if there is one."""
        return total(atMost(self.max)) if self.max else super().makePolicy()

    @property
    def takesAnonymous(self) -> bool:
        """Always."""
        return True

    def identify(self, avatarId: object) -> str:
        """The next number, whoever asks."""
        assert isinstance(self.lifecycle, Disposable)
        return self.lifecycle.nextId()


class ClockRealm(Realm):
    """
    Tells each client the time, on the mind that it sent: ``notifyTime(seconds)``; ``setperiod(seconds)`` sets how
    often. Stops when the session ends.
    """

    avatarClass = ClockAvatar
    period: float = param(1.0, "how often, in seconds", minimum=SHORTEST, maximum=LONGEST)

    def buildAvatar(self, avatarId: str) -> Any:
        """A clock with the realm's period."""
        return self.avatarClass(avatarId, self.period)


#: The realms by the name that ``--realm`` knows them by.
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
