"""
Every error of pbkit, one class per reason.

::

    pb.Error
    `-- Error                          all errors below are sent to the peer
        |-- LoginRefused               also cred's UnauthorizedLogin and LoginDenied
        |   |-- BadCredentials         unknown user or wrong password
        |   |-- AnonymousRefused       the server does not accept anonymous logins
        |   |-- BadAvatarId            the checker returned an avatar id that is not valid
        |   |-- BadMind                the mind is neither None nor a reference
        |   |-- ChallengeExpired       the challenge was answered before, or too late
        |   |-- TooManyAttempts        too many logins of this user wait for the delay of a failed one
        |   |-- TooManyFailures        too many failed logins; the server closes the connection
        |   |-- TooManySessions        a limit on sessions is reached
        |   |-- LoginTimedOut          building or attaching the avatar took longer than 30 s
        |   |-- LoginInterrupted       the session ended before the login was complete
        |   |-- LoginUnavailable       unexpected exception in the server; see its log
        |   |-- LoginBanned            the user or the address is banned for some time
        |   |-- ServerMisconfigured    the server's own code does not fit together: retrying does not help
        |   |-- ServerDraining         the server accepts no more logins: try another server
        |   `-- ServerStopping         the server is stopping
        |-- SessionEnded               also pb.DeadReferenceError
        |   |-- LoggedOut              the client released all its references
        |   |-- Disconnected           the connection was lost
        |   |-- Replaced               a newer login took over
        |   |-- Kicked                 the server ended the session
        |   |-- SlowConsumer           the client did not read its messages fast enough
        |   |-- Banned                 the server ended the session, and bans the user or address for some time
        |   |-- Idle                   the client made no call for `idleTimeout`
        |   |-- TooOld                 the session reached `maxSessionAge`
        |   |-- Draining               the server is being drained: log in to another server
        |   |-- TooManyReferences      the session would have held more references than its limit
        |   `-- Shutdown               the server is stopping
        |-- NoSuchMethod               also pb.NoSuchMethod
        |-- BadValue                   a value that was sent cannot be read
        |-- ClassRefused               also jelly.InsecureJelly: an instance of a class that is not accepted
        |-- CannotSend                 an argument or a result cannot be sent
        |-- BadArguments               also TypeError: the arguments do not fit the method
        |-- InternalError              unexpected exception in the server; see its log
        |-- NoMind                     the client sent no mind, so the server cannot call it
        |-- CallDropped                the client is a slow consumer, and the call was dropped
        `-- CallTimedOut               also TimeoutError: no answer within the deadline
    ValueError
    |-- ConfigError                    local only: an invalid realm, key or value
    |-- TooLarge                       local only: received data exceeds a limit
    `-- Malformed                      local only: received data is not valid Banana
    ConnectionError
    `-- ConnectError                   local only: `pbkit.connect` failed before the login was answered
        |-- ConnectFailed              no server at that address, or the connection was lost
        |   `-- TlsFailed              the TLS handshake failed, or the certificate is not trusted
        |-- ProtocolMismatch           the server does not speak Perspective Broker
        `-- TimedOut                   also TimeoutError: not logged in within the timeout
    RemoteError                        local only, a pb.RemoteError: the server raised an exception whose class is not
                                       on the client's allow-list

The peer receives the class name, which is the machine-readable reason, and the text, which is for people. No class
here is Copyable or Jellyable, and none may become so: a peer that does not know such a class drops the connection, and
its caller waits forever. As subclasses of `pb.Error` they are sent without a traceback in the log.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import ClassVar

from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.spread import pb
from twisted.spread.jelly import InsecureJelly

#: How a refusal says when to try again.
_RETRY_AFTER = re.compile(r"\btry again in (\d{1,6}) s\b")


class Error(pb.Error):
    """
    The base class of every error that pbkit sends to a peer.

    :param detail: a sentence for people about this case. Without it the text of the class is used.
    """

    #: The text used when there is no detail.
    text: ClassVar[str] = "error"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return self.detail or self.text


class LoginRefused(UnauthorizedLogin, LoginDenied, Error):
    """A login was refused. Also an `UnauthorizedLogin`, the only error on which older clients stop reconnecting."""

    text = "login refused"

    @property
    def retryAfter(self) -> float | None:
        """After how many seconds to try again; None if the server does not say. Read from the text, which is sent."""
        found = _RETRY_AFTER.search(str(self))
        return None if found is None else float(found[1])


class BadCredentials(LoginRefused):
    """Unknown user or wrong password. The client is not told which."""

    text = "unknown user or wrong password"


class AnonymousRefused(LoginRefused):
    """The server does not accept anonymous logins."""

    text = "this server accepts no anonymous logins: log in with a user name and password"


class BadAvatarId(LoginRefused):
    """The checker returned an avatar id that is not a string, or that has the form reserved for anonymous users."""

    text = "this server cannot serve this user name"


class BadMind(LoginRefused):
    """The mind was neither None nor a reference to an object of the client."""

    text = "invalid mind: expected None or a pb.Referenceable of the client"


class ChallengeExpired(LoginRefused):
    """A challenge is valid once, and for `door.challenge` seconds only, so answers cannot be replayed."""

    text = "this challenge was answered before, or has expired: log in again"


class TooManyAttempts(LoginRefused):
    """
    Too many logins of this user, from this address, wait for the delay after a failed one. The password was not
    checked. `retryAfter` says when to try again.
    """

    text = "too many logins of this user are waiting"

    @classmethod
    def after(cls, seconds: int) -> TooManyAttempts:
        """Create the error, with the time after which to try again."""
        return cls(f"{cls.text}: try again in {seconds} s")


class TooManyFailures(LoginRefused):
    """`door.failures` logins in a row failed on this connection, so the server closes it."""

    text = "too many logins failed on this connection: reconnect"


class TooManySessions(LoginRefused):
    """Admission refused the login because a limit on live sessions is reached."""

    text = "too many connections"


class LoginTimedOut(LoginRefused):
    """Building the avatar, or its `attached` hook, took longer than 30 s."""

    text = "the login took too long on the server, try again later"


class LoginInterrupted(LoginRefused):
    """The session ended before the client received its reference."""

    text = "the session ended before the login was complete"


class LoginUnavailable(LoginRefused):
    """An unexpected exception in the server. The detail has an error id; the server log has the traceback under it."""

    text = "the server could not log you in, try again later"


class LoginBanned(LoginRefused):
    """The user or the address is banned; the detail says for how long."""

    text = "banned"


class ServerMisconfigured(LoginRefused):
    """
    The avatar class or a hook of the server cannot be called, so no login succeeds until the program is corrected. The
    detail has an error id, under which the server's log says what is wrong.
    """

    text = "this server cannot log anyone in until its operator corrects it"


class ServerDraining(LoginRefused):
    """The server is being drained and accepts no more logins. The client may try another server."""

    text = "this server accepts no more logins, try another"


class ServerStopping(LoginRefused):
    """The server is stopping."""

    text = "the server is stopping, try again later"


class SessionEnded(Error, pb.DeadReferenceError):
    """
    The session that a reference belongs to has ended.

    :param detail: appended to the text of the class, for people.
    """

    text = "this session has ended"

    def __str__(self) -> str:
        return f"{self.text}: {self.detail}" if self.detail else self.text

    def again(self) -> SessionEnded:
        """Return a copy to raise. Raising one exception object repeatedly would accumulate tracebacks."""
        return type(self)(self.detail)


class LoggedOut(SessionEnded):
    """The client released all references of the session."""

    text = "this session was logged out"


class Disconnected(SessionEnded):
    """The connection of the session was lost."""

    text = "the connection of this session was lost"


class Replaced(SessionEnded):
    """A newer login of the same user took over."""

    text = "this session was replaced by a newer login"


class Kicked(SessionEnded):
    """The server ended the session."""

    text = "this session was ended by the server"


class SlowConsumer(SessionEnded):
    """The client did not read its messages fast enough."""

    text = "this session was ended because its client reads too slowly"


class Banned(SessionEnded):
    """The server ended the session. Until the ban expires, it refuses the user or address with `LoginBanned`."""

    text = "this session was ended by a ban"


class Idle(SessionEnded):
    """The client made no call for the realm's `idleTimeout`."""

    text = "this session ended because it was idle"


