"""What a client logs if the server calls a method that its mind does not have."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import CachingRealm, ClientFactory, dropin
from pbkit.testing import MemoryServer, RecordingMind
from tests.attacks.attacker import logged
from tests.support import Recorder, Wire, serve


class Mind(pb.Referenceable):
    """Has one method."""

    def remote_scoreIs(self, score: int) -> None:
        """Take the score."""


class UnfitTests(SynchronousTestCase):
    """Calls that a mind cannot serve."""

    def told(self, client: Any, *calls: tuple[Any, ...]) -> list[str]:
        """Let a session make these calls with `tell`, and return the lines that are logged."""
        realm = CachingRealm(Recorder, clock=Clock())
        wire = Wire(serve(realm), client)
        avatar = self.successResultOf(wire.login("alice", Mind()))
        (session,) = realm.roster
        with logged() as text:
            for name, *args in calls:
                session.mind.tell(name, *args)
                wire.flush()
        del avatar
        wire.lose()
        return text().splitlines()

    def test_missing(self) -> None:
        """A missing method is logged once."""
        (one, two) = self.told(ClientFactory(), ("hey", 1), ("hey", 2), ("hoy",), ("scoreIs", 3))
        self.assertIn("could not serve a call of the server", one)
        self.assertIn("no such method: remote_hey", one)
        self.assertIn("no such method: remote_hoy", two)

    def test_arguments(self) -> None:
        """Arguments that do not fit are logged once, without their values."""
        (line,) = self.told(ClientFactory(), ("scoreIs",), ("scoreIs", 1, "secret"))
        self.assertIn("remote_scoreIs", line)
        self.assertNotIn("secret", line)

    def test_bounded(self) -> None:
        """A server cannot fill the client's log or memory."""
        lines = self.told(ClientFactory(clock=Clock()), *((f"method{n}",) for n in range(500)))
        self.assertLessEqual(len(lines), 11)

    def test_goodbye(self) -> None:
        """A goodbye is not logged: every client can receive one."""
        self.assertEqual(self.told(ClientFactory(), ("goodbye", "Kicked", "x")), [])

    def test_dropIn(self) -> None:
        """In drop-in use a traceback is logged, as in stock."""
        for client in (dropin.PBClientFactory(), pb.PBClientFactory()):
            text = "\n".join(self.told(client, ("hey",)))
            self.assertNotIn("could not serve", text)
            self.assertIn("Traceback", text)
            self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_testKit(self) -> None:
        """In the test kit such a call fails the test."""
        server = MemoryServer(CachingRealm(Recorder))
        server.login("alice", RecordingMind()).session.mind.tell("hey")
        self.assertRaises(AssertionError, server.close)
