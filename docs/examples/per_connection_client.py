"""Two connections of one user: the volume is separate, the count is shared."""

from twisted.internet import task

from stock import login


async def main(reactor):
    desk = await login(reactor)
    phone = await login(reactor)
    await phone.callRemote("louder")
    print("desk: ", await desk.callRemote("greet"))
    print("phone:", await phone.callRemote("greet"))
    print("desk: ", await desk.callRemote("greet"))


task.react(main)
