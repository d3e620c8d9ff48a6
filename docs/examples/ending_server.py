"""A room with a moderator, who can kick and ban users."""

from pbkit import Avatar, CachingRealm
from pbkit.errors import Kicked


class Guest(Avatar):
    def detached(self, session):
        print(f"{self.avatarId} left: {session.endedWith}")

    def perspective_say(self, text):
        return f"{self.avatarId} says {text}"


class Moderator(Guest):
    async def perspective_kick(self, name, why):
        ids = await realm.kick(Kicked, why, avatarId=name)
        return f"kicked {len(ids)} session of {name}"

    async def perspective_ban(self, name, seconds, why):
        await realm.ban(seconds, why, avatarId=name)
        return [f"{ban.avatarId}: {ban.reason}" for ban in realm.bans]


class Room(CachingRealm):
    def buildAvatar(self, avatarId):
        return Moderator(avatarId) if avatarId == "root" else Guest(avatarId)


realm = Room(idleTimeout=600, maxSessionAge=86400)
