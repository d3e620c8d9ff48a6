"""Log in three times as alice and twice as bob."""

from twisted.internet import task
from twisted.spread import pb

from stock import login, reason


async def main(reactor):
    kept = [await login(reactor), await login(reactor)]
    try:
        await login(reactor)
    except pb.RemoteError as error:
        print("alice's third:", reason(error))
    print("alice has", await kept[1].callRemote("connections"))
    first, second = await login(reactor, "bob"), await login(reactor, "bob")
    try:
        await first.callRemote("connections")
    except pb.RemoteError as error:
        print("bob's first:", reason(error))
    print("bob has", await second.callRemote("connections"))


task.react(main)
