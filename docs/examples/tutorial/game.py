"""A player, and a realm for players."""

from pbkit import Avatar, LimitedRealm, param


class Player(Avatar):
    def __init__(self, avatarId, score):
        super().__init__(avatarId)
        self.score = score

    def attached(self, session):
        print(f"{self.avatarId} joined, {len(self.sessions)} other sessions")

    def detached(self, session):
        print(f"{self.avatarId} left: {session.endedWith}")

    def perspective_move(self, points):
        self.score += points
        for session in self.sessions:
            session.mind.tell("scoreIs", self.score)
        return self.score


class GameRealm(LimitedRealm):
    max = 2
    start: int = param(100, "the score of a new player")

    def buildAvatar(self, avatarId):
        return Player(avatarId, self.start)
