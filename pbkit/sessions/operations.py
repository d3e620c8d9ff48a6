"""
What the operator of a realm does: ends sessions, keeps people out, lets everybody go.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList

from pbkit.errors import Banned, ConfigError, Draining, Kicked, ServerDraining, SessionEnded
from pbkit.sessions.bans import Ban, Bans, hostOf, networkOf
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
        """As `Operated.kick`."""
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
        """As `Operated.ban`."""
        who = self._who(avatarId, address)
        if not isinstance(reason, str):
            raise TypeError(f"the reason is a str, a sentence for people, not {reason!r}")
        for realm in self._realms() if avatarId is None else (self._realm,):
            realm._operations.bans.add(who, seconds, reason)
        return self.kick(Banned, f"for {seconds:g} s" + (f": {reason}" if reason else ""), None, avatarId, address)

    def unban(self, avatarId: str | None, address: Any) -> bool:
        """As `Operated.unban`."""
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
        """As `Operated.drain`."""
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


class Operated:
    """
    What an operator says to a realm: a base of `Realm`, so that these stand together.
    """

    _operations: Operations

    def kick(
        self,
        reason: type[SessionEnded] = Kicked,
        detail: str = "",
        *,
        sessionId: str | None = None,
        avatarId: str | None = None,
        address: Any = None,
        where: Callable[[Session], object] | None = None,
    ) -> Deferred[list[str]]:
        """
        Kick sessions, those of the anonymous realm too: see `Session.kick`. All have ended when this returns.

        At least one of the keywords is to be given; of several all have to hold.

        :param sessionId: that of one session.
        :param avatarId: all sessions of a user.
        :param address: an `IAddress`, an IP address, or a network such as ``192.0.2.0/24``.
        :param where: called with each session; a true answer means that one. If it raises, nobody is kicked.
        :return: a Deferred of the session ids, when these clients are out; it never fails.
        :raises TypeError: none of the keywords, or the reason is no `SessionEnded`.
        :raises ConfigError: no such address.
        """
        return self._operations.kick(reason, detail, sessionId, avatarId, address, where)

    def ban(
        self, seconds: float, reason: str = "", *, avatarId: str | None = None, address: Any = None
    ) -> Deferred[list[str]]:
        """
        Refuse log-ins with `LoginBanned`, and kick who is in with `Banned`. Kept in memory, 10,000 of them at most:
        beyond that the one that is over soonest is forgotten.

        :param seconds: for how long from now on, whatever was said of the same before.
        :param reason: a sentence for people, which those are told who are banned.
        :param avatarId: of a user. A guest has another one each time: for guests ban an address.
        :param address: an `IAddress`, an IP address, or a network such as ``192.0.2.0/24``; for guests too.
        :return: a Deferred of the ids of the sessions that were kicked, when their clients are out; it never fails.
        :raises TypeError: not one of the two, or a text that is none.
        :raises ConfigError: no such address, no such time, or the avatar id of a guest.
        """
        return self._operations.ban(seconds, reason, avatarId, address)

    def unban(self, *, avatarId: str | None = None, address: Any = None) -> bool:
        """
        Take a ban back. A host is let in only when no network that it is in is banned either.

        :return: whether there was one.
        :raises ConfigError: no such address.
        """
        return self._operations.unban(avatarId, address)

    @property
    def bans(self) -> tuple[Ban, ...]:
        """The bans that hold now."""
        return tuple(self._operations.bans)

    def drain(self, seconds: float, reason: type[SessionEnded] = Draining, detail: str = "") -> Deferred[None]:
        """
        Let everybody go. Newcomers are refused with `ServerDraining` from now on. Every client is told goodbye. Its
        session ends at once, or, if calls of it are being served, when these have been answered; new ones are
        answered with the reason. When the time is up, what is left ends and is cut off.

        :param seconds: for all of it; what is cut off has half a second more.
        :param detail: a sentence for people.
        :return: a Deferred that fires, with None, when all are out; it never fails.
        :raises TypeError: the reason is no `SessionEnded`.
        :raises ConfigError: no such time.
        """
        return self._operations.drain(seconds, reason, detail)


def _isIn(session: Session, network: Any) -> bool:
    host = hostOf(session.address)
    return host is not None and host.version == network.version and host in network
