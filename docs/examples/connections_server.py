"""An avatar whose hooks report every session."""

from pbkit import Avatar, CachingRealm


class Player(Avatar):
    def attached(self, session):
        # In a hook, `sessions` are the other sessions.
        print(f"{self.avatarId} joined, {len(self.sessions)} other sessions")

    def detached(self, session):
        why = type(session.endedWith).__name__
        print(f"{self.avatarId} left ({why}), {len(self.sessions)} other sessions")

    def perspective_connections(self):
        return len(self.sessions)


realm = CachingRealm(Player)
