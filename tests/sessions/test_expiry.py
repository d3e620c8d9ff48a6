"""The end of sessions that have been idle or live for too long."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pbkit import CachingRealm, errors
from pbkit.testing import MemoryServer, RecordingMind
from tests.support import Recorder, timers


class SweepTests(SynchronousTestCase):
    """`idleTimeout` and `maxSessionAge`."""

    def serve(self, **kw: Any) -> None:
        """Serve a realm."""
        self.realm = CachingRealm(Recorder, **kw)
        self.server = MemoryServer(self.realm)
        self.addCleanup(self.server.close)

    def names(self) -> list[str]:
        """Return the avatar ids that are logged in."""
        return [session.avatarId for session in self.realm.roster]

    def test_none(self) -> None:
        """Without a limit there is no timer, and no session ends."""
        self.serve()
        self.server.login("alice")
        self.assertEqual(timers(self.server.clock), [])
        self.server.advance(4000)
        self.assertEqual(self.names(), ["alice"])

    def test_idle(self) -> None:
        """A session without a call for so long is kicked, with the reason; one with a call in time stays."""
        self.serve(idleTimeout=60)
        mind = RecordingMind()
        silent = self.server.login("alice", mind)
        busy = self.server.login("bob")
        for _ in range(10):
            self.server.advance(5.9)
            busy.call("whoami")
        self.assertEqual(self.names(), ["alice", "bob"])
        self.server.advance(1.1)
        self.assertEqual(self.names(), ["bob"])
        self.assertEqual(mind.told, [("goodbye", "Idle", "no call for 60 s")])
        self.assertRaises(errors.Idle, silent.call, "whoami")
        self.server.advance(62)
        self.assertEqual(self.names(), [])
        self.assertEqual(self.realm.counters.ends, {"Idle": 2})

    def test_pingsAreNoCalls(self) -> None:
        """Calls by the server, and the answers to them, do not count."""
        self.serve(idleTimeout=10)
        self.server.login("alice", RecordingMind(ask=lambda: 1))
        (session,) = self.realm.roster
        for _ in range(12):
            assert session.peer is not None
            session.peer.ping(1.0)
            session.mind.callRemote("ask").addErrback(lambda _: None)
            self.server.advance(1)
        self.assertEqual(self.names(), [])

    def test_whoWaitsForAnAnswerIsNotIdle(self) -> None:
        """A call that is being served keeps its session, however long it takes, and for the timeout after it."""
        self.serve(idleTimeout=10)
        client = self.server.login("alice")
        waiting = client.callRemote("wait", pbtimeout=None)
        self.server.advance(1000)
        self.assertEqual(self.names(), ["alice"])
        client.avatar.waiting[0].callback("done")
        self.server.flush()
        self.assertEqual(self.successResultOf(waiting), "done")
        self.server.advance(8)
        self.assertEqual(self.names(), ["alice"])
        self.server.advance(13)
        self.assertEqual(self.names(), [])

    def test_age(self) -> None:
        """A session that has lasted for so long is kicked, even if its client calls all the time."""
        self.serve(maxSessionAge=3600, idleTimeout=600)
        client = self.server.login("alice")
        for _ in range(71):
            self.server.advance(50)
            client.call("whoami")
        self.server.advance(51)
        error = self.assertRaises(errors.TooOld, client.call, "whoami")
        self.assertIn("it began 3600 s ago", str(error))

    def test_oneTimer(self) -> None:
        """One timer serves all sessions while there are any, and it does not fire more often than needed."""
        self.serve(idleTimeout=600, maxSessionAge=86400)
        clients = [self.server.login(f"user{number}") for number in range(30)]
        looks: list[float] = []
        self.patch(self.realm._expiry, "timeLeft", self.counting(looks))
        for second in range(0, 1200, 10):
            self.server.advance(10)
            clients[second // 10 % 30].call("whoami")
            self.assertEqual(len(timers(self.server.clock)), 1)
        self.assertLessEqual(len(set(looks)), 1200)
        self.assertEqual(len(self.names()), 30)
        for client in clients:
            client.logout()
        self.server.flush()
        self.assertEqual(timers(self.server.clock), [])

    def counting(self, looks: list[float]) -> Any:
        """Return `timeLeft`, which notes when it is called."""
        left = self.realm._expiry.timeLeft

        def counted(session: Any, now: float) -> Any:
            looks.append(now)
            return left(session, now)

        return counted

    def test_changed(self) -> None:
        """Changed limits apply at once to existing sessions. A limit of 0 removes it."""
        self.serve()
        self.server.login("alice")
        self.server.advance(100)
        self.server.login("bob")
        self.realm.reconfigure(idleTimeout=60.0)
        self.server.flush()
        self.assertEqual(self.names(), ["bob"])
        self.realm.reconfigure(idleTimeout=0.0)
        self.assertEqual(timers(self.server.clock), [])
        self.server.advance(1000)
        self.assertEqual(self.names(), ["bob"])
        self.realm.reconfigure(maxSessionAge=2000.0)
        self.server.advance(999)
        self.assertEqual(self.names(), ["bob"])
        self.server.advance(2)
        self.assertEqual(self.names(), [])

    def test_badLimits(self) -> None:
        """A limit below 0 is an error, and changes nothing."""
        self.serve(idleTimeout=5)
        self.assertRaises(errors.ConfigError, self.realm.reconfigure, idleTimeout=-1)
        self.assertRaises(errors.ConfigError, CachingRealm, Recorder, maxSessionAge=-1)
        self.assertEqual(self.realm.idleTimeout, 5)

    def test_hooksThatReturnLate(self) -> None:
        """A `detached` that returns late delays nothing."""
        gate: Deferred[None] = Deferred()

        class Slow(Recorder):
            def detached(self, session: Any) -> Any:
                return gate

        self.realm = CachingRealm(Slow, idleTimeout=10)
        self.server = MemoryServer(self.realm)
        self.addCleanup(self.server.close)
        for name in ("alice", "bob"):
            self.server.login(name)
            self.server.advance(5)
        self.assertEqual(self.names(), ["bob"])
        self.server.advance(5)
        self.assertEqual(self.names(), [])
        gate.callback(None)
