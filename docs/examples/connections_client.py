"""Log in twice; leave once by dropping the reference, once by disconnecting."""

from twisted.internet import task

from stock import login


async def main(reactor):
    first = await login(reactor)
    print("connections:", await first.callRemote("connections"))
    second = await login(reactor)
    print("connections:", await second.callRemote("connections"))
    broker = first.broker
    del first
    # The server answers in order, so after this answer it has seen the logout.
    try:
        await broker.remoteForName("nobody").callRemote("ping")
    except Exception:
        print("connections:", await second.callRemote("connections"))


task.react(main)
