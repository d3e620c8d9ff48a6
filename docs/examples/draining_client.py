"""
Call a slow method, then drain the server while it runs.

The first argument is the port; the default is 8787.
"""

import sys

from twisted.cred.credentials import UsernamePassword
from twisted.internet import task
from twisted.internet.defer import ensureDeferred

import pbkit
from pbkit.errors import ServerDraining, SessionEnded

WHERE = f"tcp:127.0.0.1:{sys.argv[1] if len(sys.argv) > 1 else 8787}"
ALICE, ROOT = UsernamePassword("alice", "sesame"), UsernamePassword("root", "sesame")


async def main(reactor):
    alice = await pbkit.connect(WHERE, ALICE)
    working = alice.callRemote("work", 1.0)
    root = await pbkit.connect(WHERE, ROOT)
    await root.callRemote("drain", 5)

    print("told:", await alice.whenEnded())
    try:
        await alice.callRemote("work", 1.0)
    except SessionEnded as error:
        print("new work:", type(error).__name__)
    try:
        await pbkit.connect(WHERE, ALICE)
    except ServerDraining as error:
        print("another login:", error)
    print("old work:", await working)


task.react(lambda reactor: ensureDeferred(main(reactor)))
