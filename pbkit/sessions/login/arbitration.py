"""
Between a login and its place: ask the admission policy, do the I/O that it wants, ask again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pbkit.errors import LoginTimedOut
from pbkit.sessions.login.admission import Admit, Decision, Policy, Probe, Refuse
from pbkit.sessions.login.cooldown import Cooldown
from pbkit.sessions.roster import Candidate, Place, Roster
from pbkit.sessions.session import Session
from pbkit.sessions.sharedcall import MaybeDeferred, SharedCall
from pbkit.sessions.waiters import Timeout

#: How long a login waits for other logins to be decided and for the cooldown, in seconds.
ARBITRATION_TIMEOUT = 30.0

#: The key of the hello under which a client sends its instance id.
PROGRAM = "program"


class Arbitration:
    """
    Decides logins, serially where they touch one another.

    An avatar id changes hands at most once in `pbkit.sessions.login.cooldown.CHANGE_INTERVAL`. Later logins wait, each
    for up to `ARBITRATION_TIMEOUT`, and hold no place meanwhile.

    **Reclaim.** A client whose connection broke comes back while the server still takes the old connection for alive.
    Its own stale session must not shut it out. So a client may declare its instance id in its hello, as ``program``: a
    text that it made up at its start and that nobody guesses. Where the policy admits the login, the id does not
    matter: a program may log in twice on purpose. Where the policy would refuse the login, end a session for it or
    probe, it is asked again as though the oldest session with the same instance id and avatar id, on another
    connection, were gone; then as though the next oldest were gone too. If that makes room, these sessions are ended,
    and the login is admitted at once: without a probe, and without the cooldown, because the avatar id does not change
    hands. A session on the login's own connection is not stale, because that connection lives.

    The instance id is not a credential. It is read only after authentication and for one avatar id, so all that it can
    do is to end a session of the same user, which a user can do anyway. For that reason it is compared with ``==``: a
    client that could measure how long that takes has logged in as this user, and there is nothing more to gain.

    A server cannot tell two live connections of one program from a live one and a stale one. The client can, and
    pbkit's sends ``program`` accordingly, see `pbkit.client.instance`.

    :param roster: the places.
    :param policy: the pure decision.
    """

    def __init__(self, roster: Roster[Session], policy: Policy) -> None:
        self._roster = roster
        self.policy = policy
        self.cooldown = Cooldown()
        self._probes: dict[str, SharedCall[bool]] = {}

    def reserve(
        self, candidate: Candidate, clock: IReactorTime | None, check: Callable[[], None]
    ) -> MaybeDeferred[Place]:
        """
        Reserve a place for a login.

        :param check: called after each wait; raises if the login must not go on.
        :return: the place, if nothing has to be waited for; else a Deferred of it.
        :raises LoginRefused: the policy refuses; or `LoginTimedOut`.
        """
        found = self._tryOnce(candidate, clock)
        if isinstance(found, Place):
            return found
        return Deferred.fromCoroutine(self._reserveLater(candidate, found, clock, check))

    async def _reserveLater(
        self, candidate: Candidate, found: Probe | Deferred[None], clock: IReactorTime | None, check: Callable[[], None]
    ) -> Place:
        timeout: Timeout | None = None
        try:
            while True:
                if isinstance(found, Probe):
                    answers = await self._ask(found, clock)
                    if not answers.keys() - candidate.probed.keys():
                        # The policy would probe again without end, and block the reactor where no answer takes time.
                        raise RuntimeError("the admission policy asks for nothing that it has not been told")
                    candidate = attrs.evolve(candidate, probed={**candidate.probed, **answers})
                else:
                    # The login holds no place meanwhile: later logins do not wait for one that waits.
                    timeout = timeout or Timeout(clock, ARBITRATION_TIMEOUT, _tookTooLong)
                    await timeout.wait(found)
                    # Forget the probes: a session that was silent may have answered since.
                    candidate = attrs.evolve(candidate, probed={})
                check()
                tried = self._tryOnce(candidate, clock)
                if isinstance(tried, Place):
                    return tried
                found = tried
        finally:
            if timeout is not None:
                timeout.stop()

    def _tryOnce(self, candidate: Candidate, clock: IReactorTime | None) -> Place | Probe | Deferred[None]:
        """
        Decide, and reserve the place if there is nothing in the way.

        :return: the place; or what has to be done before the next try, a probe or an event to wait for.
        """
        decision, reclaimed = self._decide(candidate)
        if isinstance(decision, Refuse):
            # A policy may return the same error each time: do not let it collect tracebacks.
            raise decision.error.with_traceback(None)
        if isinstance(decision, Probe):
            return decision
        ids = (candidate.avatarId, *(place.avatarId for place in decision.ending))
        # Without a clock nobody knows how long ago the last change was.
        cooldown = None if reclaimed or not decision.ending else clock
        return self._inTheWay(decision, ids, cooldown) or self._hold(candidate, decision, ids, cooldown)

    def _decide(self, candidate: Candidate) -> tuple[Decision, bool]:
        """
        Ask the policy, and again without the stale sessions of the client if it does not simply admit the login.

        :return: the decision, and whether it reclaims places of stale sessions.
        """
        decision = self.policy(self._roster.view, candidate)
        if isinstance(decision, Admit) and not decision.ending:
            return decision, False
        stale = tuple(self._stale(candidate))
        admitted = self._without(stale, candidate) if stale else None
        if admitted is None:
            return decision, False
        # Find the fewest that make room, by bisection: a user may have any number of sessions.
        fewest, enough = 1, len(stale)
        while fewest < enough:
            middle = (fewest + enough) // 2
            fewer = self._without(stale[:middle], candidate)
            if fewer is None:
                fewest = middle + 1
            else:
                enough, admitted = middle, fewer
        return admitted, True

    def _without(self, gone: tuple[Place, ...], candidate: Candidate) -> Admit | None:
        """Return the admission that there would be without these sessions, or None."""
        with self._roster.asIfGone(gone):
            decision = self.policy(self._roster.view, candidate)
        return Admit(gone, decision.handover) if isinstance(decision, Admit) and not decision.ending else None

    def _stale(self, candidate: Candidate) -> Iterator[Place]:
        """Find the sessions of the same program and avatar id on other connections, oldest first."""
        program = programOf(candidate.hello)
        if program and candidate.peerId:
            for place in self._roster.view.avatar(candidate.avatarId):
                if place.program == program and place.peerId != candidate.peerId:
                    yield place

    def _inTheWay(self, decision: Admit, ids: tuple[str, ...], cooldown: IReactorTime | None) -> Deferred[None] | None:
        """Return what has to happen before the place can be reserved, or None."""
        for place in decision.ending:
            if place.pending:
                # The login that this one would replace has not succeeded yet.
                return place.settled()
        return None if cooldown is None else self.cooldown.wait(ids, cooldown)

    def _hold(
        self, candidate: Candidate, decision: Admit, ids: tuple[str, ...], cooldown: IReactorTime | None
    ) -> Place:
        program = programOf(candidate.hello)
        place = self._roster.reserve(candidate.avatarId, candidate.peerId, decision.ending, program)
        place.handover, place.candidate = decision.handover, candidate
        if cooldown is not None:
            # With "after" the old sessions are gone, even if this login fails.
            self.cooldown.begin(place, ids, cooldown, lambda: place.session is not None or place.handover == "after")
        return place

    async def _ask(self, probe: Probe, clock: IReactorTime | None) -> dict[str, bool]:
        """Ask the clients of these sessions, all at once, whether they live."""
        running = {
            place.session.sessionId: self._probe(place, probe.timeout, clock)
            for place in probe.places
            if place.session is not None
        }
        return {sessionId: await call.wait() for sessionId, call in running.items()}

    def _probe(self, place: Place, timeout: float, clock: IReactorTime | None) -> SharedCall[bool]:
        """Ask one client; logins that come while it has not answered share the answer."""
        session = place.session
        assert session is not None
        peer, key = session.peer, session.sessionId
        running = self._probes.get(key)
        if running is not None and not running.done:
            return running
        # Without a peer there is no client to ask, and no session is ended on a guess. The ping has a deadline of its
        # own; this one only makes sure that no login hangs.
        self._probes[key] = running = SharedCall(
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


def programOf(hello: Mapping[str, object]) -> str:
    """Return the instance id that a client declared in its hello, or ""."""
    program = hello.get(PROGRAM)
    return program if isinstance(program, str) else ""


def _tookTooLong() -> LoginTimedOut:
    return LoginTimedOut("other logins of this user took too long to be decided, try again later")
