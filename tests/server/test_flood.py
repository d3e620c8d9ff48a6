"""One connection cannot fill the log, and cannot put control characters into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.cred.credentials import IUsernameHashedPassword
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.spread import banana, pb, util

from pbkit import CachingRealm, ServerFactory, dropin
from pbkit.errors import Kicked
from pbkit.wire.profile import STRICT
from tests.server.case import ServerCase, StockRealm, portal
from tests.support import LENIENT, Wire, serve
from tests.wire.copies import Card
from tests.wire.things import Board, BoardCopy, Guide

#: How often each attack is repeated at the same time.
TIMES = 1000

#: Control characters of a terminal, and text that imitates a line of the log.
NASTY = "\x1b[2Jgone\n2026-01-01T00:00:00+0000 [-] login: 'root'\u202e"

#: The strict profile, without the limits that would end a flood early.
PATIENT = attrs.evolve(LENIENT, log=STRICT.log)


class Trouble(Guide):
    """An avatar whose methods cause log lines."""

    def perspective_raises(self, text: str) -> None:
        """Raise an exception with the caller's text."""
        raise ValueError(f"no such room: {text}")

    def perspective_unsendable(self) -> Any:
        """Return a value that jelly cannot send."""
        return object()

    def perspective_long(self) -> str:
        """Return a string that is too long."""
        return "x" * (banana.SIZE_LIMIT + 1)

    def perspective_page(self, collector: Any) -> None:
        """Start a pager that fails."""

        class Breaking(util.Pager):
            def nextPage(self) -> Any:
                raise ValueError("no page")

        Breaking(collector)

    def perspective_asks(self, client: Any) -> Any:
        """Pass on the exception of the client's object."""
        return client.callRemote("fails")


class Grudging(Board):
    """A Cacheable that fails when an observer leaves."""

    def stoppedObserving(self, perspective: Any, observer: Any) -> None:
        """Raise."""
        raise ValueError("not me")


pb.setUnjellyableForClass(Grudging, BoardCopy)


class Client(pb.Referenceable):
    """A client's object that fails with control characters in its text."""

    def remote_fails(self) -> None:
        """Fail."""
        raise ValueError(NASTY)


class Broken:
    """A checker that fails with the user name in its text."""

    credentialInterfaces = (IUsernameHashedPassword,)

    def requestAvatarId(self, credentials: Any) -> Any:
        """As `ICredentialsChecker.requestAvatarId`."""
        raise LookupError(f"the database is down, looking for {credentials.username.decode()}")


class BrokenRealm(CachingRealm):
    """A realm that fails to build avatars."""

    def buildAvatar(self, avatarId: str) -> Any:
        """Raise."""
        raise LookupError(f"nothing is known of {NASTY}")


