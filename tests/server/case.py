"""What the server tests share: a stock realm, and what is logged."""

from __future__ import annotations

from typing import Any

from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pbkit import CachingRealm
from tests.support import LENIENT, Part, Recorder, serve

#: What promises that old clients give up on a refusal for good, and that no traceback is logged.
REFUSAL = (UnauthorizedLogin, LoginDenied, pb.Error)


def portal(realm: Any, checker: Any) -> Portal:
    """A portal with one checker."""
    return Portal(realm, [checker])


class Avatar(pb.Avatar):
    """An avatar of a stock realm."""

    def __init__(self, avatarId: Any, mind: Any) -> None:
        self.avatarId = avatarId
        self.mind = mind
        self.part = Part()

    def perspective_whoami(self) -> Any:
        """The avatar id."""
        return self.avatarId

    def perspective_part(self) -> Part:
        """Return something."""
        return self.part


@implementer(IRealm)
class StockRealm:
    """
    A realm that knows nothing of pbkit.

    :ivar avatars: those it gave, in order.
    :ivar out: the avatars whose logout was called, in order.
    """

    def __init__(self, logout: Any = None) -> None:
        self.avatars: list[Any] = []
        self.out: list[Any] = []
        self.waiting: Deferred[Any] | None = None
        self._logout = logout

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """As stock's realms do."""
        avatar = self.make(avatarId, mind)
        self.avatars.append(avatar)

        def logout() -> Any:
            self.out.append(avatar)
            return None if self._logout is None else self._logout()

        result = (pb.IPerspective, avatar, logout)
        return result if self.waiting is None else self.waiting.addCallback(lambda _: result)

    def make(self, avatarId: Any, mind: Any) -> Any:
        """A new one each time."""
        return Avatar(avatarId, mind)


class ServerCase(SynchronousTestCase):
    """A realm, its server, and what is logged."""

    def setUp(self) -> None:
        """Observe the log."""
        self.clock = Clock()
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.realm = CachingRealm(Recorder, clock=self.clock)
        self.server = serve(self.realm, clock=self.clock)
        self.lenient = serve(self.realm, clock=self.clock, profile=LENIENT)

    def lines(self) -> list[str]:
        """Return what was logged since the last call, as text."""
        found = [formatEvent(event) for event in self.events]
        self.events.clear()
        return found

    def assertRefused(self, d: Any, reason: type[Exception], text: str = "", logged: bool = True) -> Any:
        """Assert that a login was refused, without a traceback, and with one line in the log if `logged`."""
        failure = self.failureResultOf(d)
        self.assertEqual(failure.type, f"{reason.__module__}.{reason.__name__}".encode())
        for base in REFUSAL:
            self.assertTrue(failure.check(base), base)
        self.assertIn(text, failure.getErrorMessage())
        lines = self.lines()
        self.assertEqual(len(lines), logged, lines)
        for line in lines:
            self.assertIn(f"login refused: {reason.__name__}", line)
        self.assertEqual(self.flushLoggedErrors(), [])
        return failure
