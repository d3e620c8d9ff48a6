"""One connection cannot fill the log, whatever it has written there; nor put anything there that is not text."""

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

#: How often each is tried within one moment.
TIMES = 1000

#: What a terminal would obey, and what looks like a line of the log.
NASTY = "\x1b[2Jgone\n2026-01-01T00:00:00+0000 [-] login: 'root'\u202e"

#: Strict, but for what would end a flood before its time.
PATIENT = attrs.evolve(LENIENT, log=STRICT.log)


class Trouble(Guide):
    """Does what is to be logged."""

    def perspective_raises(self, text: str) -> None:
        """With the caller's words in it."""
        raise ValueError(f"no such room: {text}")

    def perspective_unsendable(self) -> Any:
        """What jelly does not know."""
        return object()

    def perspective_long(self) -> str:
        """Longer than a string may be."""
        return "x" * (banana.SIZE_LIMIT + 1)

    def perspective_page(self, collector: Any) -> None:
        """Page something that breaks."""

        class Breaking(util.Pager):
            def nextPage(self) -> Any:
                raise ValueError("no page")

        Breaking(collector)

    def perspective_asks(self, client: Any) -> Any:
        """Hand on what the client's own object raises."""
        return client.callRemote("fails")


class Grudging(Board):
    """Does not let go."""

    def stoppedObserving(self, perspective: Any, observer: Any) -> None:
        """Raise."""
        raise ValueError("not me")


pb.setUnjellyableForClass(Grudging, BoardCopy)


class Client(pb.Referenceable):
    """Fails, with a text that is not nice."""

    def remote_fails(self) -> None:
        """Fail."""
        raise ValueError(NASTY)


class Broken:
    """A checker that is out of order, and says whom it looked for."""

    credentialInterfaces = (IUsernameHashedPassword,)

    def requestAvatarId(self, credentials: Any) -> Any:
        """`ICredentialsChecker`."""
        raise LookupError(f"the database is down, looking for {credentials.username.decode()}")


class BrokenRealm(CachingRealm):
    """Builds nothing."""

    def buildAvatar(self, avatarId: str) -> Any:
        """Raise."""
        raise LookupError(f"nothing is known of {NASTY}")


