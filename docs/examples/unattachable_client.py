"""Log in without a mind, with an old one, and with a new one."""

from twisted.internet import task
from twisted.spread import pb

from stock import login, reason


class Mind(pb.Referenceable):
    def __init__(self, version):
        self.version = version

    def remote_version(self):
        return self.version


async def main(reactor):
    for mind in (None, Mind(1), Mind(2)):
        try:
            player = await login(reactor, mind=mind)
            print("logged in, connections:", await player.callRemote("connections"))
        except pb.RemoteError as error:
            print("refused:", reason(error))


task.react(main)
