"""What failed logins cost: time, and in the end the connection."""

from __future__ import annotations

import gc
from typing import Any

import attrs
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IAnonymous, IUsernameHashedPassword
from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail
from twisted.spread import pb

from pbkit import LimitedRealm, ServerFactory, dropin, errors
from pbkit.wire.profile import STRICT
from tests.server.case import ServerCase, StockRealm, portal
from tests.support import PASSWORD, USERS, Client, Recorder, Wire, serve

#: Strict, but that connections are not closed.
ENDLESS = attrs.evolve(
    STRICT,
    door=attrs.evolve(STRICT.door, failures=None),
    gate=attrs.evolve(STRICT.gate, timeout=None),
)


class DoorCase(ServerCase):
    """What the tests of failed logins share."""

    def setUp(self) -> None:
        """Collect the wires of the test."""
        super().setUp()
        self.wires: list[Wire] = []

    def connect(self, host: str | None = "192.0.2.1", server: Any = None) -> Wire:
        """Make a connection."""
        self.wires.append(Wire(self.server if server is None else server, host=host))
        return self.wires[-1]

    def advance(self, seconds: float) -> None:
        """Let time go by, in steps in which bytes move."""
        self.clock.advance(seconds)
        for wire in self.wires:
            wire.flush()

    def delayOf(self, d: Any) -> float:
        """After how many seconds, in halves, it fails with `BadCredentials`."""
        failures: list[Any] = []
        d.addErrback(failures.append)
        for halves in range(100):
            if failures:
                self.assertTrue(failures[0].check(errors.BadCredentials), failures[0])
                return halves / 2
            self.advance(0.5)
        raise AssertionError("it is never answered")

    def wrong(self, wire: Wire, name: str = "alice") -> Any:
        """Log in with a wrong password."""
        return wire.login(name, None, b"wrong")


