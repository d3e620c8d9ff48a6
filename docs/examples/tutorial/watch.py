"""Send a mind, and print the score whenever the server reports it, three times."""

import sys

from twisted.cred.credentials import UsernamePassword
from twisted.internet import defer, endpoints, task
from twisted.spread import pb

PORT = sys.argv[1] if len(sys.argv) > 1 else "8787"


class Watcher(pb.Referenceable):
    def __init__(self):
        self.scores = defer.DeferredQueue()

    def remote_scoreIs(self, score):
        self.scores.put(score)


async def main(reactor):
    factory = pb.PBClientFactory()
    await endpoints.clientFromString(reactor, f"tcp:127.0.0.1:{PORT}").connect(factory)
    watcher = Watcher()
    player = await factory.login(UsernamePassword(b"alice", b"sesame"), watcher)
    await player.callRemote("move", 0)
    for _ in range(3):
        print("the score is", await watcher.scores.get())


task.react(main)
