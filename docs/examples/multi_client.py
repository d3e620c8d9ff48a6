"""Three connections of one user; two of them send a mind."""

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.spread import pb

from stock import login


class Ear(pb.Referenceable):
    def __init__(self):
        self.text = Deferred()

    def remote_heard(self, text):
        self.text.callback(text)


async def main(reactor):
    desk, phone = Ear(), Ear()
    # Keep all three references: dropping one logs out.
    players = [await login(reactor, mind=mind) for mind in (desk, phone, None)]
    print("told:", await players[2].callRemote("say", "dinner is ready"))
    print("desk heard:", await desk.text)
    print("phone heard:", await phone.text)


task.react(main)
