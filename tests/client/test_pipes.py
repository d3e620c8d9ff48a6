"""Connections over pipes: to a child process, and over standard input and output. Their transports lack much."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import ProcessEndpoint, StandardErrorBehavior
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.spread import pb
from twisted.trial.unittest import TestCase

import pbkit
from pbkit import dropin, errors
from tests.support import PASSWORD

ROOT = str(Path(__file__).resolve().parent.parent.parent)

#: A server over standard input and output: its class is the argument.
SERVER = """
import sys
from twisted.internet import reactor, stdio
from twisted.spread import pb
import pbkit
from pbkit import CachingRealm, dropin
from tests.support import Recorder, serve

class Asking(Recorder):
    def attached(self, session):
        self.session = session

    def perspective_peer(self):
        return str(self.session.peer), repr(self.session.peer.address)

    def perspective_ask(self):
        return self.session.mind.callRemote("ask")

    def perspective_close(self):
        reactor.callLater(0, self.session.peer.close, 0.1)

    def perspective_break(self):
        stdio_.write(b"\\xff" * 100)

kind = {"strict": pbkit.ServerFactory, "dropin": dropin.PBServerFactory, "stock": pb.PBServerFactory}[sys.argv[1]]
broker = serve(CachingRealm(Asking), kind).buildProtocol(None)
lost = broker.connectionLost
def connectionLost(reason):
    try:
        lost(reason)
    finally:
        reactor.callLater(0, reactor.stop)
broker.connectionLost = connectionLost
stdio_ = stdio.StandardIO(broker)
reactor.run()
"""


class Mind(pb.Referenceable):
    """A client's object."""

    def remote_ask(self) -> str:
        """Answer."""
        return "asked"


class PipeTests(TestCase):
    """A server in a child process."""

    timeout = 60

    def setUp(self) -> None:
        """Watch what becomes of each child."""
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.children: list[tuple[Any, Deferred[Any]]] = []

    def child(self, *arguments: str) -> ProcessEndpoint:
        """An endpoint that starts a child of Python's."""
        environment = {**os.environ, "PYTHONPATH": ROOT}
        endpoint = ProcessEndpoint(
            self.reactor,
            sys.executable,
            [sys.executable, "-c", *arguments],
            environment,
            errFlag=StandardErrorBehavior.LOG,
        )
        spawn = endpoint._spawnProcess

        def spawned(protocol: Any, *args: Any) -> Any:
            ended: Deferred[Any] = Deferred()
            processEnded = protocol.processEnded

            def watching(reason: Any) -> None:
                processEnded(reason)
                ended.callback(reason.value)

            protocol.processEnded = watching
            process = spawn(protocol, *args)
            self.children.append((process, ended))
            self.addCleanup(self.kill, process, ended)
            return process

        endpoint._spawnProcess = spawned
        return endpoint

    def kill(self, process: Any, ended: Deferred[Any]) -> Any:
        """Leave nothing of a failed test behind."""
        if not ended.called:
            process.signalProcess("KILL")
        return ended

    async def ended(self) -> Any:
        """How the last child ended."""
        reason = await self.children[-1][1]
        self.children[-1] = (self.children[-1][0], Deferred())
        self.children[-1][1].callback(reason)
        return reason

    async def test_connect(self) -> None:
        """`pbkit.connect` logs in, calls and is called; when it closes the child ends."""
        for kind in ("strict", "dropin", "stock"):
            me = await pbkit.connect(
                self.child(SERVER, kind), UsernamePassword(b"alice", PASSWORD), mind=Mind(), reactor=self.reactor
            )
            self.assertEqual(await me.callRemote("whoami"), "alice")
            self.assertEqual(await me.callRemote("ask"), "asked")
            name, address = await me.callRemote("peer")
            self.assertIn("peer-", name)
            await me.close()
            self.assertIsInstance(await self.ended(), ProcessDone)

    async def test_factories(self) -> None:
        """So do the factories; that of stock's program is left by its own means."""
        for client in (pbkit.ClientFactory, dropin.PBClientFactory, pb.PBClientFactory):
            factory = client()
            await self.child(SERVER, "strict").connect(factory)
            avatar = await factory.login(UsernamePassword(b"alice", PASSWORD), Mind())
            self.assertEqual(await avatar.callRemote("ask"), "asked")
            factory.disconnect()
            self.assertIsInstance(await self.ended(), ProcessDone)

    async def test_closedByTheServer(self) -> None:
        """The server may close it."""
        me = await pbkit.connect(
            self.child(SERVER, "strict"), UsernamePassword(b"alice", PASSWORD), reactor=self.reactor
        )
        await me.callRemote("close")
        self.assertIsInstance(await self.ended(), ProcessDone)

    async def test_refused(self) -> None:
        """A refused login leaves no child."""
        refused = pbkit.connect(
            self.child(SERVER, "strict"), UsernamePassword(b"alice", b"wrong"), reactor=self.reactor
        )
        with self.assertRaises(errors.BadCredentials):
            await refused
        await self.ended()

    async def test_silent(self) -> None:
        """A child that says nothing is killed when the time is up."""
        silent = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(50)"
        connecting = pbkit.connect(
            self.child(silent), UsernamePassword(b"alice", PASSWORD), timeout=1, reactor=self.reactor
        )
        with self.assertRaises(errors.ConnectError):
            await connecting
        self.assertIsInstance(await self.ended(), ProcessTerminated)

    async def test_noPb(self) -> None:
        """One that says something else is killed at once."""
        other = "import time; print('SSH-2.0-x', flush=True); time.sleep(50)"
        with self.assertRaises(errors.ProtocolMismatch):
            await pbkit.connect(self.child(other), UsernamePassword(b"alice", PASSWORD), reactor=self.reactor)
        self.assertIsInstance(await self.ended(), ProcessTerminated)

    async def test_broken(self) -> None:
        """One that breaks the protocol after the login is killed, and so is its like with a factory."""
        me = await pbkit.connect(
            self.child(SERVER, "strict"), UsernamePassword(b"alice", PASSWORD), reactor=self.reactor
        )
        broken = me.callRemote("break")
        with self.assertRaises(errors.SessionEnded):
            await broken
        await self.ended()
        factory = pbkit.ClientFactory()
        await self.child(SERVER, "strict").connect(factory)
        avatar = await factory.login(UsernamePassword(b"alice", PASSWORD), None)
        with self.assertRaises(pb.PBConnectionLost):
            await avatar.callRemote("break")
        await self.ended()