class DelayTests(DoorCase):
    """A wrong password is answered late, and later each time."""

    def test_guesserOnManyConnections(self) -> None:
        """Guesses over new connections from one address are answered after 1, 2, 4, 8, 10 and 10 s."""
        self.assertEqual([self.delayOf(self.wrong(self.connect())) for _ in range(6)], [1, 2, 4, 8, 10, 10])

    def test_guesserOnOneConnection(self) -> None:
        """So are guesses on one connection, where it is not closed."""
        wire = self.connect(server=serve(self.realm, clock=self.clock, profile=ENDLESS))
        self.assertEqual([self.delayOf(self.wrong(wire)) for _ in range(6)], [1, 2, 4, 8, 10, 10])

    def test_sameNetwork(self) -> None:
        """Addresses of one IPv6 /64 count as one; those of another do not, nor do two IPv4 addresses."""
        hosts = ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "192.0.2.1", "192.0.2.2")
        self.assertEqual([self.delayOf(self.wrong(self.connect(host))) for host in hosts], [1, 2, 1, 1, 1])

    def test_ownAccountOfOtherSpelling(self) -> None:
        """A login to another spelling, which may be the guesser's own account, resets no failures of a name."""
        users = InMemoryUsernamePasswordDatabaseDontUse(alice=PASSWORD, ALICE=b"mine")
        server = ServerFactory(portal(self.realm, users), clock=self.clock)
        self.assertEqual([self.delayOf(self.wrong(self.connect(server=server))) for _ in range(2)], [1, 2])
        self.successResultOf(self.connect(server=server).login("ALICE", None, b"mine"))
        self.assertEqual(self.delayOf(self.wrong(self.connect(server=server))), 4)
        self.successResultOf(self.connect(server=server).login())
        self.assertEqual(self.delayOf(self.wrong(self.connect(server=server))), 1)

    def test_unknownName(self) -> None:
        """The delay does not show whether the user exists."""
        for name in ("alice", "nobody"):
            self.assertEqual([self.delayOf(self.wrong(self.connect(), name)) for _ in range(4)], [1, 2, 4, 8])

    def test_rightPasswordFromElsewhere(self) -> None:
        """A right password from another address is not held up, nor is that of another user."""
        kept = []
        for _ in range(5):
            d = self.wrong(self.connect())
            kept.append(self.successResultOf(self.connect("198.51.100.7").login()))
            kept.append(self.successResultOf(self.connect().login("bob")))
            self.delayOf(d)

    def test_rightPasswordWaitsForTheDelay(self) -> None:
        """From the guesser's own address it is checked when the delay is over: an answer at once would give it away."""
        guesser = self.connect()
        wrong = self.wrong(guesser)
        for wire in (guesser, self.connect()):
            right = wire.login()
            self.assertNoResult(right)
            self.advance(0.9 if wire is guesser else 0.1)
        kept = self.successResultOf(right)
        self.failureResultOf(wrong)
        del kept

    def test_guesserThatDoesNotWait(self) -> None:
        """
        Guesses over new connections that wait for no answer are checked once in each delay; three of them wait, and
        more are refused at once, with the time after which to try again.
        """
        asked: list[float] = []

        class Counting:
            credentialInterfaces = (IUsernameHashedPassword,)

            def requestAvatarId(inner, credentials: Any) -> Any:
                asked.append(self.clock.seconds())
                return fail(UnauthorizedLogin())

        server = ServerFactory(portal(self.realm, Counting()), clock=self.clock)
        refusals: list[Any] = []
        for _ in range(60):
            for _ in range(5):
                self.wrong(self.connect(server=server)).addErrback(refusals.append)
            self.advance(0.5)
        self.assertEqual(asked, [0, 1, 3, 7, 15, 25])
        unchecked = [failure for failure in refusals if failure.check(errors.TooManyAttempts)]
        self.assertGreater(len(unchecked), 250)
        for failure in unchecked:
            self.assertIn("try again in", failure.getErrorMessage())

    def test_rightOneAmongGuesses(self) -> None:
        """A right password that waits beside guesses at it from the same address is checked in its turn."""
        self.wrong(self.connect()).addErrback(lambda failure: None)
        right = self.connect().login()
        for _ in range(2):
            self.wrong(self.connect()).addErrback(lambda failure: None)
        self.assertNoResult(right)
        for _ in range(14):
            self.advance(0.5)
        self.successResultOf(right)

    def test_unixSockets(self) -> None:
        """Clients of a Unix socket are told apart by their connection."""
        guesser, other = (Wire(self.server) for _ in range(2))
        for wire in (guesser, other):
            wire.server.transport.getPeer = lambda: UNIXAddress(None)
        self.wires += [guesser, other]
        wrong = self.wrong(guesser)
        kept = self.successResultOf(other.login())
        right = guesser.login()
        self.assertNoResult(right)
        self.advance(1)
        self.successResultOf(right)
        self.failureResultOf(wrong)
        del kept

    def test_successForgets(self) -> None:
        """After the right password the next wrong one waits for 1 s."""
        delays = [self.delayOf(self.wrong(self.connect())) for _ in range(3)]
        kept = self.successResultOf(self.connect().login())
        delays.append(self.delayOf(self.wrong(self.connect())))
        self.assertEqual(delays, [1, 2, 4, 1])
        del kept

    def test_spelledOtherwise(self) -> None:
        """A name sent as text and as bytes is one name; so is one in other letters, which some checkers accept too."""
        delays = []
        for name in ("alice", b"alice", "ALICE", "\uff21lice", "alice "):
            wire = self.connect()
            root = self.successResultOf(wire.factory.getRootObject())
            _, challenger = self.successResultOf(wire.call(root, "login", name))
            delays.append(self.delayOf(wire.call(challenger, "respond", b"x" * 16, None)))
        self.assertEqual(delays, [1, 2, 4, 8, 10])

    def test_logIsNotLate(self) -> None:
        """The guess is logged and counted when it is made."""
        d = self.wrong(self.connect())
        (line,) = self.lines()
        self.assertIn("login refused: BadCredentials from 192.0.2.1:4711", line)
        self.assertEqual(self.realm.counters.refusals, {"BadCredentials": 1})
        self.advance(1)
        self.failureResultOf(d)
        self.assertEqual(self.lines(), [])

    def test_lossCancelsIt(self) -> None:
        """A connection that is lost while an answer waits leaves no timer, and its guess counts."""
        wire = self.connect()
        before = len(self.clock.getDelayedCalls())
        d = self.wrong(wire)
        self.assertEqual(len(self.clock.getDelayedCalls()), before + 1)
        wire.cut()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        wire.flush()
        self.assertTrue(self.failureResultOf(d).check(pb.PBConnectionLost))
        # Checked after 1 s, and answered 2 s later.
        self.assertEqual(self.delayOf(self.wrong(self.connect())), 3)

    def test_lossOfOneThatWaits(self) -> None:
        """A login that waits for the delay is forgotten with its connection, and never checked."""
        wrong = self.wrong(self.connect())
        wires = [self.connect() for _ in range(3)]
        waiting = [wire.login("alice", Client()) for wire in wires]
        self.assertTrue(self.failureResultOf(self.connect().login()).check(errors.TooManyAttempts))
        for wire in wires:
            wire.cut()
            wire.flush()
        for d in waiting:
            self.assertTrue(self.failureResultOf(d).check(pb.PBConnectionLost))
        self.advance(1)
        self.failureResultOf(wrong)
        self.assertEqual(self.realm.counters.refusals, {"BadCredentials": 1, "TooManyAttempts": 1})
        self.successResultOf(self.connect().login())
        self.assertEqual(self.server.root._throttle.checks, 0)

    def test_checkerAnswersAfterTheLoss(self) -> None:
        """A guess that is found wrong when its connection is gone counts too, and leaves no timer."""
        checking: list[Deferred[Any]] = []

        class Slow:
            credentialInterfaces = (IUsernameHashedPassword,)

            def requestAvatarId(self, credentials: Any) -> Any:
                checking.append(Deferred())
                return checking[-1]

        server = ServerFactory(portal(self.realm, Slow()), clock=self.clock)
        wire = self.connect(server=server)
        self.wrong(wire).addErrback(lambda failure: None)
        wire.cut()
        checking.pop().errback(UnauthorizedLogin())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        d = self.wrong(self.connect(server=server))
        self.assertEqual(checking, [])
        self.advance(1)
        checking.pop().errback(UnauthorizedLogin())
        self.assertEqual(self.delayOf(d), 2)

    def test_holdsNothing(self) -> None:
        """While the answer waits, no place is held, no channel is open, and the mind is given back."""
        wire = self.connect()
        d = wire.login("alice", Client(), b"wrong")
        gc.collect()
        wire.flush()
        self.assertNoResult(d)
        self.assertEqual((len(self.realm.roster), self.realm.roster.pending), (0, 0))
        self.assertEqual((wire.server.owners, wire.server._channels, wire.client.localObjects), ({}, {}, {}))
        self.advance(1)
        self.failureResultOf(d)

    def test_withoutAClock(self) -> None:
        """On a connection without a clock there is no delay; the third failure closes all the same, and at once."""
        wire = self.connect(server=serve(self.realm))
        for _ in range(2):
            self.assertTrue(self.failureResultOf(self.wrong(wire)).check(errors.BadCredentials))
        self.assertTrue(self.failureResultOf(self.wrong(wire)).check(pb.PBConnectionLost))
        self.assertTrue(wire.server.disconnected)

    def test_withoutADelay(self) -> None:
        """Where the delay is set to 0 all answers arrive, the third one too."""
        prompt = attrs.evolve(STRICT, door=attrs.evolve(STRICT.door, delay=0.0))
        wire = self.connect(server=serve(self.realm, clock=self.clock, profile=prompt))
        answers = [self.wrong(wire) for _ in range(3)]
        self.advance(0)
        for d in answers:
            self.assertTrue(self.failureResultOf(d).check(errors.BadCredentials))
        self.assertTrue(wire.server.disconnected)

    def test_dropIn(self) -> None:
        """A drop-in server answers at once, as stock does, and closes nothing."""
        for realm in (self.realm, StockRealm()):
            wire = self.connect(server=serve(realm, dropin.PBServerFactory, clock=self.clock))
            for _ in range(50):
                self.failureResultOf(self.wrong(wire))
            self.assertFalse(wire.server.disconnected)
            self.successResultOf(wire.login())
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.flushLoggedErrors()


