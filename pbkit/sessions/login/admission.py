"""
Who may log in: pure decisions.

A policy is a callable ``policy(view, candidate)``. It sees the places that are taken and the login that asks for one,
does no I/O, changes nothing, and returns one of

- `Refuse`, with the error that the client gets;
- `Admit`: the login succeeds, and the sessions in its `ending` are ended;
- `Probe`: first ask the clients of these sessions whether they are alive. The realm does so, and asks the policy again.

A policy of your own is a function::

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

#: How long the client of a session has to answer a probe, in seconds: Buildbot's value for the same question.
PROBE_TIMEOUT = 10.0

#: When a login that replaces sessions gets the avatar: before they end, or after.
HANDOVERS = ("before", "after")


@attrs.frozen
class Refuse:
    """
    The login is refused.

    :ivar error: the error that the client gets.
    """

    error: LoginRefused


@attrs.frozen
class Admit:
    """
    The login is admitted.

    With the handover "before" the login gets the avatar before the replaced sessions end: a login that is refused or
    fails, for any reason, ends no session.

    With "after" the login gets the avatar after them, for avatars that own something exclusive, such as a file or a
    connection to a machine. The replaced sessions are ended first. Only when each is out, that is, `detached` has
    returned and its hold on the avatar is released, does the login get its avatar. It also waits for sessions of the
    same avatar id that have ended otherwise, for example by logout. All of that has 30 s; after that the login is
    refused with `LoginTimedOut` rather than admitted beside a session that is not out. The price: everything that can
    be checked without the avatar is checked before a session is ended, but the build and `attached` come later. If the
    login fails there, or its client disconnects, no session is left.

    :ivar ending: the places whose sessions this login replaces. If one is still pending, the login waits for it, and
        then the policy is asked again: arbitration is serial.
    :ivar handover: when the login gets the avatar, "before" or "after".
    :raises ValueError: the handover is neither.
    """

    ending: tuple[Place, ...] = ()
    handover: str = attrs.field(default="before", validator=attrs.validators.in_(HANDOVERS))


@attrs.frozen
class Probe:
    """
    First find out whether the clients of these sessions are alive.

    :ivar places: of live sessions.
    :ivar timeout: how long they have to answer, in seconds.
    """

    places: tuple[Place, ...]
    timeout: float = PROBE_TIMEOUT


Decision: TypeAlias = Refuse | Admit | Probe
Policy: TypeAlias = Callable[[View, Candidate], Decision]
#: Decides between the sessions of a full group and a new login: (group, how many are too many, candidate, refusal).
Conflict: TypeAlias = Callable[[Group, int, Candidate, Refuse], Decision]
#: A limit on a group: (group, candidate, the beginning of a sentence such as "alice has", its unit).
Rule: TypeAlias = Callable[[Group, Candidate, str, str], Decision]
#: Chooses the sessions to end: takes the places, oldest first, and returns one, several, or () for none.
Victim: TypeAlias = Callable[[tuple[Place, ...]], Place | Iterable[Place]]
#: A limit that depends on the avatar id: returns the number, or the number and the conflict rule.
LimitOf: TypeAlias = Callable[[str], int | tuple[int, "str | Conflict"]]


def _refuse(group: Group, excess: int, candidate: Candidate, refusal: Refuse) -> Decision:
    return refusal


def kick(victim: Victim | None = None) -> Conflict:
    """
    Return a conflict rule that ends a session, and admits the new login.

    :param victim: chooses the session: ``victim(places)`` gets the places, oldest first, and returns one of them, or
        several. It is called again while more must end, for example after a limit was lowered. If it returns () no
        session is ended, and the new login is refused. By default the oldest session is ended. A place whose login is
        still pending has no ``session``.
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
                raise ValueError(f"invalid result of {victim!r}: got {chosen!r}, expected places that it was given")
            if not chosen:
                return refusal
            going.update(dict.fromkeys(chosen))
            left = tuple(place for place in left if place not in going)
        return Admit(tuple(going))

    return decide


