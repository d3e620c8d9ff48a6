"""
Other parameters for a realm that is at work.
"""

from __future__ import annotations

from typing import Any

from pbkit.errors import ConfigError, Kicked, LoginRefused, TooManySessions
from pbkit.sessions.login.admission import Admit, Policy, Refuse
from pbkit.sessions.parameters import bind, parametersOf
from pbkit.sessions.roster import Candidate, Place, Roster

#: What those are told who go because of it.
CHANGED = "who may be in was changed meanwhile"


def reconfigured(realm: Any, given: dict[str, Any]) -> Policy:
    """
    Bind other parameters to a realm; those that are not given stay.

    :param realm: a `Realm`.
    :param given: by name. One of the realm's `fixed` may only be given as it is.
    :return: the policy that the realm makes of them.
    :raises ConfigError: one cannot be; all are as they were, then.
    """
    old = {name: getattr(realm, name) for name in parametersOf(type(realm))}
    for name, value in given.items():
        if name in type(realm).fixed and value != old.get(name, value):
            raise ConfigError(f"{name}={value}: {name} cannot be changed while the realm is at work")
    try:
        bind(realm, {**old, **given})
        policy: Policy = realm.makePolicy()
    except BaseException:
        bind(realm, old)
        raise
    return policy


def enforce(roster: Roster, policy: Policy) -> tuple[str, ...]:
    """
    Kick the sessions that would not be let in now.

    Each is looked at as though it logged in anew, the newest first, with only those there that have been found to be
    right before it. So the newest stay and the oldest go, as with ``kick``; whom a probe would have to be asked about
    goes without one. A pending login that has no place among these is refused when it is through. One that is about to
    be replaced is left to that.

    :return: the ids of the sessions that were kicked, oldest login first.
    :raises Exception: whatever the policy raises; nobody is kicked then.
    """
    kept = Roster()
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
    """Who holds a place, as he was when he came."""
    if place.candidate is not None:
        return place.candidate
    peer = None if place.session is None else place.session.peer
    if peer is None:
        return Candidate(place.avatarId, place.peerId)
    return Candidate(place.avatarId, place.peerId, peer.address, peer.hello)
