"""
Sessions that have ended but are not out yet, and logins that wait until they are: ``handover="after"``.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pbkit.errors import LoginTimedOut
from pbkit.sessions.roster import Place
from pbkit.sessions.waiters import Timeout, Waiters

#: How long the earlier sessions have to be out, in seconds: ejabberd's `replaced_connection_timeout`.
HANDOVER_TIMEOUT = 30.0


class Departures:
    """
    The sessions that have ended and are not out yet: `detached` still runs, or the hold on the avatar is not released.
    """

    def __init__(self) -> None:
        self._byAvatar: dict[str, dict[Place, Waiters[None]]] = {}

    def __contains__(self, place: Place) -> bool:
        return place in self._byAvatar.get(place.avatarId, ())

    def __len__(self) -> int:
        return sum(map(len, self._byAvatar.values()))

    def of(self, avatarId: str) -> tuple[Place, ...]:
        """Return the departing places of an avatar id, in the order in which they ended."""
        return tuple(self._byAvatar.get(avatarId, ()))

    def begin(self, place: Place) -> None:
        """Note that the session of a place has ended."""
        self._byAvatar.setdefault(place.avatarId, {})[place] = Waiters()

    def end(self, place: Place) -> None:
        """Note that the session of a place is out, and tell the logins that wait for that."""
        places = self._byAvatar[place.avatarId]
        waiters = places.pop(place)
        if not places:
            del self._byAvatar[place.avatarId]
        waiters.fire(None)

    def wait(self, places: Iterable[Place], clock: IReactorTime | None) -> Deferred[None] | None:
        """
        Wait until these places are out. A place that is not departing does not count.

        :param clock: None means without a limit.
        :return: a Deferred that fires then, and fails with `LoginTimedOut` after `HANDOVER_TIMEOUT`; or None if there
            is nothing to wait for.
        """
        departing = [place for place in places if place in self]
        return Deferred.fromCoroutine(self._wait(departing, clock)) if departing else None

    async def _wait(self, departing: list[Place], clock: IReactorTime | None) -> None:
        timeout = Timeout(clock, HANDOVER_TIMEOUT, _tookTooLong)
        try:
            for place in departing:
                waiters = self._byAvatar.get(place.avatarId, {}).get(place)
                if waiters is not None:
                    await timeout.wait(waiters.wait())
        finally:
            timeout.stop()


def _tookTooLong() -> LoginTimedOut:
    return LoginTimedOut("the session before this one took too long to end, try again later")