def probe(timeout: float = PROBE_TIMEOUT) -> Conflict:
    """
    Return a conflict rule that asks the clients of the sessions whether they are alive. A session whose client does not
    answer is ended, and the new login admitted. If all are alive the new login is refused. A pending login counts as
    alive.

    :param timeout: how long a client has to answer, in seconds.
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


#: The conflict rules by name.
CONFLICTS: dict[str, Conflict] = {"refuse": _refuse, "kick": kick(), "probe": probe()}


def atMost(limit: int | LimitOf, conflict: str | Conflict = "refuse", handover: str = "before") -> Rule:
    """
    Return a rule that limits the sessions of a group; pass it to `perAvatar`, `perPeer` or `total`.

    :param limit: the limit; or a function of the avatar id that returns the limit, or the limit and the conflict rule:
        ``lambda avatarId: (5, "kick") if avatarId in staff else 1``. It is called at each login, so it must be quick.
        If it raises or returns an invalid limit, that is logged and the client gets `LoginUnavailable`.
    :param conflict: what happens when the limit is reached: "refuse" the new login; "kick" the oldest session; "probe"
        the sessions and replace one whose client does not answer; or a `Conflict` such as ``probe(3.0)`` or
        ``kick(victim)``.
    :param handover: when a login that replaces a session gets the avatar, "before" that ends or "after". See `Admit`.
    :raises ConfigError: a limit below 0, an unknown conflict rule, or an unknown handover.
    """
    if handover not in HANDOVERS:
        raise ConfigError(f"invalid handover: got {handover!r}, expected one of {', '.join(HANDOVERS)}")
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
        raise ConfigError(
            f"invalid limit for {avatarId!r}: got {said!r}, expected an integer, or an integer and a conflict rule"
        )
    return _limit(said[0]), _conflict(said[1])


def _limit(limit: object) -> int:
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise ConfigError(f"invalid limit: got {limit!r}, expected an integer of 0 or more, for example atMost(3)")
    return limit


def _conflict(conflict: object) -> Conflict:
    decide: Any = CONFLICTS.get(conflict) if isinstance(conflict, str) else conflict
    if not callable(decide):
        raise ConfigError(
            f"invalid conflict: got {conflict!r}, expected one of {', '.join(CONFLICTS)}, or a rule such as probe(3.0)"
        )
    found: Conflict = decide
    return found


def perAvatar(rule: Rule) -> Policy:
    """Return a policy that applies a rule to the sessions of each avatar id."""
    return lambda view, candidate: rule(
        view.avatar(candidate.avatarId), candidate, f"{candidate.avatarId} has", "connections"
    )


def perPeer(rule: Rule) -> Policy:
    """Return a policy that applies a rule to the sessions of each connection. An unknown connection has none."""
    return lambda view, candidate: rule(view.peer(candidate.peerId), candidate, "this connection has", "sessions")


def total(rule: Rule) -> Policy:
    """Return a policy that applies a rule to all sessions of the realm together."""
    return lambda view, candidate: rule(view.everyone(), candidate, "the server has", "connections")


def allOf(*policies: Policy) -> Policy:
    """
    Return a policy that admits a login if all of these do. They are asked in this order, and the first that does not
    admit decides. Sessions that an earlier policy ends do not count for a later one, so a user who replaces their own
    session is not refused because the server is full. The handover is "after" if one of the policies says so.

    :raises TypeError: when asked, if a policy returns anything but a decision.
    """

    def policy(view: View, candidate: Candidate) -> Decision:
        handover: str = "before"
        for each in policies:
            decision = each(view, candidate)
            if isinstance(decision, Refuse | Probe):
                return decision
            if not isinstance(decision, Admit):
                raise TypeError(f"invalid result of {each!r}: got {decision!r}, expected Refuse, Admit or Probe")
            if decision.ending:
                ending = dict.fromkeys((*candidate.ending, *decision.ending))
                candidate = attrs.evolve(candidate, ending=tuple(ending))
            if decision.handover == "after":
                handover = "after"
        return Admit(candidate.ending, handover)

    return policy
