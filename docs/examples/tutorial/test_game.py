"""Tests of a realm and its avatars."""

from twisted.trial.unittest import SynchronousTestCase

from game import GameRealm, Player
from pbkit.errors import Kicked, TooManySessions
from pbkit.testing import MemoryServerMixin, RecordingMind


class PlayerTests(SynchronousTestCase):
    def test_moveCounts(self):
        player = Player("alice", 5)
        self.assertEqual(player.perspective_move(2), 7)


class GameRealmTests(MemoryServerMixin, SynchronousTestCase):
    def setUp(self):
        self.server = self.serve(GameRealm(start=50))

    def test_thirdLoginIsRefused(self):
        self.server.login("alice")
        self.server.login("alice")
        with self.assertRaises(TooManySessions) as refusal:
            self.server.login("alice")
        self.assertEqual(str(refusal.exception), "alice has 2 of 2 connections")

    def test_scoreStays(self):
        first = self.server.login("alice")
        self.assertEqual(first.call("move", 1), 51)
        first.logout()
        self.server.assertNoSessions()
        self.assertEqual(self.server.login("alice").call("move", 1), 52)

    def test_watcherIsTold(self):
        watcher = RecordingMind(scoreIs=lambda score: None)
        self.server.login("alice", watcher)
        self.server.login("alice").call("move", 10)
        self.assertEqual(watcher.told, [("scoreIs", 60)])


class CheatingTests(MemoryServerMixin, SynchronousTestCase):
    def test_kickedClientIsTold(self):
        alice = self.serve(GameRealm()).login("alice")
        alice.session.end(Kicked, "cheating")
        with self.assertRaises(Kicked) as error:
            alice.call("move", 10)
        self.assertEqual(
            str(error.exception), "this session was ended by the server: cheating"
        )
