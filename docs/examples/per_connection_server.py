"""The Greeter: each login has its own avatar, and all of a user's share a model."""

from pbkit import Avatar, PerConnectionRealm


class Greeter:
    """The model: what a user's connections share."""

    def __init__(self, avatarId):
        self.name = avatarId
        self.greetings = 0

    def hello(self):
        self.greetings += 1
        return f"<{self.greetings}>hello {self.name}"


class Visitor(Avatar):
    """The avatar: what is one connection's own."""

    loud = False

    def __init__(self, avatarId, greeter):
        super().__init__(avatarId)
        self.greeter = greeter

    def perspective_louder(self):
        self.loud = True

    def perspective_greet(self):
        text = self.greeter.hello()
        return text.upper() if self.loud else text


realm = PerConnectionRealm(Visitor, Greeter)
