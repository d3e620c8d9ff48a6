"""
How the clients of these examples log in: with stock Twisted, without pbkit.

The first argument is the port; the default is 8787.
"""

import sys

from twisted.cred.credentials import Anonymous, UsernamePassword
from twisted.internet.endpoints import clientFromString
from twisted.spread import pb

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 8787


async def login(reactor, name="alice", mind=None):
    """Log in, without a name as a guest, and return the avatar's reference."""
    factory = pb.PBClientFactory()
    # Wait for the connection first: if it is refused, a stock login() never fires.
    await clientFromString(reactor, f"tcp:127.0.0.1:{PORT}").connect(factory)
    credentials = UsernamePassword(name.encode(), b"sesame") if name else Anonymous()
    return await factory.login(credentials, mind)


def leave(avatar):
    """Close the connection of an avatar's reference."""
    avatar.broker.transport.loseConnection()


def reason(error):
    """Return the class name and the text of a `pb.RemoteError`."""
    return f"{error.remoteType.decode()}: {error}"
