"""
What an operator wants, as frozen dataclasses: from text, purely.

Nothing here imports a realm, opens a file or knows a reactor; whether the names that were given
mean anything is for `pbkit.serving.service` to say.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, TypeAlias

from pbkit.errors import ConfigError

#: The realm that is served unless another is asked for: what most programs want, one avatar for one
#: player, whoever holds it.
DEFAULT_REALM = "caching"

#: Where to listen unless told: pb's own port (`twisted.spread.pb.portno`), this machine only.
DEFAULT_LISTEN = "tcp:8787:interface=127.0.0.1"

#: The profile of what twistd serves; `pbkit.wire.profile` says what it means.
DEFAULT_PROFILE = "strict"

#: How long `detached` hooks have when the server stops, in seconds: `Realm.close`'s own figure.
DEFAULT_GRACE = 5.0

#: Whom other limits are for when the file is read again; newcomers unless told.
NEWCOMERS, EVERYBODY = "newcomers", "everybody"

#: Stands for a text that is wrong, which has been told already. No flag and no file can have it.
WRONG = "\0"

#: Where a value stands in a configuration file: tables and keys, and the place in an array.
Path: TypeAlias = tuple[str | int, ...]


def nothing() -> Mapping[Any, Any]:
    """An empty mapping that stays so."""
    return MappingProxyType({})


@dataclass(frozen=True)
class Origin:
    """
    Where a value comes from.

    :ivar source: ``default``, a flag such as ``--realm``, or the name of a file.
    :ivar line: in that file, from 1; 0 for what is in no file.
    """

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


DEFAULT = Origin("default")


@dataclass(frozen=True)
class Setting:
    """
    One thing that can be said of a server, by a flag and in the ``[server]`` table of a file.

    :ivar name: the flag is ``--name``, the key ``name``.
    :ivar kind: `str`, `float`, or `tuple` for several texts (a flag that is repeated, an array).
    :ivar example: a value of it, as it is written in a file.
    :ivar secret: whether it may hold passwords.
    :ivar choices: the only texts there are, or ().
    """

    name: str
    kind: type
    doc: str
    example: str
    secret: bool = False
    choices: tuple[str, ...] = ()


#: Declared once: the flags, the keys of ``[server]``, and what ``--print-config`` shows are made from these.
SETTINGS: tuple[Setting, ...] = (
    Setting("realm", str, "A name from --list-realms, or the dotted path of a realm class or object.", '"limited"'),
    Setting("avatar", str, "The dotted path of the avatar class.", '"game.Player"'),
    Setting("portal", str, "The dotted path of a cred Portal, with realm and checkers of its own.", '"game.portal"'),
    Setting("listen", tuple, "A server endpoint: tcp:, ssl:, unix:...", '["tcp:8787:interface=127.0.0.1"]'),
    Setting("auth", tuple, "Who may log in: memory:NAME:PASSWORD, file:PATH, anonymous...", '["file:passwd"]', True),
    Setting("allow", tuple, "A Copyable or Cacheable class that clients may send, or its name.", '["game.Card"]'),
    Setting("profile", str, "How strict the server is: strict, or drop-in for what stock has.", '"strict"'),
    Setting("grace", float, "Seconds for running calls and the avatars' hooks when the server stops.", "5.0"),
    Setting(
        "enforce",
        str,
        "Whom other limits are for when the file is read again: newcomers, or everybody.",
        f'"{NEWCOMERS}"',
        choices=(NEWCOMERS, EVERYBODY),
    ),
)


@dataclass(frozen=True)
class RealmSpec:
    """
    Which realm, as text: ``limited:max=3``.

    :ivar name: a short name, or the dotted path of a class or an object.
    :ivar parameters: by key, the text of each value.
    :ivar typed: by key, values that are no text but what a file says; no key is in both.
    """

    name: str
    parameters: Mapping[str, str] = field(default_factory=nothing)
    typed: Mapping[str, Any] = field(default_factory=nothing)

    def __str__(self) -> str:
        return ":".join([self.name, *(f"{key}={value}" for key, value in {**self.parameters, **self.typed}.items())])


@dataclass(frozen=True)
class ServerConfig:
    """
    A server, as its operator describes it.

    :ivar realm: which realm it serves.
    :ivar avatar: the dotted path of the avatar class, or None for the realm's own.
    :ivar listen: descriptions of server endpoints, as `twisted.internet.endpoints.serverFromString`
        takes them; at least one.
    :ivar auth: descriptions of checkers, as `twisted.cred.strcred` takes them. They may hold passwords, so
        they are not shown with the rest.
    :ivar portal: the dotted path of a cred portal that takes the place of realm, avatar and auth, or None.
    :ivar allow: the dotted paths of classes that clients may send, or the names that these are registered for.
    :ivar profile: the name of the profile.
    :ivar bounds: fields of the profile that are to be otherwise, nested as the profile is.
    :ivar grace: how long running calls and `detached` hooks have when the server stops, in seconds.
    :ivar enforce: whom other limits are for when the file is read again.
    :ivar origins: where each value comes from, by its place in a file; the default, if it is not in here.
    """

    realm: RealmSpec = field(default_factory=lambda: RealmSpec(DEFAULT_REALM))
    avatar: str | None = None
    listen: tuple[str, ...] = (DEFAULT_LISTEN,)
    auth: tuple[str, ...] = field(default=(), repr=False)
    portal: str | None = None
    allow: tuple[str, ...] = ()
    profile: str = DEFAULT_PROFILE
    bounds: Mapping[str, Any] = field(default_factory=nothing)
    grace: float = DEFAULT_GRACE
    enforce: str = NEWCOMERS
    origins: Mapping[Path, Origin] = field(default_factory=nothing, compare=False, repr=False)

    def origin(self, *path: str | int) -> Origin:
        """
        :param path: such as ``"server", "listen", 0`` or ``"realm", "max"``.
        :return: where the value there comes from; if it has no origin of its own, that of the whole it is in.
        """
        for end in range(len(path), 0, -1):
            if path[:end] in self.origins:
                return self.origins[path[:end]]
        return DEFAULT


class Problems:
    """All that is wrong with a configuration, so that it can be told at once."""

    def __init__(self) -> None:
        self._found: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, text: str, origin: Origin = DEFAULT) -> None:
        """
        One more.

        :param text: what is wrong and what would be right, on one line.
        :param origin: of what is wrong. If that is a file, the text is told with the file and the line.
        """
        text = f"{origin}: {text}" if origin.line else text
        # What is quoted may have ends of lines, and what else a terminal or a log should not get as it is.
        shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
        self._found.append((origin.line, shown))

    @contextmanager
    def under(self, origin: Origin = DEFAULT) -> Iterator[None]:
        """Take in what is raised as `ConfigError`, as what is wrong there."""
        try:
            yield
        except ConfigError as e:
            self.add(str(e), origin)

    def check(self) -> None:
        """
        :raises ConfigError: there is something; its text has a line for each, in the order of the file.
        """
        if self._found:
            raise ConfigError("\n".join(text for _, text in sorted(self._found, key=lambda each: each[0])))


def nearest(name: str, known: Iterable[str]) -> str:
    """
    :return: ``, did you mean 'max'?`` if something that is known reads much like the name, else nothing.
    """
    by = {one.lower(): one for one in known}
    found = difflib.get_close_matches(name.lower(), by, 1)
    return f", did you mean {by[found[0]]!r}?" if found else ""


def splitDescription(text: str) -> list[tuple[str, ...]]:
    r"""
    Take apart a text like ``tcp:8787:interface=\:\:1``, with Twisted's own rules for endpoint strings:
    a colon separates, the first ``=`` of a field ends its key, a backslash takes the meaning
    from the next character.

    :return: for each field ``(value,)`` or ``(key, value)``.
    :raises ConfigError: the text ends in a backslash that escapes nothing.
    """
    fields: list[tuple[str, ...]] = []
    done: tuple[str, ...] = ()
    current = ""
    characters = iter(text)
    for character in characters:
        if character == "\\":
            escaped = next(characters, None)
            if escaped is None:
                raise ConfigError(f"{text!r} ends in a backslash: write two for one that is meant as such")
            current += escaped
        elif character == ":":
            fields.append((*done, current))
            done, current = (), ""
        elif character == "=" and not done:
            done, current = (current,), ""
        else:
            current += character
    fields.append((*done, current))
    return fields


def parseRealm(text: str) -> RealmSpec:
    """
    :param text: ``NAME`` or ``NAME:key=value:key=value``.
    :return: what it says; whether there is such a realm or key is not looked at.
    :raises ConfigError: it is not of that form, or a key is given twice.
    """
    first, *rest = splitDescription(text)
    if len(first) != 1 or not first[0]:
        raise ConfigError(f"realm {text!r}: it is written NAME or NAME:key=value, for example limited:max=3")
    parameters: dict[str, str] = {}
    for pair in rest:
        if len(pair) != 2 or not pair[0]:
            raise ConfigError(
                f"realm {text!r}: {'='.join(pair)!r} is not key=value, as in limited:max=3 "
                "(write \\: for a colon within a value)"
            )
        key, value = pair
        if key in parameters:
            raise ConfigError(f"realm {text!r}: {key} is given twice")
        parameters[key] = value
    return RealmSpec(first[0], MappingProxyType(parameters))


#: How many connections may wait for a listener to accept them, unless its description says so. Twisted's own default is
#: 50, and a restart brings back more clients than that at once. Past it Linux answers with SYN cookies and forgets the
#: end of the handshake; and as it is the server that speaks first in PB, such a client waits until TCP gives up.
#: The kernel takes no more than its ``net.core.somaxconn``, which is 4096 too since Linux 5.4.
BACKLOG = 4096

#: At which field of a description the backlog stands when it is given without its key, as in `_INTERFACE_AT`.
_BACKLOG_AT = {"tcp": 3, "ssl": 6, "tcp6": 2, "tls": 3, "unix": 3}

#: For the endpoints that bind to an interface: at which field it stands when it is given without its
#: key, counted from the type, as `twisted.internet.endpoints` has it.
_INTERFACE_AT = {"tcp": 2, "ssl": 5, "tcp6": 3}


def loopbackOnly(description: str) -> bool:
    """
    Whether a server listening there can be reached from this machine only.

    Unsure means no: an interface that is a name other than ``localhost``, a type of endpoint that is not
    known, and ``haproxy:``, whatever it wraps, for a proxy is there to let others in.

    :param description: of a server endpoint.
    """
    try:
        fields = splitDescription(description)
    except ConfigError:
        return False
    if len(fields[0]) != 1:
        return False
    kind = fields[0][0]
    if kind == "unix":
        return True
    if kind not in _INTERFACE_AT:
        return False
    positional = [one[0] for one in fields if len(one) == 1]
    named = [one[1] for one in fields if len(one) == 2 and one[0] == "interface"]
    # Twisted takes the last of several; with a mixture of both it fails. All must be loopback.
    interfaces = named + positional[_INTERFACE_AT[kind] : _INTERFACE_AT[kind] + 1]
    return bool(interfaces) and all(map(_isLoopback, interfaces))


def _isLoopback(interface: str) -> bool:
    if interface == "localhost":
        return True
    try:
        return ip_address(interface).is_loopback
    except ValueError:
        return False


def withBacklog(description: str) -> str:
    """
    The same listener, with a backlog of `BACKLOG` where its description names none.

    :param description: of a server endpoint. One of a type that is not known, or that cannot be read, is left as it is:
        whoever reads it next says what is wrong.
    """
    try:
        fields = splitDescription(description)
    except ConfigError:
        return description
    positional = [one[0] for one in fields if len(one) == 1]
    while positional[:1] == ["haproxy"]:
        # In front of the description of what it listens with.
        del positional[0]
    at = _BACKLOG_AT.get(positional[0]) if positional else None
    if at is None or len(positional) > at or any(one[0] == "backlog" for one in fields if len(one) == 2):
        return description
    return f"{description}:backlog={BACKLOG}"
