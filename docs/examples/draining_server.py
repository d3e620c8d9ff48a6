"""Work that takes a second, and an operator who sends everybody home."""

from twisted.internet.task import deferLater

from pbkit import Avatar, CachingRealm, currentSession


class Worker(Avatar):
    async def perspective_work(self, seconds):
        await deferLater(currentSession().clock, seconds)
        return "done"

    def perspective_drain(self, seconds):
        # Not awaited: it would wait for this very call to be answered.
        realm.drain(seconds, detail="a new version comes")


realm = CachingRealm(Worker)
