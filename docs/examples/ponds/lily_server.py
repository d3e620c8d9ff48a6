"""Receive ponds: a `CopyPond` arrives as a `ReceiverPond`."""

from twisted.spread import pb

from lily_pond import CopyPond, LilyPond
from pbkit import Avatar, CachingRealm


class ReceiverPond(pb.RemoteCopy, LilyPond):
    pass


# Register the receiving class for the sender's class.
pb.setUnjellyableForClass(CopyPond, ReceiverPond)


class Receiver(Avatar):
    def perspective_takePond(self, pond):
        print(" got pond:", pond)
        pond.countFrogs()
        return "safe and sound"


class ClosedRealm(CachingRealm):
    """Clients may send no instances of any class."""

    avatarClass = Receiver


class PondRealm(ClosedRealm):
    """Clients may send ponds."""

    allow = frozenset({CopyPond})
