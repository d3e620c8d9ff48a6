"""Guests: each login gets a new, numbered avatar, dropped at logout."""

from pbkit import AnonymousRealm, Avatar


class Guest(Avatar):
    def __init__(self, avatarId):
        super().__init__(avatarId)
        self.basket = []

    def detached(self, session):
        print(f"{self.avatarId} left, basket: {', '.join(self.basket)}")

    def perspective_take(self, thing):
        self.basket.append(thing)
        return f"{self.avatarId} has {', '.join(self.basket)}"


realm = AnonymousRealm(Guest)
