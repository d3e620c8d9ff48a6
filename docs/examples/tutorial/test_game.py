"""How a realm and its avatars are tested."""

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.test.iosim import connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase

from game import GameRealm, Player
from pbkit import ServerFactory
from pbkit.errors import Kicked, TooManySessions


class PlayerTests(SynchronousTestCase):
    def test_moveCounts(self):
        player = Player("alice", 5)
        self.assertEqual(player.perspective_move(2), 7)


class GameRealmTests(SynchronousTestCase):
    def setUp(self):
        self.realm = GameRealm(clock=Clock())

    def login(self):
        return self.realm.requestAvatar("alice", None, pb.IPerspective)

    def test_thirdLoginIsRefused(self):
        for _ in range(2):
            self.successResultOf(self.login())
        refusal = self.failureResultOf(self.login(), TooManySessions)
        self.assertEqual(str(refusal.value), "alice has 2 of 2 connections")

    def test_avatarIsShared(self):
        _, first, logout = self.successResultOf(self.login())
        first.avatar.perspective_move(1)
        logout()
        _, second, _ = self.successResultOf(self.login())
        self.assertEqual(second.avatar.score, 101)


class WireTests(SynchronousTestCase):
    def setUp(self):
        self.realm = GameRealm(start=0)
        users = InMemoryUsernamePasswordDatabaseDontUse(alice=b"sesame")
        self.server = ServerFactory(Portal(self.realm, [users]), clock=Clock())

    def test_kickedClientIsTold(self):
        client = pb.PBClientFactory()
        _, _, pump = connectedServerAndClient(
            lambda: self.server.buildProtocol(None), lambda: client.buildProtocol(None)
        )
        login = client.login(UsernamePassword(b"alice", b"sesame"))
        pump.flush()
        player = self.successResultOf(login)
        (session,) = self.realm.roster
        session.end(Kicked, "cheating")
        move = player.callRemote("move", 10)
        pump.flush()
        error = self.failureResultOf(move)
        self.assertEqual(error.type, b"pbkit.errors.Kicked")
        self.assertEqual(error.value, "this session was ended by the server: cheating")
