"""The smallest avatar: a score that the client changes."""

from pbkit import Avatar


class Player(Avatar):
    score = 0

    def perspective_move(self, points):
        self.score += points
        return self.score
