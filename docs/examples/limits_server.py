"""Methods that fail, block, or return too much."""

from twisted.internet.defer import Deferred

from pbkit import Avatar, CachingRealm


class Shelf(Avatar):
    def perspective_divide(self, number, by):
        return number / by

    def perspective_fill(self, size):
        return "x" * size

    def perspective_put(self, thing):
        return f"stored a value of type {type(thing).__name__}"

    def perspective_wait(self):
        return Deferred()


class ShelfRealm(CachingRealm):
    avatarClass = Shelf
