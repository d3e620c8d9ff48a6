"""News for every reader who waits for it."""

from twisted.internet.defer import CancelledError, Deferred

from pbkit import Avatar, CachingRealm, cancelWithSession


class Reader(Avatar):
    @cancelWithSession
    async def perspective_next(self):
        try:
            return await Deferred()  # There is no news today.
        except CancelledError:
            print(f"{self.avatarId}'s call was cancelled")
            raise


realm = CachingRealm(Reader, idleTimeout=600)
