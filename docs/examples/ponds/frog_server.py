"""Receive ponds. The server knows the sender's class only by name."""

from twisted.spread import pb

from pbkit import Avatar, CachingRealm


class ReceiverPond(pb.RemoteCopy):
    def setCopyableState(self, state):
        # Take only the expected field: the sender chooses the names.
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
