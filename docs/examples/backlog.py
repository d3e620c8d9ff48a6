"""Listen with a backlog of 4096 connections."""

from twisted.internet.endpoints import serverFromString


def listen(reactor, factory):
    # Without an endpoint: reactor.listenTCP(8787, factory, backlog=4096)
    return serverFromString(reactor, "tcp:8787:backlog=4096").listen(factory)