class FloodTests(ServerCase):
    """A thousand of each kind of line, within one moment."""

    def setUp(self) -> None:
        """A server with an avatar of which trouble may be had."""
        super().setUp()
        self.realm = CachingRealm(Trouble, clock=self.clock)
        self.server = serve(self.realm, clock=self.clock, profile=PATIENT)
        self.wire = Wire(self.server)

    def login(self) -> tuple[Any, Any]:
        """Log in; nothing of that is counted below."""
        avatar = self.successResultOf(self.wire.login())
        (session,) = self.realm.roster
        self.clock.advance(1)
        self.lines()
        return avatar, session

    def flood(self, act: Callable[[int], Any]) -> list[str]:
        """
        Do it a thousand times, and lose the connection.

        :return: the lines that the log has of it: ten at most, none of them long or with anything in it that is no
            text, and behind those one that says how many there are not.
        """
        for number in range(TIMES):
            done = act(number)
            if isinstance(done, Deferred):
                done.addErrback(lambda failure: None)
        self.wire.flush()
        # Of the server: what the client logs of its own object's errors is its affair.
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
        """What methods raise, with the peer's words in it."""
        avatar, _ = self.login()
        lines = self.flood(lambda _: avatar.callRemote("raises", NASTY * 1000))
        self.assertIn("a call failed: internal error", lines[0])

    def test_raisesToNobody(self) -> None:
        """The same, of calls that want no answer."""
        avatar, _ = self.login()
        lines = self.flood(lambda _: avatar.callRemote("raises", NASTY, pbanswer=False))
        self.assertEqual(len(lines), 10)

    def test_tracebacks(self) -> None:
        """The same, of a server that sends its tracebacks. Stock's line comes with it."""
        self.server.unsafeTracebacks = True
        avatar, _ = self.login()
        self.flood(lambda _: avatar.callRemote("raises", "x"))

    def test_clientsErrors(self) -> None:
        """What the client's own object raises, where a method hands that on."""
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
        """The same, with a name that is not nice."""
        avatar, _ = self.login()
        jelly = [b"tuple", [NASTY.encode() * 100, [b"dictionary"]]]
        self.flood(
            lambda number: self.wire.client.sendCall(
                b"message", 1000 + number, avatar.luid, b"note", 0, jelly, [b"dictionary"]
            )
        )

    def test_didNotUnderstand(self) -> None:
        """What it says it did not understand."""
        avatar, _ = self.login()
        lines = self.flood(lambda _: self.wire.client.sendCall(b"didNotUnderstand", NASTY.encode()))
        self.assertIn("did not understand", lines[0])
        del avatar

    def test_pagers(self) -> None:
        """Pagers that break."""
        avatar, _ = self.login()
        collector = util.CallbackPageCollector(lambda pages: None)
        self.assertIn("removed a pager", self.flood(lambda _: avatar.callRemote("page", collector))[0])

    def test_observers(self) -> None:
        """Cacheables that do not let go of who looks at them."""
        avatar, session = self.login()

        def look(_: int) -> None:
            session.avatar.board = Grudging()
            # Nobody keeps the copy.
            self.successResultOf(self.wire.call(avatar, "board"))
            self.wire.flush()

        self.assertIn("a callback", self.flood(look)[0])

    def test_endedSessions(self) -> None:
        """What methods raise when their session has ended."""
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
        """Log-ins with a mind that is none, before anybody is in."""
        root = self.successResultOf(self.wire.factory.getRootObject())
        (line,) = self.refusals(lambda number: self.wire.call(root, "loginAnonymous", number))
        self.assertIn(f"{TIMES - 1} more from", line)
        self.assertIn(f"BadMind {TIMES - 1}", line)

    def test_replays(self) -> None:
        """Challenges that are answered again and again."""
        root = self.successResultOf(self.wire.factory.getRootObject())
        challenge, challenger = self.successResultOf(self.wire.call(root, "login", b"alice"))
        answer = pb.respond(challenge, b"wrong")
        (line,) = self.refusals(lambda _: self.wire.call(challenger, "respond", answer, None))
        self.assertIn(f"ChallengeExpired {TIMES - 1}", line)

    def test_brokenChecker(self) -> None:
        """Log-ins that a checker breaks at."""
        self.wire = Wire(ServerFactory(portal(self.realm, Broken()), clock=self.clock, profile=PATIENT))
        root = self.successResultOf(self.wire.factory.getRootObject())

        def guess(_: int) -> Any:
            challenge, challenger = self.successResultOf(self.wire.call(root, "login", NASTY.encode()))
            return self.wire.call(challenger, "respond", pb.respond(challenge, b"x"), None)

        self.assertIn("a login failed, error", self.flood(guess)[0])

    def test_brokenRealm(self) -> None:
        """Log-ins that a realm breaks at."""
        realm = BrokenRealm(clock=self.clock)
        self.wire = Wire(serve(realm, clock=self.clock, profile=PATIENT))
        self.assertIn("a login failed, error", self.flood(lambda _: self.wire.login())[0])

    def test_stockRealm(self) -> None:
        """Calls that do not fit the methods of a stock avatar are told to the caller, and to nobody else."""
        self.wire = Wire(serve(StockRealm(), clock=self.clock, profile=PATIENT))
        avatar = self.successResultOf(self.wire.login())
        self.lines()
        for method in ("whoami", "nothing"):
            for _ in range(TIMES):
                self.failureResultOf(self.wire.call(avatar, method, NASTY))
        self.assertEqual(self.lines(), [])

    def test_stockRealmDropIn(self) -> None:
        """A drop-in server logs such calls, as stock does, but not what they were called with."""
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
        """Who speaks no dialect of ours is cut off at the first word."""
        server = self.server.buildProtocol(None)
        server.makeConnection(StringTransport())
        self.lines()
        server.dataReceived(b"\x03\x82abc" * TIMES)
        lines = self.lines()
        self.assertTrue(server.transport.disconnecting or server.transport.aborting)
        server.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("unsupported protocol dialect", lines[0])
