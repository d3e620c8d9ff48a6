"""
The work of ``pbkit call`` and ``pbkit watch``: one call, one call per input line, or listening.

Each ends within its timeout whatever the server does, and fails with `CallFailed` only.
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
from pbkit.client.endpoint import clientEndpoint
from pbkit.client.session import ClientSession
from pbkit.command.asjson import oneLine, parseArgument, toJson
from pbkit.errors import CallTimedOut, ConnectError, LoginRefused, RemoteError, SessionEnded, TimedOut

__all__ = ["CallFailed", "Connector", "PrintingMind", "Status", "callEachLine", "callOnce", "clientEndpoint", "watch"]


class Status(IntEnum):
    """The outcome of a call; the exit statuses of the `pbkit` command."""

    ANSWERED = 0
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    REMOTE_ERROR = 5
    TIMED_OUT = 6
    #: 128 + SIGINT, as in shells.
    INTERRUPTED = 130


class CallFailed(Exception):
    """
    The call has no answer.

    :param status: the kind of failure.
    :param text: the reason, for people. It may contain text from the server, so escape it before showing it.
    """

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status


class Connector:
    """
    Logs in to one server as one user.

    :param reactor: for connections and timeouts.
    :param endpoint: the server's endpoint, or its description.
    :param credentials: as for `connect`.
    :param timeout: seconds for connecting and logging in, and again for each call.
    """

    def __init__(self, reactor: Any, endpoint: Any, credentials: Any, timeout: float) -> None:
        self.reactor = reactor
        self.timeout = timeout
        self._endpoint = endpoint
        self._credentials = credentials

    async def login(self, mind: pb.Referenceable | None = None) -> ClientSession:
        """
        Connect and log in.

        :raises CallFailed: the connection or the login failed.
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
            # For example a user name that is too long to be sent.
            raise CallFailed(Status.USAGE, _named(error)) from None


async def callOnce(connector: Connector, method: str, args: Sequence[object]) -> object:
    """
    Log in, call a method and log out. The timeout covers everything except the logout.

    :param method: the name of the method, without ``perspective_``.
    :param args: its arguments.
    :return: the answer.
    :raises CallFailed: the call has no answer.
    """
    deadline = connector.reactor.seconds() + connector.timeout
    me = await connector.login()
    try:
        return await _call(me, method, args, deadline - connector.reactor.seconds())
    finally:
        await _leave(me)


async def callEachLine(
    connector: Connector,
    nextLine: Callable[[], Awaitable[str | None]],
    answer: Callable[[str], None],
    complain: Callable[[str], None],
) -> Status:
    """
    Log in and make one call per line: a method and its arguments, quoted as in a shell. Blank lines and lines that
    begin with # are skipped.

    :param nextLine: returns the next line, or None at the end.
    :param answer: called with one line per call, in order: the answer as JSON, or ``{"error": text}``.
    :param complain: called with one line per failed call.
    :return: the status of the first call that failed; `Status.ANSWERED` if none did.
    :raises CallFailed: the login failed, the session ended, or the user interrupted.
    """
    me = await connector.login()
    status = Status.ANSWERED
    number = 0
    try:
        while (line := await nextLine()) is not None:
            number += 1
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            try:
                answer(toJson(await _line(me, line, connector.timeout)))
            except CallFailed as error:
                if error.status in (Status.UNREACHABLE, Status.INTERRUPTED):
                    raise CallFailed(error.status, f"line {number}: {error}") from None
                answer(f'{{"error": {toJson(oneLine(str(error)))}}}')
                complain(f"line {number}: {error}")
                status = status or error.status
    except CancelledError:
        raise CallFailed(Status.INTERRUPTED, "interrupted") from None
    finally:
        await _leave(me)
    return status


async def _line(me: ClientSession, line: str, timeout: float) -> object:
    try:
        method, *args = shlex.split(line)
    except ValueError as error:
        raise CallFailed(Status.USAGE, f"{str(error).lower()}; quote as in a shell: echo '[1, \"a b\"]'") from None
    return await _call(me, method, [*map(parseArgument, args)], timeout)


async def _call(me: ClientSession, method: str, args: Sequence[object], timeout: float) -> object:
    answering: Deferred[object] = me.callRemote(method, *args, pbtimeout=timeout)
    # An error that is there at once is about the arguments, because no answer can have arrived yet.
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
        # The user interrupted again, so the connection was aborted.
        pass


class PrintingMind(pb.Referenceable):
    """
    A mind that prints every call, one line each.

    :param write: called with each line.
    :param asJson: True for ``{"method": "score", "args": [50], "kw": {}}``, False for ``score 50``.
    """

    def __init__(self, write: Callable[[str], None], asJson: bool) -> None:
        self._write = write
        self._asJson = asJson

    def remoteMessageReceived(self, broker: Any, message: Any, args: Any, kw: Any) -> Any:
        """Print a call of any method, and answer None."""
        args, kw = broker.unserialize(args), broker.unserialize(kw)
        method = _str(message)
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


async def watch(connector: Connector, mind: PrintingMind, begun: Callable[[], None]) -> None:
    """
    Log in and listen until cancelled.

    :param mind: receives the server's calls.
    :param begun: called after the login.
    :raises CallFailed: the login failed, or the session ended.
    """
    me = await connector.login(mind)
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


def _str(value: object) -> str:
    # The server chose the value. Do not call str() on anything that is not a string: it might never return.
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value if isinstance(value, str) else f"({type(value).__name__})"
