"""
A chat client for the terminal: python client.py NAME.

Type /join ROOM, /away WHY, /quit, or a message.
"""

import sys

from twisted.cred.credentials import UsernamePassword
from twisted.internet import stdio, task
from twisted.internet.defer import DeferredQueue, ensureDeferred
from twisted.protocols.basic import LineReceiver
from twisted.spread import pb

import pbkit

NAME = sys.argv[1]
WHERE = f"tcp:127.0.0.1:{sys.argv[2] if len(sys.argv) > 2 else 8787}"


class Keyboard(LineReceiver):
    delimiter = b"\n"

    def __init__(self):
        self.lines = DeferredQueue()

    def lineReceived(self, line):
        self.lines.put(line.decode())

    def connectionLost(self, reason):
        self.lines.put("/quit")


class Screen(pb.Referenceable):
    def __init__(self):
        self.version, self.here = "", {}

    def remote_heard(self, room, who, text):
        print(f"[{room}] {who}: {text}")

    def remote_typing(self, room, who):
        pass

    def remote_presence(self, version, changes, fresh):
        self.version = version
        if fresh:
            self.here = {}
        for kind, number, who, detail, *_ in changes:
            if kind == "ended":
                del self.here[number]
            else:
                self.here[number] = who
            if not fresh:
                more = {
                    "began": "joined",
                    "ended": f"left: {detail}",
                    "changed": f"is now {detail}",
                }
                print(f"* {who} {more[kind]}")
        if fresh:
            print("* here:", ", ".join(sorted(self.here.values())))


async def main(reactor):
    keyboard, screen, room = Keyboard(), Screen(), "the lobby"
    stdio.StandardIO(keyboard)
    async with pbkit.connect(
        WHERE, UsernamePassword(NAME, "sesame"), mind=screen
    ) as me:
        me.whenEnded().addCallback(lambda why: keyboard.lines.put("/quit"))
        await me.callRemote("who")
        while (line := await keyboard.lines.get()) != "/quit":
            command, _, rest = line.partition(" ")
            try:
                if command == "/join":
                    print(f"[{rest}]", ", ".join(await me.callRemote("join", rest)))
                    room = rest
                elif command == "/away":
                    await me.callRemote("away", rest)
                else:
                    print("heard by", await me.callRemote("say", room, line))
            except (pb.Error, pb.RemoteError) as error:
                print(f"* {error}")
        if me.ended:
            print(f"* {me.ended}")


task.react(lambda reactor: ensureDeferred(main(reactor)))
