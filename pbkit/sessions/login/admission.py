"""
Who may be in: pure decisions.

A policy is a callable ``policy(view, candidate)``. It sees the places that are taken and who wants one, does
no I/O, changes nothing, and returns one of

- `Refuse`: with the error that the newcomer gets;
- `Admit`: come in; the sessions in `ending` go, once the newcomer has his avatar or before, see there;
- `Probe`: ask these sessions first whether they live. The realm does so, and then asks the policy again.

A user's own policy is a function::

    def onlyStaffAtNight(view, candidate):
        if isNight() and candidate.avatarId not in staff:
            return Refuse(LoginRefused("come back at eight"))
        return Admit()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, TypeAlias

import attrs

from pbkit.errors import ConfigError, LoginRefused, TooManySessions
from pbkit.sessions.roster import Candidate, Group, Place, View

#: How long a holder has to answer a probe, in seconds: Buildbot's figure for the same question.
PROBE_TIMEOUT = 10.0

#: When a newcomer gets the avatar: before those whom he replaces go, or after.
HANDOVERS = ("before", "after")


@attrs.frozen
class Refuse:
    """No, and why."""

    error: LoginRefused


@attrs.frozen
class Admit:
    """
    Yes.

    With a handover "before" the newcomer gets the avatar before the others go: a login that is refused or fails, for
    whatever reason, ends nobody.

    With "after" he gets it after them, for avatars that own something exclusive, such as a file or a line to a machine.
    The others are ended first, and only when each is truly out, its `detached` through and its hold on the avatar
    released, is the newcomer's avatar asked for. Those of the same avatar id that have ended otherwise, logged out say,
    are waited for too. All of that has 30 s; after these the newcomer is refused, with `LoginTimedOut`, rather than let
    in beside one who is not out. What it costs: all that can be checked without the avatar is checked before anybody
    goes, but to build it and `attached` come later, and a login that fails there, or whose client goes away, leaves
    nobody in.

    :ivar ending: the places whose sessions this newcomer takes over. One that is still pending is waited
        for, and then the policy is asked again: arbitration is serial.
    :ivar handover: when the newcomer gets the avatar, "before" they go or "after".
    :raises ValueError: it is neither.
    """

    ending: tuple[Place, ...] = ()
    handover: str = attrs.field(default="before", validator=attrs.validators.in_(HANDOVERS))


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
#: Says who has to go: (those who could, oldest first), one of them, several, or () for nobody.
Victim: TypeAlias = Callable[[tuple[Place, ...]], Place | Iterable[Place]]
#: A limit that depends on the avatar id: the number, or that and the conflict rule.
LimitOf: TypeAlias = Callable[[str], int | tuple[int, "str | Conflict"]]


def _refuse(group: Group, excess: int, candidate: Candidate, refusal: Refuse) -> Decision:
    return refusal


def kick(victim: Victim | None = None) -> Conflict:
    """
    A conflict rule: somebody goes, and the newcomer comes in.

    :param victim: says who: ``victim(places)`` gets those who could go, oldest first, and returns one of these, or
        several. It is asked again as long as more have to go, as after a limit was lowered. If it returns () nobody
        goes, and the newcomer is refused. By default the oldest goes. A place whose login is still pending has no
        ``session``.
    :raises ValueError: when asked, if `victim` returns anything else.
    """

    def decide(group: Group, excess: int, candidate: Candidate, refusal: Refuse) -> Decision:
        could = (place for place in group if place not in candidate.ending)
        if victim is None:
            oldest = tuple(islice(could, excess))
            return Admit(oldest) if len(oldest) == excess else refusal
        left, going = tuple(could), dict[Place, None]()
        while len(going) < excess:
            chosen = victim(left) if left else ()
            chosen = (chosen,) if isinstance(chosen, Place) else tuple(chosen)
            if any(place not in left for place in chosen):
                raise ValueError(f"the victim function {victim!r} returned {chosen!r}, not some of what it was given")
            if not chosen:
                return refusal
            going.update(dict.fromkeys(chosen))
            left = tuple(place for place in left if place not in going)
        return Admit(tuple(going))

    return decide


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
CONFLICTS: dict[str, Conflict] = {"refuse": _refuse, "kick": kick(), "probe": probe()}


def atMost(limit: int | LimitOf, conflict: str | Conflict = "refuse", handover: str = "before") -> Rule:
    """
    At most so many in a group; to be given to `perAvatar`, `perPeer` or `total`.

    :param limit: how many; or a function of the newcomer's avatar id, which returns that, or that and his conflict
        rule: ``lambda avatarId: (5, "kick") if avatarId in staff else 1``. It is asked at each login, so it must be
        quick; if it raises, or returns what is no limit, that is logged and the client gets `LoginUnavailable`.
    :param conflict: what happens to one too many: "refuse" it; "kick" the oldest; "probe" the holders and take
        the place of one that does not answer; or a `Conflict` such as ``probe(3.0)`` or ``kick(victim)``.
    :param handover: when one who replaces another gets the avatar: "before" that one goes, or "after". See `Admit`.
    :raises ConfigError: a limit below 0, no such conflict rule, or no such handover.
    """
    if handover not in HANDOVERS:
        raise ConfigError(f"handover={handover}: it is one of {', '.join(HANDOVERS)}")
    usual = _conflict(conflict)
    fixed = None if callable(limit) else _limit(limit)

    def rule(group: Group, candidate: Candidate, whoHas: str, unit: str) -> Decision:
        most, decide = fixed, usual
        if most is None:
            most, decide = _ofUser(limit, candidate.avatarId, usual)
        excess = len(group) + 1 - most - sum(place in group for place in candidate.ending)
        if excess <= 0:
            return Admit((), handover)
        refusal = Refuse(TooManySessions(f"{whoHas} {len(group)} of {most} {unit}"))
        decision = decide(group, excess, candidate, refusal)
        if handover == "after" and isinstance(decision, Admit):
            return attrs.evolve(decision, handover=handover)
        return decision

    return rule


def _ofUser(limitOf: Any, avatarId: str, usual: Conflict) -> tuple[int, Conflict]:
    said = limitOf(avatarId)
    if not isinstance(said, tuple):
        return _limit(said), usual
    if len(said) != 2:
        raise ConfigError(f"the limit of {avatarId!r} is {said!r}: it is a number, or a number and a conflict rule")
    return _limit(said[0]), _conflict(said[1])


def _limit(limit: object) -> int:
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise ConfigError(f"atMost({limit!r}): the limit is a whole number, 0 or more")
    return limit


def _conflict(conflict: object) -> Conflict:
    decide: Any = CONFLICTS.get(conflict) if isinstance(conflict, str) else conflict
    if not callable(decide):
        raise ConfigError(f"conflict={conflict}: it is one of {', '.join(CONFLICTS)}, or a rule such as probe(3.0)")
    found: Conflict = decide
    return found


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
    is not refused because the server is full. The handover is "after" if one of them says so.

    :raises TypeError: when asked, if one of them returns anything but a decision.
    """

    def policy(view: View, candidate: Candidate) -> Decision:
        handover: str = "before"
        for each in policies:
            decision = each(view, candidate)
            if isinstance(decision, Refuse | Probe):
                return decision
            if not isinstance(decision, Admit):
                raise TypeError(f"the policy {each!r} returned {decision!r}, not Refuse, Admit or Probe")
            if decision.ending:
                ending = dict.fromkeys((*candidate.ending, *decision.ending))
                candidate = attrs.evolve(candidate, ending=tuple(ending))
            if decision.handover == "after":
                handover = "after"
        return Admit(candidate.ending, handover)

    return policy
