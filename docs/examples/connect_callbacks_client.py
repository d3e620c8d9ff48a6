"""
The same client, written with callbacks.

The first argument is the port; the default is 8787.
"""

import sys

from twisted.cred.credentials import UsernamePassword
from twisted.internet import task

import pbkit
from pbkit import errors

WHERE = f"tcp:127.0.0.1:{sys.argv[1] if len(sys.argv) > 1 else 8787}"


def loggedIn(me):
    d = me.callRemote("move", 3)
    d.addCallbacks(lambda answer: print("answer:", answer), refused)
    return d.addBoth(lambda result: me.close())


def refused(failure):
    failure.trap(errors.RemoteError)
    print("failed:", failure.value)


def main(reactor):
    return pbkit.connect(
        WHERE, UsernamePassword("bob", "sesame"), reactor=reactor
    ).addCallback(loggedIn)


task.react(main)
