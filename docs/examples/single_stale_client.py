"""Try to log in."""

from twisted.internet import task
from twisted.spread import pb

from stock import login, reason


async def main(reactor):
    try:
        captain = await login(reactor)
    except pb.RemoteError as error:
        print("refused:", reason(error))
    else:
        print("logged in:", await captain.callRemote("steer", "south"))


task.react(main)
