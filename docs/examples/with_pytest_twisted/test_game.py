"""Synchronous and asynchronous tests side by side, with pytest-twisted."""

import pytest
import pytest_twisted
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.internet.defer import Deferred

import pbkit
from pbkit.errors import BadCredentials


class Player(pbkit.Avatar):
    score = 0

    async def perspective_move(self, points):
        self.score += points
        return self.score

    def perspective_wait(self):
        self.waiting = Deferred()
        return self.waiting


# In memory, without a socket or real time. The fixture is the same with and
# without pytest-twisted.


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
    factory = pbkit.ServerFactory(Portal(realm, [checker]))
    listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
    yield listening.getHost().port
    await listening.stopListening()
    await realm.close()


def login(port, password):
    credentials = UsernamePassword("alice", password)
    return pbkit.connect(f"tcp:127.0.0.1:{port}", credentials)


@pytest_twisted.async_yield_fixture
async def alice(port):
    async with login(port, "sesame") as me:
        yield me


@pytest_twisted.ensureDeferred
async def test_overASocket(alice):
    assert await alice.callRemote("move", 3) == 3


@pytest_twisted.ensureDeferred
async def test_wrongPassword(port):
    with pytest.raises(BadCredentials):
        await login(port, "guess")


@pytest_twisted.inlineCallbacks
def test_deferreds(alice):
    assert (yield alice.callRemote("move", 4)) == 4
