"""
Between a login and a place: ask the admission policy, do what I/O it wants, ask again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pbkit.errors import LoginTimedOut
from pbkit.sessions.login.admission import Admit, Decision, Policy, Probe, Refuse
from pbkit.sessions.login.cooldown import Changes
from pbkit.sessions.roster import Candidate, Place, Roster
from pbkit.sessions.session import Session
from pbkit.sessions.sharedcall import Attempt
from pbkit.sessions.waiters import Patience

#: How long a newcomer waits for others' log-ins to be decided before his own, and for his turn, in seconds.
ARBITRATION_TIMEOUT = 30.0


#: Under which key of its hello a client says which running program it is.
PROGRAM = "program"


class Arbitration:
    """
    Decides log-ins, serially where they touch one another.

    An avatar id changes hands at most once in `pbkit.sessions.login.cooldown.CHANGE_INTERVAL`: later newcomers wait,
    each as long as `ARBITRATION_TIMEOUT`, and hold no place meanwhile.

    **Reclaim.** A client whose connection broke comes back, while the server still takes the old connection for alive:
    he is not to be locked out by his own ghost. So a client may say in its hello, as ``program``, which running program
    it is: a text that it made up at its start and that nobody guesses. Where the policy would let a newcomer in, that
    is all, and a program may log in twice on purpose. Where it would refuse him, end somebody for him or probe, it is
    asked again as though the oldest session of the same program and the same avatar id, on another connection, were
    gone; then as though the next oldest were, too. If that makes room, these go, and he is in at once: no probe,
    and no five seconds, for it is no change of hands. One on his own connection is no ghost, for that lives.

    The text is no credential. It is looked at only after authentication and for one avatar id, so all that it can do is
    to end a session of the same user, which a user can do anyway. For that reason it is compared with ``==``: who
    could measure how long that takes has logged in as this user, and there is nothing more to be had.

    A server cannot tell two live connections of one program from one that lives and its ghost: the client can, and
    pbkit's says ``program`` accordingly, see `pbkit.client.instance`.

    :param roster: where places are held.
    :param policy: decides, purely.
    """

    def __init__(self, roster: Roster, policy: Policy) -> None:
        self._roster = roster
        self.policy = policy
        self.changes = Changes()
        self._probes: dict[str, Attempt[bool]] = {}

    async def reserve(self, avatarId: str, login: Any, clock: IReactorTime | None, check: Callable[[], None]) -> Place:
        """
        Hold a place for a login.

        :param login: an `ILogin`.
        :param check: called after each await; raises if the login is not to go on.
        :raises LoginRefused: by the policy; or `LoginTimedOut`.
        """
        peerId = "" if login.peer is None else login.peer.peerId
        address = None if login.peer is None else login.peer.address
        candidate = Candidate(avatarId, peerId, address, login.hello)
        patience: Patience | None = None
        try:
            while True:
                decision, reclaimed = self._decide(candidate)
                if isinstance(decision, Refuse):
                    # A policy may give the same one each time; it is not to gather the traces of all.
                    raise decision.error.with_traceback(None)
                if isinstance(decision, Probe):
                    answers = await self._ask(decision, clock)
                    if not answers.keys() - candidate.probed.keys():
                        # It would ask for ever, and hold the reactor while nobody has to be waited for.
                        raise RuntimeError("the admission policy asks for nothing that it has not been told")
                    candidate = attrs.evolve(candidate, probed={**candidate.probed, **answers})
                else:
                    ids = (avatarId, *(place.avatarId for place in decision.ending))
                    waiting = self._inTheWay(decision, ids, None if reclaimed else clock)
                    if waiting is None:
                        return self._hold(candidate, decision, ids, None if reclaimed else clock)
                    # No place is held meanwhile: who comes later does not wait for one who waits.
                    patience = patience or Patience(clock, ARBITRATION_TIMEOUT, _tooLong)
                    await patience.wait(waiting)
                    # Whoever was silent by then may have answered since.
                    candidate = attrs.evolve(candidate, probed={})
                check()
        finally:
            if patience is not None:
                patience.stop()

    def _decide(self, candidate: Candidate) -> tuple[Decision, bool]:
        """
        :return: what the policy says, and whether it took ghosts of the candidate's for that.
        """
        decision = self.policy(self._roster.view, candidate)
        if isinstance(decision, Admit) and not decision.ending:
            return decision, False
        ghosts = tuple(self._ghosts(candidate))
        admitted = self._without(ghosts, candidate) if ghosts else None
        if admitted is None:
            return decision, False
        # The fewest that make room. Not asked for one after the other: a user may have any number of sessions.
        fewest, enough = 1, len(ghosts)
        while fewest < enough:
            middle = (fewest + enough) // 2
            fewer = self._without(ghosts[:middle], candidate)
            if fewer is None:
                fewest = middle + 1
            else:
                enough, admitted = middle, fewer
        return admitted, True

    def _without(self, gone: tuple[Place, ...], candidate: Candidate) -> Admit | None:
        """The admission that there would be if these were gone, or None."""
        with self._roster.asIfGone(gone):
            decision = self.policy(self._roster.view, candidate)
        return Admit(gone, decision.handover) if isinstance(decision, Admit) and not decision.ending else None

    def _ghosts(self, candidate: Candidate) -> Iterator[Place]:
        program = programOf(candidate.hello)
        if program and candidate.peerId:
            for place in self._roster.view.avatar(candidate.avatarId):
                if place.program == program and place.peerId != candidate.peerId:
                    yield place

    def _inTheWay(self, decision: Admit, ids: tuple[str, ...], clock: IReactorTime | None) -> Deferred[None] | None:
        """What has to be waited for before this is done, or None. Without a clock there is no telling how long."""
        undecided = [place for place in decision.ending if place.pending]
        if undecided:
            # Whoever this one would replace is not even in yet.
            return undecided[0].settled()
        return self.changes.wait(ids, clock) if decision.ending and clock is not None else None

    def _hold(self, candidate: Candidate, decision: Admit, ids: tuple[str, ...], clock: IReactorTime | None) -> Place:
        program = programOf(candidate.hello)
        place = self._roster.reserve(candidate.avatarId, candidate.peerId, decision.ending, program)
        place.handover, place.candidate = decision.handover, candidate
        if decision.ending and clock is not None:
            # With "after" they are gone, whatever becomes of this login.
            self.changes.begin(place, ids, clock, lambda: place.session is not None or place.handover == "after")
        return place

    async def _ask(self, probe: Probe, clock: IReactorTime | None) -> dict[str, bool]:
        """Whether the clients of these sessions live: all are asked at once."""
        sessions = [place.session for place in probe.places if place.session is not None]
        running = [self._probe(session, probe.timeout, clock) for session in sessions]
        return {session.sessionId: await each.wait() for session, each in zip(sessions, running, strict=True)}

    def _probe(self, session: Session, timeout: float, clock: IReactorTime | None) -> Attempt[bool]:
        """One question to a client; newcomers that come while it is out share the answer."""
        peer, key = session.peer, session.sessionId
        running = self._probes.get(key)
        if running is not None and not running.done:
            return running
        # Without a peer there is nothing to ask, and nobody is ended on a guess. The ping has a deadline of
        # its own; this one is only there so that no login hangs.
        self._probes[key] = running = Attempt(
            lambda: True if peer is None else peer.ping(timeout),
            clock=clock,
            timeout=timeout + 5,
            onTimeout=LoginTimedOut,
            onDone=lambda: self._forget(key),
        )
        if running.done:
            self._forget(key)
        return running

    def _forget(self, key: str) -> None:
        self._probes.pop(key, None)


def programOf(hello: Mapping[str, Any]) -> str:
    """
    :return: which running program a client says it is; "" if it does not say.
    """
    program = hello.get(PROGRAM)
    return program if isinstance(program, str) else ""


def _tooLong() -> LoginTimedOut:
    return LoginTimedOut("other log-ins of this user took too long to be decided, try again later")
