"""One client at a time: the second is refused."""

from pbkit import Avatar, SingleClientRealm


class Captain(Avatar):
    def perspective_steer(self, course):
        return f"{self.avatarId} steers {course}"


realm = SingleClientRealm(Captain)
