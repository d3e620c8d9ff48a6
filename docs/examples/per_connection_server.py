"""The Greeter: one avatar per login, over a model shared by the user's logins."""

from pbkit import Avatar, PerConnectionRealm


class Greeter:
    """The model, shared by a user's connections."""

    def __init__(self, avatarId):
        self.name = avatarId
        self.greetings = 0

    def hello(self):
        self.greetings += 1
        return f"<{self.greetings}>hello {self.name}"


class Visitor(Avatar):
    """The avatar, one per connection."""

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
