"""
What the tests of realms share: realms that build when told to, avatars whose hooks do as told, and "nothing is left".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pbkit import CachingRealm, Realm, Session, SingleClientRealm
from tests.support import Recorder, Wire, serve, timers


class Slow(CachingRealm):
    """
    Builds when the test says so.

    :ivar builds: by order, the Deferred of each build.
    """

    def __init__(self, *args: Any, kind: type[Deferred[Any]] = Deferred, **kw: Any) -> None:
        self.builds: list[Deferred[Any]] = []
        self._kind = kind
        super().__init__(*args, **kw)

    def buildAvatar(self, avatarId: str) -> Any:
        """Wait."""
        self.builds.append(self._kind())
        return self.builds[-1]


class SlowSingle(Slow, SingleClientRealm):
    """The same, with one client at a time."""


class Hooked(Recorder):
    """
    Its hooks do what the realm's test says.

    :cvar onAttached: called with the session; what it returns is what `attached` returns.
    """

    onAttached: Callable[[Session], Any] = staticmethod(lambda session: None)
    onDetached: Callable[[Session], Any] = staticmethod(lambda session: None)

    def attached(self, session: Session) -> Any:
        """Write it down, and do it."""
        super().attached(session)
        return self.onAttached(session)

    def detached(self, session: Session) -> Any:
        """Write it down, and do it."""
        super().detached(session)
        return self.onDetached(session)


class RealmTestCase(SynchronousTestCase):
    """What the tests below share."""

    def setUp(self) -> None:
        """A clock."""
        self.clock = Clock()

    def hooked(self, attached: Callable[[Session], Any], detached: Callable[[Session], Any] = lambda s: None) -> Any:
        """A class of avatars whose hooks do this."""
        self.made: list[Hooked] = []
        made = self.made

        class Made(Hooked):
            """Is remembered."""

            onAttached = staticmethod(attached)
            onDetached = staticmethod(detached)

            def __init__(self, avatarId: str) -> None:
                super().__init__(avatarId)
                made.append(self)

        return Made

    def events(self) -> list[str]:
        """What the hooks of all avatars were told."""
        return [what for avatar in self.made for what, _ in avatar.events]

    def assertNothingLeft(self, realm: Realm, wires: tuple[Wire, ...] = ()) -> None:
        """Nothing is left in any table."""
        roster = realm.roster
        self.assertEqual((len(roster), roster.pending, len(roster.view.everyone())), (0, 0, 0))
        self.assertEqual((roster._byAvatar, roster._byPeer, roster._sessions), ({}, {}, {}))
        entrance = realm._entrance
        self.assertEqual((entrance._logins, entrance._leaving, entrance.arbitration._probes), (set(), set(), {}))
        self.assertEqual(timers(self.clock), [])
        for wire in wires:
            self.assertEqual(len(wire.server._channels), 0)
            self.assertEqual((wire.server.owners, wire.server.callers), ({}, {}))

    def wire(self, realm: Realm) -> Wire:
        """A new connection."""
        return Wire(serve(realm, clock=self.clock))
