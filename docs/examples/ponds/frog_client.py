"""
Send a pond of frogs and toads.

The first argument is the port; the default is 8787.
"""

import sys

from twisted.cred.credentials import UsernamePassword
from twisted.internet import task
from twisted.internet.defer import ensureDeferred

import pbkit
from frog_pond import SenderPond

WHERE = f"tcp:127.0.0.1:{sys.argv[1] if len(sys.argv) > 1 else 8787}"


async def main(reactor):
    pond = SenderPond(3, 4)
    pond.password = "ribbit"
    print(f"count {pond.count()}")
    async with pbkit.connect(WHERE, UsernamePassword("alice", "sesame")) as me:
        print("pond arrived", await me.callRemote("takePond", pond))


task.react(lambda reactor: ensureDeferred(main(reactor)))
