"""Synchronous and asynchronous tests side by side, with pytest-twisted."""

import pytest
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.internet.defer import Deferred

import pbkit
import pytest_twisted
from pbkit.errors import BadCredentials


class Player(pbkit.Avatar):
    score = 0

    async def perspective_move(self, points):
        self.score += points
        return self.score

    def perspective_wait(self):
        self.waiting = Deferred()
        return self.waiting


# In memory: no socket, no real time. The fixture is the same with and without pytest-twisted.


@pytest.fixture
def server(pbkit_server):
    return pbkit_server(pbkit.CachingRealm(Player))


def test_synchronous(server):
    assert server.login("alice").call("move", 2) == 2


@pytest_twisted.ensureDeferred
async def test_asynchronous(server):
    alice = server.login("alice")
    waiting = alice.callRemote("wait")
    assert await alice.callRemote("move", 2) == 2
    alice.avatar.waiting.callback("at last")
    server.flush()
    assert await waiting == "at last"


# Over a socket: asynchronous fixtures start the server, and connect a client to it.


@pytest_twisted.async_yield_fixture
async def port():
    checker = InMemoryUsernamePasswordDatabaseDontUse(alice=b"sesame")
    realm = pbkit.CachingRealm(Player)
    listening = reactor.listenTCP(0, pbkit.ServerFactory(Portal(realm, [checker])), interface="127.0.0.1")
    yield listening.getHost().port
    await listening.stopListening()
    await realm.close()


@pytest_twisted.async_yield_fixture
async def alice(port):
    async with pbkit.connect(f"tcp:127.0.0.1:{port}", UsernamePassword("alice", "sesame")) as me:
        yield me


@pytest_twisted.ensureDeferred
async def test_overASocket(alice):
    assert await alice.callRemote("move", 3) == 3


@pytest_twisted.ensureDeferred
async def test_wrongPassword(port):
    with pytest.raises(BadCredentials):
        async with pbkit.connect(f"tcp:127.0.0.1:{port}", UsernamePassword("alice", "guess")):
            pass


@pytest_twisted.inlineCallbacks
def test_deferreds(alice):
    assert (yield alice.callRemote("move", 4)) == 4
