"""One client at a time; the next is in when the one before has let go of what the avatar owns."""

from twisted.internet import task

from pbkit import Avatar, SingleClientRealm


class Captain(Avatar):
    course = "nowhere"

    def attached(self, session):
        print(f"{self.avatarId} takes the wheel")

    async def detached(self, session):
        await task.deferLater(session.clock, 0.5)
        print(f"{self.avatarId} has let go of the wheel")

    def perspective_steer(self, course):
        before, self.course = self.course, course
        return f"{course}, no longer {before}"


realm = SingleClientRealm(Captain, conflict="kick", handover="after")
