"""
Who may be in: pure decisions.

A policy is a callable ``policy(view, candidate)``. It sees the places that are taken and who wants one, does
no I/O, changes nothing, and returns one of

- `Refuse`: with the error that the newcomer gets;
- `Admit`: come in; the sessions in `ending` go, but only once the newcomer has his avatar;
- `Probe`: ask these sessions first whether they live. The realm does so, and then asks the policy again.

A user's own policy is a function::

    def onlyStaffAtNight(view, candidate):
        if isNight() and candidate.avatarId not in staff:
            return Refuse(LoginRefused("come back at eight"))
        return Admit()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, TypeAlias

import attrs

from pbkit.errors import ConfigError, LoginRefused, TooManySessions
from pbkit.sessions.roster import Group, Place, View

#: How long a holder has to answer a probe, in seconds: Buildbot's figure for the same question.
PROBE_TIMEOUT = 10.0


@attrs.frozen
class Candidate:
    """
    Who wants to come in.

    :ivar peerId: the connection's, "" where it is not known.
    :ivar address: the other end's `IAddress`, or None.
    :ivar hello: what the client declared of itself.
    :ivar probed: by session id, whether it answered when it was probed for this candidate.
    :ivar ending: the places that earlier policies of an `allOf` have found to go for this candidate.
    """

    avatarId: str
    peerId: str = ""
    address: Any = None
    hello: Mapping[str, Any] = attrs.field(factory=dict)
    probed: Mapping[str, bool] = attrs.field(factory=dict)
    ending: tuple[Place, ...] = ()


@attrs.frozen
class Refuse:
    """No, and why."""

    error: LoginRefused


@attrs.frozen
class Admit:
    """
    Yes.

    :ivar ending: the places whose sessions this newcomer takes over. One that is still pending is waited
        for, and then the policy is asked again: arbitration is serial.
    """

    ending: tuple[Place, ...] = ()


@attrs.frozen
class Probe:
    """
    Ask first whether these live.

    :ivar places: of live sessions.
    :ivar timeout: how long they have, in seconds.
    """

    places: tuple[Place, ...]
    timeout: float = PROBE_TIMEOUT


Decision: TypeAlias = Refuse | Admit | Probe
Policy: TypeAlias = Callable[[View, Candidate], Decision]
#: Decides between the holders of a full group and a newcomer: (group, how many have to go, candidate, refusal).
Conflict: TypeAlias = Callable[[Group, int, Candidate, Refuse], Decision]
#: A limit on a group: (group, candidate, a sentence's beginning such as "alice has", its unit).
Rule: TypeAlias = Callable[[Group, Candidate, str, str], Decision]


def _refuse(group: Group, excess: int, candidate: Candidate, refusal: Refuse) -> Decision:
    return refusal


def _kick(group: Group, excess: int, candidate: Candidate, refusal: Refuse) -> Decision:
    oldest = tuple(islice((place for place in group if place not in candidate.ending), excess))
    return Admit(oldest) if len(oldest) == excess else refusal


def probe(timeout: float = PROBE_TIMEOUT) -> Conflict:
    """
    A conflict rule: ask the holders whether they live. A silent one is ended and the newcomer let in; if
    all are alive, the newcomer is refused. A pending login counts as alive.

    :param timeout: how long a holder has to answer, in seconds.
    """

    def decide(group: Group, excess: int, candidate: Candidate, refusal: Refuse) -> Decision:
        live = [place for place in group if place.session is not None]
        ids = {place: place.session.sessionId for place in live if place.session is not None}
        silent = [place for place in live if candidate.probed.get(ids[place]) is False]
        if len(silent) >= excess:
            return Admit(tuple(silent[:excess]))
        unknown = tuple(place for place in live if ids[place] not in candidate.probed)
        return Probe(unknown, timeout) if unknown else refusal

    return decide


#: The conflict rules that have a name.
CONFLICTS: dict[str, Conflict] = {"refuse": _refuse, "kick": _kick, "probe": probe()}


def atMost(limit: int, conflict: str | Conflict = "refuse") -> Rule:
    """
    At most so many in a group; to be given to `perAvatar`, `perPeer` or `total`.

    :param conflict: what happens to one too many: "refuse" it; "kick" the oldest; "probe" the holders and take
        the place of one that does not answer; or a `Conflict` such as ``probe(3.0)``.
    :raises ConfigError: a limit below 0, or no such conflict rule.
    """
    if not isinstance(limit, int) or limit < 0:
        raise ConfigError(f"atMost({limit!r}): the limit is a whole number, 0 or more")
    decide = CONFLICTS.get(conflict) if isinstance(conflict, str) else conflict
    if decide is None:
        raise ConfigError(f"conflict={conflict}: it is one of {', '.join(CONFLICTS)}")

    def rule(group: Group, candidate: Candidate, whoHas: str, unit: str) -> Decision:
        excess = len(group) + 1 - limit - sum(place in group for place in candidate.ending)
        if excess <= 0:
            return Admit()
        refusal = Refuse(TooManySessions(f"{whoHas} {len(group)} of {limit} {unit}"))
        return decide(group, excess, candidate, refusal)

    return rule


def perAvatar(rule: Rule) -> Policy:
    """A rule on the sessions of each avatar id by itself."""
    return lambda view, candidate: rule(
        view.avatar(candidate.avatarId), candidate, f"{candidate.avatarId} has", "connections"
    )


def perPeer(rule: Rule) -> Policy:
    """A rule on the sessions that ride on one connection. A peer that is not known has none."""
    return lambda view, candidate: rule(view.peer(candidate.peerId), candidate, "this connection has", "sessions")


def total(rule: Rule) -> Policy:
    """A rule on all sessions of the realm together."""
    return lambda view, candidate: rule(view.everyone(), candidate, "the server has", "connections")


def allOf(*policies: Policy) -> Policy:
    """
    A policy that admits when all of these do, asked in this order: the first that does not admit decides.
    Those who go for an earlier one do not count for a later one, so a user who replaces his own session
    is not refused because the server is full.

    :raises TypeError: when asked, if one of them returns anything but a decision.
    """

    def policy(view: View, candidate: Candidate) -> Decision:
        for each in policies:
            decision = each(view, candidate)
            if isinstance(decision, Refuse | Probe):
                return decision
            if not isinstance(decision, Admit):
                raise TypeError(f"the policy {each!r} returned {decision!r}, not Refuse, Admit or Probe")
            ending = dict.fromkeys((*candidate.ending, *decision.ending))
            candidate = attrs.evolve(candidate, ending=tuple(ending))
        return Admit(candidate.ending)

    return policy
