"""
The game, served by a program of its own.

The first argument is the port; the default is 8787.
"""

import sys

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet import defer, endpoints, task

from game import GameRealm
from pbkit import ServerFactory

PORT = sys.argv[1] if len(sys.argv) > 1 else "8787"


async def main(reactor):
    realm = GameRealm(start=50)
    users = InMemoryUsernamePasswordDatabaseDontUse(alice=b"sesame")
    factory = ServerFactory(Portal(realm, [users]))
    port = await endpoints.serverFromString(
        reactor, f"tcp:{PORT}:interface=127.0.0.1"
    ).listen(factory)
    print("listening on port", port.getHost().port)
    # End every session, and wait up to 5 s for `detached` hooks that still run.
    reactor.addSystemEventTrigger("before", "shutdown", realm.close)
    await defer.Deferred()


task.react(main)
