"""Write on one connection and read on the next."""

from twisted.internet import task

from stock import leave, login


async def main(reactor):
    diary = await login(reactor)
    await diary.callRemote("write", "dear diary")
    leave(diary)
    diary = await login(reactor)
    await diary.callRemote("write", "it is me again")
    print(await diary.callRemote("read"))


task.react(main)
