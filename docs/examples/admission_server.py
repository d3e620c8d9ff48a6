"""A policy of one's own: bob may play only while alice is here, and nobody has more than three log-ins."""

from pbkit import Admit, Avatar, LimitedRealm, Refuse
from pbkit.errors import LoginRefused


class Player(Avatar):
    def perspective_play(self):
        return f"{self.avatarId} plays"


def onlyWithAlice(view, candidate):
    if candidate.avatarId != "alice" and not view.avatar("alice"):
        return Refuse(LoginRefused(f"{candidate.avatarId} may come in only while alice is here"))
    return Admit()


realm = LimitedRealm(Player, max=3, admission=onlyWithAlice)
