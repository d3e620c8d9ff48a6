"""What mypy finds: the comment on each line is a part of its message."""

from twisted.cred.portal import Portal

from game import Player
from pbkit import Session


def wrong(session: Session) -> None:
    Player("alice").sesion()  # has no attribute "sesion"
    session.end("too late")  # incompatible type "str"
    Portal(Player("alice"))  # expected "IRealm"
