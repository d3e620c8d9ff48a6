"""A chat: rooms, presence, and a policy for slow consumers."""

from twisted.spread import pb

from pbkit import Avatar, Realm, coalesce, kickAfter


class Chatter(Avatar):
    def __init__(self, avatarId, realm):
        super().__init__(avatarId)
        self.realm = realm

    def attached(self, session):
        self.session = session

    def detached(self, session):
        print(f"{self.avatarId} left: {session.endedWith}")

    def perspective_who(self, version=""):
        self.realm.presence.watch(self.session, version)

    def perspective_away(self, why):
        self.session.declare({"away": why})

    def perspective_join(self, name):
        room = self.realm.topic(name)
        if room.join(self.session):
            room.tell(
                "heard", name, self.avatarId, "joined the room", except_=self.session
            )
        return [member.avatarId for member in room.members]

    def perspective_leave(self, name):
        self.realm.topic(name).leave(self.session)

    async def perspective_say(self, name, text):
        room = self.realm.topic(name)
        if self.session not in room:
            raise pb.Error("join the room first")
        summary = await room.tell(
            "heard", name, self.avatarId, str(text)[:1000], except_=self.session
        )
        return summary.sent

    def perspective_typing(self, name):
        room = self.realm.topic(name)
        if self.session in room:
            # A slow consumer needs only the latest of these.
            latest = coalesce(("typing", name, self.avatarId))
            room.tell(
                "typing", name, self.avatarId, except_=self.session, pbslow=latest
            )


class ChatRealm(Realm):
    slow = kickAfter(10, messages=1000)

    def buildAvatar(self, avatarId):
        return Chatter(avatarId, self)
