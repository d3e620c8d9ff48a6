"""Log in as bob, then alice, then bob again."""

from twisted.internet import task
from twisted.spread import pb

from stock import login, reason


async def main(reactor):
    players = []
    for name in ("bob", "alice", "bob"):
        try:
            players.append(await login(reactor, name))
            print(await players[-1].callRemote("play"))
        except pb.RemoteError as error:
            print("refused:", reason(error))


task.react(main)
