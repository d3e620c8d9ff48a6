"""Log in twice as alice and twice as a guest."""

from twisted.internet import task

from stock import leave, login


async def main(reactor):
    for name in ("alice", None, "alice", None):
        customer = await login(reactor, name)
        print(await customer.callRemote("visits"))
        leave(customer)


task.react(main)
