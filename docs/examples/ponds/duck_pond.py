"""A pond that is sent once; after that, only the changes are sent."""

from twisted.spread import pb


class DuckPond(pb.Cacheable):
    def __init__(self, ducks):
        self.observers = []
        self.ducks = ducks

    def count(self):
        print(f"I have [{len(self.ducks)}] ducks")

    def addDuck(self, duck):
        self.ducks.append(duck)
        self.tell("addDuck", duck)

    def removeDuck(self, duck):
        self.ducks.remove(duck)
        self.tell("removeDuck", duck)

    def tell(self, what, duck):
        for observer in self.observers:
            observer.callRemote(what, duck).addErrback(lambda failure: None)

    def getStateToCacheAndObserveFor(self, perspective, observer):
        self.observers.append(observer)
        # Send the ducks, not the observers.
        return self.ducks

    def stoppedObserving(self, perspective, observer):
        self.observers.remove(observer)


class DuckPondCopy(pb.RemoteCache):
    def count(self):
        return len(self.ducks)

    def getDucks(self):
        return self.ducks

    def setCopyableState(self, state):
        print(" cache - sitting, er, setting ducks")
        self.ducks = state

    def observe_addDuck(self, duck):
        print(" cache - addDuck")
        self.ducks.append(duck)

    def observe_removeDuck(self, duck):
        print(" cache - removeDuck")
        self.ducks.remove(duck)


pb.setUnjellyableForClass(DuckPond, DuckPondCopy)
