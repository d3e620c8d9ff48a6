"""
cred's checkers, made to work with PB's login or refused with the reason.

PB's login is a challenge: the client answers with an MD5 of the challenge and its password, so the
server must know the password (or its MD5), and it sends names as bytes. A checker that cannot do with
that would refuse each login as "unknown user or wrong password"; here it is told at start.
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
from twisted.cred.strcred import InvalidAuthArgumentString, InvalidAuthType, findCheckerFactory
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import qual
from twisted.spread.pb import IUsernameMD5Password
from zope.interface import implementer
from zope.interface.interface import InterfaceClass

from pbkit.auth.passwordfile import checkPasswordFile
from pbkit.errors import ConfigError

log = Logger()

#: The kinds of credentials that PB's login makes.
PB_CREDENTIALS: tuple[InterfaceClass, ...] = (IUsernameHashedPassword, IUsernameMD5Password, IAnonymous)

#: What a checker fails with when it means: not this user.
_REFUSALS = (LoginFailed, Unauthorized)


def makeChecker(description: str) -> Any:
    """
    The checker that a text such as ``memory:alice:sesame`` or ``file:passwd`` describes, ready for PB:
    names and passwords are bytes, files are found wherever the process goes later.

    :param description: ``TYPE`` or ``TYPE:ARGUMENTS``, as `twisted.cred.strcred` has it.
    :return: an `ICredentialsChecker`.
    :raises ConfigError: there is no such type, its arguments are wrong, or it cannot work with PB. The
        message holds no password.
    """
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
        # Before the factory, which prints a warning of its own for a file that is not there.
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
        # twistd goes to its --rundir later; what was checked here is what must be read then.
        checker.filename = os.path.abspath(checker.filename)
    checkForPb(checker)
    return checker


def checkForPb(checker: Any) -> None:
    """
    See whether a checker can serve PB's login.

    :param checker: an `ICredentialsChecker`.
    :raises ConfigError: it cannot, and why: it wants the password itself, its file cannot be used, or it
        has no users.
    """
    if isinstance(checker, AnyOf):
        for one in checker.checkers:
            checkForPb(one)
        return
    if not ICredentialsChecker.providedBy(checker):
        raise ConfigError(f"{checker!r} is not a checker: it does not provide ICredentialsChecker")
    name = type(checker).__name__
    if not _usable(checker.credentialInterfaces):
        raise ConfigError(f"{name}: {_cannot(checker.credentialInterfaces)}")
    if isinstance(checker, FilePasswordDB):
        checkPasswordFile(checker)
    if isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
        if not checker.users:
            raise ConfigError("auth memory: it names no user; write memory:NAME:PASSWORD")
        for user, password in checker.users.items():
            if not user or not password:
                raise ConfigError("auth memory: a name or a password is empty; write memory:NAME:PASSWORD")


def _usable(interfaces: Iterable[InterfaceClass]) -> bool:
    return any(one.isOrExtends(wanted) for wanted in interfaces for one in PB_CREDENTIALS)


def _cannot(interfaces: Iterable[InterfaceClass]) -> str:
    return (
        f"it checks {', '.join(one.__name__ for one in interfaces) or 'nothing'}, which PB's login never "
        "sends: a client answers a challenge, and the server needs the plaintext password to check that; "
        "use memory:NAME:PASSWORD, file:PATH with plaintext passwords, or anonymous"
    )


def _asBytes(text: str | bytes) -> bytes:
    # surrogateescape: what came in by argv and is not UTF-8 goes out as the bytes it was.
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


@implementer(ICredentialsChecker)
class AnyOf:
    """
    Several checkers as one: each is asked in turn, and only when all refuse is the login refused.

    A `Portal` holds one checker for each kind of credentials, and a later one silently takes the place of an
    earlier. Under this one ``--auth memory:alice:a --auth file:passwd`` means what it says.

    :param checkers: in the order in which they are asked.
    """

    def __init__(self, checkers: Sequence[Any]) -> None:
        self.checkers = tuple(checkers)
        found = dict.fromkeys(kind for checker in self.checkers for kind in checker.credentialInterfaces)
        self.credentialInterfaces = tuple(found)

    def requestAvatarId(self, credentials: ICredentials) -> Deferred[Any]:
        """
        :return: a Deferred of the avatar id that the first checker to agree gives. It fails with
            `UnauthorizedLogin` when all refuse, and with the error of one that broke when none of the
            others agrees.
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
                # One that is out of order must not keep out those whom another knows.
                broken, culprit = Failure(), checker
                continue
            if broken is not None:
                # Only now: of a login that fails with it whoever made it says so, and knows how often he has.
                name = qual(type(culprit))
                log.failure("checker {checker} broke, and another one knew the user", broken, checker=name)
            return avatarId
        if broken is not None:
            broken.raiseException()
        raise UnauthorizedLogin("no checker knows these credentials")


def spell(portal: Portal, username: bytes) -> bytes | str:
    """
    A user's name as the checker at hand has it.

    PB sends bytes; a stock in-memory checker made from the command line stores str, and never finds anyone.

    :param portal: whose checkers will be asked.
    :param username: as the client sent it.
    :return: the str, if an in-memory checker has that and not the bytes; else the bytes.
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
