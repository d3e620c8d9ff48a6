"""Takes ponds of frogs and toads. It has none of the sender's code: it knows the class by its name only."""

from twisted.spread import pb

from pbkit import Avatar, CachingRealm


class ReceiverPond(pb.RemoteCopy):
    def setCopyableState(self, state):
        # Not all that somebody has sent, but what this class is made of.
        self.frogsAndToads = int(state["frogsAndToads"])

    def count(self):
        return self.frogsAndToads


pb.setUnjellyableForClass("frog_pond.SenderPond", ReceiverPond)


class Receiver(Avatar):
    def perspective_takePond(self, pond):
        print(" got pond:", pond)
        print(f" count {pond.count()}")
        return "safe and sound"


class PondRealm(CachingRealm):
    avatarClass = Receiver
    allow = frozenset({ReceiverPond})
