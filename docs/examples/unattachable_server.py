"""An avatar that refuses some of its clients: those that it could not call."""

from pbkit import Avatar, CachingRealm
from pbkit.errors import LoginRefused


class Player(Avatar):
    async def attached(self, session):
        if not session.mind:
            raise LoginRefused(f"{self.avatarId} takes only clients that it can call: send a mind")
        version = await session.mind.callRemote("version")
        if version < 2:
            raise LoginRefused(f"version {version} of the client is too old: 2 is needed")

    def perspective_connections(self):
        return len(self.sessions)


realm = CachingRealm(Player)
