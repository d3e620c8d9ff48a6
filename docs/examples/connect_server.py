"""A game in which alice and bob take turns."""

from twisted.spread import pb

from pbkit import Avatar, CachingRealm


class NotYourTurn(pb.Error):
    """It is the other player's turn."""


class Player(Avatar):
    turn = "alice"

    def perspective_greet(self):
        return f"hello {self.avatarId}"

    def perspective_move(self, x):
        if Player.turn != self.avatarId:
            raise NotYourTurn(f"it is {Player.turn}'s turn")
        Player.turn = "bob"
        for session in self.sessions:
            if session.mind:
                session.mind.tell("moved", self.avatarId, x)
        return ("moved", x)

    def detached(self, session):
        print(self.avatarId, "left:", type(session.endedWith).__name__)


class GameRealm(CachingRealm):
    avatarClass = Player
