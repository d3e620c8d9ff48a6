"""Wait for news for half a second, then leave."""

from twisted.internet import task

from stock import login


async def main(reactor):
    alice = await login(reactor)
    alice.callRemote("next").addErrback(lambda failure: None)
    await task.deferLater(reactor, 0.5)
    print("alice leaves")


task.react(main)
