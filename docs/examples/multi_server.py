"""One avatar notifies all its clients of what one of them says."""

from pbkit import Avatar, MultiClientRealm, Told


class Player(Avatar):
    def perspective_say(self, text):
        told = [session.mind.tell("heard", text) for session in self.sessions]
        return told.count(Told.SENT)


realm = MultiClientRealm(Player)
