"""
The stock client, moved to pbkit.

The first argument is the port; the default is 8787.
"""

import sys

from twisted.cred.credentials import UsernamePassword
from twisted.internet import task
from twisted.internet.defer import ensureDeferred

import pbkit

WHERE = f"tcp:127.0.0.1:{sys.argv[1] if len(sys.argv) > 1 else 8787}"


async def main(reactor):
    async with pbkit.connect(
        WHERE, UsernamePassword("alice", "sesame"), timeout=10
    ) as me:
        print(await me.callRemote("greet"))


task.react(lambda reactor: ensureDeferred(main(reactor)))
