"""
From the text of a configuration file, and the flags above it, to a `ServerConfig`.

::

    [server]        # what the flags say: realm, avatar, portal, listen, auth, allow, profile, grace, enforce
    [realm]         # parameters of the realm
    [profile]       # fields of the profile that are to be otherwise

Whether the names mean anything, and what the realm and the profile take, is for `pbkit.serving.resolve`.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pbkit.config.lines import locate
from pbkit.config.values import (
    DEFAULT,
    DEFAULT_GRACE,
    DEFAULT_LISTEN,
    DEFAULT_PROFILE,
    DEFAULT_REALM,
    NEWCOMERS,
    SETTINGS,
    WRONG,
    Origin,
    Path,
    Problems,
    RealmSpec,
    ServerConfig,
    Setting,
    nearest,
    nothing,
    parseRealm,
)

#: How a description begins that `--print-config` has hidden.
HIDDEN = "hidden:"

_BY_NAME = {setting.name: setting for setting in SETTINGS}
_TABLES = ("server", "realm", "profile")
#: How TOML's types are called, bool before int, which it is one of to Python.
_KINDS = (
    (bool, "true or false"),
    (str, "a text"),
    (int, "a whole number"),
    (float, "a number"),
    (list, "an array"),
    (dict, "a table"),
)


@dataclass(frozen=True)
class FileSettings:
    """
    What a file says, as far as its form goes.

    :ivar server: by the names of `SETTINGS`; of the type that is declared there.
    :ivar realm: parameters, of any type.
    :ivar profile: fields, of any type.
    :ivar origins: of all of these.
    """

    server: Mapping[str, Any] = field(default_factory=nothing, repr=False)
    realm: Mapping[str, Any] = field(default_factory=nothing)
    profile: Mapping[str, Any] = field(default_factory=nothing)
    origins: Mapping[Path, Origin] = field(default_factory=nothing)


def kindOf(value: object) -> str:
    """
    :return: what type of value of TOML's this is, in words.
    """
    return next((words for kind, words in _KINDS if isinstance(value, kind)), "a date or time")


def parseFile(text: str, name: str, problems: Problems) -> FileSettings:
    """
    Read a configuration file.

    :param text: TOML.
    :param name: of the file, for errors and origins.
    :param problems: takes in what is wrong. Never a value that may be a password.
    :return: all that is right in it.
    """
    try:
        document = tomllib.loads(text)
        lines = locate(text)
    except RecursionError:
        problems.add(f"{name}: arrays or tables are nested too deep")
        return FileSettings()
    except tomllib.TOMLDecodeError as e:
        problems.add(*_syntax(str(e), text, name))
        return FileSettings()
    origins = {path: Origin(name, line) for path, line in lines.items()}
    tables: dict[str, dict[str, Any]] = {}
    for key, value in document.items():
        origin = origins[(key,)]
        if key in _BY_NAME and key not in _TABLES:
            problems.add(f"{key}: it belongs under [server]", origin)
        elif key not in _TABLES:
            problems.add(
                f"{_shown(key)}: unknown{nearest(key, _TABLES) or '.'} There are [server], [realm], [profile]", origin
            )
        elif not isinstance(value, dict):
            advice = "the name of the realm is written realm = under [server]" if key == "realm" else f"write [{key}]"
            problems.add(f"{key}: it is a table, not {kindOf(value)}: {advice}", origin)
        else:
            tables[key] = value
    server = _server(tables.get("server", {}), origins, problems)
    return FileSettings(server, tables.get("realm", {}), tables.get("profile", {}), origins)


def _syntax(said: str, text: str, name: str) -> tuple[str, Origin]:
    """What tomllib says, with the place in front."""
    if text.startswith("\ufeff"):
        return "the file begins with a byte order mark: save it as UTF-8 without one", Origin(name, 1)
    found = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", said)
    if found is None:
        return f"not TOML: {said}", Origin(name, 1)
    line = int(found[1] or len(text.splitlines()) or 1)
    where = f"column {found[2]}" if found[2] else "the end of the file"
    # A backslash or a colon that is not in quotes is what people who know the flags write.
    return f'not TOML: {said[: found.start()]} at {where}; texts stand in quotes, as in realm = "limited"', Origin(
        name, line
    )


def _shown(key: str) -> str:
    return key if key.isprintable() and len(key) < 60 else ascii(key)[:60]


def _server(given: Mapping[str, Any], origins: Mapping[Path, Origin], problems: Problems) -> Mapping[str, Any]:
    right = {}
    for key, value in given.items():
        origin = origins[("server", key)]
        setting = _BY_NAME.get(key)
        if setting is None:
            elsewhere = f"{key} is a table of its own: write [{key}]" if key in _TABLES else ""
            known = f"[server] takes {', '.join(_BY_NAME)}; what the realm takes stands under [realm]"
            problems.add(f"server.{_shown(key)}: unknown{nearest(key, _BY_NAME) or '.'} {elsewhere or known}", origin)
        elif setting.kind is tuple and isinstance(value, list) and value:
            wrong = [_wrongText(one) for one in value]
            for place, found in enumerate(wrong):
                if found is not None:
                    inner = origins["server", key, place]
                    problems.add(f"server.{key}: it takes {_wanted(setting)}, not {found} among them", inner)
            right[key] = tuple(one if found is None else WRONG for one, found in zip(value, wrong, strict=True))
        elif (found := _wrong(setting, value)) is not None:
            problems.add(f"server.{key}: it takes {_wanted(setting)}, not {found}", origin)
            if setting.kind is tuple:
                # The default of one that was meant to be otherwise would only lead to errors that are none.
                right[key] = (WRONG,)
        else:
            right[key] = value
    return right


def _wanted(setting: Setting) -> str:
    kind = {str: "a text", tuple: "an array of texts", float: "a number of at least 0"}[setting.kind]
    return f"{kind}, for example {setting.name} = {setting.example}"


def _wrong(setting: Setting, value: Any) -> str | None:
    """What is wrong with a value, or None. Never the value itself where that may be a password."""
    if setting.kind is tuple:
        return "an empty one: leave it out for the default" if value == [] else kindOf(value)
    if setting.kind is str:
        return _wrongText(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return kindOf(value)
    return None if math.isfinite(value) and value >= 0 else str(value)


def _wrongText(value: Any) -> str | None:
    if not isinstance(value, str):
        return kindOf(value)
    if "\0" in value:
        return "one with a NUL in it"
    return None if value.strip() else "an empty one"


def combine(file: FileSettings, flags: Mapping[str, Any], problems: Problems) -> ServerConfig:
    """
    What is in force: the flags, else the file, else the defaults.

    A flag takes the place of the whole setting, so ``--listen`` of all listeners of the file. Parameters in the file
    are for the realm that the file names; if the flags name another they are left out.

    :param flags: what was given, by the names of `SETTINGS`.
    :param problems: takes in what is wrong.
    """
    values = {**file.server, **flags}
    origins = {path: one for path, one in file.origins.items() if path[0] == "server" and len(path) > 1}
    for name in flags:
        origins = {path: one for path, one in origins.items() if path[1] != name}
        origins["server", name] = Origin(f"--{name}")
    for place, text in enumerate(values.get("auth", ())):
        if text.startswith(HIDDEN):
            origin = origins.get(("server", "auth", place), Origin("--auth"))
            problems.add("server.auth: --print-config has hidden what stands here: put the description back", origin)
    if isinstance(values.get("grace"), str):
        values["grace"] = _seconds(values["grace"], problems)
    for setting in SETTINGS:
        said = values.get(setting.name)
        if setting.choices and said is not None and said not in setting.choices:
            text = f"{setting.name} {said!r}: it is one of {', '.join(setting.choices)}"
            problems.add(text, origins.get(("server", setting.name), DEFAULT))
    spec, taken = _realm(file, flags, problems)
    origins |= {path: one for path, one in file.origins.items() if path[0] == "profile" or path[:2] in taken}
    origins |= {("realm", name): Origin("--realm") for name in spec.parameters if "realm" in flags}
    return ServerConfig(
        realm=spec,
        avatar=values.get("avatar"),
        listen=values.get("listen", (DEFAULT_LISTEN,)),
        auth=values.get("auth", ()),
        portal=values.get("portal"),
        allow=values.get("allow", ()),
        profile=values.get("profile", DEFAULT_PROFILE),
        bounds=file.profile,
        grace=float(values.get("grace", DEFAULT_GRACE)),
        enforce=values.get("enforce", NEWCOMERS),
        origins=MappingProxyType(origins),
    )


def _seconds(text: str, problems: Problems) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if _wrong(_BY_NAME["grace"], number) is not None:
        problems.add(f"grace {text!r}: it takes a number of seconds, at least 0, for example --grace 5")
        return DEFAULT_GRACE
    return number


def _realm(file: FileSettings, flags: Mapping[str, Any], problems: Problems) -> tuple[RealmSpec, set[Path]]:
    """The realm, and the keys of the file's that are parameters of it."""
    # The name alone, for when the rest of it cannot be read.
    inFile = RealmSpec(file.server.get("realm", DEFAULT_REALM).partition(":")[0])
    asked: RealmSpec | None = None
    if "realm" in file.server:
        with problems.under(file.origins["server", "realm"]):
            inFile = parseRealm(file.server["realm"])
    if "realm" in flags:
        asked = RealmSpec(flags["realm"].partition(":")[0])
        with problems.under():
            asked = parseRealm(flags["realm"])
    typed = dict(file.realm)
    if asked is None:
        for key in inFile.parameters.keys() & typed.keys():
            problems.add(
                f"realm.{key}: it is given twice, here and in realm = {file.server['realm']!r}",
                file.origins["realm", key],
            )
            del typed[key]
        texts = dict(inFile.parameters)
    else:
        if "realm" in file.server and asked.name != inFile.name:
            return asked, set()
        texts = {**inFile.parameters, **asked.parameters}
        typed = {key: value for key, value in typed.items() if key not in texts}
    spec = RealmSpec((asked or inFile).name, MappingProxyType(texts), MappingProxyType(typed))
    return spec, {("realm", key) for key in typed}
