"""A typed realm, server and client: mypy --strict finds nothing wrong."""

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import Portal

import pbkit
from pbkit import Avatar, CachingRealm, ServerFactory, Session
from pbkit.testing import MemoryServer


class Player(Avatar):
    score = 0

    async def attached(self, session: Session) -> None:
        session.mind.tell("scoreIs", self.score)

    async def perspective_move(self, points: int) -> int:
        self.score += points
        self.tell("scoreIs", self.score)
        return self.score


class GameRealm(CachingRealm):
    def buildAvatar(self, avatarId: str) -> Player:
        return Player(avatarId)


def factory(realm: GameRealm) -> ServerFactory:
    users = InMemoryUsernamePasswordDatabaseDontUse(alice=b"sesame")
    return ServerFactory(Portal(realm, [users]))


async def main(server: str) -> object:
    credentials = UsernamePassword(b"alice", b"sesame")
    async with pbkit.connect(server, credentials) as me:
        return await me.callRemote("move", 10)


def test_move() -> None:
    with MemoryServer(GameRealm()) as server:
        assert server.login("alice").call("move", 2) == 2
