"""Log in as two guests at the same time, then as a third."""

from twisted.internet import task

from stock import leave, login


async def main(reactor):
    first = await login(reactor, name=None)
    print(await first.callRemote("take", "bread"))
    second = await login(reactor, name=None)
    print(await second.callRemote("take", "milk"))
    print(await first.callRemote("take", "salt"))
    leave(first)
    print(await second.callRemote("take", "honey"))
    leave(second)
    third = await login(reactor, name=None)
    print(await third.callRemote("take", "tea"))


task.react(main)
