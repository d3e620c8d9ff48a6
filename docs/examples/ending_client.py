"""
Root kicks alice, then bans her.

The first argument is the port; the default is 8787.
"""

import sys

from twisted.cred.credentials import UsernamePassword
from twisted.internet import task
from twisted.internet.defer import ensureDeferred
from twisted.spread import pb

import pbkit
from pbkit.errors import LoginBanned, SessionEnded

WHERE = f"tcp:127.0.0.1:{sys.argv[1] if len(sys.argv) > 1 else 8787}"
ALICE, ROOT = UsernamePassword("alice", "sesame"), UsernamePassword("root", "sesame")


class Screen(pb.Referenceable):
    def remote_goodbye(self, reason, detail):
        print(f"alice is told: {reason}, {detail}")


async def main(reactor):
    alice = await pbkit.connect(WHERE, ALICE, mind=Screen())
    root = await pbkit.connect(WHERE, ROOT)
    print(await root.callRemote("kick", "alice", "no shouting"))
    try:
        await alice.callRemote("say", "HELLO")
    except SessionEnded as error:
        print(f"alice: {type(error).__name__}: {error}")

    print(await root.callRemote("ban", "alice", 60, "no shouting"))
    try:
        await pbkit.connect(WHERE, ALICE)
    except LoginBanned as error:
        print(f"alice: {type(error).__name__}: {error}")
    await root.close()


task.react(lambda reactor: ensureDeferred(main(reactor)))