class CountingTests(DoorCase):
    """What counts as a guess, and what does not."""

    def test_othersRefusalsDoNotCount(self) -> None:
        """Refusals other than for a wrong password are answered at once, and never close the connection."""
        full = LimitedRealm(Recorder, max=1, clock=self.clock)
        server = serve(full, clock=self.clock)
        wire = self.connect(server=server)
        kept = self.successResultOf(wire.login())
        for _ in range(10):
            self.assertTrue(self.failureResultOf(wire.login()).check(errors.TooManySessions))
            self.assertTrue(self.failureResultOf(wire.login(None)).check(errors.AnonymousRefused))
            self.assertTrue(self.failureResultOf(wire.login("alice", 5)).check(errors.BadMind))
        self.successResultOf(full.close())
        for _ in range(10):
            self.assertTrue(self.failureResultOf(wire.login("bob")).check(errors.ServerStopping))
        self.assertFalse(wire.server.disconnected)
        del kept

    def test_brokenCheckerIsNoGuess(self) -> None:
        """An error in a checker does not count as a guess."""

        class Broken:
            credentialInterfaces = (IUsernameHashedPassword,)

            def requestAvatarId(self, credentials: Any) -> Any:
                raise LookupError("the database is down")

        wire = self.connect(server=ServerFactory(portal(self.realm, Broken()), clock=self.clock))
        for _ in range(5):
            self.assertTrue(self.failureResultOf(self.wrong(wire)).check(errors.LoginUnavailable))
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 5)
        self.assertFalse(wire.server.disconnected)

    def test_checkersOwnErrorsCount(self) -> None:
        """Every refusal by a checker counts: it may mean a wrong password."""

        class WrongToken(errors.LoginRefused):
            pass

        for error in (WrongToken("no"), LoginDenied("no"), pb.Error("no"), UnauthorizedLogin("no")):

            class Refusing:
                credentialInterfaces = (IUsernameHashedPassword,)

                def requestAvatarId(self, credentials: Any, error: Exception = error) -> Any:
                    credentials.checkPassword(PASSWORD)
                    return fail(error)

            wire = self.connect(server=ServerFactory(portal(self.realm, Refusing()), clock=self.clock))
            answers = [wire.login(name) for name in USERS]
            self.assertNoResult(answers[0])
            self.advance(10)
            for d in answers:
                self.assertTrue(self.failureResultOf(d).check(errors.LoginRefused), error)
            self.assertTrue(wire.server.disconnected)

    def test_realmThatIsNotOurs(self) -> None:
        """A refusal by a stock realm, after the right password, does not count as a guess."""
        realm = StockRealm()
        wire = self.connect(server=serve(realm, clock=self.clock))
        for _ in range(10):
            realm.waiting = fail(LoginDenied("not today"))
            self.assertIn("not today", self.failureResultOf(wire.login()).getErrorMessage())
        self.assertFalse(wire.server.disconnected)
        answers = [self.wrong(wire, name) for name in USERS]
        self.advance(10)
        for d in answers:
            self.failureResultOf(d)
        self.assertTrue(wire.server.disconnected)

    def test_badNamesCount(self) -> None:
        """An invalid name is refused like a wrong password, as late and as often, without asking a checker."""
        wire = self.connect()
        root = self.successResultOf(wire.factory.getRootObject())
        answers = [wire.call(root, "login", name) for name in (5, b"x" * 256, "\u00e9" * 128)]
        self.assertEqual(len([line for line in self.lines() if "BadCredentials" in line]), 1)
        self.assertEqual(self.realm.counters.refusals, {"BadCredentials": 3})
        self.advance(1)
        self.assertIn("at most 255 bytes", self.failureResultOf(answers[0]).getErrorMessage())
        self.advance(10)
        for d in answers[1:]:
            self.assertTrue(self.failureResultOf(d).check(errors.BadCredentials))
        self.assertTrue(wire.server.disconnected)

    def test_longestName(self) -> None:
        """A name of 255 bytes is valid."""
        asked: list[Any] = []

        class Anybody:
            credentialInterfaces = (IUsernameHashedPassword,)

            def requestAvatarId(self, credentials: Any) -> Any:
                asked.append(credentials.username)
                return credentials.username

        server = ServerFactory(portal(self.realm, Anybody()), clock=self.clock)
        self.successResultOf(self.connect(server=server).login("x" * 255))
        self.assertEqual(asked, [b"x" * 255])


