"""An avatar that knows nothing about its clients."""

from pbkit import Avatar, ClientlessRealm


class Diary(Avatar):
    def __init__(self, avatarId):
        super().__init__(avatarId)
        self.entries = []

    def attached(self, session):
        print("never printed: the hooks of a clientless avatar are not called")

    def perspective_write(self, text):
        self.entries.append(text)

    def perspective_read(self):
        return self.entries


realm = ClientlessRealm(Diary)
