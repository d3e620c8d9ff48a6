"""Send more to a room than a stopped client can take, until it is disconnected."""

import sys

from twisted.cred.credentials import UsernamePassword
from twisted.internet import task
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.spread import pb

import pbkit

WHERE = f"tcp:127.0.0.1:{sys.argv[1] if len(sys.argv) > 1 else 8787}"


class Screen(pb.Referenceable):
    def __init__(self):
        self.left = Deferred()

    def remote_heard(self, room, who, text):
        pass

    def remote_presence(self, version, changes, fresh):
        for kind, _number, who, detail, *_ in changes:
            if kind == "ended":
                self.left.callback((who, detail))


async def main(reactor):
    screen = Screen()
    async with pbkit.connect(
        WHERE, UsernamePassword("alice", "sesame"), mind=screen
    ) as me:
        await me.callRemote("who")
        await me.callRemote("join", "tea")
        # The operating system buffers a few megabytes for a client that does not read.
        sent = [await me.callRemote("say", "tea", "x" * 1000) for _ in range(12_000)]
        print(f"the first message was sent to {sent[0]}, the last to {sent[-1]}")
        print(*await screen.left)


task.react(lambda reactor: ensureDeferred(main(reactor)))
