"""
The operator's settings as frozen dataclasses, and the parser of realm descriptions such as ``limited:max=3``.

This module imports no realm, opens no file and knows no reactor. `pbkit.serving.resolve` looks up the names.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

from pbkit.config.descriptions import splitDescription
from pbkit.errors import ConfigError

#: The realm that is served by default: one cached avatar per user, which is what most programs need.
DEFAULT_REALM = "caching"

#: The default listener: PB's own port (`twisted.spread.pb.portno`), reachable from this machine only.
DEFAULT_LISTEN = "tcp:8787:interface=127.0.0.1"

#: The default profile; see `pbkit.wire.profile`.
DEFAULT_PROFILE = "strict"

#: The default time for `detached` hooks when the server stops, in seconds; the same as that of `Realm.close`.
DEFAULT_GRACE = 5.0

#: Who is affected when limits change on reload: new logins only (the default), or existing sessions too.
NEW_SESSIONS, ALL_SESSIONS = "newcomers", "everybody"

#: Who decides when the garbage collector runs: the server, which avoids long pauses (the default), or Python alone.
GC_FREEZE, GC_PYTHON = "freeze", "python"

#: Stands for a value whose error has been reported already. Neither a flag nor a file can contain it.
INVALID = "\0"

#: The position of a value in a configuration file: tables and keys, and the index in an array.
Path: TypeAlias = tuple[str | int, ...]


def emptyMapping() -> Mapping[Any, Any]:
    """Return a read-only empty mapping."""
    return MappingProxyType({})


@dataclass(frozen=True)
class Origin:
    """
    The origin of a value.

    :ivar source: ``default``, a flag such as ``--realm``, or a file name.
    :ivar line: the line in that file, from 1; 0 if the source is not a file.
    """

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


DEFAULT = Origin("default")


@dataclass(frozen=True)
class Setting:
    """
    One setting of a server, both as a flag and as a key of the ``[server]`` table.

    :ivar name: the flag is ``--name``, the key is ``name``.
    :ivar kind: `str`, `float`, or `tuple` for several strings (a repeatable flag, an array).
    :ivar doc: one line for ``--help``.
    :ivar example: a value as it is written in a file.
    :ivar secret: True if a value may contain passwords.
    :ivar choices: the accepted strings, or () for any.
    """

    name: str
    kind: type
    doc: str
    example: str
    secret: bool = False
    choices: tuple[str, ...] = ()


#: The flags, the keys of ``[server]`` and the output of ``--print-config`` are derived from this declaration.
SETTINGS: tuple[Setting, ...] = (
    Setting("realm", str, "A name from --list-realms, or the dotted path of a realm class or object.", '"limited"'),
    Setting("avatar", str, "The dotted path of the avatar class.", '"game.Player"'),
    Setting("portal", str, "The dotted path of a cred Portal with its own realm and checkers.", '"game.portal"'),
    Setting("listen", tuple, "A server endpoint: tcp:, ssl:, unix:...", '["tcp:8787:interface=127.0.0.1"]'),
    Setting("auth", tuple, "A checker: file:PATH, memory:NAME:PASSWORD, anonymous...", '["file:passwd"]', True),
    Setting("allow", tuple, "A Copyable or Cacheable class that clients may send, or its name.", '["game.Card"]'),
    Setting("profile", str, "How strict the server is: strict, or drop-in to behave like stock PB.", '"strict"'),
    Setting("grace", float, "Seconds that running calls and detached hooks have when the server stops.", "5.0"),
    Setting(
        "enforce",
        str,
        "Who is affected when limits change on reload: newcomers (new logins only), or everybody.",
        f'"{NEW_SESSIONS}"',
        choices=(NEW_SESSIONS, ALL_SESSIONS),
    ),
    Setting(
        "gc",
        str,
        "Garbage collection: freeze (long-lived objects are left alone, so there are no long pauses), or python.",
        f'"{GC_FREEZE}"',
        choices=(GC_FREEZE, GC_PYTHON),
    ),
)


@dataclass(frozen=True)
class RealmSpec:
    """
    A realm and its parameters, as in ``limited:max=3``.

    :ivar name: a short name, or the dotted path of a class or an object.
    :ivar parameters: by key, the text of each value from a description such as ``limited:max=3``.
    :ivar typed: by key, the values from the ``[realm]`` table of a file, already typed. No key is in both.
    """

    name: str
    parameters: Mapping[str, str] = field(default_factory=emptyMapping)
    typed: Mapping[str, object] = field(default_factory=emptyMapping)

    def __str__(self) -> str:
        return ":".join([self.name, *(f"{key}={value}" for key, value in {**self.parameters, **self.typed}.items())])


@dataclass(frozen=True)
class ServerConfig:
    """
    The settings of a server.

    :ivar realm: the realm to serve.
    :ivar avatar: the dotted path of the avatar class, or None for the realm's own.
    :ivar listen: server endpoint descriptions for `twisted.internet.endpoints.serverFromString`; at least one.
    :ivar auth: checker descriptions for `twisted.cred.strcred`. They may contain passwords, so ``repr()`` omits them.
    :ivar portal: the dotted path of a cred portal, which replaces realm, avatar and auth; or None.
    :ivar allow: the dotted paths, or registered names, of classes that clients may send.
    :ivar profile: the name of the profile.
    :ivar profileFields: values that replace fields of the profile, nested as the profile is.
    :ivar grace: the time for running calls and `detached` hooks when the server stops, in seconds.
    :ivar enforce: who is affected when limits change on reload.
    :ivar gc: who decides when the garbage collector runs.
    :ivar origins: the origin of each value by its position in a file. A value without an entry is the default.
    """

    realm: RealmSpec = field(default_factory=lambda: RealmSpec(DEFAULT_REALM))
    avatar: str | None = None
    listen: tuple[str, ...] = (DEFAULT_LISTEN,)
    auth: tuple[str, ...] = field(default=(), repr=False)
    portal: str | None = None
    allow: tuple[str, ...] = ()
    profile: str = DEFAULT_PROFILE
    profileFields: Mapping[str, object] = field(default_factory=emptyMapping)
    grace: float = DEFAULT_GRACE
    enforce: str = NEW_SESSIONS
    gc: str = GC_FREEZE
    origins: Mapping[Path, Origin] = field(default_factory=emptyMapping, compare=False, repr=False)

    def origin(self, *path: str | int) -> Origin:
        """
        Return the origin of a value, or else of the array or table that contains it.

        :param path: such as ``"server", "listen", 0`` or ``"realm", "max"``.
        """
        for end in range(len(path), 0, -1):
            if path[:end] in self.origins:
                return self.origins[path[:end]]
        return DEFAULT


def mayHoldPassword(description: str) -> bool:
    """Return True if a checker description may contain a password: any type that is not known to contain none."""
    return description.partition(":")[0] not in ("file", "anonymous")


class Problems:
    """Collects all errors of a configuration, so that they are reported together."""

    def __init__(self) -> None:
        self._found: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, text: str, origin: Origin = DEFAULT) -> None:
        """
        Add an error.

        :param text: one line that says what is wrong and what is expected.
        :param origin: of the wrong value. If it has a line number, the text is prefixed with the file and the line.
        """
        text = f"{origin}: {text}" if origin.line else text
        # Escape quoted values: they may contain line ends and control characters, unsafe for a terminal or a log.
        shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
        self._found.append((origin.line, shown))

    @contextmanager
    def catch(self, origin: Origin = DEFAULT) -> Iterator[None]:
        """Return a context manager that catches a `ConfigError` and adds it."""
        try:
            yield
        except ConfigError as e:
            self.add(str(e), origin)

    def check(self) -> None:
        """
        Raise all errors as one.

        :raises ConfigError: there is at least one error. The text has one line per error, in the order of the file.
        """
        if self._found:
            raise ConfigError("\n".join(text for _, text in sorted(self._found, key=lambda each: each[0])))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``, did you mean 'max'?`` if a known name is similar, else an empty string."""
    by = {one.lower(): one for one in known}
    found = difflib.get_close_matches(name.lower(), by, 1)
    return f", did you mean {by[found[0]]!r}?" if found else ""


def parseRealm(text: str) -> RealmSpec:
    """
    Parse a realm description. Does not check that the realm or its parameters exist.

    :param text: ``NAME`` or ``NAME:key=value:key=value``.
    :raises ConfigError: the text does not have that form, or a key is given twice.
    """
    first, *rest = splitDescription(text)
    if len(first) != 1 or not first[0]:
        raise ConfigError.invalid("realm", repr(text), "NAME or NAME:key=value", "limited:max=3")
    parameters: dict[str, str] = {}
    for pair in rest:
        if len(pair) != 2 or not pair[0]:
            raise ConfigError(
                f"invalid realm {text!r}: got {'='.join(pair)!r}, expected key=value, for example limited:max=3 "
                "(write \\: for a colon within a value)"
            )
        key, value = pair
        if key in parameters:
            raise ConfigError(f"invalid realm {text!r}: {key} is given twice")
        parameters[key] = value
    return RealmSpec(first[0], MappingProxyType(parameters))
