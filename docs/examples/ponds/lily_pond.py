"""A pond, and a subclass that is sent as a copy."""

from twisted.spread import pb


class LilyPond:
    def setStuff(self, color, numFrogs):
        self.color = color
        self.numFrogs = numFrogs

    def countFrogs(self):
        print(f"{self.numFrogs} frogs")


class CopyPond(LilyPond, pb.Copyable):
    pass
