"""Log in and steer every tenth of a second, until a call fails."""

from twisted.internet import task
from twisted.spread import pb

from stock import login, reason


async def main(reactor):
    captain = await login(reactor)
    print("holder:", await captain.callRemote("steer", "north"))
    try:
        while True:
            await captain.callRemote("steer", "north")
            await task.deferLater(reactor, 0.1)
    except pb.RemoteError as error:
        print("holder:", reason(error))


task.react(main)
