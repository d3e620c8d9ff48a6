"""One client at a time: a second gets in only if the first has gone silent."""

from pbkit import Avatar, SingleClientRealm, atMost, perAvatar, probe


class Captain(Avatar):
    def perspective_steer(self, course):
        return f"{self.avatarId} steers {course}"


class StaleCheckRealm(SingleClientRealm):
    avatarClass = Captain

    def makePolicy(self):
        # SingleClientRealm(Captain, conflict="probe") does the same, and gives the holder 10 seconds.
        return perAvatar(atMost(1, probe(1.0)))


realm = StaleCheckRealm()
