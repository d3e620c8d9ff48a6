"""One avatar and all its clients: what one says, all are told."""

from pbkit import Avatar, MultiClientRealm, Told


class Player(Avatar):
    def perspective_say(self, text):
        told = [session.mind.tell("heard", text) for session in self.sessions]
        return told.count(Told.SENT)


realm = MultiClientRealm(Player)
