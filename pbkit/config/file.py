"""
The configuration file: from its text, and the flags that take precedence, to a `ServerConfig`.

::

    [server]        # the settings that are also flags: realm, avatar, portal, listen, auth, allow, ...
    [realm]         # parameters of the realm
    [profile]       # fields of the profile to change

Only the form is checked here. `pbkit.serving.resolve` checks names, parameters of the realm and fields of the profile.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from pbkit.config.lines import locate
from pbkit.config.values import (
    DEFAULT,
    DEFAULT_GRACE,
    DEFAULT_LISTEN,
    DEFAULT_PROFILE,
    DEFAULT_REALM,
    GC_FREEZE,
    INVALID,
    NEW_SESSIONS,
    SETTINGS,
    Origin,
    Path,
    Problems,
    RealmSpec,
    ServerConfig,
    Setting,
    emptyMapping,
    nearest,
    parseRealm,
)
from pbkit.errors import ConfigError, shownValue, typeName

T = TypeVar("T")

#: The prefix of a checker description that `--print-config` has hidden.
HIDDEN = "hidden:"

_BY_NAME = {setting.name: setting for setting in SETTINGS}
_TABLES = ("server", "realm", "profile")


@dataclass(frozen=True)
class FileSettings:
    """
    The contents of a configuration file, checked for their form only.

    :ivar server: the ``[server]`` table: by the names of `SETTINGS`, values of the declared types.
    :ivar realm: the ``[realm]`` table: parameters, of any type.
    :ivar profile: the ``[profile]`` table: fields, of any type.
    :ivar origins: the origin of each value.
    """

    server: Mapping[str, object] = field(default_factory=emptyMapping, repr=False)
    realm: Mapping[str, object] = field(default_factory=emptyMapping)
    profile: Mapping[str, object] = field(default_factory=emptyMapping)
    origins: Mapping[Path, Origin] = field(default_factory=emptyMapping)


def parseFile(text: str, name: str, problems: Problems) -> FileSettings:
    """
    Parse a configuration file.

    :param text: TOML.
    :param name: the file name, for errors and origins.
    :param problems: collects the errors. They never contain a value that may be a password.
    :return: all valid settings.
    """
    try:
        document = tomllib.loads(text)
        lines = locate(text)
    except RecursionError:
        problems.add(f"{name}: invalid TOML: arrays or tables are nested too deeply")
        return FileSettings()
    except tomllib.TOMLDecodeError as e:
        problems.add(*_syntaxError(str(e), text, name))
        return FileSettings()
    origins = {path: Origin(name, line) for path, line in lines.items()}
    tables: dict[str, dict[str, object]] = {}
    for key, value in document.items():
        origin = origins[(key,)]
        if key in _BY_NAME and key not in _TABLES:
            problems.add(f"key {key} outside of a table: move it under [server]", origin)
        elif key not in _TABLES:
            kind = "table" if isinstance(value, dict) else "key"
            known = "Tables: [server], [realm], [profile]"
            problems.add(f"unknown {kind} {_quoted(key)}{nearest(key, _TABLES) or '.'} {known}", origin)
        elif not isinstance(value, dict):
            advice = '; to name the realm, write realm = "NAME" under [server]' if key == "realm" else ""
            problems.add(f"invalid {key}: got {_article(typeName(value))}, expected a table, [{key}]{advice}", origin)
        else:
            tables[key] = value
    server = _serverSettings(tables.get("server", {}), origins, problems)
    return FileSettings(server, tables.get("realm", {}), tables.get("profile", {}), origins)


def _syntaxError(message: str, text: str, name: str) -> tuple[str, Origin]:
    """Return the message of `tomllib` with its position taken out, as the origin of the error."""
    if text.startswith("\ufeff"):
        return "invalid TOML: byte order mark at the start of the file: save it as UTF-8 without one", Origin(name, 1)
    found = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    if found is None:
        return f"invalid TOML: {message}", Origin(name, 1)
    line = int(found[1] or len(text.splitlines()) or 1)
    where = f"column {found[2]}" if found[2] else "the end of the file"
    # Missing quotes are the usual mistake of people who know the flags.
    advice = 'strings need quotes, for example realm = "limited"'
    return f"invalid TOML: {message[: found.start()]} at {where}; {advice}", Origin(name, line)


def _quoted(key: str) -> str:
    return repr(key) if key.isprintable() and len(key) < 60 else ascii(key)[:60]


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _serverSettings(
    given: Mapping[str, object], origins: Mapping[Path, Origin], problems: Problems
) -> Mapping[str, object]:
    valid: dict[str, object] = {}
    for key, value in given.items():
        origin = origins[("server", key)]
        setting = _BY_NAME.get(key)
        if setting is None:
            elsewhere = f"{key} is a table of its own: write [{key}]" if key in _TABLES else ""
            known = f"Keys of [server]: {', '.join(_BY_NAME)}. Parameters of the realm belong under [realm]"
            problems.add(
                f"unknown key server.{_quoted(key)[1:-1]}{nearest(key, _BY_NAME) or '.'} {elsewhere or known}", origin
            )
        elif setting.kind is tuple and isinstance(value, list) and value:
            errors = [_stringError(element) for element in value]
            for index, got in enumerate(errors):
                if got is not None:
                    element = origins["server", key, index]
                    problems.add(_invalid(setting, f"{got} in the array"), element)
            valid[key] = tuple(one if got is None else INVALID for one, got in zip(value, errors, strict=True))
        elif (got := _error(setting, value)) is not None:
            problems.add(_invalid(setting, got), origin)
            if setting.kind is tuple:
                # Not the default: it would only cause errors about a setting that the user meant to change.
                valid[key] = (INVALID,)
        else:
            valid[key] = value
    return valid


def _invalid(setting: Setting, got: str) -> str:
    expected = {str: "a string", tuple: "an array of strings", float: "a number of at least 0"}[setting.kind]
    return str(ConfigError.invalid(f"server.{setting.name}", got, expected, f"{setting.name} = {setting.example}"))


def _error(setting: Setting, value: object) -> str | None:
    """Return what is wrong with a value, or None. The text never contains a value that may be a password."""
    if setting.kind is tuple:
        return "an empty array (leave the key out for the default)" if value == [] else _article(typeName(value))
    if setting.kind is str:
        return _stringError(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return shownValue(value)
    return None if math.isfinite(value) and value >= 0 else str(value)


def _stringError(value: object) -> str | None:
    if not isinstance(value, str):
        return _article(typeName(value))
    if "\0" in value:
        return "a string with a NUL character"
    return None if value.strip() else "an empty string"


def combine(file: FileSettings, flags: Mapping[str, object], problems: Problems) -> ServerConfig:
    """
    Return the settings in force: the flags, else the file, else the defaults.

    A flag replaces the whole setting, so ``--listen`` replaces all listeners of the file. Parameters in the file belong
    to the realm that the file names; they are ignored if the flags name another realm.

    :param flags: the given flags, by the names of `SETTINGS`.
    :param problems: collects the errors.
    """
    values = {**file.server, **flags}
    origins = {path: one for path, one in file.origins.items() if path[0] == "server" and len(path) > 1}
    for name in flags:
        origins = {path: one for path, one in origins.items() if path[1] != name}
        origins["server", name] = Origin(f"--{name}")
    for index, text in enumerate(_strings(values, "auth")):
        if text.startswith(HIDDEN):
            origin = origins.get(("server", "auth", index), Origin("--auth"))
            problems.add(
                "invalid server.auth: got a placeholder written by --print-config, expected the original description "
                "of the checker",
                origin,
            )
    if isinstance(grace := values.get("grace"), str):
        values["grace"] = _seconds(grace, problems)
    for setting in SETTINGS:
        value = values.get(setting.name)
        if setting.choices and value is not None and value not in setting.choices:
            error = ConfigError.invalid(setting.name, repr(value), f"one of {', '.join(setting.choices)}")
            problems.add(str(error), origins.get(("server", setting.name), DEFAULT))
    spec, paths = _realm(file, flags, problems)
    origins |= {path: one for path, one in file.origins.items() if path[0] == "profile" or path[:2] in paths}
    origins |= {("realm", name): Origin("--realm") for name in spec.parameters if "realm" in flags}
    grace = values.get("grace", DEFAULT_GRACE)
    assert isinstance(grace, int | float)
    return ServerConfig(
        realm=spec,
        avatar=_string(values, "avatar", None),
        listen=_strings(values, "listen", (DEFAULT_LISTEN,)),
        auth=_strings(values, "auth"),
        portal=_string(values, "portal", None),
        allow=_strings(values, "allow"),
        profile=_string(values, "profile", DEFAULT_PROFILE),
        profileFields=file.profile,
        grace=float(grace),
        enforce=_string(values, "enforce", NEW_SESSIONS),
        gc=_string(values, "gc", GC_FREEZE),
        origins=MappingProxyType(origins),
    )


def _string(values: Mapping[str, object], name: str, default: T) -> str | T:
    value = values.get(name)
    return value if isinstance(value, str) else default


def _strings(values: Mapping[str, object], name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
    value = values.get(name)
    return value if isinstance(value, tuple) else default


def _seconds(text: str, problems: Problems) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if _error(_BY_NAME["grace"], number) is not None:
        problems.add(
            str(ConfigError.invalid("grace", repr(text), "a number of seconds of at least 0", "--grace 5")),
            Origin("--grace"),
        )
        return DEFAULT_GRACE
    return number


def _realm(file: FileSettings, flags: Mapping[str, object], problems: Problems) -> tuple[RealmSpec, set[Path]]:
    """Return the realm in force, and the paths of the file's keys that are parameters of it."""
    fileText = _string(file.server, "realm", None)
    flagText = _string(flags, "realm", None)
    # If a description cannot be parsed, go on with the name alone.
    inFile = RealmSpec((fileText or DEFAULT_REALM).partition(":")[0] or INVALID)
    asked: RealmSpec | None = None
    if fileText is not None:
        with problems.catch(file.origins["server", "realm"]):
            inFile = parseRealm(fileText)
    if flagText is not None:
        asked = RealmSpec(flagText.partition(":")[0] or INVALID)
        with problems.catch():
            asked = parseRealm(flagText)
    typed = dict(file.realm)
    if asked is None:
        for key in inFile.parameters.keys() & typed.keys():
            problems.add(f"realm.{key} is given twice: here and in realm = {fileText!r}", file.origins["realm", key])
            del typed[key]
        texts = dict(inFile.parameters)
    else:
        if fileText is not None and asked.name != inFile.name:
            return asked, set()
        texts = {**inFile.parameters, **asked.parameters}
        typed = {key: value for key, value in typed.items() if key not in texts}
    spec = RealmSpec((asked or inFile).name, MappingProxyType(texts), MappingProxyType(typed))
    return spec, {("realm", key) for key in typed}
