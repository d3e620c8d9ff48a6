"""A second client takes over; the first one's reference stops working."""

from twisted.internet import task
from twisted.spread import pb

from stock import login, reason


async def main(reactor):
    first = await login(reactor)
    print("first:", await first.callRemote("steer", "north"))
    second = await login(reactor)
    try:
        await first.callRemote("steer", "west")
    except pb.RemoteError as error:
        print("first:", reason(error))
    print("second:", await second.callRemote("steer", "south"))


task.react(main)
