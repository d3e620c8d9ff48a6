"""A second client of the same user is refused; the first is not affected."""

from twisted.internet import task
from twisted.spread import pb

from stock import leave, login, reason


async def main(reactor):
    first = await login(reactor)
    try:
        await login(reactor)
    except pb.RemoteError as error:
        print("second refused:", reason(error))
    print("first:", await first.callRemote("steer", "north"))
    leave(first)
    third = await login(reactor)
    print("third:", await third.callRemote("steer", "south"))


task.react(main)