class TooOld(SessionEnded):
    """The session reached the realm's `maxSessionAge`."""

    text = "this session reached its maximum age: log in again"


class Draining(SessionEnded):
    """The server ends all sessions, for example before an upgrade. The client may log in to another server at once."""

    text = "this session ended because the server is being drained"


class TooManyReferences(SessionEnded):
    """The session reached `calls.references`: the client never releases its references, or the server leaks them."""

    text = "this session exceeded the limit on references (calls.references)"


class Shutdown(SessionEnded):
    """The server is stopping."""

    text = "this session ended because the server is stopping"


class NoSuchMethod(Error, pb.NoSuchMethod):
    """The object has no remotely callable method of that name."""

    text = "no such method"


class BadValue(Error):
    """A value that was sent is not valid jelly, or exceeds a limit."""

    text = "the value sent cannot be read"

    def __str__(self) -> str:
        return f"{self.text}: {self.detail}" if self.detail else self.text


class ClassRefused(Error, InsecureJelly):
    """An instance of a class was sent that the receiver does not accept."""

    text = "instances of this class are not accepted here"


class CannotSend(Error):
    """An argument or a result is, or contains, a value that cannot be sent."""

    text = "this value cannot be sent"


class BadArguments(Error, TypeError):
    """The arguments of a call do not fit the signature of the method."""

    text = "the arguments do not fit the method"


class InternalError(Error):
    """An unexpected exception in the called method. The detail has an error id; the log there has the traceback."""

    text = "internal error"


