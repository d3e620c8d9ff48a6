"""
Every error of pbkit, in one place; one class for each reason.

::

    pb.Error
    `-- Error                          everything below crosses the wire
        |-- LoginRefused               also cred's UnauthorizedLogin and LoginDenied
        |   |-- BadCredentials         nobody by that name, or not that password
        |   |-- AnonymousRefused       this server takes no anonymous log-ins
        |   |-- BadAvatarId            the checker's avatar id cannot be one of ours
        |   |-- BadMind                the mind is neither None nor a reference
        |   |-- ChallengeExpired       that challenge was answered before, or it is too late now
        |   |-- TooManyFailures        log-ins failed in a row, and the connection is being closed
        |   |-- TooManySessions        admission: a limit is reached
        |   |-- LoginTimedOut          building or attaching took longer than 30 s
        |   |-- LoginInterrupted       the session ended before it had begun
        |   |-- LoginUnavailable       something broke in the server; its log says what
        |   |-- LoginBanned            this user, or this address, is banned for some time
        |   |-- ServerDraining         this server takes nobody in any more: try another
        |   `-- ServerStopping         the server is going down
        |-- SessionEnded               also pb.DeadReferenceError
        |   |-- LoggedOut              the client let go of all it held
        |   |-- Disconnected           the connection is gone
        |   |-- Replaced               a newer login took the place
        |   |-- Kicked                 the server ended it
        |   |-- SlowConsumer           its client did not keep up with what it was told
        |   |-- Banned                 the server ended it, and lets the user or the address in no more for some time
        |   |-- Idle                   the client did not call for too long
        |   |-- TooOld                 no session of this server may be as old
        |   |-- Draining               this server lets everybody go: log in to another
        |   |-- TooManyReferences      it was to be given more references than a session may have
        |   `-- Shutdown               the server is going down
        |-- NoSuchMethod               also pb.NoSuchMethod
        |-- BadValue                   what was sent cannot be read
        |-- ClassRefused               also jelly.InsecureJelly: an instance of a class that is not accepted there
        |-- CannotSend                 a result, or an argument, is of a kind that cannot be sent
        |-- BadArguments               also TypeError: they do not fit the method that was called
        |-- InternalError              something broke in the server; its log says what
        |-- NoMind                     this client sent no mind, it cannot be called
        |-- CallDropped                this client does not keep up, and the call was not kept waiting
        `-- CallTimedOut               also TimeoutError: no answer within the deadline
    ValueError
    |-- ConfigError                    local only: a realm, key or value that cannot be
    |-- TooLarge                       local only: what a peer sends is over a bound
    `-- Malformed                      local only: what a peer sends is no Banana
    ConnectionError
    `-- ConnectError                   local only: `pbkit.connect` came to nothing before a login could be answered
        |-- ConnectFailed              nobody answers there, or the connection was lost
        |   `-- TlsFailed              TLS could not be agreed on, or the certificate is not trusted
        |-- ProtocolMismatch           what answers there does not speak Perspective Broker
        `-- TimedOut                   also TimeoutError: not logged in within the timeout
    RemoteError                        local only, a pb.RemoteError: what the server raised is of a class that is not
                                       on the client's allow-list

What crosses the wire of one of these is its class name, which is the machine-readable reason, and its text, which is
for people. None of them is Copyable or Jellyable, and none may become so: a peer that does not know such a class drops
the connection and its caller waits for ever. As subclasses of `pb.Error` they are sent without a traceback in the log.
"""

from __future__ import annotations

from typing import ClassVar

from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.spread import pb
from twisted.spread.jelly import InsecureJelly


class Error(pb.Error):
    """
    The base of all that pbkit tells a peer.

    :param detail: what is particular to this case, a sentence for people; else the text of the class stands alone.
    """

    #: What is said when there is no detail.
    text: ClassVar[str] = "error"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return self.detail or self.text


class LoginRefused(UnauthorizedLogin, LoginDenied, Error):
    """
    A login was refused. Old clients give up for good, as they should, on `UnauthorizedLogin` only.
    """

    text = "login refused"


class BadCredentials(LoginRefused):
    """Nobody by that name, or not that password: which of the two is not told."""

    text = "unknown user or wrong password"


class AnonymousRefused(LoginRefused):
    """Nobody may come in without a name."""

    text = "this server takes no anonymous log-ins: log in with a user name and password"


class BadAvatarId(LoginRefused):
    """A checker gave an avatar id that is not text, or one of the form kept for guests."""

    text = "this user name cannot be served here"


class BadMind(LoginRefused):
    """The mind was neither None nor a reference to an object of the client's."""

    text = "the mind must be None or a pb.Referenceable of the client's"


class ChallengeExpired(LoginRefused):
    """A challenge can be answered once, within some seconds: no guessing at it, and no replaying of an answer."""

    text = "this challenge was answered before, or too long ago: log in anew"


class TooManyFailures(LoginRefused):
    """So many log-ins failed in a row on this connection that it is being closed."""

    text = "too many log-ins failed on this connection: connect anew"


class TooManySessions(LoginRefused):
    """Admission: a limit on live sessions is reached."""

    text = "too many connections"


class LoginTimedOut(LoginRefused):
    """Building the avatar, or its `attached` hook, took too long."""

    text = "the server took too long to log you in, try again later"


class LoginInterrupted(LoginRefused):
    """The session was ended before the client had it."""

    text = "the session ended before it had begun"


class LoginUnavailable(LoginRefused):
    """Something broke in the server; the detail carries an id that is in its log too."""

    text = "the server could not log you in, try again later"


class LoginBanned(LoginRefused):
    """This user, or this address, is banned; the detail says for how long."""

    text = "banned"


