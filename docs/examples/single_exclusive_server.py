"""One client at a time; the next is admitted after the last one has cleaned up."""

from twisted.internet import task

from pbkit import Avatar, SingleClientRealm


class Captain(Avatar):
    course = "nowhere"

    def attached(self, session):
        print(f"{self.avatarId} takes the wheel")

    async def detached(self, session):
        await task.deferLater(session.clock, 0.5)
        print(f"{self.avatarId} has released the wheel")

    def perspective_steer(self, course):
        before, self.course = self.course, course
        return f"course {course}, was {before}"


realm = SingleClientRealm(Captain, conflict="kick", handover="after")
