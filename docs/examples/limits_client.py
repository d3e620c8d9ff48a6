"""
Exceed one limit after the other.

The first argument is the port; the default is 8787.
"""

import re
import sys
from textwrap import shorten

from twisted.cred.credentials import UsernamePassword
from twisted.internet import task
from twisted.internet.defer import ensureDeferred

import pbkit
from limits_book import Book

WHERE = f"tcp:127.0.0.1:{sys.argv[1] if len(sys.argv) > 1 else 8787}"


async def main(reactor):
    me = await pbkit.connect(WHERE, UsernamePassword("alice", "sesame"))
    for what, *arguments in [
        ("put", 5),
        ("divide", 1, 0),
        ("divide", 1),
        ("multiply", 2, 3),
        ("fill", 700_000),
        ("put", Book()),
        ("put", object()),
        ("put", "x" * 700_000),
        ("wait",),
        ("put", ["x" * 600_000, "y" * 600_000]),
        ("put", 5),
    ]:
        try:
            print(f"{what}:", await me.callRemote(what, *arguments, pbtimeout=1))
        except Exception as error:
            text = re.sub("error [0-9a-f]{8}", "error ...", str(error))
            text = shorten(text, 66, placeholder=" ...")
            print(f"{what}: {type(error).__name__}: {text}")


task.react(lambda reactor: ensureDeferred(main(reactor)))
