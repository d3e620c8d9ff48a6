"""One client at a time: a second is admitted only if the first does not answer."""

from pbkit import Avatar, SingleClientRealm, atMost, perAvatar, probe


class Captain(Avatar):
    def perspective_steer(self, course):
        return f"{self.avatarId} steers {course}"


class StaleCheckRealm(SingleClientRealm):
    avatarClass = Captain

    def makePolicy(self):
        # The same as conflict="probe", but with 1 second to answer instead of 10.
        return perAvatar(atMost(1, probe(1.0)))


realm = StaleCheckRealm()
