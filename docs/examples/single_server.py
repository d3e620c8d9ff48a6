"""One client at a time: a second one is refused."""

from pbkit import Avatar, SingleClientRealm


class Captain(Avatar):
    def perspective_steer(self, course):
        return f"{self.avatarId} steers {course}"


realm = SingleClientRealm(Captain)
