"""A pond that chooses what is sent."""

from twisted.spread import pb


class FrogPond:
    def __init__(self, numFrogs, numToads):
        self.numFrogs = numFrogs
        self.numToads = numToads

    def count(self):
        return self.numFrogs + self.numToads


class SenderPond(FrogPond, pb.Copyable):
    #: Not sent: it never leaves this process.
    password = "croak"

    def getStateToCopy(self):
        state = dict(vars(self), frogsAndToads=self.count())
        for local in ("numFrogs", "numToads", "password"):
            state.pop(local, None)
        return state
