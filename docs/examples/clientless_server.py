"""An avatar that is oblivious of its clients."""

from pbkit import Avatar, ClientlessRealm


class Diary(Avatar):
    def __init__(self, avatarId):
        super().__init__(avatarId)
        self.entries = []

    def attached(self, session):
        print("a clientless avatar is not told, so this is never printed")

    def perspective_write(self, text):
        self.entries.append(text)

    def perspective_read(self):
        return self.entries


realm = ClientlessRealm(Diary)
