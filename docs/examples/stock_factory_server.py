"""
A pbkit realm under the stock factory.

The first argument is the port; the default is 8787.
"""

import sys

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.spread import pb

from single_kick_server import realm

PORT = sys.argv[1] if len(sys.argv) > 1 else "8787"


async def main(reactor):
    users = InMemoryUsernamePasswordDatabaseDontUse(alice=b"sesame")
    factory = pb.PBServerFactory(Portal(realm, [users]))
    port = await serverFromString(reactor, f"tcp:{PORT}:interface=127.0.0.1").listen(
        factory
    )
    print("listening on port", port.getHost().port)
    await Deferred()


task.react(main)
