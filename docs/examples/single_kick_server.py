"""One client at a time: the newest. Who was there before is thrown out."""

from pbkit import Avatar, SingleClientRealm


class Captain(Avatar):
    course = "nowhere"

    def attached(self, session):
        print(f"{self.avatarId} came")

    def detached(self, session):
        print(f"{self.avatarId} went: {session.endedWith}")

    def perspective_steer(self, course):
        before, self.course = self.course, course
        return f"{course}, no longer {before}"


realm = SingleClientRealm(Captain, conflict="kick")
