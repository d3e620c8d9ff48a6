"""Lose a connection without the server noticing, and log in again at once."""

import sys

from twisted.cred.credentials import UsernamePassword
from twisted.internet import task
from twisted.internet.defer import ensureDeferred
from twisted.protocols import portforward

import pbkit

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 8787
ALICE = UsernamePassword("alice", "sesame")


class Forgetful(portforward.ProxyServer):
    def connectionLost(self, reason):
        """Keep the connection to the server open."""


class Router(portforward.ProxyFactory):
    protocol = Forgetful


async def main(reactor):
    router = reactor.listenTCP(0, Router("127.0.0.1", PORT), interface="127.0.0.1")
    where = f"tcp:127.0.0.1:{router.getHost().port}"
    me = await pbkit.connect(where, ALICE)
    print("first:", await me.callRemote("steer", "north"))
    try:
        await pbkit.connect(where, ALICE)
    except pbkit.errors.TooManySessions as error:
        print("second client:", error)
    me.reference.broker.transport.abortConnection()
    await me.whenEnded()
    again = await pbkit.connect(where, ALICE)
    print("reconnected:", await again.callRemote("steer", "south"))


task.react(lambda reactor: ensureDeferred(main(reactor)))
