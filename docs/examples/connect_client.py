"""
Log in, call the server, be called by it, and leave.

The first argument is the port; the default is 8787.
"""

import sys

from twisted.cred.credentials import UsernamePassword
from twisted.internet import task
from twisted.internet.defer import ensureDeferred
from twisted.spread import pb

import pbkit

WHERE = f"tcp:127.0.0.1:{sys.argv[1] if len(sys.argv) > 1 else 8787}"


class Screen(pb.Referenceable):
    def remote_moved(self, who, x):
        print(who, "moved to", x)


async def main(reactor):
    async with pbkit.connect(
        WHERE, UsernamePassword("alice", "sesame"), mind=Screen()
    ) as me:
        print(await me.callRemote("greet"))
        print(await me.callRemote("move", 3, pbtimeout=5))


task.react(lambda reactor: ensureDeferred(main(reactor)))
