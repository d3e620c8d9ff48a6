"""
From a description to what will be served: everything is decided and checked here, and nothing opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IAnonymous
from twisted.cred.portal import Portal
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint

from pbkit.auth import checkForPb, makeChecker
from pbkit.config.file import HIDDEN
from pbkit.config.values import WRONG, Problems, ServerConfig, loopbackOnly, nothing, withBacklog
from pbkit.errors import ConfigError
from pbkit.serving import announce
from pbkit.serving.resolve import checkRealm, load, makeAllow, makeProfile, makeRealm
from pbkit.sessions.realm import Realm
from pbkit.sessions.realms import AnonymousRealm
from pbkit.wire.profile import STRICT, Profile


@dataclass(frozen=True)
class Plan:
    """
    A server, decided and checked but not opened.

    :ivar realm: who is here.
    :ivar checkers: who may be.
    :ivar listen: endpoints, each with its description.
    :ivar guest: the one user, if the operator named no checker and the realm is not for anonymous log-ins.
    :ivar announced: whether to say on the terminal how to log in.
    :ivar profile: how strict it is.
    :ivar config: what it was decided from.
    :ivar parameters: what is given for the parameters of a realm that was there already.
    :ivar portal: one that is made already, with this realm and these checkers, or None.
    :ivar allow: which classes clients may send; None, as in stock: all that are registered.
    """

    realm: Any
    checkers: tuple[Any, ...]
    listen: tuple[tuple[str, IStreamServerEndpoint], ...]
    guest: announce.Guest | None = None
    announced: bool = False
    profile: Profile = STRICT
    config: ServerConfig = field(default_factory=ServerConfig)
    parameters: Mapping[str, Any] = field(default_factory=nothing)
    portal: Portal | None = None
    allow: frozenset[type | str | bytes] | None = frozenset()


def prepare(config: ServerConfig, reactor: Any, problems: Problems | None = None, realm: Any = None) -> Plan:
    """
    Decide what a description means, and see whether it can be done, short of opening anything.

    :param reactor: what the endpoints will listen with.
    :param problems: what is known to be wrong already; it takes in the rest.
    :param realm: one that is there already, and not to be made again.
    :raises ConfigError: something in it cannot be; the text says what would be right, of each thing on a line.
    """
    problems = Problems() if problems is None else problems
    profile = makeProfile(config, problems)
    parameters: Mapping[str, Any] = nothing()
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
    # Behind the realm: its modules are where such classes are registered.
    allow = makeAllow(config, realm, profile, problems)
    listen = _listen(config, realm, reactor, problems)
    problems.check()
    announced = not (config.auth or portal)
    return Plan(realm, checkers, listen, guest, announced, profile, config, parameters, portal, allow)


def _portal(path: str, config: ServerConfig, problems: Problems) -> Portal | None:
    """One that is made already, with all that it says who may log in to what."""
    for name in ("realm", "avatar", "auth"):
        if ("server", name) in config.origins:
            text = f"{name}: the portal {path} has a realm and checkers of its own: leave out {name}, or the portal"
            problems.add(text, config.origin("server", name))
    for name in config.realm.typed:
        text = f"realm.{name}: the portal {path} has a realm that is made already: leave out its parameters"
        problems.add(text, config.origin("realm", name))
    with problems.under(config.origin("server", "portal")):
        portal = load(path, "portal")
        if not isinstance(portal, Portal):
            raise ConfigError(f"portal {path}: it is no cred Portal but {type(portal).__name__}")
        if not portal.checkers:
            raise ConfigError(f"portal {path}: it has no checkers: give it some where it is made, or nobody can log in")
        for checker in portal.checkers.values():
            try:
                checkForPb(checker)
            except ConfigError as e:
                raise ConfigError(f"portal {path}: {e}") from None
        return portal
    return None


def _checkers(config: ServerConfig, realm: Any, problems: Problems) -> tuple[tuple[Any, ...], announce.Guest | None]:
    checkers: tuple[Any, ...] = ()
    for place, text in enumerate(config.auth):
        if text != WRONG and not text.startswith(HIDDEN):
            with problems.under(config.origin("server", "auth", place)):
                checkers += (makeChecker(text),)
    guest = None
    if not config.auth:
        # A realm with guests of its own takes those too; only one that is all for guests has no other user.
        if getattr(realm, "takesAnonymous", False):
            checkers += (AllowAnonymousAccess(),)
        if not isinstance(realm, AnonymousRealm):
            guest = announce.Guest()
            users = InMemoryUsernamePasswordDatabaseDontUse()
            users.addUser(guest.name.encode("ascii"), guest.password.encode("ascii"))
            checkers += (users,)
    elif len(checkers) == len(config.auth) and isinstance(realm, Realm) and not realm.takesAnonymous:
        if all(map(_letsInAnonymous, checkers)):
            problems.add(
                f"auth anonymous: the realm {config.realm.name} refuses anonymous log-ins; serve the realm "
                "anonymous, or one of your own made with anonymous=AnonymousRealm(...)",
                config.origin("server", "auth", 0),
            )
    return checkers, guest


def _listen(
    config: ServerConfig, realm: Any, reactor: Any, problems: Problems
) -> tuple[tuple[str, IStreamServerEndpoint], ...]:
    listen: tuple[tuple[str, IStreamServerEndpoint], ...] = ()
    for place, text in enumerate(config.listen):
        if text == WRONG:
            continue
        with problems.under(config.origin("server", "listen", place)):
            listen += ((text, _endpoint(text, reactor)),)
            if not (config.auth or config.portal) and not loopbackOnly(text):
                example = "anonymous" if isinstance(realm, AnonymousRealm) else "file:passwd"
                raise ConfigError(
                    f"listen {text}: without --auth only this machine may reach the server; add "
                    f"interface=127.0.0.1, or say who may log in, for example --auth {example}"
                )
    if not config.listen:
        problems.add("nowhere to listen: name at least one endpoint, such as tcp:8787:interface=127.0.0.1")
    return listen


def _letsInAnonymous(checker: Any) -> bool:
    return IAnonymous in checker.credentialInterfaces


def _endpoint(text: str, reactor: Any) -> IStreamServerEndpoint:
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, withBacklog(text))
    except Exception as e:
        # From a wrong number to a certificate that cannot be read: the parsers let through anything.
        reason = " ".join(str(e).split()) or type(e).__name__
        raise ConfigError(
            f"listen {text!r}: {reason}; it is written like tcp:8787:interface=127.0.0.1, "
            "ssl:8787:privateKey=key.pem:certKey=cert.pem or unix:/path"
        ) from None
    return endpoint
