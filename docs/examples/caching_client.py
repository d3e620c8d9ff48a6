"""Greet as alice on two connections, then as bob."""

from twisted.internet import task

from stock import leave, login


async def main(reactor):
    first = await login(reactor, "alice")
    print(await first.callRemote("greet"))
    leave(first)
    second = await login(reactor, "alice")
    print(await second.callRemote("greet"))
    leave(second)
    other = await login(reactor, "bob")
    print(await other.callRemote("greet"))


task.react(main)
