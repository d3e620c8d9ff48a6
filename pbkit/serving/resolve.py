"""
Looks up what the settings name: realms, avatars, profiles and classes. Checks the parameters that are set.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Mapping
from types import ModuleType

from twisted.cred.portal import IRealm
from twisted.python.reflect import ModuleNotFound, ObjectNotFound, namedAny, qual
from twisted.spread import pb

import pbkit
import twisted
from pbkit.config.fields import withSettings
from pbkit.config.values import INVALID, Origin, Problems, ServerConfig, nearest
from pbkit.demo import DemoAvatar
from pbkit.errors import ConfigError
from pbkit.server.factory import classesOf
from pbkit.sessions.parameters import Parameter, parametersOf
from pbkit.sessions.realm import Realm
from pbkit.sessions.realms import NAMED
from pbkit.wire.jelly.registry import namesOf
from pbkit.wire.profile import DROPIN, STRICT, Profile


def _inside(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(os.path.join(path, "") for path in paths)


#: Where code lives that is never the user's. Importing runs frozen code.
_NOT_THE_USERS = (*_inside([*pbkit.__path__, *twisted.__path__]), "<frozen ")

#: Where installed packages live. They are the user's only if no other code is.
_INSTALLED = _inside([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])

#: The standard library. Its directory often contains that of installed packages.
_LIBRARY = _inside([sysconfig.get_path("stdlib")])

#: The profiles by their ``--profile`` names.
PROFILES: dict[str, Profile] = {profile.name: profile for profile in (STRICT, DROPIN)}


def load(path: str, what: str) -> object:
    """
    Import the object at a dotted path.

    :param path: such as ``game.GameRealm``.
    :param what: the setting, for the error.
    :raises ConfigError: the object cannot be imported; the text says why.
    """
    if "." not in path.strip("."):
        raise ConfigError.invalid(what, repr(path), "a dotted path", "game.Player")
    try:
        found: object = namedAny(path)
    except (ObjectNotFound, ModuleNotFound):
        raise ConfigError(
            f"cannot find {what} {path}: no such module or attribute (searched: installed packages, PYTHONPATH, "
            "the current directory)"
        ) from None
    except Exception as e:
        if (missing := _missingAttribute(e)) is not None:
            raise ConfigError(f"cannot find {what} {path}: {missing}") from None
        raise ConfigError(f"cannot import {what} {path}: {_described(e)}") from None
    return found


def _missingAttribute(error: Exception) -> str | None:
    """Return what is missing, if `namedAny` itself raised the error and not a module that it imported."""
    frames = traceback.extract_tb(error.__traceback__)
    if not (isinstance(error, AttributeError) and frames and frames[-1].name == "namedAny"):
        return None
    owner: object = error.obj
    kind = f"module {owner.__name__}" if isinstance(owner, ModuleType) else f"{type(owner).__name__} object"
    return f"{kind} has no attribute {error.name!r}{nearest(error.name or '', dir(owner))}"


def _described(error: Exception) -> str:
    """Return the type and text of an exception of the user's code, with the line of that code."""
    if isinstance(error, ConfigError):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    # The text of a SyntaxError has the line already; the traceback ends where the module is imported.
    if isinstance(error, SyntaxError):
        return text
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _mayBeTheUsers(frame.filename)]
    frames = [frame for frame in frames if not frame.filename.startswith(_INSTALLED)] or frames
    return f"{text} ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else text


def _mayBeTheUsers(filename: str) -> bool:
    if filename.startswith(_NOT_THE_USERS):
        return False
    return filename.startswith(_INSTALLED) or not filename.startswith(_LIBRARY)


def makeRealm(config: ServerConfig, problems: Problems | None = None) -> IRealm | None:
    """
    Return the realm that the settings describe, or None if they have errors.

    :param problems: collects the errors. Without it they are raised.
    :raises ConfigError: the settings have errors.
    """
    errors = Problems() if problems is None else problems
    realm: IRealm | None = None
    found: type | IRealm | None = None
    with errors.catch(config.origin("server", "realm")):
        if config.realm.name != INVALID:
            found = findRealm(config.realm.name)
        if found is None:
            pass
        elif not isinstance(found, type):
            realm = _realmObject(found, config)
        elif not issubclass(found, Realm):
            realm = _foreignRealm(found, config)
        else:
            realm = _pbkitRealm(found, config, errors)
    if found is None and config.avatar is not None:
        # Check the avatar here, because the realm, which checks it otherwise, was not found.
        with errors.catch(config.origin("server", "avatar")):
            _avatarClass(config.avatar)
    if problems is None:
        errors.check()
    return realm


