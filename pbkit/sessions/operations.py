"""
What the operator of a realm can do: kick sessions, ban users and addresses, drain the server.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from pbkit.errors import Banned, ConfigError, Draining, Kicked, LoginRefused, ServerDraining, SessionEnded, shownValue
from pbkit.sessions.bans import Bans, Network, hostOf, networkOf
from pbkit.sessions.goodbye import checkReason
from pbkit.sessions.lifecycle import GUESTS, Disposable, Lifecycle
from pbkit.sessions.messaging.hub import Hub
from pbkit.sessions.roster import Roster
from pbkit.sessions.session import Session

#: Seconds that a connection may take to close in good order when the time for draining is up.
CUT = 0.5


class OperatedRealm(Protocol):
    """What operations need of a realm."""

    @property
    def clock(self) -> IReactorTime | None: ...
    @property
    def roster(self) -> Roster[Session]: ...
    @property
    def hub(self) -> Hub: ...
    @property
    def lifecycle(self) -> Lifecycle: ...
    @property
    def anonymous(self) -> OperatedRealm | None: ...
    @property
    def operations(self) -> Operations: ...


class Operations:
    """
    Operations on a realm and on its anonymous realm, if it has one. `Realm` has the methods of this class under the
    same names.

    :param realm: the realm.
    :param refuse: refuses new logins from now on, with an error class.
    :ivar bans: the `Bans` of the realm.
    """

    def __init__(self, realm: OperatedRealm, refuse: Callable[[type[LoginRefused]], object]) -> None:
        self.realm = realm
        self.refuse = refuse
        self.bans = Bans(self._seconds)

    def _seconds(self) -> float:
        clock = self.realm.clock
        return time.time() if clock is None else clock.seconds()

    def everywhere(self) -> Iterator[Operations]:
        """Iterate over the operations of this realm and of its anonymous realm."""
        yield self
        if self.realm.anonymous is not None:
            yield from self.realm.anonymous.operations.everywhere()

    def _sessions(self) -> list[Session]:
        return [session for each in self.everywhere() for session in each.realm.roster]

    def kick(
        self,
        reason: type[SessionEnded] = Kicked,
        detail: str = "",
        *,
        sessionId: str | None = None,
        avatarId: str | None = None,
        address: object = None,
        where: Callable[[Session], object] | None = None,
    ) -> Deferred[list[str]]:
        """As `Realm.kick`."""
        checkReason(reason, detail)
        tests: list[Callable[[Session], object]] = []
        if sessionId is not None:
            tests.append(lambda session: session.sessionId == sessionId)
        if avatarId is not None:
            tests.append(lambda session: session.avatarId == avatarId)
        if address is not None:
            network = networkOf(address)
            tests.append(lambda session: _isIn(session, network))
        if where is not None:
            tests.append(where)
        if not tests:
            raise TypeError("kick needs to know which sessions: pass sessionId=, avatarId=, address= or where=")
        # Find all before the first one is ended: `where` is the user's code, and may raise.
        found = [session for session in self._sessions() if all(test(session) for test in tests)]
        with self.realm.hub.endingSeveral(found):
            out = DeferredList([session.kick(reason, detail) for session in found])
        return out.addCallback(lambda _: [session.sessionId for session in found])

    def ban(
        self, seconds: float, reason: str = "", *, avatarId: str | None = None, address: object = None
    ) -> Deferred[list[str]]:
        """As `Realm.ban`."""
        who = self._who(avatarId, address)
        if not isinstance(reason, str):
            raise TypeError(f"invalid reason {reason!r}: expected a str, a sentence for people")
        for each in self.everywhere() if avatarId is None else (self,):
            each.bans.add(who, seconds, reason)
        detail = f"for {seconds:g} s" + (f": {reason}" if reason else "")
        return self.kick(Banned, detail, avatarId=avatarId, address=address)

    def unban(self, *, avatarId: str | None = None, address: object = None) -> bool:
        """As `Realm.unban`."""
        who = self._who(avatarId, address)
        found = [each.bans.remove(who) for each in self.everywhere()]
        return any(found)

    def _who(self, avatarId: str | None, address: object) -> str | Network:
        if (avatarId is None) == (address is None):
            raise TypeError("a ban is either for an avatarId= or for an address=")
        if avatarId is None:
            return networkOf(address)
        if not isinstance(avatarId, str) or not avatarId:
            raise TypeError(f"invalid avatarId {avatarId!r}: expected a str that is not empty")
        if isinstance(self.realm.lifecycle, Disposable) or GUESTS.match(avatarId):
            raise ConfigError(
                f"avatarId={avatarId}: a guest has a new avatar id at each login; ban the address instead"
            )
        return avatarId

    def drain(self, seconds: float, reason: type[SessionEnded] = Draining, detail: str = "") -> Deferred[None]:
        """As `Realm.drain`."""
        checkReason(reason, detail)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise ConfigError.invalid("time", shownValue(seconds), "a number of seconds, 0 or more")
        for each in self.everywhere():
            each.refuse(ServerDraining)
        sessions = self._sessions()
        with self.realm.hub.endingSeveral(sessions):
            done: Deferred[Any] = DeferredList(
                [session.goodbye.drain(reason, detail) for session in sessions], consumeErrors=True
            )
        # With no time at all, what has been written still has half a second to be sent.
        end = min(CUT, seconds / 4) if seconds else CUT

        def cut() -> None:
            with self.realm.hub.endingSeveral(session for session in sessions if session.endedWith is None):
                for session in sessions:
                    session.goodbye.cut(reason, detail, end)

        clock = next((each.realm.clock for each in self.everywhere() if each.realm.clock is not None), None)
        if seconds == 0 or clock is None:
            cut()
        elif not done.called:
            timer = clock.callLater(seconds, cut)
            done.addBoth(lambda _: timer.cancel() if timer.active() else None)
            # Fire in time, whatever becomes of the connections.
            done.addTimeout(seconds + end, clock, lambda result, timeout: None)
        return done.addCallback(lambda _: None)


def _isIn(session: Session, network: Network) -> bool:
    host = hostOf(session.address)
    return host is not None and host.version == network.version and host in network