class NoMind(Error):
    """The client sent no mind at login, so the server cannot call it."""

    text = "this client sent no mind at login, so it cannot be called"


class CallDropped(Error):
    """The client is a slow consumer, and the call was dropped instead of queued."""

    text = "the call was dropped because the client reads too slowly"


class CallTimedOut(Error, TimeoutError):
    """No answer arrived within the deadline of the call."""

    text = "no answer within the deadline of the call"


class ConfigError(ValueError):
    """An invalid realm, key or value. The text says what is wrong and what is expected."""

    @classmethod
    def invalid(cls, name: str, got: str, expected: str, example: str = "") -> ConfigError:
        """
        Return the error for one invalid value.

        :param name: the parameter or key.
        :param got: the value; `shownValue` shows it with its type.
        :param expected: what is accepted.
        :param example: such as ``max = 3``.
        """
        return cls(f"invalid {name}: got {got}, expected {expected}{f', for example {example}' if example else ''}")


#: The name of each type in error texts. bool comes before int, of which it is a subclass.
_TYPE_NAMES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),
    (str, "string"),
    (int, "integer"),
    (float, "number"),
    (list, "array"),
    (Mapping, "table"),
    (datetime.date, "date or time"),
    (datetime.time, "date or time"),
)


def typeName(value: object) -> str:
    """Return the name that error texts use for the type of a value, such as ``integer``."""
    return next((name for kind, name in _TYPE_NAMES if isinstance(value, kind)), type(value).__name__)


def shownValue(value: object) -> str:
    """Return a value as error texts show it, with its type: ``'2' (string)``."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({typeName(value)})"


class TooLarge(ValueError):
    """
    Received data exceeds a limit. Never sent to the peer.

    :ivar which: ``message``, ``items``, ``depth``, ``string``, ``list`` or ``prefix``.
    :ivar bound: the limit.
    """

    texts: ClassVar[dict[str, str]] = {
        "message": "a message of more than {} bytes",
        "items": "a message of more than {} items",
        "depth": "lists in lists, more than {} deep",
        "string": "a string of more than {} bytes",
        "list": "a list of more than {} elements",
        "prefix": "a number of more than {} bytes",
    }

    def __init__(self, which: str, bound: int) -> None:
        super().__init__(which, bound)
        self.which = which
        self.bound = bound

    def __str__(self) -> str:
        return self.texts[self.which].format(self.bound)


class Malformed(ValueError):
    """Received data is not valid Banana, or not of the negotiated dialect. Never sent to the peer."""


class ConnectError(ConnectionError):
    """`pbkit.connect` failed before the server answered the login. Never sent to a peer."""


class ConnectFailed(ConnectError):
    """No server answers at that address, or the connection was lost before the login was answered."""


class TlsFailed(ConnectFailed):
    """The TLS handshake failed, or the server's certificate is not trusted."""


class ProtocolMismatch(ConnectError):
    """The server does not speak Perspective Broker."""


class TimedOut(ConnectError, TimeoutError):
    """Not logged in within the timeout. The text names the step that took too long."""


class RemoteError(pb.RemoteError):
    """
    An exception that the server raised, of a class that is not on the client's allow-list.

    Unlike stock's, it can be pickled.

    :ivar remoteType: the qualified name of the class, such as ``game.NotYourTurn``: a str, where stock has bytes.
    :ivar remoteText: the text of the exception.
    :ivar remoteParents: the names of the classes that it derives from, its own first.
    :ivar remoteTraceback: the traceback, if the server sends tracebacks; otherwise a line that says it does not.
    """

    def __init__(
        self, remoteType: str, remoteText: str = "", remoteParents: tuple[str, ...] = (), remoteTraceback: str = ""
    ) -> None:
        super().__init__(remoteType, remoteText, remoteTraceback)
        self.remoteText = remoteText
        self.remoteParents = remoteParents

    def __str__(self) -> str:
        return f"{self.remoteType}: {self.remoteText}" if self.remoteText else str(self.remoteType)

    def __reduce__(self) -> tuple[type[RemoteError], tuple[object, ...]]:
        return type(self), (self.remoteType, self.remoteText, self.remoteParents, self.remoteTraceback)

    def isA(self, kind: type[BaseException] | str) -> bool:
        """
        Return True if the server's exception was an instance of a class or of a subclass of it.

        :param kind: the class, or its qualified name: ``game.NotYourTurn``.
        """
        name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        return name == self.remoteType or name in self.remoteParents


def _table(base: type[Error]) -> dict[str, type[Error]]:
    found = {f"{base.__module__}.{base.__qualname__}": base}
    for sub in base.__subclasses__():
        found.update(_table(sub))
    return found


#: Every class above that can be sent, by its name on the wire. The table is closed: it does not contain subclasses that
#: users define later, so a name sent by a peer never selects a class of the program.
BY_NAME: dict[str, type[Error]] = _table(Error)
