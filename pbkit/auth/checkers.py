"""
cred's checkers, made to work with PB's login or refused with the reason.

PB's login is a challenge: the client answers with an MD5 of the challenge and its password, so the server must know the
password (or its MD5), and the client sends names as bytes. A checker that cannot work with that would refuse every
login as "unknown user or wrong password". Here it is an error when the server starts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from twisted.cred.checkers import (
    FilePasswordDB,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import IAnonymous, ICredentials, IUsernameHashedPassword
from twisted.cred.error import LoginFailed, Unauthorized, UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import qual
from twisted.spread.pb import IUsernameMD5Password
from zope.interface import implementer
from zope.interface.interface import InterfaceClass

from pbkit.auth.passwordfile import PasswordFile, checkPasswordFile
from pbkit.errors import ConfigError

log = Logger()

#: The kinds of credentials that PB's login produces.
PB_CREDENTIALS: tuple[InterfaceClass, ...] = (IUsernameHashedPassword, IUsernameMD5Password, IAnonymous)

#: The errors by which a checker refuses a user.
_REFUSALS = (LoginFailed, Unauthorized)


def makeChecker(description: str) -> Any:
    """
    Make a checker of a text such as ``memory:alice:sesame`` or ``file:passwd``.

    Names and passwords become bytes, as PB sends them. Paths become absolute, because twistd changes its directory
    later.

    :param description: ``TYPE`` or ``TYPE:ARGUMENTS``, as in `twisted.cred.strcred`.
    :return: an `ICredentialsChecker`.
    :raises ConfigError: the type is unknown, its arguments are invalid, or it cannot work with PB. The message contains
        no password.
    """
    # Importing this imports the parser of options, which servers without such descriptions do not need.
    from twisted.cred.strcred import InvalidAuthArgumentString, InvalidAuthType, findCheckerFactory

    kind, _, argument = description.partition(":")
    try:
        factory = findCheckerFactory(kind)
    except InvalidAuthType:
        raise ConfigError(
            f"invalid auth: unknown checker type {kind!r}. Types: file:PATH, memory:NAME:PASSWORD, anonymous, and "
            "others that --help-auth lists"
        ) from None
    if not _usable(factory.credentialInterfaces):
        raise ConfigError(f"invalid auth {kind}: {_cannot(factory.credentialInterfaces)}")
    if kind == "file":
        if not argument:
            raise ConfigError("invalid auth file: the path is missing, expected file:PATH, for example file:passwd")
        # Check it before the factory does, which prints a warning of its own if the file does not exist.
        checkPasswordFile(FilePasswordDB(argument))
    try:
        checker = factory.generateChecker(argument)
    except Exception as e:
        # Do not show the text of a plugin's exception: it may quote the argument, which may contain a password.
        if kind == "memory":
            expected = "memory:NAME:PASSWORD, or several names and passwords"
        else:
            expected = f"{kind}:{factory.argStringFormat}"
        reason = f": {e}" if isinstance(e, InvalidAuthArgumentString) and kind != "memory" else ""
        raise ConfigError(f"invalid auth {kind}: invalid argument{reason}, expected {expected}") from None
    if isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
        checker.users = {_asBytes(name): _asBytes(word) for name, word in checker.users.items()}
    if isinstance(checker, FilePasswordDB):
        # twistd changes to its --rundir later. The file that was checked here must be the one that is read then.
        checker = PasswordFile(os.path.abspath(checker.filename))
    checkForPb(checker)
    if isinstance(checker, PasswordFile):
        # Not at the first login, which would have to wait.
        checker.load()
    return checker


def checkForPb(checker: Any) -> None:
    """
    Check that a checker works with PB's login.

    :param checker: an `ICredentialsChecker`.
    :raises ConfigError: it does not, and why: it needs the plaintext password, its file cannot be used, or it has no
        users.
    """
    if isinstance(checker, AnyOf):
        for one in checker.checkers:
            checkForPb(one)
        return
    if not ICredentialsChecker.providedBy(checker):
        raise ConfigError(f"invalid checker {checker!r}: expected an object that provides ICredentialsChecker")
    name = type(checker).__name__
    if not _usable(checker.credentialInterfaces):
        raise ConfigError(f"{name}: {_cannot(checker.credentialInterfaces)}")
    if isinstance(checker, FilePasswordDB):
        checkPasswordFile(checker)
    if isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
        if not checker.users:
            raise ConfigError("invalid auth memory: no user, expected memory:NAME:PASSWORD")
        for user, password in checker.users.items():
            if not user or not password:
                raise ConfigError("invalid auth memory: empty name or password, expected memory:NAME:PASSWORD")


def _usable(interfaces: Iterable[InterfaceClass]) -> bool:
    return any(one.isOrExtends(wanted) for wanted in interfaces for one in PB_CREDENTIALS)


def _cannot(interfaces: Iterable[InterfaceClass]) -> str:
    return (
        f"it checks {', '.join(one.__name__ for one in interfaces) or 'nothing'}, which PB's login never "
        "sends: the client answers a challenge, and the server needs the plaintext password to check the answer; "
        "use memory:NAME:PASSWORD, file:PATH with plaintext passwords, or anonymous"
    )


def _asBytes(text: str | bytes) -> bytes:
    # With surrogateescape, an argument of the command line that is not UTF-8 becomes the bytes that it was.
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


@implementer(ICredentialsChecker)
class AnyOf:
    """
    Several checkers as one: they are asked in turn, and the login is refused only if all of them refuse it.

    A `Portal` holds one checker for each kind of credentials, and a later one silently replaces an earlier one. With
    this class ``--auth memory:alice:a --auth file:passwd`` accepts the users of both.

    :param checkers: in the order in which they are asked.
    """

    def __init__(self, checkers: Sequence[Any]) -> None:
        self.checkers = tuple(checkers)
        found = dict.fromkeys(kind for checker in self.checkers for kind in checker.credentialInterfaces)
        self.credentialInterfaces = tuple(found)

    def requestAvatarId(self, credentials: ICredentials) -> Deferred[Any]:
        """
        Ask the checkers.

        :return: a Deferred of the avatar id from the first checker that accepts. It fails with `UnauthorizedLogin` if
            all refuse, and with the error of a broken checker if no other accepts.
        """
        return Deferred.fromCoroutine(self._ask(credentials))

    async def _ask(self, credentials: ICredentials) -> Any:
        broken: Failure | None = None
        culprit: Any = None
        for checker in self.checkers:
            if not any(kind.providedBy(credentials) for kind in checker.credentialInterfaces):
                continue
            try:
                avatarId = await maybeDeferred(checker.requestAvatarId, credentials)
            except _REFUSALS:
                continue
            except Exception:
                # Ask the others: a broken checker must not shut out the users of another one.
                broken, culprit = Failure(), checker
                continue
            if broken is not None:
                # Log it only now: if the login fails with this error, the caller logs it.
                name = qual(type(culprit))
                log.failure("checker {checker} failed, and another one accepted the user", broken, checker=name)
            return avatarId
        if broken is not None:
            broken.raiseException()
        raise UnauthorizedLogin("no checker knows these credentials")


def spell(portal: Portal, username: bytes) -> bytes | str:
    """
    Convert a user name to the type that the checkers of a portal use.

    PB sends bytes. A stock in-memory checker made from the command line stores str, and would never find the name.

    :param portal: the portal whose checkers will be asked.
    :param username: as the client sent it.
    :return: the str, if an in-memory checker has it and not the bytes; else the bytes.
    """
    try:
        text = username.decode("utf-8")
    except UnicodeDecodeError:
        return username
    for checker in _flat(portal.checkers.values()):
        if isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
            users: dict[Any, Any] = checker.users
            if text in users and username not in users:
                return text
    return username


def _flat(checkers: Iterable[Any]) -> Iterator[Any]:
    for checker in checkers:
        if isinstance(checker, AnyOf):
            yield from _flat(checker.checkers)
        else:
            yield checker
