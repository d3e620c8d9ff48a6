"""Takes things, gives things, and breaks now and then."""

from twisted.internet.defer import Deferred

from pbkit import Avatar, CachingRealm


class Shelf(Avatar):
    def perspective_divide(self, number, by):
        return number / by

    def perspective_fill(self, size):
        return "x" * size

    def perspective_put(self, thing):
        return f"a {type(thing).__name__} on the shelf"

    def perspective_wait(self):
        return Deferred()


class ShelfRealm(CachingRealm):
    avatarClass = Shelf
