"""
From the names that an operator gives to the realm that they mean.
"""

from __future__ import annotations

import os
import traceback
from typing import Any

from twisted.cred.portal import IRealm
from twisted.python.reflect import ModuleNotFound, ObjectNotFound, namedAny, qual
from twisted.spread import pb

from pbkit.config import RealmSpec, ServerConfig
from pbkit.demo import DemoAvatar
from pbkit.errors import ConfigError
from pbkit.sessions.parameters import Parameter, parametersOf
from pbkit.sessions.realm import Realm
from pbkit.sessions.realms import NAMED


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


def makeRealm(config: ServerConfig) -> Any:
    """
    The realm that is described, ready to be asked for avatars.

    :return: an `IRealm`.
    :raises ConfigError: a name, key or value that means nothing, with those that do.
    """
    spec = config.realm
    found: Any = NAMED.get(spec.name)
    if found is None:
        if "." not in spec.name:
            raise ConfigError(
                f"realm {spec.name!r}: there is no such; there are {', '.join(NAMED)}, or give the dotted path "
                "of a realm of yours, such as game.GameRealm"
            )
        found = load(spec.name, "realm")
    if not isinstance(found, type):
        return _object(found, config)
    if not IRealm.implementedBy(found):
        raise ConfigError(f"realm {spec.name}: it is no realm: derive it from pbkit.Realm, or implement IRealm")
    if not issubclass(found, Realm):
        return _stranger(found, config)
    given: dict[str, Any] = _values(spec, found)
    if config.avatar is not None:
        given["avatarClass"] = _avatarClass(config.avatar)
    elif _leavesAvatarOpen(found):
        given["avatarClass"] = DemoAvatar
    return _made(found, spec.name, given)


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


def _values(spec: RealmSpec, realmClass: type[Realm]) -> dict[str, Any]:
    known = parametersOf(realmClass)
    values = {}
    for key, text in spec.parameters.items():
        if key not in known:
            choices = f"it takes {', '.join(map(_described, known.values()))}" if known else "it takes none"
            raise ConfigError(f"realm {spec.name}: no parameter {key!r}: {choices}")
        try:
            values[key] = known[key].parse(text)
        except ConfigError as e:
            raise ConfigError(f"realm {spec.name}: {e}") from None
    return values


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
    if config.realm.parameters or config.avatar is not None:
        raise ConfigError(
            f"realm {config.realm.name}: it is not derived from pbkit.Realm, so it takes no parameters and no avatar"
        )
    return _made(realmClass, config.realm.name, {})


def _object(realm: Any, config: ServerConfig) -> Any:
    name = config.realm.name
    if not IRealm.providedBy(realm):
        raise ConfigError(f"realm {name}: it is no realm but {type(realm).__name__}; name a realm class or object")
    if config.realm.parameters:
        raise ConfigError(f"realm {name}: it is made already; its parameters are given where it is made")
    if config.avatar is not None:
        raise ConfigError(f"realm {name}: it is made already, with its avatar: leave out the avatar {config.avatar}")
    return realm
