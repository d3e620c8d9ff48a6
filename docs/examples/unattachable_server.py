"""An avatar that refuses clients which it could not call."""

from pbkit import Avatar, CachingRealm
from pbkit.errors import LoginRefused


class Player(Avatar):
    async def attached(self, session):
        if not session.mind:
            raise LoginRefused("send a mind: this server calls its clients")
        version = await session.mind.callRemote("version")
        if version < 2:
            raise LoginRefused(f"client version {version} is too old: 2 is required")

    def perspective_connections(self):
        return len(self.sessions)


realm = CachingRealm(Player)