def checkRealm(config: ServerConfig, problems: Problems) -> Mapping[str, object]:
    """
    Check the settings of a realm without creating it.

    :param problems: collects the errors.
    :return: the parameter values that are set.
    """
    values: dict[str, object] = {}
    with problems.catch(config.origin("server", "realm")):
        found = findRealm(config.realm.name)
        if not isinstance(found, type):
            _realmObject(found, config)
        elif issubclass(found, Realm):
            values = valuesOf(config, found, problems)
        else:
            _refuseSettings(config)
    return values


def findRealm(name: str) -> type | IRealm:
    """
    Return a realm class, or a realm object.

    :param name: a short name, or a dotted path.
    :raises ConfigError: there is no such realm, or it is a class that is not a realm.
    """
    found: object = NAMED.get(name)
    if found is None:
        if "." not in name:
            raise ConfigError(
                f"unknown realm {name!r}{nearest(name, NAMED) or '.'} Named realms: {', '.join(NAMED)}. For a realm of "
                "yours give its dotted path, for example game.GameRealm"
            )
        found = load(name, "realm")
    if isinstance(found, type):
        if not IRealm.implementedBy(found):
            raise ConfigError(f"invalid realm {name}: not a realm class; derive it from pbkit.Realm")
        return found
    if not IRealm.providedBy(found):
        raise ConfigError.invalid(f"realm {name}", f"an instance of {type(found).__name__}", "a realm class or object")
    realm: IRealm = found
    return realm


def _pbkitRealm(found: type[Realm], config: ServerConfig, problems: Problems) -> IRealm | None:
    before = len(problems)
    given = valuesOf(config, found, problems)
    if config.avatar is not None:
        with problems.catch(config.origin("server", "avatar")):
            given["avatarClass"] = _avatarClass(config.avatar)
    elif _leavesAvatarOpen(found):
        given["avatarClass"] = DemoAvatar
    return _construct(found, config.realm.name, given) if len(problems) == before else None


def makeProfile(config: ServerConfig, problems: Problems) -> Profile:
    """
    Return the profile that the settings describe. If they have errors, return a usable one.

    :param problems: collects the errors: an unknown name or field, an invalid value.
    """
    preset = PROFILES.get(config.profile)
    if preset is None:
        known = f"Profiles: {', '.join(PROFILES)}"
        text = f"unknown profile {config.profile!r}{nearest(config.profile, PROFILES) or '.'} {known}"
        problems.add(text, config.origin("server", "profile"))
    # `name` says which preset it is; it is not a field to change.
    fields = {key: value for key, value in config.profileFields.items() if key != "name"}
    if len(fields) < len(config.profileFields):
        text = 'profile.name cannot be set: choose the profile with profile = "strict" under [server]'
        problems.add(text, config.origin("profile", "name"))
    profile: Profile = withSettings(preset or STRICT, fields, config, problems, "profile")
    return profile


def makeAllow(
    config: ServerConfig, realm: IRealm | None, profile: Profile, problems: Problems
) -> frozenset[type | str | bytes] | None:
    """
    Return the classes that clients may send: those of the settings and those of the realm.

    :param problems: collects the errors: a class that does not exist, or that has no registered receiver.
    :return: None accepts all registered classes: in the drop-in profile, if no class is named.
    """
    found: set[type | str | bytes] = set()
    with problems.catch(config.origin("server", "realm")):
        for one in classesOf(realm):
            namesOf(one)
            found.add(one)
    for place, text in enumerate(config.allow):
        with problems.catch(config.origin("server", "allow", place)):
            if text != INVALID:
                found.add(_allowed(text))
    return None if profile.stockJelly and not found else frozenset(found)


