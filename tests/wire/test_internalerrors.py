"""What the caller and the log get of an unexpected exception."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import Avatar, CachingRealm, ClientFactory, ServerFactory
from tests.attacks.attacker import logged
from tests.support import Wire, serve


class Broken(Avatar):
    """Raises."""

    def __init__(self, avatarId: str) -> None:
        super().__init__(avatarId)
        self.waiting: Deferred[None] = Deferred()

    def perspective_divide(self, by: int) -> float:
        """Divide."""
        return 1 / by

    def perspective_later(self) -> Deferred[None]:
        """Raise later."""
        return self.waiting

    def perspective_part(self) -> pb.Referenceable:
        """Another object."""
        return Part()

    async def perspective_ask(self) -> Any:
        """What the mind raises."""
        from pbkit import currentSession

        return await currentSession().mind.ask("boom")


class Part(pb.Referenceable):
    """Raises."""

    def remote_hi(self) -> None:
        """Raise."""
        raise KeyError("hi")


class Mind(pb.Referenceable):
    """Raises."""

    def remote_boom(self) -> None:
        """Raise."""
        raise KeyError("boom")


class InternalErrorTests(SynchronousTestCase):
    """`InternalError`."""

    def setUp(self) -> None:
        """alice is logged in."""
        self.realm = CachingRealm(Broken, clock=Clock())
        self.wire = Wire(serve(self.realm, ServerFactory), ClientFactory())
        self.avatar = self.successResultOf(self.wire.login("alice", Mind()))
        (self.session,) = self.realm.roster

    def check(self, d: Deferred[Any], text: str, method: str, end: str = "server") -> None:
        """Check that the text names the log, and the line in the log the user, the session and the method."""
        failure = self.failureResultOf(d)
        found = re.fullmatch(rf"internal error (\w{{8}}): the log of the {end} says more", failure.getErrorMessage())
        assert found, failure.getErrorMessage()
        line = next(line for line in text.splitlines() if f"internal error {found[1]}" in line)
        self.assertIn(f" in {method}, called by ", line)
        if end == "server":
            self.assertIn(f"alice (session {self.session.sessionId})", line)
        self.flushLoggedErrors()

    def test_call(self) -> None:
        """A method raises at once or later, or a method of another object of the session does."""
        part = self.successResultOf(self.wire.call(self.avatar, "part"))
        for reference, name, args in ((self.avatar, "divide", (0,)), (part, "hi", ())):
            with logged() as text:
                d = self.wire.call(reference, name, *args)
            self.check(d, text(), name)
        with logged() as text:
            d = self.wire.call(self.avatar, "later")
            self.session.avatar.waiting.errback(OSError("later"))
            self.wire.flush()
        self.check(d, text(), "later")

    def test_mind(self) -> None:
        """If a mind raises, the text names the client's log."""
        with logged() as text:
            d = self.wire.call(self.avatar, "ask")
        self.check(d, text(), "boom", "client")

    def test_oddNames(self) -> None:
        """The name of the method is escaped."""
        setattr(Broken, "perspective_\x1b[31m", lambda self: 1 / 0)
        self.addCleanup(delattr, Broken, "perspective_\x1b[31m")
        with logged() as text:
            self.failureResultOf(self.wire.call(self.avatar, "\x1b[31m"))
        self.assertIn(r"in \x1b[31m, called by", text())
        self.flushLoggedErrors()
