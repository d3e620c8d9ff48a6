"""An avatar that is told of its connections, and counts them."""

from pbkit import Avatar, CachingRealm


class Player(Avatar):
    def attached(self, session):
        # This one is not among them yet: in a hook, `sessions` are the others.
        print(f"{self.avatarId} came, beside {len(self.sessions)}")

    def detached(self, session):
        print(f"{self.avatarId} went ({type(session.endedWith).__name__}), {len(self.sessions)} left")

    def perspective_connections(self):
        return len(self.sessions)


realm = CachingRealm(Player)