def _allowed(text: str) -> type | str:
    try:
        namesOf(text)
    except ConfigError:
        # Not a registered name yet. It may be a class whose module registers it on import.
        found = load(text, "allow")
        if not isinstance(found, type):
            raise ConfigError.invalid(f"allow {text}", f"an instance of {type(found).__name__}", "a class") from None
        namesOf(found)
        return found
    return text


def shownClass(one: type | str | bytes) -> str:
    """Return the name of a class as a configuration file has it."""
    return qual(one) if isinstance(one, type) else one if isinstance(one, str) else one.decode("utf-8", "replace")


def describeRealm(realm: object) -> tuple[str, dict[str, object]]:
    """Return the name of a realm, and the parameters in force."""
    names: dict[type, str] = {named: name for name, named in NAMED.items()}
    name = names.get(type(realm)) or qual(type(realm))
    return name, {key: getattr(realm, key) for key in parametersOf(type(realm))}


def realmLines() -> list[str]:
    """Return one line per named realm: its name, and each parameter with type or choices, and default."""
    width = max(map(len, NAMED))
    return [
        f"{name:<{width}}  {', '.join(map(_parameterText, parametersOf(realm).values()))}".rstrip()
        for name, realm in NAMED.items()
    ]


def _parameterText(parameter: Parameter) -> str:
    kind = "|".join(map(str, parameter.choices)) or parameter.type.__name__
    return f"{parameter.name}: {kind} = {parameter.default}"


def valuesOf(config: ServerConfig, realmClass: type[Realm], problems: Problems) -> dict[str, object]:
    """
    Return the values that the settings give for parameters of a realm class.

    :param problems: collects the errors.
    """
    try:
        known = parametersOf(realmClass)
    except ConfigError as e:
        # A default that the class assigns is invalid.
        file = os.path.basename(getattr(sys.modules.get(realmClass.__module__), "__file__", None) or "?")
        raise ConfigError(f"realm {config.realm.name} ({file}): {e}") from None
    values: dict[str, object] = {}
    for key, given in {**config.realm.parameters, **config.realm.typed}.items():
        with problems.catch(config.origin("realm", key) if key in config.realm.typed else _realmsOrigin(config)):
            if key not in known:
                parameters = f"Parameters: {', '.join(map(_parameterText, known.values())) or 'none'}"
                raise ConfigError(
                    f"unknown parameter {key!r} of realm {config.realm.name}{nearest(key, known) or '.'} {parameters}"
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
    # A constructor of the user's may choose the avatar itself, and may not accept one.
    ours = realmClass.__init__ is NAMED["per-connection"].__init__ or realmClass.__init__ is Realm.__init__
    return ours and realmClass.avatarClass is None and hasattr(realmClass.buildAvatar, "needsAvatarClass")


def _avatarClass(path: str) -> object:
    found = load(path, "avatar")
    if not (isinstance(found, type) and pb.IPerspective.implementedBy(found)):
        raise ConfigError(f"invalid avatar {path}: not an avatar class; derive it from pbkit.Avatar")
    return found


def _construct(realmClass: type, name: str, given: Mapping[str, object]) -> IRealm:
    try:
        realm: IRealm = realmClass(**given)
    except ConfigError as e:
        raise ConfigError(f"realm {name}: {_described(e)}") from None
    except Exception as e:
        raise ConfigError(f"cannot create realm {name}: {_described(e)}") from None
    return realm


def _foreignRealm(realmClass: type, config: ServerConfig) -> IRealm:
    """Create a realm that is not derived from `Realm`, so that it declares no parameters."""
    _refuseSettings(config)
    return _construct(realmClass, config.realm.name, {})


def _refuseSettings(config: ServerConfig) -> None:
    if config.realm.parameters or config.realm.typed or config.avatar is not None:
        raise ConfigError(
            f"realm {config.realm.name} is not derived from pbkit.Realm, so it takes no parameters and no avatar; "
            "remove them"
        )


def _realmObject(realm: IRealm, config: ServerConfig) -> IRealm:
    name = config.realm.name
    if config.realm.parameters or config.realm.typed:
        raise ConfigError(
            f"realm {name} is an object, so its parameters cannot be set here; set them where it is created"
        )
    if config.avatar is not None:
        raise ConfigError(
            f"realm {name} is an object that has its avatar class already; remove the avatar {config.avatar}"
        )
    return realm
