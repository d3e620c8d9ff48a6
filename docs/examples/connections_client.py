"""Logs in twice, then leaves once by dropping its reference, and once by disconnecting."""

from twisted.internet import task

from stock import login


async def main(reactor):
    first = await login(reactor)
    print("connections:", await first.callRemote("connections"))
    second = await login(reactor)
    print("connections:", await second.callRemote("connections"))
    broker = first.broker
    del first
    # The server answers in order: once it has said that it knows nobody of this name, it has seen the drop.
    try:
        await broker.remoteForName("nobody").callRemote("ping")
    except Exception:
        print("connections:", await second.callRemote("connections"))


task.react(main)
