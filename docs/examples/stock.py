"""
How the clients of these examples log in: with nothing but stock Twisted. They need no pbkit.

The port is the first argument, 8787 without one.
"""

import sys

from twisted.cred.credentials import Anonymous, UsernamePassword
from twisted.internet.endpoints import clientFromString
from twisted.spread import pb

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 8787


async def login(reactor, name="alice", mind=None):
    """Connect, log in, and return the reference to the avatar; without a name, as a guest."""
    factory = pb.PBClientFactory()
    # Awaited by itself: a stock login() never fires if the connection is refused.
    await clientFromString(reactor, f"tcp:127.0.0.1:{PORT}").connect(factory)
    credentials = UsernamePassword(name.encode(), b"sesame") if name else Anonymous()
    return await factory.login(credentials, mind)


def leave(avatar):
    """Close the connection that an avatar was got through."""
    avatar.broker.transport.loseConnection()


def reason(error):
    """What a `pb.RemoteError` says: the class of the error is for programs, the text for people."""
    return f"{error.remoteType.decode()}: {error}"
