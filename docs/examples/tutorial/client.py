"""
A stock PB client: it does not use pbkit.

The first argument is the port; the default is 8787.
"""

import sys

from twisted.cred.credentials import UsernamePassword
from twisted.internet import endpoints, task
from twisted.spread import pb

PORT = sys.argv[1] if len(sys.argv) > 1 else "8787"


async def main(reactor):
    factory = pb.PBClientFactory()
    await endpoints.clientFromString(reactor, f"tcp:127.0.0.1:{PORT}").connect(factory)
    player = await factory.login(UsernamePassword(b"alice", b"sesame"))
    print("score:", await player.callRemote("move", 10))
    print("score:", await player.callRemote("move", 1))


task.react(main)
