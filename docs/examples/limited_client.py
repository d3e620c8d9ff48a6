"""The third login is refused; after one logs out, another is admitted."""

from twisted.internet import task
from twisted.spread import pb

from stock import leave, login, reason


async def main(reactor):
    first = await login(reactor)
    second = await login(reactor)
    try:
        await login(reactor)
    except pb.RemoteError as error:
        print("refused:", reason(error))
    print("connections:", await second.callRemote("connections"))
    leave(first)
    third = await login(reactor)
    print("connections:", await third.callRemote("connections"))


task.react(main)
