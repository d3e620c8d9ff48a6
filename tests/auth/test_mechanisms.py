"""A challenge: answered once, in time."""

from __future__ import annotations

import gc
from hashlib import md5
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import fail, gatherResults
from twisted.spread import pb

from pbkit import ServerFactory, dropin, errors
from pbkit.auth.mechanisms import OUTSTANDING
from tests.server.case import ServerCase, portal
from tests.support import PASSWORD, USERS, Client, Wire, serve


class ChallengeCase(ServerCase):
    """A connection without a challenge."""

    def setUp(self) -> None:
        """Connect to a strict server."""
        super().setUp()
        self.wire = Wire(self.server)
        self.root = self.successResultOf(self.wire.factory.getRootObject())

    def ask(self, name: Any = b"alice") -> tuple[bytes, Any]:
        """Ask for a challenge."""
        challenge, challenger = self.successResultOf(self.wire.call(self.root, "login", name))
        return challenge, challenger

    def answer(self, challenge: bytes, challenger: Any, password: bytes = PASSWORD, mind: Any = None) -> Any:
        """Answer it."""
        return self.wire.call(challenger, "respond", pb.respond(challenge, password), mind)

    def held(self) -> int:
        """Return how many objects the server keeps for this connection, besides its root."""
        return len(self.wire.server.localObjects)


class OnceTests(ChallengeCase):
    """A challenge can be answered once."""

    def test_secondAnswer(self) -> None:
        """A second answer is refused, right or wrong, before any checker sees it, whatever became of the first."""
        asked: list[Any] = []

        class Looking:
            credentialInterfaces = (pb.IUsernameMD5Password,)

            def requestAvatarId(self, credentials: Any) -> Any:
                asked.append(credentials)
                right = credentials.checkMD5Password(md5(PASSWORD).digest())
                return credentials.username if right else fail(UnauthorizedLogin())

        self.wire = Wire(ServerFactory(portal(self.realm, Looking()), clock=self.clock))
        self.root = self.successResultOf(self.wire.factory.getRootObject())
        challenge, challenger = self.ask()
        first = self.answer(challenge, challenger, b"wrong")
        self.lines()
        for password in (b"wrong", PASSWORD):
            answer = self.answer(challenge, challenger, password)
            self.assertRefused(answer, errors.ChallengeExpired, "log in again", logged=False)
        self.clock.advance(1)
        self.wire.flush()
        self.assertTrue(self.failureResultOf(first).check(errors.BadCredentials))
        self.assertEqual(len(asked), 1)
        self.assertEqual(self.realm.counters.refusals, {"BadCredentials": 1, "ChallengeExpired": 2})

    def test_capturedAnswer(self) -> None:
        """A recorded right answer does not log in again, to this challenge or another."""
        challenge, challenger = self.ask()
        captured = pb.respond(challenge, PASSWORD)
        kept = self.successResultOf(self.wire.call(challenger, "respond", captured, None))
        self.lines()
        self.assertRefused(self.wire.call(challenger, "respond", captured, None), errors.ChallengeExpired)
        other = Wire(self.server)
        root = self.successResultOf(other.factory.getRootObject())
        _, challenger = self.successResultOf(other.call(root, "login", b"alice"))
        d = other.call(challenger, "respond", captured, None)
        self.clock.advance(1)
        other.flush()
        self.assertTrue(self.failureResultOf(d).check(errors.BadCredentials))
        self.assertEqual(len(self.realm.roster), 1)
        del kept

    def test_wrongCallIsNoAnswer(self) -> None:
        """A call with wrong arguments, or with an invalid mind, does not use it up."""
        challenge, challenger = self.ask()
        self.failureResultOf(self.wire.call(challenger, "respond", b"x"))
        self.failureResultOf(self.wire.call(challenger, "nothing"))
        self.assertTrue(self.failureResultOf(self.answer(challenge, challenger, PASSWORD, 5)).check(errors.BadMind))
        self.successResultOf(self.answer(challenge, challenger))

    def test_eachUserHisOwn(self) -> None:
        """Challenges of one connection do not affect each other."""
        asked = [(name, *self.ask(name)) for name in USERS for _ in range(2)]
        kept = [
            self.successResultOf(self.answer(challenge, challenger)) for _, challenge, challenger in reversed(asked)
        ]
        self.assertEqual(
            [self.successResultOf(self.wire.call(avatar, "whoami")) for avatar in kept[::2]], [*USERS][::-1]
        )

    def test_usedOneKeepsNothing(self) -> None:
        """Neither name nor challenge is kept once it is answered, and the mind of a second answer is given back."""
        challenge, challenger = self.ask()
        avatar = self.successResultOf(self.answer(challenge, challenger))
        (used,) = [local.object for luid, local in self.wire.server.localObjects.items() if luid != b"root"]
        self.assertEqual((used._username, used.challenge), (None, b""))
        self.failureResultOf(self.answer(challenge, challenger, PASSWORD, Client()))
        gc.collect()
        self.wire.flush()
        self.assertEqual(self.wire.client.localObjects, {})
        del avatar

    def test_dropIn(self) -> None:
        """A drop-in server accepts any number of answers at any time, as stock does."""
        for server in (dropin.PBServerFactory, pb.PBServerFactory):
            kw = {} if server is pb.PBServerFactory else {"clock": self.clock}
            self.wire = Wire(serve(self.realm, server, **kw))
            self.root = self.successResultOf(self.wire.factory.getRootObject())
            challenge, challenger = self.ask()
            self.clock.advance(1000)
            for _ in range(20):
                self.failureResultOf(self.answer(challenge, challenger, b"wrong"))
            kept = [self.successResultOf(self.answer(challenge, challenger)) for _ in range(2)]
            self.assertFalse(self.wire.server.disconnected)
            del kept
        self.flushLoggedErrors()


