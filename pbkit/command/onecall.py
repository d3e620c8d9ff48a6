"""
What the `pbkit` command does, once it knows what it is asked: one call, many calls, or listening.

Each is over in time, whatever the other end does, and fails with `CallFailed` only.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Sequence
from enum import IntEnum
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.reflect import safe_str
from twisted.spread import pb

from pbkit.client.connecting import connect
from pbkit.client.session import ClientSession
from pbkit.command.asjson import oneLine, parseArgument, toJson
from pbkit.errors import CallTimedOut, ConnectError, LoginRefused, RemoteError, SessionEnded, TimedOut


class Status(IntEnum):
    """What became of a call; the exit statuses of the `pbkit` command."""

    ANSWERED = 0
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    REMOTE_ERROR = 5
    TIMED_OUT = 6
    #: 128 + SIGINT, as shells have it.
    INTERRUPTED = 130


class CallFailed(Exception):
    """
    There is no answer.

    :param status: why.
    :param text: the same for people. It may hold the other end's text, which is not to be trusted with a
        terminal.
    """

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status


class Door:
    """
    Where to log in, and as whom.

    :param reactor: for connections and its clock.
    :param endpoint: where the server is: an endpoint or its description.
    :param credentials: as for `connect`.
    :param timeout: for connecting and logging in, and then for each call, in seconds.
    """

    def __init__(self, reactor: Any, endpoint: Any, credentials: Any, timeout: float) -> None:
        self.reactor = reactor
        self.timeout = timeout
        self._endpoint = endpoint
        self._credentials = credentials

    async def enter(self, mind: Any = None) -> ClientSession:
        """
        Log in.

        :raises CallFailed: it came to nothing.
        """
        try:
            return await connect(
                self._endpoint, self._credentials, mind=mind, timeout=self.timeout, reactor=self.reactor
            )
        except TimedOut as error:
            raise CallFailed(Status.TIMED_OUT, str(error)) from None
        except ConnectError as error:
            raise CallFailed(Status.UNREACHABLE, str(error)) from None
        except LoginRefused as error:
            raise CallFailed(Status.REFUSED, f"login refused: {error}") from None
        except CancelledError:
            raise CallFailed(Status.INTERRUPTED, "interrupted") from None
        except Exception as error:
            # Such as a user name that is too long to be sent.
            raise CallFailed(Status.USAGE, _named(error)) from None


async def oneCall(door: Door, method: str, args: Sequence[Any]) -> Any:
    """
    Log in, call, log out, all within the timeout but for the goodbye.

    :param method: the name of the method, without ``perspective_``.
    :param args: its arguments.
    :return: the answer.
    :raises CallFailed: there is none.
    """
    deadline = door.reactor.seconds() + door.timeout
    me = await door.enter()
    try:
        return await _call(me, method, args, deadline - door.reactor.seconds())
    finally:
        await _leave(me)


async def manyCalls(
    door: Door,
    nextLine: Callable[[], Awaitable[str | None]],
    answer: Callable[[str], None],
    told: Callable[[str], None],
) -> Status:
    """
    Log in, and make a call for each line: a method and its arguments, in the words of a shell. Blank lines and those
    that begin with # are passed over.

    :param nextLine: gives a line when there is one; None is the end.
    :param answer: takes a line for each call, in their order: the answer in JSON, or ``{"error": text}``.
    :param told: takes a line for each call that has failed.
    :return: what the first that failed has failed with; `Status.ANSWERED` if none has.
    :raises CallFailed: not logged in, or the session is over, or interrupted.
    """
    me = await door.enter()
    status = Status.ANSWERED
    number = 0
    try:
        while (line := await nextLine()) is not None:
            number += 1
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            try:
                answer(toJson(await _line(me, line, door.timeout)))
            except CallFailed as error:
                if error.status in (Status.UNREACHABLE, Status.INTERRUPTED):
                    raise CallFailed(error.status, f"line {number}: {error}") from None
                answer(f'{{"error": {toJson(oneLine(str(error)))}}}')
                told(f"line {number}: {error}")
                status = status or error.status
    except CancelledError:
        raise CallFailed(Status.INTERRUPTED, "interrupted") from None
    finally:
        await _leave(me)
    return status


async def _line(me: ClientSession, line: str, timeout: float) -> Any:
    try:
        method, *args = shlex.split(line)
    except ValueError as error:
        raise CallFailed(Status.USAGE, f"{str(error).lower()}; quote as in a shell: echo '[1, \"a b\"]'") from None
    return await _call(me, method, [*map(parseArgument, args)], timeout)


async def _call(me: ClientSession, method: str, args: Sequence[Any], timeout: float) -> Any:
    answering: Deferred[Any] = me.callRemote(method, *args, pbtimeout=timeout)
    # What is wrong with the arguments is known at once; an answer has yet to come.
    unsent = answering.called and me.ended is None
    try:
        return await answering
    except CallTimedOut:
        raise CallFailed(Status.TIMED_OUT, f"no answer within {timeout:g} s while calling {method}") from None
    except CancelledError:
        raise CallFailed(Status.INTERRUPTED, f"interrupted while calling {method}") from None
    except Exception as error:
        if isinstance(error, SessionEnded) and me.ended is not None:
            detail = f": {error.detail}" if error.detail else ""
            raise CallFailed(Status.UNREACHABLE, f"{error.text} while calling {method}{detail}") from None
        if unsent:
            raise CallFailed(Status.USAGE, f"the arguments cannot be sent: {_text(error)}") from None
        raise CallFailed(Status.REMOTE_ERROR, f"{method} failed: {_named(error)}") from None


async def _leave(me: ClientSession) -> None:
    try:
        await me.close()
    except CancelledError:
        # Asked to hurry: the connection is cut off by now.
        pass


class Watcher(pb.Referenceable):
    """
    A mind that writes down whatever it is told, one line each.

    :param write: takes a line.
    :param asJson: as ``{"method": "score", "args": [50], "kw": {}}``; else as ``score 50``.
    """

    def __init__(self, write: Callable[[str], None], asJson: bool) -> None:
        self._write = write
        self._asJson = asJson

    def remoteMessageReceived(self, broker: Any, message: Any, args: Any, kw: Any) -> Any:
        """Serve a call, of whatever name. The answer is None."""
        args, kw = broker.unserialize(args), broker.unserialize(kw)
        method = message.decode("utf-8", "backslashreplace") if isinstance(message, bytes) else safe_str(message)
        args = list(args) if isinstance(args, list | tuple) else [args]
        kw = {_str(key): value for key, value in kw.items()} if isinstance(kw, dict) else {}
        if self._asJson:
            parts = [toJson(method), ", ".join(map(toJson, args))]
            named = ", ".join(f"{toJson(key)}: {toJson(value)}" for key, value in kw.items())
            self._write(f'{{"method": {parts[0]}, "args": [{parts[1]}], "kw": {{{named}}}}}')
        else:
            words = [oneLine(method), *map(toJson, args)]
            self._write(" ".join([*words, *(f"{oneLine(key)}={toJson(value)}" for key, value in kw.items())]))
        return broker.serialize(None)


async def watch(door: Door, mind: Watcher, begun: Callable[[], None]) -> None:
    """
    Log in and listen until it is cancelled, which is the usual end.

    :param mind: is told.
    :param begun: called once the login is through.
    :raises CallFailed: not logged in, or the session has ended.
    """
    me = await door.enter(mind)
    try:
        begun()
        error = await me.whenEnded()
        raise CallFailed(Status.UNREACHABLE, str(error))
    except CancelledError:
        pass
    finally:
        await _leave(me)


def _named(error: Exception) -> str:
    if isinstance(error, RemoteError):
        return str(error)
    return f"{type(error).__module__}.{type(error).__qualname__}: {_text(error)}".removesuffix(": ")


def _text(error: Exception) -> str:
    return safe_str(error).rstrip(".")


def _str(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else safe_str(value)
