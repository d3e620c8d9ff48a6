"""
Send a pond of ducks, then change it.

The first argument is the port; the default is 8787.
"""

import sys

from twisted.cred.credentials import UsernamePassword
from twisted.internet import task
from twisted.internet.defer import ensureDeferred

import pbkit
from duck_pond import DuckPond

WHERE = f"tcp:127.0.0.1:{sys.argv[1] if len(sys.argv) > 1 else 8787}"


async def main(reactor):
    pond = DuckPond(["one duck", "two duck"])
    pond.count()
    async with pbkit.connect(WHERE, UsernamePassword("alice", "sesame")) as me:
        await me.callRemote("takePond", pond)
        pond.addDuck("ugly duckling")
        pond.count()
        await me.callRemote("checkDucks")
        pond.removeDuck("one duck")
        pond.count()
        await me.callRemote("checkDucks")
        await me.callRemote("ignorePond")


task.react(lambda reactor: ensureDeferred(main(reactor)))