class ServerDraining(LoginRefused):
    """This server takes nobody in any more, for it is about to go. A client that knows another may try that."""

    text = "this server takes no more log-ins, try another"


class ServerStopping(LoginRefused):
    """The server is going down."""

    text = "the server is stopping, try again later"


class SessionEnded(Error, pb.DeadReferenceError):
    """
    The session that a reference was got through has ended.

    :param detail: what is added, for people, to the text of the class.
    """

    text = "this session has ended"

    def __str__(self) -> str:
        return f"{self.text}: {self.detail}" if self.detail else self.text

    def again(self) -> SessionEnded:
        """A new one that says the same: an exception that is raised twice collects tracebacks."""
        return type(self)(self.detail)


class LoggedOut(SessionEnded):
    """The client let go of everything it held."""

    text = "this session was logged out"


class Disconnected(SessionEnded):
    """The connection that the session rode on is gone."""

    text = "the connection of this session was lost"


class Replaced(SessionEnded):
    """A newer login of the same user took the place."""

    text = "this session was replaced by a newer login"


class Kicked(SessionEnded):
    """The server ended the session."""

    text = "this session was ended by the server"


class SlowConsumer(SessionEnded):
    """Its client did not keep up with what it was told."""

    text = "this session was ended because its client did not keep up"


class Banned(SessionEnded):
    """The server ended the session, and until the ban is over refuses the user, or the address, with `LoginBanned`."""

    text = "this session was ended by a ban"


class Idle(SessionEnded):
    """The client had not called for as long as the realm's `idleTimeout`."""

    text = "this session ended because it was idle"


class TooOld(SessionEnded):
    """The session had lasted for as long as the realm's `maxSessionAge`."""

    text = "this session had reached the age at which a new login is needed"


class Draining(SessionEnded):
    """The server lets everybody go, such as before an upgrade. A client that knows another may log in there at once."""

    text = "this session ended because the server is being drained"


class TooManyReferences(SessionEnded):
    """The session was to be given more references than one may have: a client that keeps all, or a server's leak."""

    text = "this session was given more references than it may have"


class Shutdown(SessionEnded):
    """The server is going down."""

    text = "this session ended because the server is stopping"


class NoSuchMethod(Error, pb.NoSuchMethod):
    """The object has no such method for peers to call."""

    text = "no such method"


class BadValue(Error):
    """What was sent is not what jelly makes, or more than can be taken."""

    text = "what was sent cannot be read"

    def __str__(self) -> str:
        return f"{self.text}: {self.detail}" if self.detail else self.text


class ClassRefused(Error, InsecureJelly):
    """An instance of a class was sent that the other end does not accept."""

    text = "an instance of a class that is not accepted here"


class CannotSend(Error):
    """A result, or an argument, is or holds something that cannot be sent."""

    text = "this cannot be sent"


class BadArguments(Error, TypeError):
    """The arguments of a call do not fit the method."""

    text = "the arguments do not fit the method"


class InternalError(Error):
    """Something broke while a call was served; the detail carries an id that is in the log of that end too."""

    text = "internal error"


class NoMind(Error):
    """This client sent no mind at login, so the server cannot call it."""

    text = "this client sent no mind at login, so it cannot be called"


class CallDropped(Error):
    """The client does not keep up, and this call was not kept waiting."""

    text = "the client does not keep up, and this call was not kept waiting"


class CallTimedOut(Error, TimeoutError):
    """No answer came within the deadline of the call."""

    text = "no answer within the deadline of the call"


class ConfigError(ValueError):
    """A realm, a key or a value that cannot be; the text says what would be right."""


class TooLarge(ValueError):
    """
    What a peer sends is over a bound. Never sent to it: there is nothing left to say it on.

    :ivar which: ``message``, ``items``, ``depth``, ``string``, ``list`` or ``prefix``.
    :ivar bound: the bound that it is over.
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
    """What a peer sends is no Banana, or not in the dialect that was agreed on. Never sent to it."""


class ConnectError(ConnectionError):
    """`pbkit.connect` came to nothing before the server had an answer to the login. Never sent to a peer."""


class ConnectFailed(ConnectError):
    """Nobody answers there, or the connection was lost before the login was answered."""


class TlsFailed(ConnectFailed):
    """TLS could not be agreed on, or the server's certificate is not trusted."""


class ProtocolMismatch(ConnectError):
    """What answers there does not speak Perspective Broker."""


class TimedOut(ConnectError, TimeoutError):
    """Not logged in within the timeout; the text says which step took so long."""


class RemoteError(pb.RemoteError):
    """
    What the server raised, where its class is not on the client's allow-list. Can be pickled; stock's cannot.

    :ivar remoteType: the name of its class, such as ``game.NotYourTurn``: a str, where stock has bytes.
    :ivar remoteText: its text.
    :ivar remoteParents: the names of the classes that it derives from, its own first.
    :ivar remoteTraceback: the server's, if that sends tracebacks; else a line that says so.
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
        Whether the server's exception was of a class, or of one that derives from it.

        :param kind: the class, or its qualified name: ``game.NotYourTurn``.
        """
        name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        return name == self.remoteType or name in self.remoteParents


def _table(base: type[Error]) -> dict[str, type[Error]]:
    found = {f"{base.__module__}.{base.__qualname__}": base}
    for sub in base.__subclasses__():
        found.update(_table(sub))
    return found


#: Every class above that may cross the wire, by the name under which it does. Closed: classes that
#: users derive later are not in it, so a peer's text never picks a class of somebody else's.
BY_NAME: dict[str, type[Error]] = _table(Error)
