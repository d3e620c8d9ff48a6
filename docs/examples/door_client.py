"""Guess bob's password, and log in as alice on the same connection."""

from twisted.cred.credentials import UsernamePassword
from twisted.internet import task
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import clientFromString
from twisted.spread import pb

from stock import PORT, reason


async def guess(factory, password):
    """Try to log in as bob."""
    try:
        await factory.login(UsernamePassword(b"bob", password))
    except pb.RemoteError as error:
        print("refused:", reason(error))


async def main(reactor):
    factory = pb.PBClientFactory()
    broker = await clientFromString(reactor, f"tcp:127.0.0.1:{PORT}").connect(factory)
    closed = Deferred()
    broker.notifyOnDisconnect(lambda: closed.callback(None))
    guessing = ensureDeferred(guess(factory, b"secret"))
    await factory.login(UsernamePassword(b"alice", b"sesame"))
    print("alice is logged in")
    await guessing
    await guess(factory, b"swordfish")
    await guess(factory, b"12345")
    await closed
    print("the server closed the connection")


task.react(lambda reactor: ensureDeferred(main(reactor)))
