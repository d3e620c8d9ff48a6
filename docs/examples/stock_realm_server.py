"""
A stock program, with a realm as in Twisted's own documentation.

Only the import of PBServerFactory is changed. The first argument is the port; the
default is 8787.
"""

import sys

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.spread import pb
from zope.interface import implementer

from pbkit.dropin import PBServerFactory  # was: from twisted.spread.pb

PORT = sys.argv[1] if len(sys.argv) > 1 else "8787"


class Greeter(pb.Avatar):
    def __init__(self, name):
        self.name = name
        self.greetings = 0

    def perspective_greet(self):
        self.greetings += 1
        return f"<{self.greetings}>hello {self.name}"


@implementer(IRealm)
class StockRealm:
    def __init__(self):
        self.greeters = {}

    def requestAvatar(self, avatarId, mind, *interfaces):
        name = avatarId.decode()
        greeter = self.greeters.setdefault(name, Greeter(name))
        return pb.IPerspective, greeter, lambda: print(name, "logged out")


async def main(reactor):
    users = InMemoryUsernamePasswordDatabaseDontUse(alice=b"sesame", bob=b"sesame")
    factory = PBServerFactory(Portal(StockRealm(), [users]))
    port = await serverFromString(reactor, f"tcp:{PORT}:interface=127.0.0.1").listen(
        factory
    )
    print("listening on port", port.getHost().port)
    await Deferred()


task.react(main)
