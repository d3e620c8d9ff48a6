"""
New parameters for a realm that is running.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from pbkit.errors import ConfigError, Kicked, LoginRefused, TooManySessions
from pbkit.sessions.login.admission import Admit, Policy, Refuse
from pbkit.sessions.parameters import bind, parametersOf
from pbkit.sessions.roster import Candidate, Place, Roster
from pbkit.sessions.session import Session

#: What the clients whose sessions end because of it are told.
CHANGED = "the limits on sessions were changed"


class ReconfigurableRealm(Protocol):
    """What a change of parameters needs of a realm."""

    @property
    def fixed(self) -> frozenset[str]: ...

    def makePolicy(self) -> Policy:
        """As `Realm.makePolicy`."""


def reconfigured(realm: ReconfigurableRealm, given: Mapping[str, Any]) -> Policy:
    """
    Set parameters of a realm; the others keep their values.

    :param given: the values by name. For those in the realm's `fixed` only the present value is accepted.
    :return: the policy that the realm makes of them.
    :raises ConfigError: a value is invalid; then nothing changes.
    """
    old = {name: getattr(realm, name) for name in parametersOf(type(realm))}
    for name, value in given.items():
        if name in realm.fixed and value != old.get(name, value):
            raise ConfigError(f"{name}={value}: {name} cannot be changed while the realm is running")
    try:
        bind(realm, {**old, **given})
        policy = realm.makePolicy()
    except BaseException:
        bind(realm, old)
        raise
    return policy


def enforce(roster: Roster[Session], policy: Policy) -> tuple[str, ...]:
    """
    Kick the sessions that would not be admitted now.

    Each session is treated as a new login, the newest first, in a roster that holds only the sessions that have passed
    so far. So the newest stay and the oldest end, as with ``kick``; a session that a policy wants to probe ends without
    a probe. A pending login that does not pass is refused when it completes. A session that is about to be replaced is
    left alone.

    :return: the ids of the sessions that were kicked, oldest login first.
    :raises Exception: the policy raised it; no session is kicked then.
    """
    kept: Roster[Session] = Roster()
    going: list[tuple[Place, LoginRefused]] = []
    for place in reversed(tuple(roster.view.everyone())):
        decision = policy(kept.view, _again(place))
        if isinstance(decision, Admit) and not decision.ending:
            twin = kept.reserve(place.avatarId, place.peerId, (), place.program)
            twin.session = place.session
        else:
            going.append((place, decision.error if isinstance(decision, Refuse) else TooManySessions(CHANGED)))
    ended = []
    for place, refusal in reversed(going):
        if place.session is None:
            place.refusal = refusal
        elif place.session.endedWith is None:
            ended.append(place.session.sessionId)
            place.session.kick(Kicked, CHANGED)
    return tuple(ended)


def _again(place: Place) -> Candidate:
    """Return the login that holds a place as the policy saw it."""
    if place.candidate is not None:
        return place.candidate
    peer = None if place.session is None else place.session.peer
    if peer is None:
        return Candidate(place.avatarId, place.peerId)
    return Candidate(place.avatarId, place.peerId, peer.address, peer.hello)
