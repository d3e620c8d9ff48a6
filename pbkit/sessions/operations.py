"""
What the operator of a realm does: ends sessions, keeps people out, lets everybody go.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList

from pbkit.errors import Banned, ConfigError, ServerDraining, SessionEnded
from pbkit.sessions.bans import Bans, hostOf, networkOf
from pbkit.sessions.lifecycle import GUESTS, Disposable
from pbkit.sessions.session import Session

if TYPE_CHECKING:
    from pbkit.sessions.realm import Realm

#: What a connection has to close in good order when the time for draining is up, in seconds.
CUT = 0.5


class Operations:
    """
    Operations on a realm and, with it, on the anonymous realm that it has.

    :param realm: whose they are.
    :ivar bans: who is not let in.
    """

    def __init__(self, realm: Realm) -> None:
        self._realm = realm
        self.bans = Bans(self._seconds)

    def _seconds(self) -> float:
        clock = self._realm.clock
        return time.time() if clock is None else clock.seconds()

    def _realms(self) -> Iterator[Realm]:
        yield self._realm
        if self._realm.anonymous is not None:
            yield from self._realm.anonymous._operations._realms()

    def kick(
        self,
        reason: type[SessionEnded],
        detail: str,
        sessionId: str | None = None,
        avatarId: str | None = None,
        address: Any = None,
        where: Callable[[Session], object] | None = None,
    ) -> Deferred[list[str]]:
        """As `Realm.kick`."""
        Session.checkReason(reason, detail)
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
            raise TypeError("kick takes sessionId=, avatarId=, address= or where=: it says whom")
        # All are found before the first is ended: the test is somebody's code, and may raise.
        found = [each for realm in self._realms() for each in realm.roster if all(test(each) for test in tests)]
        out = DeferredList([session.kick(reason, detail) for session in found])
        return out.addCallback(lambda _: [session.sessionId for session in found])

    def ban(self, seconds: float, reason: str, avatarId: str | None, address: Any) -> Deferred[list[str]]:
        """As `Realm.ban`."""
        who = self._who(avatarId, address)
        if not isinstance(reason, str):
            raise TypeError(f"the reason is a str, a sentence for people, not {reason!r}")
        for realm in self._realms() if avatarId is None else (self._realm,):
            realm._operations.bans.add(who, seconds, reason)
        return self.kick(Banned, f"for {seconds:g} s" + (f": {reason}" if reason else ""), None, avatarId, address)

    def unban(self, avatarId: str | None, address: Any) -> bool:
        """As `Realm.unban`."""
        who = self._who(avatarId, address)
        found = [realm._operations.bans.remove(who) for realm in self._realms()]
        return any(found)

    def _who(self, avatarId: str | None, address: Any) -> Any:
        if (avatarId is None) == (address is None):
            raise TypeError("a ban is either for an avatarId= or for an address=")
        if avatarId is None:
            return networkOf(address)
        if not isinstance(avatarId, str) or not avatarId:
            raise TypeError(f"an avatar id is a str, not {avatarId!r}")
        if isinstance(self._realm.lifecycle, Disposable) or GUESTS.match(avatarId):
            raise ConfigError(f"avatarId={avatarId}: a guest has another one each time, so ban an address")
        return avatarId

    def drain(self, seconds: float, reason: type[SessionEnded], detail: str) -> Deferred[None]:
        """As `Realm.drain`."""
        Session.checkReason(reason, detail)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise ConfigError(f"drain takes a number of seconds, 0 or more, not {seconds!r}")
        for realm in self._realms():
            realm._entrance.refuse(ServerDraining)
        sessions = [session for realm in self._realms() for session in realm.roster]
        done: Deferred[Any] = DeferredList(
            [session.goodbye.drain(reason, detail) for session in sessions], consumeErrors=True
        )
        end = min(CUT, seconds / 4)

        def cut() -> None:
            for session in sessions:
                session.goodbye.cut(reason, detail, end)

        clock = next((realm.clock for realm in self._realms() if realm.clock is not None), None)
        if seconds == 0 or clock is None:
            cut()
        elif not done.called:
            timer = clock.callLater(seconds, cut)
            done.addBoth(lambda _: timer.cancel() if timer.active() else None)
            # Whatever becomes of the connections.
            done.addTimeout(seconds + end, clock, lambda result, timeout: None)
        return done.addCallback(lambda _: None)


def _isIn(session: Session, network: Any) -> bool:
    host = hostOf(session.address)
    return host is not None and host.version == network.version and host in network
