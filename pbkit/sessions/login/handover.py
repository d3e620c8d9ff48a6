"""
A place that changes hands only when the one who had it is truly out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime

from pbkit.errors import LoginTimedOut
from pbkit.sessions.roster import Place
from pbkit.sessions.waiters import Patience, Waiting

#: How long those who were there before have to be out, in seconds: ejabberd's `replaced_connection_timeout`.
HANDOVER_TIMEOUT = 30.0


class Departures:
    """
    Those who have ended and are not out yet: their `detached` still runs, or their hold on the avatar is not released.
    """

    def __init__(self) -> None:
        self._byAvatar: dict[str, dict[Place, Waiting]] = {}

    def __contains__(self, place: Place) -> bool:
        return place in self._byAvatar.get(place.avatarId, ())

    def __len__(self) -> int:
        return sum(map(len, self._byAvatar.values()))

    def of(self, avatarId: str) -> tuple[Place, ...]:
        """Those of an avatar id, whoever ended first first."""
        return tuple(self._byAvatar.get(avatarId, ()))

    def begin(self, place: Place) -> None:
        """It has ended."""
        self._byAvatar.setdefault(place.avatarId, {})[place] = Waiting()

    def end(self, place: Place) -> None:
        """It is out."""
        places = self._byAvatar[place.avatarId]
        waiting = places.pop(place)
        if not places:
            del self._byAvatar[place.avatarId]
        waiting.tell()

    async def wait(self, places: Iterable[Place], clock: IReactorTime | None) -> None:
        """
        Wait until these are out; those that have not ended are none of them.

        :param clock: without one it takes as long as it takes.
        :raises LoginTimedOut: that is longer than `HANDOVER_TIMEOUT`.
        """
        patience = Patience(clock, HANDOVER_TIMEOUT, _tooLong)
        try:
            for place in places:
                waiting = self._byAvatar.get(place.avatarId, {}).get(place)
                if waiting is not None:
                    await patience.wait(waiting.wait())
        finally:
            patience.stop()


async def handOver(
    place: Place, departures: Departures, clock: IReactorTime | None, end: Callable[[Place], object]
) -> None:
    """
    End those whose place this is to be, and wait until they are out; so are those waited for who are about to be.

    :param place: of a newcomer who gets the avatar after them.
    :param end: ends the session of a place.
    :raises LoginTimedOut: they are not out in time.
    """
    old, place.ending = place.ending, ()
    for each in old:
        end(each)
    await departures.wait(dict.fromkeys((*old, *departures.of(place.avatarId))), clock)


def _tooLong() -> LoginTimedOut:
    return LoginTimedOut("the session before this one took too long to end, try again later")
