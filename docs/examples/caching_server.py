"""The greeting counter: the same player always gets the same avatar."""

from pbkit import Avatar, CachingRealm


class Greeter(Avatar):
    greetings = 0

    def perspective_greet(self):
        self.greetings += 1
        return f"<{self.greetings}>hello {self.avatarId}"


realm = CachingRealm(Greeter)
