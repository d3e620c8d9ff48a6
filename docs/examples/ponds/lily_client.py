"""
Send a pond.

The first argument is the port; the default is 8787.
"""

import sys

from twisted.cred.credentials import UsernamePassword
from twisted.internet import task
from twisted.internet.defer import ensureDeferred
from twisted.spread import jelly

import pbkit
from lily_pond import CopyPond

WHERE = f"tcp:127.0.0.1:{sys.argv[1] if len(sys.argv) > 1 else 8787}"


async def main(reactor):
    pond = CopyPond()
    pond.setStuff("green", 7)
    pond.countFrogs()
    print(f"{CopyPond.__module__}.{CopyPond.__name__}")
    async with pbkit.connect(WHERE, UsernamePassword("alice", "sesame")) as me:
        try:
            print("pond arrived", await me.callRemote("takePond", pond))
        except jelly.InsecureJelly as error:
            print("error during takePond:")
            print(" InsecureJelly:", error)


task.react(lambda reactor: ensureDeferred(main(reactor)))
