"""
From the names that an operator gives to the realm that they mean.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping
from typing import Any

from twisted.cred.portal import IRealm
from twisted.python.reflect import ModuleNotFound, ObjectNotFound, namedAny, qual
from twisted.spread import pb

from pbkit.config.bounds import evolved
from pbkit.config.values import WRONG, Origin, Problems, ServerConfig, nearest
from pbkit.demo import DemoAvatar
from pbkit.errors import ConfigError
from pbkit.server.factory import classesOf
from pbkit.sessions.parameters import Parameter, parametersOf
from pbkit.sessions.realm import Realm
from pbkit.sessions.realms import NAMED
from pbkit.wire.jelly.registry import namesOf
from pbkit.wire.profile import DROPIN, STRICT, Profile

#: The profiles by the name that ``--profile`` knows them by.
PROFILES: dict[str, Profile] = {profile.name: profile for profile in (STRICT, DROPIN)}


def load(path: str, what: str) -> Any:
    """
    Import what a dotted path names.

    :param path: such as ``game.GameRealm``.
    :param what: what it is for, for the error.
    :raises ConfigError: it cannot be imported, and why.
    """
    if "." not in path.strip("."):
        raise ConfigError(f"{what} {path!r}: it takes a dotted path, such as game.Player")
    try:
        return namedAny(path)
    except (ObjectNotFound, ModuleNotFound):
        raise ConfigError(
            f"{what} {path}: nothing of that name is installed, on PYTHONPATH or in this directory"
        ) from None
    except Exception as e:
        # Somebody's own module may raise anything; where it did helps more than what namedAny makes of it.
        where = ""
        frames = traceback.extract_tb(e.__traceback__)
        if frames and not frames[-1].filename.startswith("<") and "twisted" not in frames[-1].filename:
            where = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})"
        reason = " ".join(str(e).split()) or "no reason given"
        raise ConfigError(f"{what} {path}: cannot be imported: {type(e).__name__}: {reason}{where}") from None


def makeRealm(config: ServerConfig, problems: Problems | None = None) -> Any:
    """
    The realm that is described, ready to be asked for avatars.

    :param problems: takes in all that is wrong: a name, key or value that means nothing, with those that do. Without
        it that is raised.
    :return: an `IRealm`; or None, if something was wrong.
    :raises ConfigError: what is wrong.
    """
    wrong = Problems() if problems is None else problems
    realm = found = None
    with wrong.under(config.origin("server", "realm")):
        found = findRealm(config.realm.name)
        if not isinstance(found, type):
            realm = _object(found, config)
        elif not issubclass(found, Realm):
            realm = _stranger(found, config)
        else:
            realm = _ours(found, config, wrong)
    if found is None and config.avatar is not None:
        # It is looked at with the realm, and is to be looked at without.
        with wrong.under(config.origin("server", "avatar")):
            _avatarClass(config.avatar)
    if problems is None:
        wrong.check()
    return realm


def checkRealm(config: ServerConfig, problems: Problems) -> Mapping[str, Any]:
    """
    See whether a realm could be described so, but make none.

    :param problems: takes in what is wrong.
    :return: what is given for its parameters.
    """
    values: dict[str, Any] = {}
    with problems.under(config.origin("server", "realm")):
        found = findRealm(config.realm.name)
        if not isinstance(found, type):
            _object(found, config)
        elif issubclass(found, Realm):
            values = valuesOf(config, found, problems)
        else:
            _takesNothing(config)
    return values


def findRealm(name: str) -> Any:
    """
    :param name: a short name, or a dotted path.
    :return: a realm class, or an object that is no class.
    :raises ConfigError: there is no such, or it is no realm.
    """
    found: Any = NAMED.get(name)
    if found is None:
        if "." not in name:
            near = nearest(name, NAMED)
            raise ConfigError(
                f"realm {name!r}: there is no such{near + ' There are' if near else '; there are'} "
                f"{', '.join(NAMED)}, or give the dotted path of a realm of yours, such as game.GameRealm"
            )
        found = load(name, "realm")
    if isinstance(found, type) and not IRealm.implementedBy(found):
        raise ConfigError(f"realm {name}: it is no realm: derive it from pbkit.Realm, or implement IRealm")
    return found


def _ours(found: type[Realm], config: ServerConfig, problems: Problems) -> Any:
    before = len(problems)
    given: dict[str, Any] = valuesOf(config, found, problems)
    if config.avatar is not None:
        with problems.under(config.origin("server", "avatar")):
            given["avatarClass"] = _avatarClass(config.avatar)
    elif _leavesAvatarOpen(found):
        given["avatarClass"] = DemoAvatar
    return _made(found, config.realm.name, given) if len(problems) == before else None


def makeProfile(config: ServerConfig, problems: Problems) -> Profile:
    """
    The profile that is described.

    :param problems: takes in what is wrong: a name or a field that there is not, a value that cannot be.
    :return: one to go on with, whatever is wrong.
    """
    preset = PROFILES.get(config.profile)
    if preset is None:
        known = f"there are {', '.join(PROFILES)}"
        text = f"profile {config.profile!r}: there is no such{nearest(config.profile, PROFILES) or ':'} {known}"
        problems.add(text, config.origin("server", "profile"))
    # Its name is how the preset is called, and nothing that it has.
    bounds = {key: value for key, value in config.bounds.items() if key != "name"}
    if len(bounds) < len(config.bounds):
        problems.add("profile.name: the preset is chosen by profile = under [server]", config.origin("profile", "name"))
    profile: Profile = evolved(preset or STRICT, bounds, config, problems, "profile")
    return profile


def makeAllow(
    config: ServerConfig, realm: Any, profile: Profile, problems: Problems
) -> frozenset[type | str | bytes] | None:
    """
    The classes that clients may send: those that the configuration names, and those of the realm.

    :param realm: of whatever kind.
    :param problems: takes in what is wrong: one that is not there, or that nothing is registered for.
    :return: None, for all that are registered, if none is named and the profile is as stock has it.
    """
    found: set[type | str | bytes] = set()
    with problems.under(config.origin("server", "realm")):
        for one in classesOf(realm):
            namesOf(one)
            found.add(one)
    for place, text in enumerate(config.allow):
        with problems.under(config.origin("server", "allow", place)):
            if text != WRONG:
                found.add(_allowed(text))
    return None if profile.stockJelly and not found else frozenset(found)


def _allowed(text: str) -> type | str:
    try:
        namesOf(text)
    except ConfigError:
        # No name of a sender's, so far: it may be that of a class, whose module has yet to register it.
        found: type = load(text, "allow")
        namesOf(found)
        return found
    return text


def shownClass(one: type | str | bytes) -> str:
    """
    :return: how a class is written in a configuration.
    """
    return qual(one) if isinstance(one, type) else one if isinstance(one, str) else one.decode("utf-8", "replace")


def describe(realm: Any) -> tuple[str, dict[str, Any]]:
    """
    :return: how the realm is called, and its parameters as they are in force.
    """
    names = {named: name for name, named in NAMED.items()}
    name = names.get(type(realm)) or qual(type(realm))
    return name, {key: getattr(realm, key) for key in parametersOf(type(realm))}


def realmLines() -> list[str]:
    """
    :return: the named realms, one line each: name, parameters with type or choices, and default.
    """
    width = max(map(len, NAMED))
    return [
        f"{name:<{width}}  {', '.join(map(_described, parametersOf(realm).values()))}".rstrip()
        for name, realm in NAMED.items()
    ]


def _described(parameter: Parameter) -> str:
    kind = "|".join(map(str, parameter.choices)) or parameter.type.__name__
    return f"{parameter.name}: {kind} = {parameter.default}"


def valuesOf(config: ServerConfig, realmClass: type[Realm], problems: Problems) -> dict[str, Any]:
    """
    What is given for the parameters of a realm class, as values.

    :param problems: takes in what is wrong.
    """
    known = parametersOf(realmClass)
    values = {}
    for key, given in {**config.realm.parameters, **config.realm.typed}.items():
        with problems.under(config.origin("realm", key) if key in config.realm.typed else _realmsOrigin(config)):
            if key not in known:
                choices = f"it takes {', '.join(map(_described, known.values()))}" if known else "it takes none"
                raise ConfigError(
                    f"realm {config.realm.name}: no parameter {key!r}{nearest(key, known) or ':'} {choices}"
                )
            try:
                typed = key in config.realm.typed
                values[key] = known[key].check(given) if typed else known[key].parse(str(given))
            except ConfigError as e:
                raise ConfigError(f"realm {config.realm.name}: {e}") from None
    return values


def _realmsOrigin(config: ServerConfig) -> Origin:
    return config.origin("server", "realm")


def _leavesAvatarOpen(realmClass: type[Realm]) -> bool:
    # A constructor of the user's own may choose the avatar, and need not take one.
    ours = realmClass.__init__ is NAMED["per-connection"].__init__ or realmClass.__init__ is Realm.__init__
    return ours and realmClass.avatarClass is None and hasattr(realmClass.buildAvatar, "needsAvatarClass")


def _avatarClass(path: str) -> Any:
    found = load(path, "avatar")
    if not (isinstance(found, type) and pb.IPerspective.implementedBy(found)):
        raise ConfigError(f"avatar {path}: it is no avatar class: derive one from pbkit.Avatar")
    return found


def _made(realmClass: type, name: str, given: dict[str, Any]) -> Any:
    try:
        return realmClass(**given)
    except ConfigError as e:
        raise ConfigError(f"realm {name}: {e}") from None
    except Exception as e:
        raise ConfigError(f"realm {name}: cannot be made: {type(e).__name__}: {e}") from None


def _stranger(realmClass: type, config: ServerConfig) -> Any:
    """A realm class that is not of pbkit's kind: nothing is known of what it takes."""
    _takesNothing(config)
    return _made(realmClass, config.realm.name, {})


def _takesNothing(config: ServerConfig) -> None:
    if config.realm.parameters or config.realm.typed or config.avatar is not None:
        raise ConfigError(
            f"realm {config.realm.name}: it is not derived from pbkit.Realm, so it takes no parameters and no avatar"
        )


def _object(realm: Any, config: ServerConfig) -> Any:
    name = config.realm.name
    if not IRealm.providedBy(realm):
        raise ConfigError(f"realm {name}: it is no realm but {type(realm).__name__}; name a realm class or object")
    if config.realm.parameters or config.realm.typed:
        raise ConfigError(f"realm {name}: it is made already; its parameters are given where it is made")
    if config.avatar is not None:
        raise ConfigError(f"realm {name}: it is made already, with its avatar: leave out the avatar {config.avatar}")
    return realm
