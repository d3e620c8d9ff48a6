"""
Cause each kind of error, and catch it.

The first argument is the port; the default is 8787.
"""

import sys

from twisted.cred.credentials import UsernamePassword
from twisted.internet import task
from twisted.internet.defer import ensureDeferred

import pbkit
from connect_server import NotYourTurn
from pbkit import errors

WHERE = f"tcp:127.0.0.1:{sys.argv[1] if len(sys.argv) > 1 else 8787}"


async def main(reactor):
    try:
        await pbkit.connect(
            "tcp:127.0.0.1:1", UsernamePassword("bob", "sesame"), timeout=10
        )
    except errors.ConnectError as error:
        print("not connected:", type(error).__name__)
    try:
        await pbkit.connect(WHERE, UsernamePassword("bob", "sesam"))
    except errors.LoginRefused as error:
        print(f"refused: {type(error).__name__}: {error}")
    async with pbkit.connect(WHERE, UsernamePassword("bob", "sesame")) as me:
        try:
            await me.callRemote("castle")
        except errors.NoSuchMethod as error:
            print(error)
        try:
            await me.callRemote("move", 3)
        except errors.RemoteError as error:
            print(f"{error.remoteType} says: {error.remoteText}")
    async with pbkit.connect(
        WHERE, UsernamePassword("bob", "sesame"), allow=[NotYourTurn]
    ) as me:
        try:
            await me.callRemote("move", 3)
        except NotYourTurn as error:
            print("wait:", error)
    try:
        await me.callRemote("greet")
    except errors.SessionEnded as error:
        print(f"over: {type(error).__name__}: {error}")


task.react(lambda reactor: ensureDeferred(main(reactor)))
