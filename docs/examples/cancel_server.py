"""News, for whoever waits for them."""

from twisted.internet.defer import CancelledError, Deferred

from pbkit import Avatar, CachingRealm, cancelWithSession


class Reader(Avatar):
    @cancelWithSession
    async def perspective_next(self):
        try:
            return await Deferred()  # No news today.
        except CancelledError:
            print(f"{self.avatarId} does not wait any more")
            raise


realm = CachingRealm(Reader, idleTimeout=600)
