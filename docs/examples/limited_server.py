"""At most two connections per user."""

from pbkit import Avatar, LimitedRealm


class Player(Avatar):
    def perspective_connections(self):
        return len(self.sessions)


realm = LimitedRealm(Player, max=2)
