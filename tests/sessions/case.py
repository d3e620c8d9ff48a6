"""
What the tests of realms share: realms that build when a test tells them to, avatars whose hooks do what a test says,
and a check that nothing is left.
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
    A realm that builds an avatar when the test says so.

    :ivar builds: the Deferred of each build, in order.
    """

    def __init__(self, *args: Any, kind: type[Deferred[Any]] = Deferred, **kw: Any) -> None:
        self.builds: list[Deferred[Any]] = []
        self._kind = kind
        super().__init__(*args, **kw)

    def buildAvatar(self, avatarId: str) -> Any:
        """Return a Deferred that the test fires."""
        self.builds.append(self._kind())
        return self.builds[-1]


class SlowSingle(Slow, SingleClientRealm):
    """The same, with one client at a time."""


class Hooked(Recorder):
    """
    An avatar whose hooks do what the test says.

    :cvar onAttached: called with the session; `attached` returns its result.
    """

    onAttached: Callable[[Session], Any] = staticmethod(lambda session: None)
    onDetached: Callable[[Session], Any] = staticmethod(lambda session: None)

    def attached(self, session: Session) -> Any:
        """Note it, and call `onAttached`."""
        super().attached(session)
        return self.onAttached(session)

    def detached(self, session: Session) -> Any:
        """Note it, and call `onDetached`."""
        super().detached(session)
        return self.onDetached(session)


class RealmTestCase(SynchronousTestCase):
    """The base of the tests of realms."""

    def setUp(self) -> None:
        """Make a clock."""
        self.clock = Clock()

    def hooked(self, attached: Callable[[Session], Any], detached: Callable[[Session], Any] = lambda s: None) -> Any:
        """Return a class of avatars with these hooks."""
        self.made: list[Hooked] = []
        made = self.made

        class Made(Hooked):
            """An avatar that the test can look at."""

            onAttached = staticmethod(attached)
            onDetached = staticmethod(detached)

            def __init__(self, avatarId: str) -> None:
                super().__init__(avatarId)
                made.append(self)

        return Made

    def events(self) -> list[str]:
        """Return the events of all avatars."""
        return [what for avatar in self.made for what, _ in avatar.events]

    def assertNothingLeft(self, realm: Realm, wires: tuple[Wire, ...] = ()) -> None:
        """Assert that no table holds anything."""
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
        """Return a new connection."""
        return Wire(serve(realm, clock=self.clock))
