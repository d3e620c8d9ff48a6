"""One client at a time: a new login ends the old session."""

from pbkit import Avatar, SingleClientRealm


class Captain(Avatar):
    course = "nowhere"

    def attached(self, session):
        print(f"{self.avatarId} joined")

    def detached(self, session):
        print(f"{self.avatarId} left: {session.endedWith}")

    def perspective_steer(self, course):
        before, self.course = self.course, course
        return f"course {course}, was {before}"


realm = SingleClientRealm(Captain, conflict="kick")
