"""Receive ticks, change the period, then log out: the ticks stop."""

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.spread import pb

from stock import login, reason


class Watch(pb.Referenceable):
    def __init__(self):
        self.times = []
        self.tick = Deferred()

    def remote_notifyTime(self, seconds):
        self.times.append(seconds)
        tick, self.tick = self.tick, Deferred()
        tick.callback(None)


async def main(reactor):
    watch = Watch()
    clock = await login(reactor, mind=watch)
    while len(watch.times) < 3:
        await watch.tick
    print("three ticks, in order:", watch.times == sorted(watch.times))
    try:
        await clock.callRemote("setperiod", 0)
    except pb.RemoteError as error:
        print("refused:", reason(error))
    await clock.callRemote("setperiod", 0.05)
    await watch.tick
    print("tick after the new period")
    broker = clock.broker
    del clock  # Dropping the reference logs out. The connection stays open.
    try:
        # The server answers in order, so after this answer it has seen the logout.
        await broker.remoteForName("nobody").callRemote("ping")
    except Exception:
        heard = len(watch.times)
        await task.deferLater(reactor, 0.3)
        print("ticks after logout:", len(watch.times) - heard)


task.react(main)
