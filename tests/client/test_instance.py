"""Client instance ids."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from twisted.internet.task import Clock
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import CachingRealm, ClientFactory, dropin
from pbkit.client.instance import REMEMBERED, InstanceIds
from tests.support import Recorder, Wire, serve
from tests.transcripts import environment

FORK = """
import os
from pbkit.client import instance as program
here = program._ids.take(b"alice", "")[0]
read, write = os.pipe()
if not os.fork():
    os.write(write, program._ids.take(b"alice", "")[0].encode())
    os._exit(0)
os.wait()
print(here, os.read(read, 100).decode())
"""


class InstanceIdTests(SynchronousTestCase):
    """`InstanceIds`."""

    def test_aProgramIsNotGuessed(self) -> None:
        """Each program has its own 128 random bits."""
        texts = {InstanceIds().take(b"alice", "")[0] for _ in range(50)}
        self.assertEqual(len(texts), 50)
        self.assertEqual({len(text.partition(".")[0]) for text in texts}, {32})

    def test_liveConnectionsAreApart(self) -> None:
        """Two live connections of a user never have the same id; a connection after a lost one takes its id."""
        ids = InstanceIds()
        (first, loseFirst), (second, loseSecond) = ids.take(b"alice", "s"), ids.take(b"alice", "s")
        self.assertNotEqual(first, second)
        loseFirst()
        self.assertEqual(ids.take(b"alice", "s")[0], first)
        loseSecond()
        loseSecond()
        third, _ = ids.take(b"alice", "s")
        self.assertEqual(third, second)
        self.assertNotIn(ids.take(b"alice", "s")[0], {first, second})

    def test_whoWasLostLastHasTheGhost(self) -> None:
        """Of several free ids, the one of the connection that was lost last is taken."""
        ids = InstanceIds()
        taken = [ids.take(b"alice", "s") for _ in range(4)]
        for number in (1, 3, 0):
            taken[number][1]()
        self.assertEqual([ids.take(b"alice", "s")[0] for _ in range(3)], [taken[n][0] for n in (0, 3, 1)])

    def test_usersAreApart(self) -> None:
        """The ids of a user do not depend on the connections of other users."""
        ids = InstanceIds()
        alice, _ = ids.take(b"alice", "s")
        bob, _ = ids.take(b"bob", "s")
        self.assertEqual(alice, bob)

    def test_serversFindTheirOwnGhosts(self) -> None:
        """If the connections to two servers break at once, each server gets the same id again, in any order."""
        ids = InstanceIds()
        (one, loseOne), (two, loseTwo) = ids.take(b"alice", "one"), ids.take(b"alice", "two")
        loseOne()
        loseTwo()
        self.assertEqual(ids.take(b"alice", "two")[0], two)
        self.assertEqual(ids.take(b"alice", "one")[0], one)

    def test_bounded(self) -> None:
        """User names without a connection are forgotten eventually; names with one are not."""
        ids = InstanceIds()
        mine, _ = ids.take(b"alice", "s")
        for number in range(2 * REMEMBERED):
            ids.take(b"user%d" % number, "s")[1]()
        self.assertEqual(len(ids), REMEMBERED)
        self.assertNotEqual(ids.take(b"alice", "s")[0], mine)

    def test_forkedChildIsAnotherProgram(self) -> None:
        """A forked child has ids of its own."""
        command = [sys.executable, "-c", FORK]
        run = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=True)
        parent, child = run.stdout.split()
        self.assertNotEqual(parent.partition(".")[0], child.partition(".")[0])


class IntroductionTests(SynchronousTestCase):
    """The ids that a `ClientFactory` sends."""

    def setUp(self) -> None:
        """Make a server that records the hello of each login."""
        self.seen: list[Any] = []
        seen = self.seen

        class Asking(CachingRealm):
            """Records hellos."""

            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                """Record the hello."""
                seen.append(dict(mind.hello))
                return super().requestAvatar(avatarId, mind, *interfaces)

        self.server = serve(Asking(Recorder, clock=Clock()))

    def test_beforeTheLogin(self) -> None:
        """Each login has the id; two logins on one connection have the same."""
        wire = Wire(self.server, ClientFactory())
        kept = [self.successResultOf(wire.login("alice")), self.successResultOf(wire.login("bob"))]
        self.assertEqual(len(self.seen[0]["program"].partition(".")[0]), 32)
        self.assertEqual(self.seen[0], self.seen[1])
        del kept

    def test_again(self) -> None:
        """A new connection has the id of a lost one, and another id while that one lives."""
        first = Wire(self.server, ClientFactory())
        first.login("alice")
        Wire(self.server, ClientFactory()).login("alice")
        first.lose()
        Wire(self.server, ClientFactory()).login("alice")
        one, two, three = (each["program"] for each in self.seen)
        self.assertNotEqual(one, two)
        self.assertEqual(one, three)

    def test_oneFactoryManyConnections(self) -> None:
        """A factory that reconnects sends the id on each connection."""
        factory = ClientFactory()
        for _ in range(2):
            wire = Wire(self.server, factory)
            wire.login("alice")
            wire.lose()
            factory.clientConnectionLost(None, None)
        one, two = (each["program"] for each in self.seen)
        self.assertEqual(one, two)

    def test_onesOwn(self) -> None:
        """A client can send its own id, or none."""
        for program in ("me", ""):
            Wire(self.server, ClientFactory(hello={"program": program})).login("alice")
        self.assertEqual(self.seen, [{"program": "me"}, {"program": ""}])

    def test_guestsAndDropInsSayNothing(self) -> None:
        """An anonymous login sends no id, nor does the drop-in factory."""
        Wire(self.server, dropin.PBClientFactory()).login("alice")
        self.assertEqual(self.seen, [{}])
        wire = Wire(self.server, ClientFactory())
        self.failureResultOf(wire.login(None))
        self.assertEqual(wire.server.peer.hello, {})

    def test_full(self) -> None:
        """The id is left out if the hello has no room for it."""
        hello = {f"key{number}": 1 for number in range(32)}
        Wire(self.server, ClientFactory(hello=hello)).login("alice")
        self.assertEqual(self.seen, [hello])

    def test_stockServer(self) -> None:
        """A stock server ignores it."""
        wire = Wire(serve(CachingRealm(Recorder, clock=Clock()), pb.PBServerFactory), ClientFactory())
        avatar = self.successResultOf(wire.login("alice"))
        self.assertEqual(self.successResultOf(wire.call(avatar, "whoami")), "alice")