class TimeTests(ChallengeCase):
    """A challenge expires after 30 s."""

    def test_inTime(self) -> None:
        """After 30 s an answer is still accepted; later a right one is refused too."""
        self.wire = Wire(self.lenient)
        self.root = self.successResultOf(self.wire.factory.getRootObject())
        challenge, challenger = self.ask()
        self.clock.advance(30)
        kept = self.successResultOf(self.answer(challenge, challenger))
        challenge, challenger = self.ask()
        self.lines()
        self.clock.advance(30.01)
        self.assertRefused(self.answer(challenge, challenger), errors.ChallengeExpired, "has expired")
        del kept

    def test_withoutAClock(self) -> None:
        """On a connection without a clock it may take any time, but is answered once."""
        self.wire = Wire(serve(self.realm))
        self.root = self.successResultOf(self.wire.factory.getRootObject())
        challenge, challenger = self.ask()
        self.clock.advance(1000)
        kept = self.successResultOf(self.answer(challenge, challenger))
        self.assertTrue(self.failureResultOf(self.answer(challenge, challenger)).check(errors.ChallengeExpired))
        del kept


class NumberTests(ChallengeCase):
    """A connection has not any number of them."""

    def test_unanswered(self) -> None:
        """Of unanswered challenges the oldest are forgotten; the others can still be answered."""
        asked = [self.ask() for _ in range(OUTSTANDING + 20)]
        self.assertEqual(self.held(), OUTSTANDING)
        self.assertEqual(len(self.wire.server.luids), OUTSTANDING)
        self.assertIn("Invalid Object ID", self.failureResultOf(self.answer(*asked[19])).getErrorMessage())
        kept = self.successResultOf(self.answer(*asked[20]))
        # The client lets go of all, those that were forgotten too.
        asked.clear()
        gc.collect()
        self.wire.flush()
        self.assertFalse(self.wire.server.disconnected)
        self.assertEqual(self.held(), 0)
        self.assertEqual(self.wire.server.luids, {})
        del kept

    def test_letGo(self) -> None:
        """Those that the client let go of do not count, nor do those that it has answered."""
        first = self.ask()
        for _ in range(3 * OUTSTANDING):
            self.ask()
            self.wire.flush()
        gc.collect()
        self.wire.flush()
        self.assertEqual(self.held(), 1)
        kept = self.successResultOf(self.answer(*first))
        del kept

    def test_gateway(self) -> None:
        """A connection with a session may have more challenges, so that many users can log in at the same time."""
        names = [f"user{i}" for i in range(300)]
        kept = [self.successResultOf(self.wire.login())]
        kept += self.together(names)
        self.assertEqual(len(self.realm.roster), 301)
        self.assertEqual(self.held(), 0)
        kept.clear()
        gc.collect()
        self.wire.flush()
        self.assertEqual(len(self.realm.roster), 0)
        # And that is over when all are out.
        asked = [self.ask() for _ in range(OUTSTANDING + 5)]
        self.assertEqual(self.held(), OUTSTANDING)
        del asked

    def test_manyAtOnceOnAFreshOne(self) -> None:
        """On a connection without a session, as many users as there may be challenges can log in at the same time."""
        self.assertEqual(len(self.together([f"user{i}" for i in range(OUTSTANDING)])), OUTSTANDING)

    def together(self, names: list[str]) -> list[Any]:
        """Log in all of these before one answer is read."""
        for checker in self.server.root.portal.checkers.values():
            if hasattr(checker, "users"):
                checker.users.update((name.encode(), PASSWORD) for name in names)
        factory = self.wire.factory
        d = gatherResults([factory.login(UsernamePassword(name.encode(), PASSWORD)) for name in names])
        self.wire.flush()
        gc.collect()
        self.wire.flush()
        found: list[Any] = self.successResultOf(d)
        return found
