"""Takes ponds. What arrives as a `CopyPond` becomes a `ReceiverPond` here."""

from twisted.spread import pb

from lily_pond import CopyPond, LilyPond
from pbkit import Avatar, CachingRealm


class ReceiverPond(pb.RemoteCopy, LilyPond):
    pass


# Which class of ours stands for which of the sender's.
pb.setUnjellyableForClass(CopyPond, ReceiverPond)


class Receiver(Avatar):
    def perspective_takePond(self, pond):
        print(" got pond:", pond)
        pond.countFrogs()
        return "safe and sound"


class ClosedRealm(CachingRealm):
    """Clients may send no instances of anything."""

    avatarClass = Receiver


class PondRealm(ClosedRealm):
    """Clients may send ponds."""

    allow = frozenset({CopyPond})
