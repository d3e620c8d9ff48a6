"""Tests of broken connections, silent clients and logged errors."""

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

import pbkit
from game import GameRealm
from pbkit.errors import CallTimedOut, Disconnected, InternalError
from pbkit.testing import MemoryServerMixin, RecordingMind


class Watcher(pb.Referenceable):
    def remote_scoreIs(self, score):
        print("the score is", score)


class MindTests(MemoryServerMixin, SynchronousTestCase):
    def test_watcherHasTheMethod(self):
        # The class declares the methods. With an instance, they would also be called.
        watcher = RecordingMind(Watcher)
        self.serve(GameRealm()).login("alice", watcher).call("move", 1)
        self.assertEqual(watcher.told, [("scoreIs", 101)])

    def test_serverAsksClient(self):
        later = Deferred()
        server = self.serve(GameRealm())
        alice = server.login("alice", RecordingMind(sure=lambda question: later))
        answer = alice.session.mind.callRemote("sure", "quit?")
        self.assertNoResult(answer)
        later.callback("no")
        server.flush()
        self.assertEqual(self.successResultOf(answer), "no")


class TroubleTests(MemoryServerMixin, SynchronousTestCase):
    def setUp(self):
        self.server = self.serve(GameRealm())
        self.alice = self.server.login("alice", RecordingMind(sure=lambda: "yes"))

    def test_lostConnectionEndsTheSession(self):
        self.alice.connection.cut()
        self.server.assertNoSessions()
        with self.assertRaises(Disconnected):
            self.alice.call("move", 1)

    def test_frozenClientAnswersLater(self):
        self.alice.connection.stall()
        question = self.alice.session.mind.callRemote("sure")
        self.server.advance(29)
        self.assertNoResult(question)
        self.alice.connection.resume()
        self.assertEqual(self.successResultOf(question), "yes")

    def test_vanishedClientTimesOut(self):
        self.alice.connection.vanish()
        question = self.alice.session.mind.callRemote("sure")
        self.server.advance(31)
        self.failureResultOf(question, CallTimedOut)
        # The server keeps the session until the connection is reported lost.
        self.assertEqual(self.server.sessions, (self.alice.session,))
        self.alice.connection.cut()
        self.server.assertNoSessions()

    def test_loggedErrors(self):
        with self.assertRaises(InternalError):
            self.alice.call("move", "a lot")
        # A test fails if it does not flush the errors that the server logged.
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)


async def play(endpoint, reactor):
    """Client code, unchanged from the program."""
    async with pbkit.connect(
        endpoint, UsernamePassword("alice", "sesame"), reactor=reactor
    ) as me:
        return await me.callRemote("move", 10)


class ClientTests(MemoryServerMixin, SynchronousTestCase):
    def test_play(self):
        users = InMemoryUsernamePasswordDatabaseDontUse(alice=b"sesame")
        server = self.serve(GameRealm(), checkers=[users])
        playing = Deferred.fromCoroutine(play(server.endpoint(), server.clock))
        server.flush()
        self.assertEqual(self.successResultOf(playing), 110)
