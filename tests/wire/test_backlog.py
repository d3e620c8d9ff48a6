"""How many connections may wait to be accepted."""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.spread import pb
from twisted.trial.unittest import TestCase

from pbkit import CachingRealm, ServerFactory
from pbkit.wire.backlog import BACKLOG, deepen
from tests.support import Recorder

reactor: Any = installed


class BacklogTests(TestCase):
    """A real port."""

    timeout = 20

    async def portAfterALogin(self, **kw: Any) -> Any:
        """Somebody has logged in there."""
        portal = Portal(CachingRealm(Recorder), [InMemoryUsernamePasswordDatabaseDontUse(alice=b"sesame")])
        port = reactor.listenTCP(0, ServerFactory(portal), interface="127.0.0.1", **kw)
        self.addCleanup(port.stopListening)
        client = pb.PBClientFactory()
        connector = reactor.connectTCP("127.0.0.1", port.getHost().port, client)
        avatar = await client.login(UsernamePassword(b"alice", b"sesame"))
        self.assertEqual(await avatar.callRemote("whoami"), "alice")
        gone: Deferred[None] = Deferred()
        avatar.broker.notifyOnDisconnect(lambda: gone.callback(None))
        connector.disconnect()
        await gone
        return port

    async def test_leftAsTwistedMakesIt(self) -> None:
        """A port that was given no backlog lets a herd wait, from the first connection on; and serves as before."""
        port = await self.portAfterALogin()
        self.assertEqual(port.backlog, BACKLOG)

    async def test_given(self) -> None:
        """One that was given another keeps it."""
        port = await self.portAfterALogin(backlog=7)
        self.assertEqual(port.backlog, 7)

    def test_others(self) -> None:
        """What came by no port is left alone."""
        for transport in (None, object()):
            deepen(transport)
