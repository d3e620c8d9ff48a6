"""An avatar with a slow method, and one that drains the server."""

from twisted.internet.task import deferLater

from pbkit import Avatar, CachingRealm, currentSession


class Worker(Avatar):
    async def perspective_work(self, seconds):
        await deferLater(currentSession().clock, seconds)
        return "done"

    def perspective_drain(self, seconds):
        # Do not await this: it would wait for the answer to this very call.
        realm.drain(seconds, detail="a new version comes")


realm = CachingRealm(Worker)
