"""
The plan of a server: everything is decided and checked here, and nothing is opened.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from twisted.cred.checkers import (
    AllowAnonymousAccess,
    FilePasswordDB,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import IAnonymous
from twisted.cred.portal import IRealm, Portal
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint

from pbkit.auth import checkForPb, makeChecker, passwordFileWarnings
from pbkit.config.descriptions import isLoopbackOnly, portError, portOf, splitDescription, unixPath, withBacklog
from pbkit.config.file import HIDDEN
from pbkit.config.values import INVALID, Problems, ServerConfig, emptyMapping
from pbkit.errors import ConfigError
from pbkit.serving import announce
from pbkit.serving.exposure import exposures
from pbkit.serving.resolve import checkRealm, load, makeAllow, makeProfile, makeRealm
from pbkit.sessions.realm import Realm
from pbkit.sessions.realms import AnonymousRealm
from pbkit.wire.profile import STRICT, Profile

#: The longest path of a Unix socket in bytes, without the final NUL. Linux has room for 107 bytes, macOS for 103.
MAX_SOCKET_PATH = 103 if sys.platform == "darwin" else 107


@dataclass(frozen=True)
class Plan:
    """
    A server, decided and checked but not opened.

    :ivar realm: what logins are admitted to; a `pbkit.Realm` or any other `IRealm`.
    :ivar checkers: check the credentials.
    :ivar listen: the endpoints, each with its description.
    :ivar guest: the only user, if no checker was given and the realm is not just for anonymous logins.
    :ivar announced: True if the terminal is to show how to log in.
    :ivar profile: how strict the server is.
    :ivar config: the settings that led to this plan.
    :ivar parameters: on reload, the parameter values given for the existing realm.
    :ivar portal: the portal that the settings name, with this realm and these checkers, or None.
    :ivar allow: the classes that clients may send. None accepts all registered classes, as stock PB does.
    :ivar warnings: what the operator should know, one line each; logged at the start.
    """

    realm: IRealm
    checkers: tuple[ICredentialsChecker, ...]
    listen: tuple[tuple[str, IStreamServerEndpoint], ...]
    guest: announce.Guest | None = None
    announced: bool = False
    profile: Profile = STRICT
    config: ServerConfig = field(default_factory=ServerConfig)
    parameters: Mapping[str, object] = field(default_factory=emptyMapping)
    portal: Portal | None = None
    allow: frozenset[type | str | bytes] | None = frozenset()
    warnings: tuple[str, ...] = ()


def prepare(
    config: ServerConfig, reactor: object, problems: Problems | None = None, realm: IRealm | None = None
) -> Plan:
    """
    Look up everything the settings name, and check it without opening anything.

    :param reactor: for the endpoints.
    :param problems: the errors found so far; it collects the rest.
    :param realm: an existing realm to keep, on reload.
    :raises ConfigError: the settings have errors; the text has one line for each.
    """
    problems = Problems() if problems is None else problems
    profile = makeProfile(config, problems)
    parameters: Mapping[str, object] = emptyMapping()
    checkers: tuple[ICredentialsChecker, ...] = ()
    guest = portal = None
    if config.portal is not None:
        portal = _portal(config.portal, config, problems)
        realm, checkers = (portal.realm, tuple(portal.checkers.values())) if portal is not None else (None, ())
    else:
        if realm is None:
            realm = makeRealm(config, problems)
        else:
            parameters = checkRealm(config, problems)
        checkers, guest = _checkers(config, realm, problems)
    # After the realm: importing it registers the classes.
    allow = makeAllow(config, realm, profile, problems)
    listen = _listen(config, realm, reactor, problems)
    problems.check()
    assert realm is not None
    announced = not (config.auth or portal)
    warnings = exposures(config, checkers)
    for checker in checkers:
        if isinstance(checker, FilePasswordDB):
            warnings += tuple(passwordFileWarnings(checker))
    return Plan(realm, checkers, listen, guest, announced, profile, config, parameters, portal, allow, warnings)


def _portal(path: str, config: ServerConfig, problems: Problems) -> Portal | None:
    """Load a portal, and reject the settings that it replaces."""
    for name in ("realm", "avatar", "auth"):
        if ("server", name) in config.origins:
            text = (
                f"{name} and portal cannot be combined: {path} has its own realm and checkers; remove {name} or portal"
            )
            problems.add(text, config.origin("server", name))
    for name in config.realm.typed:
        text = f"realm.{name} cannot be set: the portal {path} has a realm of its own; remove realm.{name}"
        problems.add(text, config.origin("realm", name))
    with problems.catch(config.origin("server", "portal")):
        portal = load(path, "portal")
        if not isinstance(portal, Portal):
            raise ConfigError.invalid(f"portal {path}", f"an instance of {type(portal).__name__}", "a cred Portal")
        if not portal.checkers:
            raise ConfigError(f"invalid portal {path}: it has no checkers, so nobody can log in; register one")
        for checker in portal.checkers.values():
            try:
                checkForPb(checker)
            except ConfigError as e:
                raise ConfigError(f"invalid portal {path}: {e}") from None
        return portal
    return None


def _checkers(
    config: ServerConfig, realm: IRealm | None, problems: Problems
) -> tuple[tuple[ICredentialsChecker, ...], announce.Guest | None]:
    checkers: tuple[ICredentialsChecker, ...] = ()
    for index, text in enumerate(config.auth):
        if text != INVALID and not text.startswith(HIDDEN):
            with problems.catch(config.origin("server", "auth", index)):
                checkers += (makeChecker(text),)
    guest = None
    if not config.auth:
        # A realm that also accepts anonymous logins gets both; an AnonymousRealm has no other users.
        if getattr(realm, "takesAnonymous", False):
            checkers += (AllowAnonymousAccess(),)
        if not isinstance(realm, AnonymousRealm):
            guest = announce.Guest()
            users = InMemoryUsernamePasswordDatabaseDontUse()
            users.addUser(guest.name.encode("ascii"), guest.password.encode("ascii"))
            checkers += (users,)
    elif len(checkers) == len(config.auth) and isinstance(realm, Realm) and not realm.takesAnonymous:
        if all(IAnonymous in checker.credentialInterfaces for checker in checkers):
            problems.add(
                f"invalid auth anonymous: the realm {config.realm.name} refuses anonymous logins; "
                "serve the realm anonymous, or a realm of yours created with anonymous=AnonymousRealm(...)",
                config.origin("server", "auth", 0),
            )
    return checkers, guest


def _listen(
    config: ServerConfig, realm: IRealm | None, reactor: object, problems: Problems
) -> tuple[tuple[str, IStreamServerEndpoint], ...]:
    listen: tuple[tuple[str, IStreamServerEndpoint], ...] = ()
    for index, text in enumerate(config.listen):
        if text == INVALID:
            continue
        with problems.catch(config.origin("server", "listen", index)):
            if text in config.listen[:index] and portOf(text) != "0":
                raise ConfigError(f"invalid listen {text!r}: it is given twice; remove one")
            listen += ((text, _endpoint(text, reactor)),)
            if not (config.auth or config.portal) and not isLoopbackOnly(text):
                example = "anonymous" if isinstance(realm, AnonymousRealm) else "file:passwd"
                raise ConfigError(
                    f"invalid listen {text!r}: a server without --auth must be reachable from this machine only; add "
                    f"interface=127.0.0.1, or name a checker, for example --auth {example}"
                )
    if not config.listen:
        problems.add("no listener: name at least one endpoint, for example tcp:8787:interface=127.0.0.1")
    return listen


def _endpoint(text: str, reactor: object) -> IStreamServerEndpoint:
    if (reason := portError(text)) is not None:
        raise ConfigError(f"invalid listen {text!r}: {reason}")
    if (path := unixPath(text)) is not None:
        _checkSocketPath(text, path)
    try:
        # Twisted's parser reports a trailing backslash as a StopIteration.
        splitDescription(text)
        endpoint: IStreamServerEndpoint = serverFromString(reactor, withBacklog(text))
    except Exception as e:
        raise ConfigError(
            f"invalid listen {text!r}: {_parserError(e)}; expected an endpoint such as tcp:8787:interface=127.0.0.1, "
            "ssl:8787:privateKey=key.pem:certKey=cert.pem or unix:/path"
        ) from None
    return endpoint


def _parserError(error: Exception) -> str:
    """Return what a parser of endpoint descriptions complains about. The parsers raise anything."""
    text = " ".join(str(error).split())
    if type(error).__module__.startswith("OpenSSL"):
        return f"cannot load the private key or the certificate, expected PEM files ({text})"
    for pattern, meaning in (
        (r"invalid literal for int\(\) with base 10: (.+)", r"invalid number \1"),
        (r".*unexpected keyword argument (.+)", r"unknown option \1"),
        (r".*missing \d+ required positional arguments?: (.+)", r"missing \1"),
    ):
        if (found := re.fullmatch(pattern, text)) is not None:
            return found.expand(meaning)
    return text or type(error).__name__


def _checkSocketPath(text: str, path: str) -> None:
    if not path:
        raise ConfigError(f"invalid listen {text!r}: the path is missing, expected unix:PATH")
    if os.path.exists(path) and not stat.S_ISSOCK(os.stat(path).st_mode):
        raise ConfigError(f"invalid listen {text!r}: {path} exists and is not a socket; choose another path")
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise ConfigError(f"invalid listen {text!r}: no such directory: {directory}")
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise ConfigError(
            f"invalid listen {text!r}: the path has {len(os.fsencode(path))} bytes, expected at most {MAX_SOCKET_PATH}"
        )
