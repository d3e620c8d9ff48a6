"""
How often an avatar id may change hands.

Two clients of one user that connect again by themselves whenever they are thrown out would throw out one another for
ever, as fast as their machines can. So a newcomer who would throw out somebody waits, if that has happened to this
avatar id in the last five seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from pbkit.sessions.roster import Place
from pbkit.sessions.waiters import Waiting

#: How long an avatar id stays in the same hands at least, in seconds. Long enough that a war costs next to nothing, and
#: short enough for people who walk from one machine to another, whose client just takes a little longer then.
CHANGE_INTERVAL = 5.0


class Changes:
    """
    When avatar ids last changed hands. Forgotten after `CHANGE_INTERVAL`; there is a timer only where somebody waits.
    """

    def __init__(self) -> None:
        #: By avatar id, the login that is about to take over.
        self._pending: dict[str, Place] = {}
        #: By avatar id, when one last did; the earliest first.
        self._at: dict[str, float] = {}
        self._lines: dict[str, _Line] = {}

    def begin(self, place: Place, avatarIds: Iterable[str], clock: IReactorTime, isChange: Callable[[], bool]) -> None:
        """
        A login that will end others has got its place.

        :param avatarIds: its own and those of the others.
        :param isChange: called when the login is decided: whether it did end them.
        """
        ids = tuple(dict.fromkeys(avatarIds))

        def decided(_: object) -> None:
            for avatarId in ids:
                if self._pending.get(avatarId) is place:
                    del self._pending[avatarId]
                if isChange():
                    self._at.pop(avatarId, None)
                    self._at[avatarId] = clock.seconds()

        self._pending.update(dict.fromkeys(ids, place))
        place.settled().addCallback(decided)

    def wait(self, avatarIds: Iterable[str], clock: IReactorTime) -> Deferred[None] | None:
        """
        What a newcomer has to wait for who would end somebody.

        :param avatarIds: his own and those of whom he would end.
        :return: a Deferred that fires when it is time to ask again, or None: nothing.
        """
        now = clock.seconds()
        self._forget(now)
        ids = tuple(avatarIds)
        for avatarId in ids:
            if avatarId in self._pending:
                return self._pending[avatarId].settled()
        recent = [avatarId for avatarId in ids if avatarId in self._at]
        if not recent:
            return None
        last = max(recent, key=self._at.__getitem__)
        line = self._lines.get(last)
        if line is None:
            line = self._lines[last] = _Line(lambda: self.left(last))
            line.timer = clock.callLater(self._at[last] + CHANGE_INTERVAL - now, self._due, last)
        return line.wait()

    def _due(self, avatarId: str) -> None:
        # Not left to a comparison of times: a clock's sums may fall short of it by the last digit.
        self._at.pop(avatarId, None)
        self.left(avatarId)

    def left(self, avatarId: str) -> None:
        """Those who wait for an avatar id may ask again: it is time, or a session of its has ended."""
        line = self._lines.pop(avatarId, None)
        if line is not None:
            if line.timer is not None and line.timer.active():
                line.timer.cancel()
            line.tell()

    def _forget(self, now: float) -> None:
        while self._at:
            avatarId, at = next(iter(self._at.items()))
            if now < at + CHANGE_INTERVAL:
                break
            del self._at[avatarId]


class _Line(Waiting):
    """Those who wait for one avatar id."""

    __slots__ = ("timer",)

    def __init__(self, onEmpty: Callable[[], object]) -> None:
        super().__init__(onEmpty)
        self.timer: IDelayedCall | None = None