class ClosingTests(DoorCase):
    """After three failures in a row the connection is closed."""

    def test_third(self) -> None:
        """After the third failure it is closed, once the answer is sent; the log has one line for that."""
        wire = self.connect()
        for wait in (1, 2):
            self.assertEqual(self.delayOf(self.wrong(wire)), wait)
        self.lines()
        d = self.wrong(wire)
        self.advance(3.9)
        self.assertFalse(wire.server.disconnected)
        self.advance(0.1)
        self.assertTrue(self.failureResultOf(d).check(errors.BadCredentials))
        self.assertTrue(wire.server.disconnected)
        (closed,) = self.lines()
        self.assertEqual(closed, "connection closed: the last 3 logins from 192.0.2.1:4711 failed")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothingIsServedUntilThen(self) -> None:
        """Once the connection is to be closed, logins on it fail and no checker is asked, right password or wrong."""
        wire = self.connect()
        asked = [self.wrong(wire, name) for name in USERS]
        self.lines()
        for d in (wire.login(), self.wrong(wire)):
            self.assertTrue(self.failureResultOf(d).check(errors.TooManyFailures))
        self.assertEqual((self.lines(), len(self.realm.roster)), ([], 0))
        self.advance(10)
        for d in asked:
            self.assertTrue(self.failureResultOf(d).check(errors.BadCredentials))
        self.assertTrue(wire.server.disconnected)

    def test_eachIsToldFirst(self) -> None:
        """It is closed only when every failed login has its answer, also one with a longer delay."""
        for _ in range(3):
            self.delayOf(self.wrong(self.connect()))
        wire = self.connect()
        alice, bob, carol = self.wrong(wire, "alice"), self.wrong(wire, "bob"), self.wrong(wire, "carol")
        self.advance(1)
        self.failureResultOf(bob)
        self.failureResultOf(carol)
        self.assertFalse(wire.server.disconnected)
        self.advance(7)
        self.failureResultOf(alice)
        self.assertTrue(wire.server.disconnected)

    def test_gateway(self) -> None:
        """A gateway that logs in many users on one connection is not closed when some of them fail now and then."""
        wire = self.connect()
        kept = []
        for i in range(60):
            if i % 3 == 2:
                kept.append(self.successResultOf(wire.login(USERS[i % len(USERS)])))
            else:
                self.delayOf(self.wrong(wire, f"nobody{i}"))
        self.assertFalse(wire.server.disconnected)
        self.assertEqual(len(kept), 20)

    def test_guestsProveNothing(self) -> None:
        """An anonymous login between the guesses does not reset the count."""
        self.realm.anonymous = None
        server = serve(self.realm, clock=self.clock, profile=STRICT)
        server.root.portal.realm = StockRealm()
        wire = self.connect(server=server)
        asked = []
        for name in USERS:
            asked.append(self.wrong(wire, name))
            d = wire.login(None)
            if len(asked) < 3:
                self.successResultOf(d)
            d.addErrback(lambda failure: None)
        self.advance(10)
        self.assertTrue(wire.server.disconnected)
        for d in asked:
            self.failureResultOf(d)

    def test_configured(self) -> None:
        """The number of failures is that of the profile; with None the connection is never closed."""
        for most, closed in ((1, 1), (5, 5), (None, None)):
            profile = attrs.evolve(STRICT, door=attrs.evolve(STRICT.door, failures=most, delay=0.0))
            wire = self.connect(server=serve(self.realm, clock=self.clock, profile=profile))
            number = 0
            while not wire.server.disconnected and number < 20:
                d = self.wrong(wire)
                self.advance(0)
                self.failureResultOf(d)
                number += 1
            self.assertEqual(number, closed or 20)


