"""The realm and avatar of the stock program, moved to pbkit."""

from pbkit import Avatar, CachingRealm


class Greeter(Avatar):
    def __init__(self, avatarId):
        super().__init__(avatarId)
        self.greetings = 0

    def perspective_greet(self):
        self.greetings += 1
        return f"<{self.greetings}>hello {self.avatarId}"

    def detached(self, session):
        print(self.avatarId, "logged out")


class GreeterRealm(CachingRealm):
    avatarClass = Greeter
