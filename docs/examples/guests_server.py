"""Users have a cached avatar; guests have one for the visit."""

from pbkit import AnonymousRealm, Avatar, CachingRealm


class Customer(Avatar):
    visits = 0

    def attached(self, session):
        self.visits += 1

    def perspective_visits(self):
        return f"{self.avatarId}, visit {self.visits}"


realm = CachingRealm(Customer, anonymous=AnonymousRealm(Customer, max=100))
