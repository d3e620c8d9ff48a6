"""Keep a copy of a client's pond of ducks."""

from duck_pond import DuckPond
from pbkit import Avatar, CachingRealm


class Receiver(Avatar):
    pond = None

    def perspective_takePond(self, pond):
        self.pond = pond
        print("got pond:", pond)
        self.perspective_checkDucks()

    def perspective_checkDucks(self):
        print(f"[{self.pond.count()}] ducks: ", self.pond.getDucks())

    def perspective_ignorePond(self):
        print("dropping pond")
        # When the copy is collected, `stoppedObserving` is called at the client.
        self.pond = None


class PondRealm(CachingRealm):
    avatarClass = Receiver
    allow = frozenset({DuckPond})
