"""
Between a login and a place: ask the admission policy, do what I/O it wants, ask again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import attrs
from twisted.internet.interfaces import IReactorTime

from pbkit.errors import LoginTimedOut
from pbkit.sessions.admission import Candidate, Policy, Probe, Refuse
from pbkit.sessions.attempt import Attempt
from pbkit.sessions.roster import Place, Roster
from pbkit.sessions.session import Session

#: How long a newcomer waits for others' log-ins to be decided before his own, in seconds.
ARBITRATION_TIMEOUT = 30.0


class Arbitration:
    """
    Decides log-ins, serially where they touch one another.

    :param roster: where places are held.
    :param policy: decides, purely.
    """

    def __init__(self, roster: Roster, policy: Policy) -> None:
        self._roster = roster
        self.policy = policy
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
        until = None if clock is None else clock.seconds() + ARBITRATION_TIMEOUT
        while True:
            decision = self.policy(self._roster.view, candidate)
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
                undecided = [place for place in decision.ending if place.pending]
                if not undecided:
                    return self._roster.reserve(avatarId, peerId, decision.ending)
                # Whoever this one would replace is not even in yet. No place is held meanwhile: who comes
                # later does not wait for one who waits.
                settled = undecided[0].settled()
                if clock is not None and until is not None:
                    settled.addTimeout(max(0, until - clock.seconds()), clock, _tooLong)
                await settled
            check()

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


def _tooLong(result: Any, timeout: float) -> NoReturn:
    raise LoginTimedOut("other log-ins of this user took too long to be decided, try again later")
