"""A custom policy: bob may log in only while alice is logged in."""

from pbkit import Admit, Avatar, LimitedRealm, Refuse
from pbkit.errors import LoginRefused


class Player(Avatar):
    def perspective_play(self):
        return f"{self.avatarId} plays"


def onlyWithAlice(view, candidate):
    if candidate.avatarId != "alice" and not view.avatar("alice"):
        return Refuse(
            LoginRefused(
                f"{candidate.avatarId} may log in only while alice is logged in"
            )
        )
    return Admit()


realm = LimitedRealm(Player, max=3, admission=onlyWithAlice)