class FloodTests(ServerCase):
    """A thousand lines of each kind at the same time."""

    def setUp(self) -> None:
        """Make a server with that avatar."""
        super().setUp()
        self.realm = CachingRealm(Trouble, clock=self.clock)
        self.server = serve(self.realm, clock=self.clock, profile=PATIENT)
        self.wire = Wire(self.server)

    def login(self) -> tuple[Any, Any]:
        """Log in, without counting its log lines."""
        avatar = self.successResultOf(self.wire.login())
        (session,) = self.realm.roster
        self.clock.advance(1)
        self.lines()
        return avatar, session

    def flood(self, act: Callable[[int], Any]) -> list[str]:
        """
        Do something a thousand times, and lose the connection.

        :return: the log lines: at most ten, none of them long or with control characters, and one with the number of
            the others.
        """
        for number in range(TIMES):
            done = act(number)
            if isinstance(done, Deferred):
                done.addErrback(lambda failure: None)
        self.wire.flush()
        # Only lines of the server: the client logs errors of its own object.
        self.events[:] = [event for event in self.events if event["log_namespace"].startswith("pbkit.")]
        self.flushLoggedErrors()
        lines, events = [], list(self.events)
        for event, line in zip(events, self.lines(), strict=True):
            lines.append(line)
            if "log_failure" in event:
                line += event["log_failure"].getTraceback()
            self.assertTrue(line.replace("\n", "").isprintable(), repr(line))
            self.assertNotIn("\n2026", line)
            self.assertLess(len(line), 5000)
        # Refused logins have a limit of their own.
        refused = [line for line in lines if line.startswith("login refused")]
        lines = [line for line in lines if line not in refused]
        self.assertLessEqual((len(lines), len(refused)), (10, 1))
        self.wire.lose()
        last = self.lines()
        dropped = [line for line in last if "more lines about" in line]
        self.assertEqual(len(dropped), 1, last)
        count = int(dropped[0].partition(" ")[0])
        self.assertGreaterEqual(count, TIMES - len(lines))
        return lines

    def refusals(self, act: Callable[[int], Any]) -> list[str]:
        """
        Have a thousand logins refused.

        :return: the lines about them: the first at once, and the count when the server stops.
        """
        for number in range(TIMES):
            act(number).addErrback(lambda failure: None)
        self.assertEqual(len([line for line in self.lines() if line.startswith("login refused")]), 1)
        self.server.stopFactory()
        lines = [line for line in self.lines() if line.startswith("login refused")]
        self.assertEqual(len(lines), 1)
        return lines

    def test_raises(self) -> None:
        """Exceptions of methods, with the peer's text."""
        avatar, _ = self.login()
        lines = self.flood(lambda _: avatar.callRemote("raises", NASTY * 1000))
        self.assertIn("a call failed: internal error", lines[0])

    def test_raisesToNobody(self) -> None:
        """Exceptions in calls without an answer."""
        avatar, _ = self.login()
        lines = self.flood(lambda _: avatar.callRemote("raises", NASTY, pbanswer=False))
        self.assertEqual(len(lines), 10)

    def test_tracebacks(self) -> None:
        """Exceptions on a server that sends tracebacks, which adds stock's line."""
        self.server.unsafeTracebacks = True
        avatar, _ = self.login()
        self.flood(lambda _: avatar.callRemote("raises", "x"))

    def test_clientsErrors(self) -> None:
        """Exceptions of the client's object that a method passes on."""
        avatar, _ = self.login()
        client = Client()
        lines = self.flood(lambda _: self.wire.call(avatar, "asks", client))
        self.assertEqual(len(lines), 10)

    def test_unsendable(self) -> None:
        """Results that cannot be sent."""
        avatar, _ = self.login()
        self.assertIn("gave", self.flood(lambda _: avatar.callRemote("unsendable"))[0])

    def test_long(self) -> None:
        """Results that are too long."""
        self.patch(banana, "SIZE_LIMIT", 1000)
        avatar, _ = self.login()
        self.assertIn("an answer cannot be sent", self.flood(lambda _: avatar.callRemote("long"))[0])

    def test_classes(self) -> None:
        """Instances of classes that are not accepted."""
        self.server = serve(self.realm, clock=self.clock, allow=(), profile=PATIENT)
        self.wire = Wire(self.server)
        avatar, _ = self.login()
        self.assertIn("is refused", self.flood(lambda _: avatar.callRemote("note", Card()))[0])

    def test_classesByName(self) -> None:
        """Classes with control characters in their names."""
        avatar, _ = self.login()
        jelly = [b"tuple", [NASTY.encode() * 100, [b"dictionary"]]]
        self.flood(
            lambda number: self.wire.client.sendCall(
                b"message", 1000 + number, avatar.luid, b"note", 0, jelly, [b"dictionary"]
            )
        )

    def test_didNotUnderstand(self) -> None:
        """Messages `didNotUnderstand`."""
        avatar, _ = self.login()
        lines = self.flood(lambda _: self.wire.client.sendCall(b"didNotUnderstand", NASTY.encode()))
        self.assertIn("did not understand", lines[0])
        del avatar

    def test_pagers(self) -> None:
        """Pagers that fail."""
        avatar, _ = self.login()
        collector = util.CallbackPageCollector(lambda pages: None)
        self.assertIn("removed a pager", self.flood(lambda _: avatar.callRemote("page", collector))[0])

    def test_observers(self) -> None:
        """Cacheables that fail when an observer leaves."""
        avatar, session = self.login()

        def look(_: int) -> None:
            session.avatar.board = Grudging()
            # The client does not keep the copy.
            self.successResultOf(self.wire.call(avatar, "board"))
            self.wire.flush()

        self.assertIn("a callback", self.flood(look)[0])

    def test_endedSessions(self) -> None:
        """Exceptions of methods after their session has ended."""
        avatar, session = self.login()
        for _ in range(200):
            avatar.callRemote("wait").addErrback(lambda failure: None)
        self.wire.flush()
        waiting = list(session.avatar.waiting)
        session.end(Kicked)
        self.lines()
        for d in waiting:
            d.errback(Failure(ValueError(NASTY)))
        lines = [line for line in self.lines() if "after its session had ended" in line]
        self.flushLoggedErrors(ValueError)
        self.assertEqual(len(lines), 10)
        self.wire.lose()

    def test_minds(self) -> None:
        """Logins with an invalid mind, before login."""
        root = self.successResultOf(self.wire.factory.getRootObject())
        (line,) = self.refusals(lambda number: self.wire.call(root, "loginAnonymous", number))
        self.assertIn(f"{TIMES - 1} more from", line)
        self.assertIn(f"BadMind {TIMES - 1}", line)

    def test_replays(self) -> None:
        """Challenges that are answered repeatedly."""
        root = self.successResultOf(self.wire.factory.getRootObject())
        challenge, challenger = self.successResultOf(self.wire.call(root, "login", b"alice"))
        answer = pb.respond(challenge, b"wrong")
        (line,) = self.refusals(lambda _: self.wire.call(challenger, "respond", answer, None))
        self.assertIn(f"ChallengeExpired {TIMES - 1}", line)

    def test_brokenChecker(self) -> None:
        """Logins at which a checker fails."""
        self.wire = Wire(ServerFactory(portal(self.realm, Broken()), clock=self.clock, profile=PATIENT))
        root = self.successResultOf(self.wire.factory.getRootObject())

        def guess(_: int) -> Any:
            challenge, challenger = self.successResultOf(self.wire.call(root, "login", NASTY.encode()))
            return self.wire.call(challenger, "respond", pb.respond(challenge, b"x"), None)

        self.assertIn("a login failed, error", self.flood(guess)[0])

    def test_brokenRealm(self) -> None:
        """Logins at which a realm fails."""
        realm = BrokenRealm(clock=self.clock)
        self.wire = Wire(serve(realm, clock=self.clock, profile=PATIENT))
        self.assertIn("a login failed, error", self.flood(lambda _: self.wire.login())[0])

    def test_stockRealm(self) -> None:
        """Wrong arguments for a stock avatar's methods are an error for the caller, and not logged."""
        self.wire = Wire(serve(StockRealm(), clock=self.clock, profile=PATIENT))
        avatar = self.successResultOf(self.wire.login())
        self.lines()
        for method in ("whoami", "nothing"):
            for _ in range(TIMES):
                self.failureResultOf(self.wire.call(avatar, method, NASTY))
        self.assertEqual(self.lines(), [])

    def test_stockRealmDropIn(self) -> None:
        """A drop-in server logs such calls, like stock, but without the arguments."""
        self.wire = Wire(serve(StockRealm(), dropin.PBServerFactory, clock=self.clock))
        avatar = self.successResultOf(self.wire.login())
        self.assertEqual(self.successResultOf(self.wire.call(avatar, "whoami")), b"alice")
        self.lines()
        for method, kind in (("whoami", TypeError), ("nothing", AttributeError)):
            failure = self.failureResultOf(self.wire.call(avatar, method, "s3same"))
            self.assertTrue(failure.check(kind))
            self.assertNotIn("s3same", "".join([*self.lines(), failure.getTraceback()]))
            self.assertEqual(len(self.flushLoggedErrors(kind)), 1)

    def test_dialects(self) -> None:
        """A peer without a known dialect is disconnected at its first message."""
        server = self.server.buildProtocol(None)
        server.makeConnection(StringTransport())
        self.lines()
        server.dataReceived(b"\x03\x82abc" * TIMES)
        lines = self.lines()
        self.assertTrue(server.transport.disconnecting or server.transport.aborting)
        server.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("unsupported protocol dialect", lines[0])