class Slow:
    """A checker that takes its time."""

    credentialInterfaces = (IUsernameHashedPassword, IAnonymous)

    def __init__(self) -> None:
        self.asked: list[tuple[Any, Deferred[Any]]] = []

    def requestAvatarId(self, credentials: Any) -> Any:
        """`ICredentialsChecker`."""
        d: Deferred[Any] = Deferred()
        self.asked.append((credentials, d))
        return d

    def decide(self) -> None:
        """Decide the login that has waited longest."""
        credentials, d = self.asked.pop(0)
        if credentials.checkPassword(PASSWORD):
            d.callback(credentials.username)
        else:
            d.errback(UnauthorizedLogin())


class TurnTests(DoorCase):
    """A client that does not wait for answers gets no more guesses."""

    def setUp(self) -> None:
        """With a checker that takes its time."""
        super().setUp()
        self.slow = Slow()
        self.factory = ServerFactory(portal(self.realm, self.slow), clock=self.clock)
        self.wire = self.connect(server=self.factory)

    def test_guessesInFlight(self) -> None:
        """Of 40 guesses that are sent together three are checked, and then the connection is closed."""
        answers = [self.wrong(self.wire, f"user{i}") for i in range(40)]
        decided = 0
        while self.slow.asked:
            self.assertLessEqual(decided + len(self.slow.asked), 3)
            self.slow.decide()
            decided += 1
        self.assertEqual(decided, 3)
        self.wire.flush()
        for d in answers[3:]:
            self.assertTrue(self.failureResultOf(d).check(errors.TooManyFailures))
        self.advance(1)
        for d in answers[:3]:
            self.assertTrue(self.failureResultOf(d).check(errors.BadCredentials))
        self.assertTrue(self.wire.server.disconnected)

    def test_thoseThatWaitAreLetIn(self) -> None:
        """Forty right passwords all succeed, each in its turn, though some between them are wrong."""
        answers = {}
        for i in range(40):
            answers[i] = self.wrong(self.wire, f"eve{i}") if i % 3 == 1 else self.wire.login(f"user{i}")
        while self.slow.asked:
            self.slow.decide()
            self.wire.flush()
        self.advance(10)
        for i, d in answers.items():
            if i % 3 == 1:
                self.failureResultOf(d)
            else:
                self.successResultOf(d)

    def test_buildingIsNotDeciding(self) -> None:
        """A login whose password was right, and whose avatar takes a while to build, does not hold up others."""
        building: list[Deferred[Any]] = []

        def build(avatarId: str) -> Any:
            building.append(Deferred())
            return building[-1]

        self.realm.avatarClass = build
        answers = [self.wire.login(f"user{i}") for i in range(8)]
        while self.slow.asked:
            self.slow.decide()
        self.assertEqual(len(building), 8)
        for i, d in enumerate(building):
            d.callback(Recorder(f"user{i}"))
        self.wire.flush()
        for answer in answers:
            self.successResultOf(answer)

    def test_delayCountsFromTheArrival(self) -> None:
        """The time that a checker takes is part of the delay: the answer does not show whether the user exists."""
        times: list[float] = []
        for took in (0.0, 0.5, 0.9):
            wire = self.connect(f"192.0.2.{int(took * 10)}", server=self.factory)
            began = self.clock.seconds()
            d = self.wrong(wire, "alice")
            d.addErrback(lambda failure, began=began: times.append(self.clock.seconds() - began))
            self.advance(took)
            self.slow.decide()
            self.advance(1 - took)
        self.assertEqual([round(seconds, 6) for seconds in times], [1, 1, 1])

    def test_guestsDoNotWait(self) -> None:
        """Guests have a turn at once, because they have no password to guess."""
        for i in range(5):
            self.wire.login(f"user{i}").addErrback(lambda failure: None)
        self.wire.login(None).addErrback(lambda failure: None)
        self.assertEqual(len(self.slow.asked), 4)

    def test_lossWhileTheyWait(self) -> None:
        """Logins whose turn has not come when the connection is lost are never checked."""
        answers = [self.wire.login(f"user{i}", Client()) for i in range(10)]
        self.wire.cut()
        while self.slow.asked:
            self.slow.decide()
        self.assertEqual(self.realm.counters.refusals, {"LoginInterrupted": 3})
        self.wire.flush()
        for d in answers:
            self.assertTrue(self.failureResultOf(d).check(pb.PBConnectionLost))
        self.assertEqual((len(self.realm.roster), self.realm.roster.pending), (0, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_manyThatWaitForASyncOne(self) -> None:
        """Where those that wait are decided at once when their turn comes, none is decided within another."""
        answers = [self.wire.login(f"user{i}") for i in range(45)]
        depth: list[int] = []
        slow, inside = self.slow, [0]

        def atOnce(credentials: Any) -> Any:
            inside[0] += 1
            depth.append(inside[0])
            d: Deferred[Any] = Deferred()
            d.callback(credentials.username)
            inside[0] -= 1
            return d

        slow.requestAvatarId = atOnce  # type: ignore[method-assign]
        slow.decide()
        self.wire.flush()
        for answer in answers[:1] + answers[3:]:
            self.successResultOf(answer)
        self.assertEqual(len(depth), 42)
        while slow.asked:
            slow.decide()
        self.wire.flush()
        for answer in answers:
            answer.addErrback(lambda failure: None)

    def test_badNamesWaitForNoTurn(self) -> None:
        """Invalid names do not wait for a checker; when there are too many the connection is closed all the same."""
        first = self.wire.login("alice")
        root = self.successResultOf(self.wire.factory.getRootObject())
        answers = [self.wire.call(root, "login", 5) for _ in range(10)]
        for d in answers[3:]:
            self.assertTrue(self.failureResultOf(d).check(errors.TooManyFailures))
        self.slow.decide()
        self.wire.flush()
        kept = self.successResultOf(first)
        self.advance(4)
        for d in answers[:3]:
            self.assertTrue(self.failureResultOf(d).check(errors.BadCredentials))
        self.assertTrue(self.wire.server.disconnected)
        del kept

    def test_mindsOfThoseThatAreTooMany(self) -> None:
        """A login that is refused before its turn has its mind given back."""
        answers = [self.wire.login(f"user{i}", Client(), b"wrong") for i in range(10)]
        while self.slow.asked:
            self.slow.decide()
        gc.collect()
        self.wire.flush()
        self.assertEqual(self.wire.client.localObjects, {})
        self.advance(10)
        for d in answers:
            self.failureResultOf(d)
